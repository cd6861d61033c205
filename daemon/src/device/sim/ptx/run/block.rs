//! One block: its threads, and the turns in which they run.

use super::memory::{Cluster, Memories};
use super::thread::{State, Thread};
use super::{Grid, LANES};
use crate::device::sim::ptx::Fault;
use crate::device::sim::ptx::code::{Barrier, Code, NONE, Op, Reduce, Slot};
use crate::device::sim::ptx::kind::Value as _;

/// Barriers of a block.
const BARRIERS: usize = 16;

/// A block between its turns, but for its shared memory.
pub(super) struct Block {
    pub threads: Vec<Thread>,
    /// Local memory of all threads, one behind the other.
    local: Vec<u8>,
    /// Slots of all threads, one behind the other.
    file: Vec<u64>,
    /// Threads that arrived at each barrier without waiting there.
    arrived: [u32; BARRIERS],
}

impl Block {
    /// Makes room for a block, which is done until it begins.
    pub fn new(code: &Code, threads: usize) -> Self {
        Self {
            threads: vec![Thread::ended(); threads],
            local: vec![0; threads * code.local_bytes as usize],
            file: vec![0; threads * code.slots as usize],
            arrived: [0; BARRIERS],
        }
    }

    /// Starts all threads of the block at a place.
    pub fn begin(&mut self, grid: &Grid<'_>, place: [u32; 3]) {
        for thread in 0..self.threads.len() {
            self.threads[thread] = Thread::new();
            let begin = thread * grid.code.slots as usize;
            self.file[begin..begin + grid.constants.len()].copy_from_slice(&grid.constants);
            for &(slot, special) in &grid.code.specials {
                self.file[begin + slot as usize] = grid.special(special, place, thread as u32);
            }
        }
        self.arrived = [0; BARRIERS];
    }

    /// Says whether all threads have ended.
    pub fn is_done(&self) -> bool {
        self.threads.iter().all(|thread| thread.state == State::Done)
    }
}

/// A block's turn.
pub(super) struct Turn<'t, 'g> {
    pub grid: &'t mut Grid<'g>,
    pub block: &'t mut Block,
    /// Shared memory of all blocks of its cluster.
    pub shared: &'t mut [Vec<u8>],
    /// Its place among them.
    pub rank: usize,
}

impl Turn<'_, '_> {
    /// Runs every thread until it waits or its slice is over; says whether any went on.
    pub fn run(&mut self) -> Result<bool, Fault> {
        // So that turns count in which few threads run and many are looked at.
        self.grid.instructions += self.block.threads.len() as u64;
        let mut went_on = false;
        for warp in 0..self.block.threads.len().div_ceil(LANES) {
            went_on |= self.run_warp(warp)?;
        }
        Ok(went_on | self.open_barriers()?)
    }

    /// Runs the threads of a warp until each waits or is done, or its slice is over; says whether
    /// any went on.
    fn run_warp(&mut self, warp: usize) -> Result<bool, Fault> {
        let lanes = warp * LANES..self.block.threads.len().min((warp + 1) * LANES);
        let mut went_on = false;
        // A warp that looks again and again together must not wait for ever, either.
        let end = self.grid.instructions + self.grid.slice * LANES as u64;
        loop {
            for thread in lanes.clone() {
                if self.block.threads[thread].state == State::Ready {
                    self.run_thread(thread)?;
                    went_on = true;
                }
            }
            let has_met = self.meet(lanes.clone())?;
            went_on |= has_met;
            if !has_met || self.grid.instructions >= end {
                return Ok(went_on);
            }
        }
    }

    fn run_thread(&mut self, thread: usize) -> Result<(), Fault> {
        let Self { grid, block, shared, rank } = self;
        let (slots, bytes) = (grid.code.slots as usize, grid.code.local_bytes as usize);
        let mut memories = Memories {
            global: &mut *grid.memory,
            shared: Cluster::new(shared, *rank),
            local: &mut block.local[thread * bytes..][..bytes],
            parameters: grid.launch.parameters,
        };
        let file = &mut block.file[thread * slots..][..slots];
        let clock = (grid.instructions, grid.slice);
        let ran = block.threads[thread].run(grid.code, file, &mut memories, clock)?;
        grid.instructions += ran;
        if grid.instructions > grid.instructions_max {
            return Err(Fault::Timeout);
        }
        Ok(())
    }

    /// The memories that a thread can reach.
    pub fn memories(&mut self, thread: usize) -> Memories<'_> {
        let bytes = self.grid.code.local_bytes as usize;
        Memories {
            global: &mut *self.grid.memory,
            shared: Cluster::new(self.shared, self.rank),
            local: &mut self.block.local[thread * bytes..][..bytes],
            parameters: self.grid.launch.parameters,
        }
    }

    /// The value of a thread's slot.
    pub fn value(&self, thread: usize, slot: Slot) -> u64 {
        self.block.file[thread * self.grid.code.slots as usize + slot as usize]
    }

    pub fn set_value(&mut self, thread: usize, slot: Slot, value: u64) {
        self.block.file[thread * self.grid.code.slots as usize + slot as usize] = value;
    }

    /// The barrier that a thread waits at.
    fn barrier_of(&self, thread: usize) -> Barrier {
        match self.grid.code.instructions[self.block.threads[thread].at as usize].op {
            Op::Barrier(barrier) => barrier,
            _ => unreachable!("the thread waits at a barrier"),
        }
    }

    /// Lets threads go on whose barrier is complete; says whether there were any.
    fn open_barriers(&mut self) -> Result<bool, Fault> {
        let mut waiting: [Vec<usize>; BARRIERS] = Default::default();
        let mut live = 0;
        let mut went_on = false;
        for thread in 0..self.block.threads.len() {
            live += u32::from(self.block.threads[thread].state != State::Done);
            if self.block.threads[thread].state != State::Barrier {
                continue;
            }
            let barrier = self.barrier_of(thread);
            let id = self.value(thread, barrier.id) as u32 as usize;
            if id >= BARRIERS {
                return Err(Fault::Failed);
            }
            if barrier.arrives_only {
                self.block.arrived[id] += 1;
                self.block.threads[thread].go_on();
                went_on = true;
            } else {
                waiting[id].push(thread);
            }
        }
        for (id, waiting) in waiting.iter().enumerate() {
            let Some(&first) = waiting.first() else { continue };
            let barrier = self.barrier_of(first);
            let needed = match barrier.count {
                NONE => live,
                count => self.value(first, count) as u32,
            };
            if waiting.len() as u32 + self.block.arrived[id] < needed {
                continue;
            }
            self.block.arrived[id] = 0;
            self.reduce(waiting);
            for &thread in waiting {
                self.block.threads[thread].go_on();
            }
            went_on = true;
        }
        Ok(went_on)
    }

    fn reduce(&mut self, waiting: &[usize]) {
        let predicates = waiting.iter().map(|&thread| {
            let barrier = self.barrier_of(thread);
            barrier.reduce.is_some() && self.value(thread, barrier.a) != 0
        });
        let (mut all, mut count) = (true, 0_u64);
        for predicate in predicates {
            all &= predicate;
            count += u64::from(predicate);
        }
        for &thread in waiting {
            let barrier = self.barrier_of(thread);
            let value = match barrier.reduce {
                Some(Reduce::And) => all.slot(),
                Some(Reduce::Or) => (count > 0).slot(),
                Some(Reduce::Count) => count,
                None => continue,
            };
            self.set_value(thread, barrier.d, value);
        }
    }
}
