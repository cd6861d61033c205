//! Runs a decoded kernel: in a block one thread until it waits, and one block after the other.
//! Those that may wait for each other take turns: blocks of a cluster, all of a cooperative launch.

mod block;
mod collective;
mod group;
mod matrix;
mod memory;
mod thread;
mod wmma;
mod workspace;

use super::code::Code;
use super::special::{LaneMask, Special};
use super::{Fault, GlobalMemory, Launch};
use group::Group;
pub(super) use workspace::WORKSPACE;
use workspace::Workspace;

/// Threads of a warp.
const LANES: usize = 32;

/// Largest block, as every device has it.
const THREADS_MAX: u64 = 1024;

/// Largest cluster: that of an H100.
const CLUSTER_BLOCKS_MAX: u64 = 16;

/// Most shared memory of a block: that of an H100.
const SHARED_BYTES_MAX: u64 = 227 << 10;

/// Most memory of this machine for blocks that run together: some 15 KiB for each thread that an
/// H100 holds at once.
const GROUP_BYTES_MAX: u64 = 4 << 30;

/// Instructions after which a launch counts as one that does not end: about a minute's.
const INSTRUCTIONS_MAX: u64 = 6_000_000_000;

/// Instructions that a thread may run while others of its block are ready: one that waits for
/// another by looking again and again must not wait for ever.
const SLICE: u64 = 1 << 16;

/// The same where other blocks are ready as well: there are more to wait for, so a look is short.
const SLICE_TOGETHER: u64 = 1 << 10;

/// What a launch touches outside of itself: memory, and the addresses of the module's variables.
pub(super) type Outside<'a> = (&'a mut dyn GlobalMemory, &'a dyn Fn(&str) -> Option<u64>);

/// What all blocks of a launch share.
struct Grid<'a> {
    code: &'a Code,
    launch: &'a Launch<'a>,
    /// The first slots of every thread.
    constants: Vec<u64>,
    memory: &'a mut dyn GlobalMemory,
    /// Instructions that a thread may run before others get their turn.
    slice: u64,
    /// Instructions so far.
    instructions: u64,
    instructions_max: u64,
}

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
    let shared_bytes = fitting_shared_bytes(code, launch).ok_or(Fault::InvalidLaunch)?;
    let mut constants = code.constants.clone();
    for symbol in &code.symbols {
        let address = symbols(&symbol.name).ok_or(Fault::InvalidLaunch)?;
        constants[symbol.slot as usize] = address.wrapping_add(symbol.addend);
    }
    let cluster = launch.cluster.unwrap_or([1; 3]);
    let together = if launch.is_cooperative { launch.grid } else { cluster };
    let slice = if volume(together) > 1 { SLICE_TOGETHER } else { SLICE };
    let mut group = Group::new(code, launch, shared_bytes, volume(together))?;
    let mut workspace;
    let memory = if launch.is_cooperative {
        workspace = Workspace::new(memory);
        &mut workspace
    } else {
        memory
    };
    let mut grid =
        Grid { code, launch, constants, memory, slice, instructions: 0, instructions_max };
    let clusters: [u32; 3] = std::array::from_fn(|axis| launch.grid[axis] / cluster[axis]);
    let mut blocks = places(clusters).flat_map(|at| {
        let place = move |within: [u32; 3]| -> [u32; 3] {
            std::array::from_fn(|axis| at[axis] * cluster[axis] + within[axis])
        };
        places(cluster).map(place)
    });
    while group.begin(&grid, &mut blocks) {
        group.run(&mut grid)?;
    }
    Ok(())
}

/// The shared memory of a block, if the launch fits the kernel.
fn fitting_shared_bytes(code: &Code, launch: &Launch<'_>) -> Option<usize> {
    let shared = u64::from(code.launched_at) + u64::from(launch.shared_bytes);
    let cluster = launch.cluster.unwrap_or([1; 3]);
    let divides = |(of, size): (u32, u32)| of > 0 && size > 0 && of.is_multiple_of(size);
    let fits = (1..=THREADS_MAX).contains(&volume(launch.block))
        && shared <= SHARED_BYTES_MAX
        && volume(cluster) <= CLUSTER_BLOCKS_MAX
        && launch.grid.into_iter().zip(cluster).all(divides)
        && launch.parameters.len() >= code.parameter_bytes as usize;
    fits.then_some(shared as usize)
}

fn volume(sizes: [u32; 3]) -> u64 {
    sizes.into_iter().map(u64::from).fold(1, u64::saturating_mul)
}

/// All places in a box, those along x first.
fn places(sizes: [u32; 3]) -> impl Iterator<Item = [u32; 3]> {
    let rows = (0..sizes[2]).flat_map(move |z| (0..sizes[1]).map(move |y| (y, z)));
    rows.flat_map(move |(y, z)| (0..sizes[0]).map(move |x| [x, y, z]))
}

impl Grid<'_> {
    /// The value of a special register in a thread of the block at a place.
    fn special(&self, special: Special, place: [u32; 3], thread: u32) -> u64 {
        let Launch { grid, block, .. } = *self.launch;
        let cluster = self.launch.cluster.unwrap_or([1; 3]);
        let lane = thread % LANES as u32;
        let in_cluster = |axis: usize| place[axis] % cluster[axis];
        let meeting = if self.launch.is_cooperative { WORKSPACE } else { 0 };
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
            Special::IsExplicitCluster => self.launch.cluster.is_some().into(),
            Special::Lane => lane,
            Special::Warp => thread / LANES as u32,
            Special::Warps => volume(block).div_ceil(LANES as u64) as u32,
            Special::LaneMask(mask) => lanes(mask, lane),
            Special::SharedTotal => self.code.launched_at + self.launch.shared_bytes,
            Special::SharedDynamic => self.launch.shared_bytes,
            Special::WorkspaceHigh => (meeting >> 32) as u32,
            Special::WorkspaceLow => meeting as u32,
            Special::Fixed(value) => value,
        };
        value.into()
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
