//! Blocks that run together, since they may wait for each other: they take turns.

use super::block::{Block, Turn};
use super::thread::State;
use super::{CLUSTER_BLOCKS_MAX, GROUP_BYTES_MAX, Grid, volume};
use crate::device::sim::ptx::code::Code;
use crate::device::sim::ptx::{Fault, Launch};

/// The blocks, those of a cluster side by side.
pub(super) struct Group {
    blocks: Vec<Block>,
    /// The shared memory of each: those of a cluster reach each other's.
    shared: Vec<Vec<u8>>,
    /// Blocks of a cluster.
    cluster: usize,
}

impl Group {
    /// Makes room for so many blocks.
    pub fn new(
        code: &Code,
        launch: &Launch<'_>,
        shared_bytes: usize,
        count: u64,
    ) -> Result<Self, Fault> {
        let threads = volume(launch.block);
        let of_thread = u64::from(code.slots) * 8 + u64::from(code.local_bytes);
        let of_block = threads.saturating_mul(of_thread).saturating_add(shared_bytes as u64);
        if count.saturating_mul(of_block) > GROUP_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let cluster = launch.cluster.map_or(1, volume).min(CLUSTER_BLOCKS_MAX) as usize;
        Ok(Self {
            blocks: (0..count).map(|_| Block::new(code, threads as usize)).collect(),
            shared: vec![vec![0; shared_bytes]; count as usize],
            cluster,
        })
    }

    /// Puts the blocks at the next places; says whether there were any.
    pub fn begin(&mut self, grid: &Grid<'_>, places: &mut impl Iterator<Item = [u32; 3]>) -> bool {
        let mut began = false;
        for (block, place) in self.blocks.iter_mut().zip(places) {
            block.begin(grid, place);
            began = true;
        }
        began
    }

    /// Runs the blocks to their end.
    pub fn run(&mut self, grid: &mut Grid<'_>) -> Result<(), Fault> {
        loop {
            let (mut went_on, mut are_done) = (false, true);
            let shared = self.shared.chunks_mut(self.cluster);
            for (blocks, shared) in self.blocks.chunks_mut(self.cluster).zip(shared) {
                for (rank, block) in blocks.iter_mut().enumerate() {
                    if block.is_done() {
                        continue;
                    }
                    went_on |= Turn { grid, block, shared, rank }.run()?;
                    are_done &= block.is_done();
                }
                went_on |= open_cluster(blocks);
            }
            if are_done {
                return Ok(());
            }
            if !went_on {
                // All that are left wait for each other.
                return Err(Fault::Timeout);
            }
        }
    }
}

/// Lets the threads of a cluster go on that wait until all have arrived; says whether any did.
fn open_cluster(blocks: &mut [Block]) -> bool {
    let threads = || blocks.iter().flat_map(|block| &block.threads);
    if !threads().any(|thread| thread.state == State::Cluster) {
        return false;
    }
    // Who has ended counts as one that arrived.
    let live = threads().filter(|thread| thread.state != State::Done);
    let all = live.map(|thread| thread.arrivals).min().unwrap_or(0);
    let mut went_on = false;
    for thread in blocks.iter_mut().flat_map(|block| &mut block.threads) {
        if thread.state == State::Cluster && thread.arrivals <= all {
            thread.go_on();
            went_on = true;
        }
    }
    went_on
}
