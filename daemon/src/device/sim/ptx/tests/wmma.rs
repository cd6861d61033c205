//! Products of matrices that each lane has a part of.

use half::{bf16, f16};

use super::Value::Long;
use super::{Buffers, Fault, run};

/// A kind of product: its shape, the types of D, A, B and C, and how many registers each takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    shape: &'static str,
    sizes: [usize; 3],
    types: [&'static str; 4],
    registers: [usize; 4],
}

pub(super) const HALVES: Kind = Kind {
    shape: "m8n32k16",
    sizes: [8, 32, 16],
    types: ["f32", "f16", "f16", "f32"],
    registers: [8, 8, 8, 8],
};

const KINDS: [Kind; 8] = [
    HALVES,
    Kind { shape: "m16n16k16", sizes: [16, 16, 16], ..HALVES },
    Kind {
        shape: "m32n8k16",
        sizes: [32, 8, 16],
        types: ["f16", "f16", "f16", "f16"],
        registers: [4, 8, 8, 4],
    },
    Kind { types: ["f16", "f16", "f16", "f32"], registers: [4, 8, 8, 8], ..HALVES },
    Kind { types: ["f32", "bf16", "bf16", "f32"], registers: [8, 2, 8, 8], ..HALVES },
    Kind { types: ["s32", "s8", "s8", "s32"], registers: [8, 1, 4, 8], ..HALVES },
    Kind {
        shape: "m32n8k16",
        sizes: [32, 8, 16],
        types: ["s32", "u8", "u8", "s32"],
        registers: [8, 4, 1, 8],
    },
    Kind {
        shape: "m16n16k8",
        sizes: [16, 16, 8],
        types: ["f32", "tf32", "tf32", "f32"],
        registers: [8, 4, 4, 8],
    },
];

/// Elements between the rows, or columns, of all matrices.
const STRIDE: usize = 40;

fn registers(name: &str, count: usize) -> String {
    let each: Vec<_> = (0..count).map(|at| format!("%{name}{at}")).collect();
    format!("{{{}}}", each.join(", "))
}

/// The text of a kernel that multiplies: D = A B + C, each with its layout.
pub(super) fn product(kind: Kind, layouts: [&str; 4]) -> String {
    let Kind { shape, types: [td, ta, tb, tc], registers: [nd, na, nb, nc], .. } = kind;
    let [ld, la, lb, lc] = layouts;
    let list = registers;
    // Halves leave out what A and B are.
    let of_both = if ta == "f16" { String::new() } else { format!(".{ta}.{tb}") };
    format!(
        ".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 d, .param .u64 a,\n\
         .param .u64 b, .param .u64 c) {{\n\
         .reg .b32 %d<8>; .reg .b32 %a<8>; .reg .b32 %b<8>; .reg .b32 %c<8>; .reg .b64 %p<4>;\n\
         .reg .b32 %s; mov.u32 %s, {STRIDE}; ld.param.u64 %p0, [d]; ld.param.u64 %p1, [a];\n\
         ld.param.u64 %p2, [b]; ld.param.u64 %p3, [c];\n\
         wmma.load.a.sync.aligned.{la}.{shape}.global.{ta} {a}, [%p1], %s;\n\
         wmma.load.b.sync.aligned.{lb}.{shape}.{tb} {b}, [%p2], %s;\n\
         wmma.load.c.sync.aligned.{lc}.{shape}.global.{tc} {c}, [%p3], %s;\n\
         wmma.mma.sync.aligned.{la}.{lb}.{shape}.{td}{of_both}.{tc} {d}, {a}, {b}, {c};\n\
         wmma.store.d.sync.aligned.{ld}.{shape}.global.{td} [%p0], {d}, %s; ret; }}\n",
        a = list("a", na),
        b = list("b", nb),
        c = list("c", nc),
        d = list("d", nd),
    )
}

fn encode(of: &str, value: i32) -> Vec<u8> {
    match of {
        "f16" => f16::from_f32(value as f32).to_le_bytes().to_vec(),
        "bf16" => bf16::from_f32(value as f32).to_le_bytes().to_vec(),
        "f32" | "tf32" => (value as f32).to_le_bytes().to_vec(),
        "s8" | "u8" => vec![value as u8],
        _ => value.to_le_bytes().to_vec(),
    }
}

fn decode(of: &str, bytes: &[u8]) -> i32 {
    match of {
        "f16" => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32() as i32,
        "f32" => f32::from_le_bytes(bytes.try_into().expect("4 bytes")) as i32,
        _ => i32::from_le_bytes(bytes.try_into().expect("4 bytes")),
    }
}

/// Where an element lies in memory.
fn at(layout: &str, row: usize, column: usize) -> usize {
    if layout == "row" { row * STRIDE + column } else { column * STRIDE + row }
}

/// Small whole numbers, of which every type can hold every sum.
fn number(seed: usize, row: usize, column: usize, of: &str) -> i32 {
    let value = ((row * 7 + column * 5 + seed) % 6) as i32;
    if of == "u8" { value } else { value - 2 }
}

fn check(kind: Kind, layouts: [&'static str; 4]) {
    let Kind { sizes: [m, n, k], types, .. } = kind;
    let mut memory = Buffers::default();
    let mut add = |seed, (rows, columns), of, layout| {
        let bytes = encode(of, 0).len();
        let mut matrix = vec![0; STRIDE * STRIDE * bytes];
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |at| (row, at))) {
            let begin = at(layout, row, column) * bytes;
            matrix[begin..begin + bytes]
                .copy_from_slice(&encode(of, number(seed, row, column, of)));
        }
        memory.add(matrix)
    };
    let a = add(1, (m, k), types[1], layouts[1]);
    let b = add(2, (k, n), types[2], layouts[2]);
    let c = add(3, (m, n), types[3], layouts[3]);
    let d = add(0, (0, 0), types[0], layouts[0]);
    let shape = ([1; 3], [32, 1, 1], 0);
    let parameters = [Long(d), Long(a), Long(b), Long(c)];
    run(&product(kind, layouts), "k", &mut memory, shape, &parameters).expect("it ends");
    let result = &memory.by_address[&d];
    let bytes = encode(types[0], 0).len();
    for (row, column) in (0..m).flat_map(|row| (0..n).map(move |at| (row, at))) {
        let of = |at| number(1, row, at, types[1]) * number(2, at, column, types[2]);
        let expected = number(3, row, column, types[3]) + (0..k).map(of).sum::<i32>();
        let begin = at(layouts[0], row, column) * bytes;
        let found = decode(types[0], &result[begin..begin + bytes]);
        assert_eq!(found, expected, "{kind:?} {layouts:?}: row {row}, column {column}");
    }
}

#[test]
fn fragments_are_multiplied_whatever_their_layout() {
    for kind in KINDS {
        for layouts in [["row"; 4], ["col"; 4], ["col", "row", "col", "row"]] {
            check(kind, layouts);
        }
    }
}

#[test]
fn a_part_of_a_warp_multiplies_nothing() {
    let mut memory = Buffers::default();
    let at = Long(memory.add(vec![0; STRIDE * STRIDE * 4]));
    let shape = ([1; 3], [31, 1, 1], 0);
    let ended = run(&product(HALVES, ["row"; 4]), "k", &mut memory, shape, &[at; 4]);
    assert_eq!(ended, Err(Fault::Failed));
}
