//! The kernels in tests/kernels, with right numbers.

use half::f16;

use super::Value::{Float, Long, Word};
use super::{Buffers, Launch, Program, floats, packed, run};

const ARITHMETIC: &str = include_str!("../../../../../../tests/kernels/arithmetic.ptx");
const REDUCE: &str = include_str!("../../../../../../tests/kernels/reduce.ptx");
const GEMM: &str = include_str!("../../../../../../tests/kernels/gemm.ptx");
const COPY: &str = include_str!("../../../../../../tests/kernels/copy.ptx");

#[test]
fn vectors_are_added() {
    let (a, b) = (floats(1, 1000), floats(2, 1000));
    let mut memory = Buffers::default();
    let (x, y) = (memory.add_floats(&a), memory.add_floats(&b));
    let z = memory.add_floats(&vec![0.0; 1001]);
    let parameters = [Long(x), Long(y), Long(z), Word(1000)];
    let shape = ([8, 1, 1], [128, 1, 1], 0);
    run(ARITHMETIC, "vgpu_test_vector_add", &mut memory, shape, &parameters).expect("it ends");
    let mut sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    sums.push(0.0);
    assert_eq!(memory.floats(z), sums, "and nothing behind them");
}

#[test]
fn four_elements_a_thread_make_saxpy() {
    let (a, b) = (floats(3, 512), floats(4, 512));
    let mut memory = Buffers::default();
    let (x, y) = (memory.add_floats(&a), memory.add_floats(&b));
    let parameters = [Long(x), Long(y), Float(2.5), Word(512)];
    let shape = ([2, 1, 1], [96, 1, 1], 0);
    run(ARITHMETIC, "vgpu_test_saxpy", &mut memory, shape, &parameters).expect("it ends");
    let expected: Vec<f32> = a.iter().zip(&b).map(|(x, y)| 2.5_f32.mul_add(*x, *y)).collect();
    assert_eq!(memory.floats(y), expected);
}

#[test]
fn a_function_reads_variables_of_the_module() {
    let x = floats(5, 100);
    let mut memory = Buffers::default();
    let at = memory.add_floats(&x);
    let factor = memory.add_floats(&[3.0]);
    let offsets = memory.add_floats(&[0.0, 1.0, 2.0, 3.0]);
    let program = Program::parse(ARITHMETIC).expect("it is PTX");
    let parameters = packed(&[Long(at), Word(100)]);
    let launch = Launch {
        grid: [1; 3],
        block: [128, 1, 1],
        cluster: None,
        is_cooperative: false,
        shared_bytes: 0,
        parameters: &parameters,
    };
    let symbols = |name: &str| match name {
        "vgpu_test_factor" => Some(factor),
        "vgpu_test_offsets" => Some(offsets),
        _ => None,
    };
    let entry = program.entry("vgpu_test_scale").expect("it is executable");
    entry.run(&launch, &mut memory, &symbols).expect("it ends");
    let scaled = x.iter().enumerate().map(|(at, x)| x.mul_add(3.0, (at % 4) as f32));
    assert_eq!(memory.floats(at), scaled.collect::<Vec<_>>());
    let missing = entry.run(&launch, &mut memory, &|_| None);
    assert_eq!(missing, Err(super::Fault::InvalidLaunch));
}

#[test]
fn blocks_sum_by_halves_in_shared_memory() {
    let x = floats(6, 1000);
    let mut memory = Buffers::default();
    let (at, out) = (memory.add_floats(&x), memory.add_floats(&[0.0; 4]));
    let parameters = [Long(at), Long(out), Word(1000)];
    let shape = ([4, 1, 1], [256, 1, 1], 1024);
    run(REDUCE, "vgpu_test_reduce_shared", &mut memory, shape, &parameters).expect("it ends");
    // Sums of 1024ths are exact, in whichever order.
    let sums: Vec<f32> = x.chunks(256).map(|block| block.iter().sum()).collect();
    assert_eq!(memory.floats(out), sums);
}

#[test]
fn warps_sum_by_shuffles_and_atomics() {
    let x = floats(7, 1000);
    let mut memory = Buffers::default();
    let (at, out) = (memory.add_floats(&x), memory.add_floats(&[1.0]));
    let parameters = [Long(at), Long(out), Word(1000)];
    let shape = ([4, 1, 1], [256, 1, 1], 0);
    run(REDUCE, "vgpu_test_reduce_warp", &mut memory, shape, &parameters).expect("it ends");
    assert_eq!(memory.floats(out), [1.0 + x.iter().sum::<f32>()]);
}

