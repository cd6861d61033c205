//! What the lanes of a warp exchange: shuffles, votes and parts of matrices.

use super::Value::Long;
use super::{Buffers, run};

/// Runs instructions on a warp: `%r1` is the lane, `%r2` its word of the input; `%r4` goes out.
#[track_caller]
fn warp(instructions: &str, input: &[u32; 32]) -> Vec<u32> {
    let ptx = format!(
        ".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 in, .param .u64 out) {{\n\
         .reg .b32 %r<30>; .reg .b64 %d<9>; .reg .pred %p<9>; .shared .align 16 .b8 sh[512];\n\
         mov.u32 %r1, %laneid; ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out];\n\
         mul.wide.u32 %d3, %r1, 4; add.s64 %d1, %d1, %d3; add.s64 %d2, %d2, %d3;\n\
         ld.global.u32 %r2, [%d1];\n{instructions}\nst.global.u32 [%d2], %r4; ret; }}\n"
    );
    let mut memory = Buffers::default();
    let (from, to) = (memory.add_words(input), memory.add_words(&[0; 32]));
    let shape = ([1; 3], [32, 1, 1], 0);
    run(&ptx, "k", &mut memory, shape, &[Long(from), Long(to)]).expect("it ends");
    memory.words(to)
}

fn lanes() -> [u32; 32] {
    std::array::from_fn(|lane| 100 + lane as u32)
}

#[test]
fn shuffles_stay_within_their_segments() {
    for (mode, b, c, expected) in [
        ("bfly", 1, 0x1f, (|lane| 100 + (lane ^ 1)) as fn(u32) -> u32),
        ("up", 1, 0, |lane| if lane == 0 { 100 } else { 99 + lane }),
        ("down", 2, 0x1f, |lane| if lane >= 30 { 100 + lane } else { 102 + lane }),
        ("idx", 5, 0x1f, |_| 105),
        // Segments of eight lanes.
        ("idx", 3, 0x181f, |lane| 100 + lane / 8 * 8 + 3),
        ("down", 1, 0x181f, |lane| if lane % 8 == 7 { 100 + lane } else { 101 + lane }),
        ("up", 1, 0x1800, |lane| if lane % 8 == 0 { 100 + lane } else { 99 + lane }),
    ] {
        let text = format!("shfl.sync.{mode}.b32 %r4|%p1, %r2, {b}, {c}, -1;");
        let expected: Vec<u32> = (0..32).map(expected).collect();
        assert_eq!(warp(&text, &lanes()), expected, "{mode} {b} {c:#x}");
    }
}

#[test]
fn votes_and_matches_see_the_lanes_that_take_part() {
    let odd = "and.b32 %r5, %r1, 1; setp.eq.u32 %p1, %r5, 1;";
    for (text, expected) in [
        (format!("{odd} vote.sync.ballot.b32 %r4, %p1, -1;"), vec![0xaaaa_aaaa; 32]),
        (format!("{odd} vote.sync.all.pred %p2, %p1, -1; selp.b32 %r4, 1, 0, %p2;"), vec![0; 32]),
        (format!("{odd} vote.sync.any.pred %p2, %p1, -1; selp.b32 %r4, 1, 0, %p2;"), vec![1; 32]),
        (
            format!("{odd} @!%p1 bra E; activemask.b32 %r4; E:"),
            (0..32).map(|lane| if lane % 2 == 1 { 0xaaaa_aaaa } else { 0 }).collect(),
        ),
        (
            "shr.u32 %r5, %r1, 4; match.any.sync.b32 %r4, %r5, -1;".to_owned(),
            (0..32).map(|lane| if lane < 16 { 0xffff } else { 0xffff_0000 }).collect(),
        ),
        ("redux.sync.add.u32 %r4, %r1, -1;".to_owned(), vec![496; 32]),
        ("redux.sync.max.s32 %r4, %r1, -1;".to_owned(), vec![31; 32]),
    ] {
        assert_eq!(warp(&text, &lanes()), expected, "{text}");
    }
}

#[test]
fn matrices_are_loaded_stored_and_turned() {
    // The matrix of which element (row, column) is 8 row + column; a lane has two of a row.
    let element = |row: usize, column: usize| (8 * row + column) as u32;
    let straight: [u32; 32] = std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        element(row, column + 1) << 16 | element(row, column)
    });
    let turned: Vec<u32> = (0..32)
        .map(|lane| {
            let (row, column) = (lane / 4, lane % 4 * 2);
            element(column + 1, row) << 16 | element(column, row)
        })
        .collect();
    let moved = warp("movmatrix.sync.aligned.m8n8.trans.b16 %r4, %r2;", &straight);
    assert_eq!(moved, turned);
    let address = "mov.u32 %r5, sh; and.b32 %r6, %r1, 7; shl.b32 %r6, %r6, 4; \
                   add.u32 %r7, %r5, %r6;";
    let keep = "shl.b32 %r8, %r1, 2; add.u32 %r8, %r5, %r8; st.shared.b32 [%r8], %r2; \
                bar.warp.sync -1;";
    let load = format!("{address} {keep} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r4}}, [%r7];");
    assert_eq!(warp(&load, &straight), straight);
    let load =
        format!("{address} {keep} ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {{%r4}}, [%r7];");
    assert_eq!(warp(&load, &straight), turned);
    let store = format!(
        "{address} stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r7], {{%r2}}; \
         bar.warp.sync -1; shl.b32 %r8, %r1, 2; add.u32 %r8, %r5, %r8; ld.shared.b32 %r4, [%r8];"
    );
    assert_eq!(warp(&store, &straight), turned);
}

#[test]
fn bytes_are_multiplied_exactly() {
    // A: row r has r in its first column and 1 in its last; B: column c has c + 1 in both.
    let text = "shr.u32 %r10, %r1, 2; and.b32 %r11, %r1, 3;\n\
        setp.eq.u32 %p1, %r11, 0; setp.eq.u32 %p2, %r11, 3;\n\
        mov.u32 %r12, 0; mov.u32 %r13, 0; mov.u32 %r14, 0; mov.u32 %r15, 0;\n\
        @%p1 mov.u32 %r12, %r10; @%p1 add.u32 %r13, %r10, 8;\n\
        @%p2 mov.u32 %r14, 0x01000000; @%p2 mov.u32 %r15, 0x01000000;\n\
        mov.u32 %r16, 0; mov.u32 %r17, 0; add.u32 %r18, %r10, 1;\n\
        @%p1 mov.u32 %r16, %r18; @%p2 shl.b32 %r17, %r18, 24;\n\
        mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r20, %r21, %r22, %r23},\n\
        {%r12, %r13, %r14, %r15}, {%r16, %r17}, {0, 0, 0, 1000};\n";
    for (result, down, add) in [(20, 0, 0), (21, 0, 0), (22, 8, 0), (23, 8, 1000)] {
        let right = result % 2;
        let found = warp(&format!("{text} mov.u32 %r4, %r{result};"), &lanes());
        let expected: Vec<u32> = (0..32)
            .map(|lane| {
                let (row, column) = (lane / 4 + down, lane % 4 * 2 + right);
                row * (column + 1) + (column + 1) + add
            })
            .collect();
        assert_eq!(found, expected, "result {result}");
    }
}
