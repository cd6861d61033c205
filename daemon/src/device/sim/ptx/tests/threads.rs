//! Threads of a warp that meet, calls, and copies that read less than they write.

use super::Value::Long;
use super::{Buffers, Program, run};
use crate::image::ptx::Module;

/// Runs a kernel of one warp that leaves a word of each thread in `%r9`; `%r1` is its lane, `%r2`
/// the number of the first of 16 words in shared memory, `scratch`, all zero.
#[track_caller]
fn warp(functions: &str, instructions: &str) -> Vec<u32> {
    let ptx = format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n{functions}\n\
         .visible .entry k(.param .u64 at) {{\n\
         .reg .b32 %r<10>; .reg .b64 %d<5>; .reg .pred %p<5>; .shared .align 16 .b8 scratch[64];\n\
         mov.u32 %r1, %laneid;\nmov.u32 %r2, scratch;\n{instructions}\n\
         ld.param.u64 %d1, [at];\nmad.wide.u32 %d1, %r1, 4, %d1;\n\
         st.global.u32 [%d1], %r9;\nret; }}\n"
    );
    let mut memory = Buffers::default();
    let at = memory.add_words(&[0; 32]);
    run(&ptx, "k", &mut memory, ([1; 3], [32, 1, 1], 0), &[Long(at)]).expect("it ends");
    memory.words(at)
}

#[test]
fn waits_for_the_warp_meet_wherever_they_stand() {
    let found = warp(
        "",
        "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra LOW;\nbar.warp.sync 0xffffffff;\nmov.u32 %r9, 2;\n\
         bra END;\nLOW: bar.warp.sync 0xffffffff;\nmov.u32 %r9, 1;\nEND:",
    );
    assert_eq!(found, [[1; 16], [2; 16]].concat());
}

/// Tiles of cooperative groups do so: each half of the warp names itself only, and one may wait
/// for what the other does behind the same instruction.
#[test]
fn halves_of_a_warp_do_not_wait_for_each_other() {
    let found = warp(
        "",
        "setp.lt.u32 %p1, %r1, 16;\nselp.b32 %r3, 0xffff, 0xffff0000, %p1;\n\
         setp.ne.u32 %p2, %r1, 3;\n@%p2 bra MEET;\n\
         LOOK: ld.volatile.shared.u32 %r4, [%r2];\nsetp.eq.u32 %p3, %r4, 0;\n@%p3 bra LOOK;\n\
         MEET: shfl.sync.idx.b32 %r9, %r1, 0, 0x101f, %r3;\nst.volatile.shared.u32 [%r2], 1;\n",
    );
    assert_eq!(found, [[0; 16], [16; 16]].concat());
}

const TWICE: &str = ".func (.param .b32 out) twice(.param .b32 a) { .reg .b32 %r<3>;\n\
                     ld.param.b32 %r1, [a]; add.u32 %r1, %r1, %r1; st.param.b32 [out], %r1; ret; }";

#[test]
fn registers_are_passed_for_parameters_in_memory() {
    let called = warp(TWICE, "call (%r9), twice, (%r1);");
    assert_eq!(called, (0..32).map(|lane| 2 * lane).collect::<Vec<_>>());
    let guarded =
        warp(TWICE, "mov.u32 %r9, 7;\nsetp.eq.u32 %p1, %r1, 5;\n@%p1 call (%r9), twice, (%r1);");
    assert_eq!((guarded[5], guarded[6]), (10, 7));
}

#[test]
fn what_an_asynchronous_copy_does_not_read_is_zero() {
    let copy = |instructions: &str| {
        let ptx = format!(
            ".version 8.4\n.target sm_90\n.address_size 64\n\
             .visible .entry k(.param .u64 at) {{\n\
             .reg .b64 %d<5>; .reg .b32 %r<5>; .reg .pred %p;\n\
             .shared .align 16 .b8 to[16]; ld.param.u64 %d1, [at]; mov.u32 %r1, to;\n\
             {instructions}\ncp.async.wait_all;\n\
             ld.shared.u64 %d2, [%r1]; st.global.u64 [%d1+16], %d2; ret; }}\n"
        );
        let mut memory = Buffers::default();
        let at = memory.add_words(&[1, 2, 3, 4, 0, 0]);
        run(&ptx, "k", &mut memory, ([1; 3], [1; 3], 0), &[Long(at)]).expect("it ends");
        memory.words(at)[4..].to_vec()
    };
    let policy = "createpolicy.fractional.L2::evict_last.b64 %d3, 1.0;\n";
    for (instructions, expected) in [
        ("cp.async.ca.shared.global [%r1], [%d1], 8;", [1, 2]),
        ("cp.async.ca.shared.global [%r1], [%d1], 8, 4;", [1, 0]),
        ("setp.eq.u32 %p, %r1, %r1; cp.async.ca.shared.global [%r1], [%d1], 8, %p;", [0, 0]),
        ("setp.ne.u32 %p, %r1, %r1; cp.async.ca.shared.global [%r1], [%d1], 8, %p;", [1, 2]),
        ("POLICY cp.async.ca.shared.global.L2::cache_hint [%r1], [%d1], 8, %d3;", [1, 2]),
        ("POLICY cp.async.ca.shared.global.L2::cache_hint [%r1], [%d1], 8, 4, %d3;", [1, 0]),
    ] {
        assert_eq!(copy(&instructions.replace("POLICY", policy)), expected, "{instructions}");
    }
}

/// A function without an instruction, called by one that calls it twice, and so on: few lines, and
/// 2 to the 60th calls.
#[test]
fn a_few_lines_do_not_keep_the_decoder_busy_for_ever() {
    let mut functions = String::from(".func f0() { }\n");
    for at in 1..60 {
        functions += &format!(".func f{at}() {{ call f{0}; call f{0}; }}\n", at - 1);
    }
    let braces = |count: usize| format!("mov.b32 %r1, {}{};", "{".repeat(count), "}".repeat(count));
    for body in ["call f59;".to_owned(), braces(200_000)] {
        let ptx = format!(
            ".version 8.0\n.target sm_90\n{functions}.visible .entry k() {{ .reg .b32 %r1;\n\
             {body} ret; }}\n"
        );
        let program = Program::parse(&ptx).expect("it is PTX");
        assert!(program.entry("k").is_err());
    }
}

#[test]
fn a_module_of_many_functions_is_read_at_once() {
    let functions: String =
        (0..100_000).map(|at| format!(".func g{at}();\n.func g{at}() {{ }}\n")).collect();
    let ptx = format!(".version 8.0\n.target sm_90\n{functions}");
    assert_eq!(Module::parse(ptx.into()).expect("it is PTX").functions.len(), 100_000);
}
