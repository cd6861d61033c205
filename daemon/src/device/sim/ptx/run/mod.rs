//! Runs a decoded kernel: one block after the other, and in a block one thread until it waits.

mod collective;
mod matrix;
mod memory;
mod thread;

use super::code::{Barrier, Code, LaneMask, NONE, Op, Reduce, Slot, Special};
use super::kind::Value as _;
use super::{Fault, GlobalMemory, Launch};
use memory::Memories;
use thread::Thread;

/// Threads of a warp.
const LANES: usize = 32;

/// Largest block, as every device has it.
const THREADS_MAX: u64 = 1024;

/// Most shared memory of a block: that of an H100.
const SHARED_BYTES_MAX: u64 = 227 << 10;

/// Instructions after which a launch counts as one that does not end: about a minute's.
const INSTRUCTIONS_MAX: u64 = 6_000_000_000;

/// Instructions that a thread may run while others of its block are ready: one that waits for
/// another by looking again and again must not wait for ever.
const SLICE: u64 = 1 << 16;

/// Barriers of a block.
const BARRIERS: usize = 16;

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// Waits at a barrier of the block.
    Barrier,
    /// Waits for others of its warp.
    Warp,
    Done,
}

/// What a launch touches outside of itself: memory, and the addresses of the module's variables.
pub(super) type Outside<'a> = (&'a mut dyn GlobalMemory, &'a dyn Fn(&str) -> Option<u64>);

/// Runs all blocks.
pub(super) fn launch(code: &Code, launch: &Launch<'_>, outside: Outside<'_>) -> Result<(), Fault> {
    launch_within(code, launch, outside, INSTRUCTIONS_MAX)
}

/// Runs all blocks, if that takes no more than so many instructions.
pub(super) fn launch_within(
    code: &Code,
    launch: &Launch<'_>,
    (memory, symbols): Outside<'_>,
    instructions_max: u64,
) -> Result<(), Fault> {
    let threads: u64 =
        launch.block.iter().fold(1, |all, &count| u64::from(count).saturating_mul(all));
    let shared = u64::from(code.launched_at) + u64::from(launch.shared_bytes);
    let fits = (1..=THREADS_MAX).contains(&threads)
        && shared <= SHARED_BYTES_MAX
        && !launch.grid.contains(&0)
        && !launch.cluster.contains(&0)
        && launch.parameters.len() >= code.parameter_bytes as usize;
    if !fits {
        return Err(Fault::InvalidLaunch);
    }
    let mut constants = code.constants.clone();
    for symbol in &code.symbols {
        let address = symbols(&symbol.name).ok_or(Fault::InvalidLaunch)?;
        constants[symbol.slot as usize] = address.wrapping_add(symbol.addend);
    }
    let threads = threads as usize;
    let mut block = Block {
        code,
        launch,
        constants,
        memory,
        shared: vec![0; shared as usize],
        local: vec![0; threads * code.local_bytes as usize],
        file: vec![0; threads * code.slots as usize],
        threads: vec![Thread::new(); threads],
        arrived: [0; BARRIERS],
        instructions: 0,
        instructions_max,
    };
    for z in 0..launch.grid[2] {
        for y in 0..launch.grid[1] {
            for x in 0..launch.grid[0] {
                block.run([x, y, z])?;
            }
        }
    }
    Ok(())
}

/// A block that is being run.
struct Block<'a> {
    code: &'a Code,
    launch: &'a Launch<'a>,
    /// The first slots of every thread.
    constants: Vec<u64>,
    memory: &'a mut dyn GlobalMemory,
    shared: Vec<u8>,
    /// Local memory of all threads, one behind the other.
    local: Vec<u8>,
    /// Slots of all threads, one behind the other.
    file: Vec<u64>,
    threads: Vec<Thread>,
    /// Threads that arrived at each barrier without waiting there.
    arrived: [u32; BARRIERS],
    /// Instructions of the launch so far.
    instructions: u64,
    instructions_max: u64,
}

