//! What ends a kernel early.

use super::Value::{Long, Word};
use super::{Buffers, Fault, Launch, Program, packed, run};

const FAULTS: &str = include_str!("../../../../../../tests/kernels/faults.ptx");

fn poke(address: u64) -> Result<(), Fault> {
    let mut memory = Buffers::default();
    let first = memory.add(vec![0; 64]);
    let parameters = [Long(first.wrapping_add(address)), Word(1)];
    run(FAULTS, "vgpu_test_poke", &mut memory, ([1; 3], [1; 3], 0), &parameters)
}

#[test]
fn an_access_outside_of_memory_is_an_illegal_address() {
    assert_eq!(poke(60), Ok(()));
    let first = 0x0300_0000_0000;
    for outside in [64, 1 << 20, 0_u64.wrapping_sub(4), 0_u64.wrapping_sub(first)] {
        let address = first.wrapping_add(outside);
        assert_eq!(poke(outside), Err(Fault::IllegalAddress { address }), "{outside:#x}");
    }
}

#[test]
fn an_access_that_is_not_aligned_is_refused() {
    for off in 1..4 {
        let address = 0x0300_0000_0000 + off;
        assert_eq!(poke(off), Err(Fault::Misaligned { address }));
    }
}

#[test]
fn an_access_outside_of_shared_memory_fails_the_launch() {
    let poke = |offset| {
        let shape = ([1; 3], [1; 3], 0);
        run(FAULTS, "vgpu_test_poke_shared", &mut Buffers::default(), shape, &[Word(offset)])
    };
    assert_eq!(poke(12), Ok(()));
    for outside in [16, 1 << 16, u32::MAX - 3] {
        assert_eq!(poke(outside), Err(Fault::Failed), "{outside}");
    }
}

#[test]
fn a_trap_fails_the_launch() {
    let shape = ([1; 3], [32, 1, 1], 0);
    let ended = run(FAULTS, "vgpu_test_trap", &mut Buffers::default(), shape, &[]);
    assert_eq!(ended, Err(Fault::Failed));
}

#[test]
fn threads_that_wait_for_each_other_for_ever_are_a_timeout() {
    let shape = ([1; 3], [64, 1, 1], 0);
    let ended = run(FAULTS, "vgpu_test_deadlock", &mut Buffers::default(), shape, &[]);
    assert_eq!(ended, Err(Fault::Timeout));
}

#[test]
fn a_thread_that_looks_again_and_again_lets_the_others_run() {
    let mut memory = Buffers::default();
    let out = memory.add_words(&[0]);
    let shape = ([1; 3], [64, 1, 1], 0);
    run(FAULTS, "vgpu_test_spin", &mut memory, shape, &[Long(out)]).expect("it ends");
    assert_eq!(memory.words(out), [7]);
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let program = Program::parse(FAULTS).expect("it is PTX");
    let entry = program.entry("vgpu_test_poke").expect("it is executable");
    let whole = packed(&[Long(0), Word(0)]);
    let fits = Launch {
        grid: [1; 3],
        block: [1; 3],
        cluster: None,
        is_cooperative: false,
        shared_bytes: 0,
        parameters: &whole,
    };
    for launch in [
        Launch { grid: [1, 0, 1], ..fits },
        Launch { block: [1025, 1, 1], ..fits },
        Launch { block: [0, 1, 1], ..fits },
        Launch { block: [u32::MAX; 3], ..fits },
        Launch { shared_bytes: u32::MAX, ..fits },
        Launch { parameters: &whole[..11], ..fits },
    ] {
        let refused = entry.run(&launch, &mut Buffers::default(), &|_| None);
        assert_eq!(refused, Err(Fault::InvalidLaunch), "{launch:?}");
    }
}

#[test]
fn an_unknown_instruction_is_named_with_its_line() {
    let ptx = ".version 8.0\n.target sm_90\n.visible .entry k() {\n  wgmma.fence.sync.aligned;\n\
               ret; }\n.visible .entry good() { ret; }\n";
    let program = Program::parse(ptx).expect("it is PTX");
    let why = program.entry("k").err().expect("it is not executable");
    assert_eq!((why.what.as_str(), why.line), ("wgmma.fence.sync.aligned", 4));
    assert!(program.entry("good").is_ok(), "other kernels of the module are");
    assert!(program.entry("none").is_err());
}

#[test]
fn broken_bodies_never_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    for source in [
        FAULTS,
        include_str!("../../../../../../tests/kernels/reduce.ptx"),
        include_str!("../../../../../../tests/kernels/gemm.ptx"),
        include_str!("../../../../../../tests/kernels/together.ptx"),
        &super::wmma::product(super::wmma::HALVES, ["row"; 4]),
    ] {
        for _ in 0..1000 {
            let mut broken = source.as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..broken.len());
                broken[at] =
                    *random.choice(b" ;,{}[]().%rx0123456789@!:-+".as_slice()).expect("one");
            }
            let Ok(broken) = String::from_utf8(broken) else { continue };
            let Ok(program) = Program::parse(&broken) else { continue };
            for name in program.entries.keys() {
                let Ok(entry) = program.entry(name) else { continue };
                let parameters = [0; 64];
                let launch = Launch {
                    grid: [1; 3],
                    block: [2, 1, 1],
                    cluster: None,
                    is_cooperative: false,
                    shared_bytes: 64,
                    parameters: &parameters,
                };
                // How it ends is not the question, but that it does, and soon.
                let _ = super::super::run::launch_within(
                    &entry.code,
                    &launch,
                    (&mut Buffers::default(), &|_| None),
                    200_000,
                );
            }
        }
    }
}

#[test]
fn a_kernel_that_never_ends_is_a_timeout() {
    let program = Program::parse(FAULTS).expect("it is PTX");
    let entry = program.entry("vgpu_test_endless").expect("it is executable");
    let launch = Launch {
        grid: [1; 3],
        block: [32, 1, 1],
        cluster: None,
        is_cooperative: false,
        shared_bytes: 0,
        parameters: &[],
    };
    let outside = (&mut Buffers::default() as _, &(|_: &str| None) as _);
    let ended = super::super::run::launch_within(&entry.code, &launch, outside, 50_000_000);
    assert_eq!(ended, Err(Fault::Timeout));
}
