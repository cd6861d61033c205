//! That nothing slows the loop down by an order of magnitude unnoticed.

use std::time::{Duration, Instant};

use super::Value::{Long, Word};
use super::{Buffers, floats, run};

const GEMM: &str = include_str!("../../../../../../tests/kernels/gemm.ptx");

#[test]
fn ten_million_instructions_take_less_than_ten_seconds() {
    // 64 threads of 16 by 16 results: 16 instructions a product, 256 products a result.
    let side = 160;
    let mut memory = Buffers::default();
    let x = memory.add_floats(&floats(1, side * side));
    let z = memory.add_floats(&vec![0.0; side * side]);
    let sizes = [Word(side as u32); 3];
    let parameters = [&[Long(x), Long(x), Long(z)][..], &sizes].concat();
    let shape = ([10, 10, 1], [16, 16, 1], 0);
    let begin = Instant::now();
    run(GEMM, "vgpu_test_gemm_f32", &mut memory, shape, &parameters).expect("it ends");
    // 160^3 products, ten instructions each.
    let (took, instructions) = (begin.elapsed(), side * side * side * 10);
    println!("{} million instructions a second", instructions as u128 / took.as_micros().max(1));
    assert!(took < Duration::from_secs(40), "{instructions} instructions took {took:?}");
}