impl Block<'_> {
    fn run(&mut self, place: [u32; 3]) -> Result<(), Fault> {
        self.begin(place);
        let warps = self.threads.len().div_ceil(LANES);
        loop {
            let mut went_on = false;
            for warp in 0..warps {
                went_on |= self.run_warp(warp)?;
            }
            went_on |= self.open_barriers()?;
            if self.threads.iter().all(|thread| thread.state == State::Done) {
                return Ok(());
            }
            if !went_on {
                // All that are left wait for each other.
                return Err(Fault::Timeout);
            }
        }
    }

    fn begin(&mut self, place: [u32; 3]) {
        for thread in 0..self.threads.len() {
            self.threads[thread] = Thread::new();
            let begin = thread * self.code.slots as usize;
            self.file[begin..begin + self.constants.len()].copy_from_slice(&self.constants);
            for &(slot, special) in &self.code.specials {
                self.file[begin + slot as usize] = self.special(special, place, thread as u32);
            }
        }
        self.arrived = [0; BARRIERS];
    }

    fn special(&self, special: Special, place: [u32; 3], thread: u32) -> u64 {
        let Launch { grid, block, cluster, .. } = *self.launch;
        let lane = thread % LANES as u32;
        let in_cluster = |axis: usize| place[axis] % cluster[axis];
        let value = match special {
            Special::Thread(axis) => {
                let before: u32 = block[..axis].iter().product();
                thread / before % block[axis]
            }
            Special::Threads(axis) => block[axis],
            Special::Block(axis) => place[axis],
            Special::Blocks(axis) => grid[axis],
            Special::Cluster(axis) => place[axis] / cluster[axis],
            Special::Clusters(axis) => grid[axis] / cluster[axis],
            Special::BlockOfCluster(axis) => in_cluster(axis),
            Special::BlocksOfCluster(axis) => cluster[axis],
            Special::RankInCluster => {
                in_cluster(0) + cluster[0] * (in_cluster(1) + cluster[1] * in_cluster(2))
            }
            Special::RanksOfCluster => cluster.iter().product(),
            Special::Lane => lane,
            Special::Warp => thread / LANES as u32,
            Special::Warps => (self.threads.len().div_ceil(LANES)) as u32,
            Special::LaneMask(mask) => lanes(mask, lane),
            Special::SharedTotal => self.shared.len() as u32,
            Special::SharedDynamic => self.launch.shared_bytes,
            Special::Fixed(value) => value,
        };
        value.into()
    }

    /// Runs the threads of a warp until each waits or is done, or its slice is over; says whether
    /// any went on.
    fn run_warp(&mut self, warp: usize) -> Result<bool, Fault> {
        let lanes = warp * LANES..self.threads.len().min((warp + 1) * LANES);
        let mut went_on = false;
        loop {
            for thread in lanes.clone() {
                if self.threads[thread].state == State::Ready {
                    self.run_thread(thread)?;
                    went_on = true;
                }
            }
            if !self.meet(lanes.clone())? {
                return Ok(went_on);
            }
            went_on = true;
        }
    }

    fn run_thread(&mut self, thread: usize) -> Result<(), Fault> {
        let (slots, bytes) = (self.code.slots as usize, self.code.local_bytes as usize);
        let mut memories = Memories {
            global: &mut *self.memory,
            shared: &mut self.shared,
            local: &mut self.local[thread * bytes..][..bytes],
            parameters: self.launch.parameters,
        };
        let file = &mut self.file[thread * slots..][..slots];
        let ran = self.threads[thread].run(self.code, file, &mut memories, self.instructions)?;
        self.instructions += ran;
        if self.instructions > self.instructions_max {
            return Err(Fault::Timeout);
        }
        Ok(())
    }

    /// The value of a thread's slot.
    fn value(&self, thread: usize, slot: Slot) -> u64 {
        self.file[thread * self.code.slots as usize + slot as usize]
    }

    fn set_value(&mut self, thread: usize, slot: Slot, value: u64) {
        self.file[thread * self.code.slots as usize + slot as usize] = value;
    }

    /// The barrier that a thread waits at.
    fn barrier_of(&self, thread: usize) -> Barrier {
        match self.code.instructions[self.threads[thread].at as usize].op {
            Op::Barrier(barrier) => barrier,
            _ => unreachable!("the thread waits at a barrier"),
        }
    }

    /// Lets threads go on whose barrier is complete; says whether there were any.
    fn open_barriers(&mut self) -> Result<bool, Fault> {
        let mut waiting: [Vec<usize>; BARRIERS] = Default::default();
        let mut live = 0;
        let mut went_on = false;
        for thread in 0..self.threads.len() {
            live += u32::from(self.threads[thread].state != State::Done);
            if self.threads[thread].state != State::Barrier {
                continue;
            }
            let barrier = self.barrier_of(thread);
            let id = self.value(thread, barrier.id) as u32 as usize;
            if id >= BARRIERS {
                return Err(Fault::Failed);
            }
            if barrier.arrives_only {
                self.arrived[id] += 1;
                self.threads[thread].go_on();
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
            if waiting.len() as u32 + self.arrived[id] < needed {
                continue;
            }
            self.arrived[id] = 0;
            self.reduce(waiting);
            for &thread in waiting {
                self.threads[thread].go_on();
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

fn lanes(mask: LaneMask, lane: u32) -> u32 {
    let own = 1_u32 << lane;
    match mask {
        LaneMask::Equal => own,
        LaneMask::Less => own - 1,
        LaneMask::LessOrEqual => own | (own - 1),
        LaneMask::Greater => !(own | (own - 1)),
        LaneMask::GreaterOrEqual => !(own - 1),
    }
}
