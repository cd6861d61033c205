//! Blocks that wait for each other: those of a cooperative launch, and those of a cluster.

use super::Value::{Long, Word};
use super::{Buffers, Fault, Launch, Program, Value, packed};

const TOGETHER: &str = include_str!("../../../../../../tests/kernels/together.ptx");

const ALONE: Launch<'_> = Launch {
    grid: [1; 3],
    block: [1; 3],
    cluster: None,
    is_cooperative: false,
    shared_bytes: 0,
    parameters: &[],
};

fn run(
    kernel: &str,
    memory: &mut Buffers,
    launch: Launch<'_>,
    parameters: &[Value],
) -> Result<(), Fault> {
    let program = Program::parse(TOGETHER).expect("it is PTX");
    let entry = program.entry(kernel).expect("it is executable");
    let launch = Launch { parameters: &packed(parameters), ..launch };
    let outside = (memory as _, &(|_: &str| None) as _);
    super::super::run::launch_within(&entry.code, &launch, outside, 20_000_000)
}

/// Lets blocks of 64 threads meet; returns what each thread added up.
fn meet(launch: Launch<'_>) -> Result<Vec<u32>, Fault> {
    let mut memory = Buffers::default();
    let count = launch.grid[0] as usize * 64;
    let (numbers, sums) = (memory.add_words(&vec![0; count]), memory.add_words(&vec![0; count]));
    let launch = Launch { block: [64, 1, 1], ..launch };
    run("vgpu_test_meet", &mut memory, launch, &[Long(numbers), Long(sums)])?;
    Ok(memory.words(sums))
}

#[test]
fn all_blocks_of_a_cooperative_launch_meet() {
    for blocks in [1, 2, 132] {
        let all = meet(Launch { grid: [blocks, 1, 1], is_cooperative: true, ..ALONE });
        let sum = |lane: u32| (0..blocks).map(|block| block * 64 + lane).sum::<u32>();
        let expected: Vec<u32> = (0..blocks * 64).map(|thread| sum(thread % 64)).collect();
        assert_eq!(all, Ok(expected), "{blocks} blocks");
    }
}

#[test]
fn clusters_of_a_cooperative_launch_meet_too() {
    let all =
        meet(Launch { grid: [6, 1, 1], cluster: Some([2, 1, 1]), is_cooperative: true, ..ALONE });
    assert_eq!(all.map(|all| all[63]), Ok(6 * 63 + 64 * 15));
}

#[test]
fn only_a_cooperative_launch_has_a_place_to_meet() {
    let alone = meet(Launch { grid: [2, 1, 1], ..ALONE });
    assert_eq!(alone, Err(Fault::IllegalAddress { address: 4 }));
}

#[test]
fn blocks_of_a_cluster_reach_each_others_shared_memory() {
    let ring = |cluster: Option<[u32; 3]>| {
        let mut memory = Buffers::default();
        let out = memory.add_words(&[0; 32]);
        let launch = Launch { grid: [8, 1, 1], block: [40, 1, 1], cluster, ..ALONE };
        run("vgpu_test_ring", &mut memory, launch, &[Long(out)]).expect("it ends");
        memory.words(out)
    };
    for of in [1, 2, 4, 8] {
        let expected: Vec<u32> = (0..8)
            .flat_map(|block| {
                let (cluster, rank) = (block / of, block % of);
                let next = (rank + 1) % of;
                let is_own = if next == rank { 2 } else { 0 };
                [
                    100 * cluster + next,
                    100 * next + rank,
                    1 + is_own + 4 + 16,
                    1000 + 100 * cluster + rank,
                ]
            })
            .collect();
        assert_eq!(ring(Some([of, 1, 1])), expected, "clusters of {of}");
    }
    assert_eq!(ring(None)[2], 1 + 2 + 4, "nobody asked for a cluster");
}

#[test]
fn clusters_have_three_dimensions() {
    let mut memory = Buffers::default();
    let out = memory.add_words(&[0; 64]);
    let launch = Launch { grid: [2, 4, 2], block: [1, 1, 1], cluster: Some([1, 2, 2]), ..ALONE };
    run("vgpu_test_ring", &mut memory, launch, &[Long(out)]).expect("it ends");
    // Blocks of the same x write to the same place; the clusters of x = 1 have 1 as their x.
    assert_eq!((memory.words(out)[0] / 100, memory.words(out)[4] / 100), (0, 1));
}

#[test]
fn there_is_no_shared_memory_beyond_the_cluster() {
    let reach = |rank| {
        let launch = Launch { grid: [2, 1, 1], cluster: Some([2, 1, 1]), ..ALONE };
        run("vgpu_test_reach", &mut Buffers::default(), launch, &[Word(rank)])
    };
    for (rank, ended) in [(0, Ok(())), (1, Ok(())), (2, Err(Fault::Failed))] {
        assert_eq!(reach(rank), ended, "{rank}");
    }
    for rank in [16, 1 << 13, 1 << 14, u32::MAX] {
        assert_eq!(reach(rank), Err(Fault::Failed), "{rank}");
    }
}

#[test]
fn who_has_ended_is_not_waited_for() {
    let mut memory = Buffers::default();
    let out = memory.add_words(&[0]);
    let launch = Launch { grid: [4, 1, 1], block: [33, 1, 1], cluster: Some([4, 1, 1]), ..ALONE };
    run("vgpu_test_leave", &mut memory, launch, &[Long(out)]).expect("it ends");
    assert_eq!(memory.words(out), [3 * 33]);
}

#[test]
fn blocks_that_wait_for_each_other_for_ever_are_a_timeout() {
    let launch = Launch { grid: [2, 1, 1], block: [2, 1, 1], cluster: Some([2, 1, 1]), ..ALONE };
    assert_eq!(run("vgpu_test_cross", &mut Buffers::default(), launch, &[]), Err(Fault::Timeout));
}

#[test]
fn a_warp_that_looks_again_and_again_together_lets_the_others_run() {
    let blocks = Launch { grid: [2, 1, 1], block: [32, 1, 1], is_cooperative: true, ..ALONE };
    for launch in [Launch { block: [64, 1, 1], ..ALONE }, blocks] {
        let mut memory = Buffers::default();
        let flag = memory.add_words(&[0; 2]);
        run("vgpu_test_watch", &mut memory, launch, &[Long(flag)]).expect("it ends");
        assert_eq!(memory.words(flag), [7, 7]);
    }
}

#[test]
fn blocks_that_are_too_many_to_run_together_are_refused() {
    let run = |launch| run("vgpu_test_large", &mut Buffers::default(), launch, &[]);
    let together = Launch { block: [1024, 1, 1], is_cooperative: true, ..ALONE };
    assert_eq!(run(together), Ok(()));
    let grid = [8, 1, 1];
    assert_eq!(run(Launch { grid, ..together }), Err(Fault::TooLarge));
    assert_eq!(run(Launch { grid: [u32::MAX; 3], ..together }), Err(Fault::TooLarge));
    assert_eq!(run(Launch { grid, is_cooperative: false, ..together }), Ok(()), "one by one");
    for cluster in [[3, 1, 1], [0, 1, 1], [32, 1, 1]] {
        let odd = Launch { grid: [64, 1, 1], block: [1; 3], cluster: Some(cluster), ..ALONE };
        assert_eq!(run(odd), Err(Fault::InvalidLaunch), "{cluster:?}");
    }
}
