//! The loop in which a thread runs.

use super::memory::Memories;
use crate::device::sim::ptx::Fault;
use crate::device::sim::ptx::code::{Code, Combine, NONE, Op};
use crate::device::sim::ptx::kind::Value as _;

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Waits at a barrier of the block.
    Barrier,
    /// Waits for others of its warp.
    Warp,
    /// Waits until all of its cluster have arrived.
    Cluster,
    Done,
}

/// Where a thread is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread {
    /// The instruction that is next, or at which it waits.
    pub at: u32,
    pub state: State,
    /// How often it arrived at the cluster's barrier.
    pub arrivals: u32,
}

impl Thread {
    pub fn new() -> Self {
        Self { at: 0, state: State::Ready, arrivals: 0 }
    }

    /// One that has not begun.
    pub fn ended() -> Self {
        Self { state: State::Done, ..Self::new() }
    }

    /// Goes on behind what it waited for.
    pub fn go_on(&mut self) {
        self.at += 1;
        self.state = State::Ready;
    }

    /// Runs until it waits, is done, or has had its slice; returns how many instructions it ran.
    /// The clock says how many had been run before.
    pub fn run(
        &mut self,
        code: &Code,
        file: &mut [u64],
        memories: &mut Memories<'_>,
        (clock, slice): (u64, u64),
    ) -> Result<u64, Fault> {
        let mut at = self.at as usize;
        let mut left = slice;
        // A kernel ends with an exit, so there is always a next instruction.
        while left > 0 {
            left -= 1;
            let instruction = &code.instructions[at];
            if instruction.guard != NONE
                && (file[instruction.guard as usize] == 0) != instruction.negated
            {
                at += 1;
                continue;
            }
            match instruction.op {
                Op::Nothing => {}
                Op::Move { d, a } => file[d as usize] = file[a as usize],
                Op::One { f, d, a } => file[d as usize] = f(file[a as usize]),
                Op::Two { f, d, a, b } => {
                    file[d as usize] = f(file[a as usize], file[b as usize]);
                }
                Op::Three { f, d, a, b, c } => {
                    file[d as usize] = f(file[a as usize], file[b as usize], file[c as usize]);
                }
                Op::Branch { to } => {
                    at = to as usize;
                    continue;
                }
                Op::Load1 { access, d } => file[d as usize] = memories.load(access, file)?,
                Op::Store1 { access, a } => memories.store(access, file, file[a as usize])?,
                Op::BranchTable { a, list, count } => {
                    let index = file[a as usize] as u32;
                    if index >= count {
                        return Err(Fault::Failed);
                    }
                    at = code.lists[(list + index) as usize] as usize;
                    continue;
                }
                Op::Barrier(_) | Op::Warp(_) | Op::ClusterWait | Op::Exit => {
                    self.state = match instruction.op {
                        Op::Barrier(_) => State::Barrier,
                        Op::Warp(_) => State::Warp,
                        Op::ClusterWait => State::Cluster,
                        _ => State::Done,
                    };
                    break;
                }
                Op::ClusterArrive => self.arrivals += 1,
                Op::Trap => return Err(Fault::Failed),
                Op::Assert => return Err(Fault::Assert),
                Op::Clock { d } => file[d as usize] = clock + (slice - left),
                other => rare(other, code, file, memories)?,
            }
            at += 1;
        }
        self.at = at as u32;
        Ok(slice - left)
    }
}

/// Instructions with operands in the lists.
fn rare(op: Op, code: &Code, file: &mut [u64], memories: &mut Memories<'_>) -> Result<(), Fault> {
    let of = |list: u32, count: usize| &code.lists[list as usize..][..count];
    match op {
        Op::Four { f, d, list } => {
            let [a, b, c, e] = of(list, 4) else { unreachable!("four operands") };
            let value = |slot: u32| file[slot as usize];
            file[d as usize] = f(value(*a), value(*b), value(*c), value(*e));
        }
        Op::Compare { f, list, combine } => {
            let [d, other, a, b, c] = of(list, 5) else { unreachable!("five operands") };
            let result = f(file[*a as usize], file[*b as usize]) != 0;
            let with = file[*c as usize] != 0;
            let combined = |result: bool| match combine {
                Combine::And => result & with,
                Combine::Or => result | with,
                Combine::Xor => result ^ with,
            };
            file[*d as usize] = combined(result).slot();
            file[*other as usize] = combined(!result).slot();
        }
        Op::Load { access, list, count } => {
            memories.load_all(access, file, of(list, count.into()))?;
        }
        Op::Store { access, list, count } => {
            memories.store_all(access, file, of(list, count.into()))?;
        }
        Op::Atomic { access, f, d, a } => {
            let old = memories.load(access, file)?;
            memories.store(access, file, f(old, file[a as usize]))?;
            file[d as usize] = old;
        }
        Op::CompareAndSwap { access, d, list } => {
            let [expected, new] = of(list, 2) else { unreachable!("two operands") };
            let old = memories.load(access, file)?;
            let mask = u64::MAX >> (64 - 8 * access.kind.bytes());
            if old & mask == file[*expected as usize] & mask {
                memories.store(access, file, file[*new as usize])?;
            }
            file[d as usize] = old;
        }
        Op::Copy { access, bytes, list } => {
            let [from, offset, count] = of(list, 3) else { unreachable!("three operands") };
            let from = file[*from as usize].wrapping_add(file[*offset as usize]);
            let count = file[*count as usize] as u32;
            memories.copy(access, file, from, bytes.into(), count as usize)?;
        }
        _ => unreachable!("the other instructions are done where they are met"),
    }
    Ok(())
}