#[test]
fn a_histogram_counts_every_value() {
    let mut random = fastrand::Rng::with_seed(8);
    let x: Vec<u32> = (0..1500).map(|_| random.u32(..) % 80).collect();
    let mut memory = Buffers::default();
    let (at, out) = (memory.add_words(&x), memory.add_words(&[0; 64]));
    let parameters = [Long(at), Long(out), Word(1500)];
    let shape = ([16, 1, 1], [96, 1, 1], 0);
    run(REDUCE, "vgpu_test_histogram", &mut memory, shape, &parameters).expect("it ends");
    let mut counts = vec![0; 64];
    x.iter().for_each(|value| counts[*value as usize % 64] += 1);
    assert_eq!(memory.words(out), counts);
}

#[test]
fn matrices_of_singles_are_multiplied_by_tiles() {
    let (m, n, k) = (37, 29, 45);
    let (a, b) = (floats(9, m * k), floats(10, k * n));
    let mut memory = Buffers::default();
    let (x, y) = (memory.add_floats(&a), memory.add_floats(&b));
    let z = memory.add_floats(&vec![7.0; m * n]);
    let sizes = [Word(m as u32), Word(n as u32), Word(k as u32)];
    let parameters = [&[Long(x), Long(y), Long(z)][..], &sizes].concat();
    let shape = ([2, 3, 1], [16, 16, 1], 0);
    run(GEMM, "vgpu_test_gemm_f32", &mut memory, shape, &parameters).expect("it ends");
    let product = (0..m * n).map(|at| {
        let (row, column) = (at / n, at % n);
        // In the order of the kernel, so that the numbers are the same to the last bit.
        (0..k).fold(0.0_f32, |sum, at| a[row * k + at].mul_add(b[at * n + column], sum))
    });
    assert_eq!(memory.floats(z), product.collect::<Vec<_>>());
}

#[test]
fn matrices_of_halves_are_multiplied_by_tensor_cores() {
    let k = 48;
    let halves =
        |seed, count| -> Vec<f16> { floats(seed, count).into_iter().map(f16::from_f32).collect() };
    let (a, b) = (halves(11, 16 * k), halves(12, 8 * k));
    let bytes = |halves: &[f16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let mut memory = Buffers::default();
    let (x, y) = (memory.add(bytes(&a)), memory.add(bytes(&b)));
    let z = memory.add_floats(&[0.0; 128]);
    let parameters = [Long(x), Long(y), Long(z), Word(k as u32)];
    let shape = ([1; 3], [32, 1, 1], 0);
    run(GEMM, "vgpu_test_gemm_f16", &mut memory, shape, &parameters).expect("it ends");
    for (at, found) in memory.floats(z).into_iter().enumerate() {
        let (row, column) = (at / 8, at % 8);
        let product = |at: usize| a[row * k + at].to_f64() * b[column * k + at].to_f64();
        let expected = (0..k).map(product).sum::<f64>();
        let apart = (f64::from(found) - expected).abs();
        assert!(apart < 1e-5, "row {row}, column {column}: {found}, not {expected}");
    }
}

#[test]
fn a_matrix_is_transposed() {
    let (rows, columns) = (21_usize, 13_usize);
    let x: Vec<u32> = (0..(rows * columns) as u32).collect();
    let mut memory = Buffers::default();
    let (from, to) = (memory.add_words(&x), memory.add_words(&vec![0; x.len()]));
    let parameters = [Long(from), Long(to), Word(rows as u32), Word(columns as u32)];
    let shape = ([2, 3, 1], [8, 8, 1], 0);
    run(COPY, "vgpu_test_transpose", &mut memory, shape, &parameters).expect("it ends");
    let turned = (0..x.len()).map(|at| x[at % rows * columns + at / rows]);
    assert_eq!(memory.words(to), turned.collect::<Vec<_>>());
}

#[test]
fn bytes_are_copied_through_local_memory() {
    let x: Vec<u8> = (0..=255).cycle().take(300 * 7).collect();
    let mut memory = Buffers::default();
    let (from, to) = (memory.add(x.clone()), memory.add(vec![0; 300]));
    let parameters = [Long(from), Long(to), Word(7), Word(300)];
    let shape = ([3, 1, 1], [128, 1, 1], 0);
    run(COPY, "vgpu_test_strided", &mut memory, shape, &parameters).expect("it ends");
    assert_eq!(memory.by_address[&to], x.into_iter().step_by(7).collect::<Vec<_>>());
}

#[test]
fn memory_is_filled_with_long_values() {
    let mut memory = Buffers::default();
    let to = memory.add(vec![0; 8 * 40]);
    let parameters = [Long(to), Long(0x0123_4567_89ab_cdef), Word(40)];
    let shape = ([2, 1, 1], [32, 1, 1], 0);
    run(COPY, "vgpu_test_fill", &mut memory, shape, &parameters).expect("it ends");
    assert_eq!(memory.by_address[&to], 0x0123_4567_89ab_cdef_u64.to_le_bytes().repeat(40));
}
