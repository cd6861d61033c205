//! Vectors, compared with plain loops.

use crate::gpu::Gpu;
use crate::library::{address, place};
use crate::number::{Kind, Number, add, assert_near, multiply};

/// The letters of a name, the type of elements and that of factors or results.
type Letters = (&'static str, Kind, Kind);

const PLAIN: [Letters; 4] = [
    ("S", Kind::S, Kind::S),
    ("D", Kind::D, Kind::D),
    ("C", Kind::C, Kind::C),
    ("Z", Kind::Z, Kind::Z),
];

const REAL_FACTOR: [Letters; 2] = [("Cs", Kind::C, Kind::S), ("Zd", Kind::Z, Kind::D)];

const REAL_RESULT: [Letters; 4] = [
    ("S", Kind::S, Kind::S),
    ("D", Kind::D, Kind::D),
    ("Sc", Kind::C, Kind::S),
    ("Dz", Kind::Z, Kind::D),
];

/// Length, increments, and whether the function is the one of 64 bits.
const SHAPES: [(usize, i64, i64, bool); 5] =
    [(1, 1, 1, false), (37, 1, 1, true), (20, 3, 2, false), (20, -2, 5, true), (11, -1, -4, false)];

/// A vector in memory.
struct Vector {
    kind: Kind,
    n: usize,
    step: i64,
    elements: Vec<Number>,
}

impl Vector {
    fn random(kind: Kind, n: usize, step: i64, source: &mut fastrand::Rng) -> Self {
        let room = 1 + (n - 1) * step.unsigned_abs() as usize + 3;
        Self { kind, n, step, elements: kind.random(source, room) }
    }

    /// Where the element of this number lies: from the end, if the increment is negative.
    fn at(&self, index: usize) -> usize {
        let index = if self.step < 0 { self.n - 1 - index } else { index };
        index * self.step.unsigned_abs() as usize
    }

    fn values(&self) -> Vec<Number> {
        (0..self.n).map(|index| self.elements[self.at(index)]).collect()
    }

    /// The memory with other values in the vector.
    fn with(&self, values: &[Number]) -> Vec<Number> {
        let mut elements = self.elements.clone();
        for (index, value) in values.iter().enumerate() {
            elements[self.at(index)] = *value;
        }
        elements
    }

    fn put(&self, gpu: &Gpu) -> i64 {
        gpu.put(self.kind, &self.elements)
    }
}

fn suffix(is_wide: bool) -> &'static str {
    if is_wide { "_v2_64" } else { "_v2" }
}

/// axpy, scal, copy and swap in every type.
pub fn changes(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(11);
    for (letters, kind, scalar) in PLAIN.into_iter().chain(REAL_FACTOR) {
        for (n, incx, incy, is_wide) in SHAPES {
            let alpha = scalar.random(&mut source, 1);
            let factor = scalar.encode(&alpha);
            let x = Vector::random(kind, n, incx, &mut source);
            let y = Vector::random(kind, n, incy, &mut source);
            let check =
                |name: &str, arguments: &dyn Fn(i64, i64) -> Vec<i64>, expected: [&[Number]; 2]| {
                    let name = format!("cublas{letters}{name}{}", suffix(is_wide));
                    let (of_x, of_y) = (x.put(gpu), y.put(gpu));
                    gpu.run(&name, &arguments(of_x, of_y));
                    let tolerance = 4.0 * kind.epsilon();
                    let what = format!("{name} {n} {incx} {incy}");
                    let found = gpu.take(kind, of_x, x.elements.len());
                    assert_near(&found, expected[0], tolerance, &what);
                    let found = gpu.take(kind, of_y, y.elements.len());
                    assert_near(&found, expected[1], tolerance, &what);
                };
            let count = n as i64;
            let scaled: Vec<Number> =
                x.values().iter().map(|value| multiply(alpha[0], *value)).collect();
            let of_scal = if incx > 0 { x.with(&scaled) } else { x.elements.clone() };
            let scal = |of_x, _| vec![count, address(&factor), of_x, incx];
            check("scal", &scal, [&of_scal, &y.elements]);
            if letters.len() == 1 {
                let sums: Vec<Number> =
                    scaled.iter().zip(y.values()).map(|(x, y)| add(*x, y)).collect();
                let axpy = |of_x, of_y| vec![count, address(&factor), of_x, incx, of_y, incy];
                check("axpy", &axpy, [&x.elements, &y.with(&sums)]);
                let both = |of_x, of_y| vec![count, of_x, incx, of_y, incy];
                check("copy", &both, [&x.elements, &y.with(&x.values())]);
                check("swap", &both, [&x.with(&y.values()), &y.with(&x.values())]);
            }
        }
    }
}

/// Asks for a number both ways: to the program's memory and to the device.
fn check_number(
    gpu: &Gpu,
    name: &str,
    arguments: &[i64],
    kind: Kind,
    expected: Number,
    tolerance: f64,
) {
    gpu.run("cublasSetPointerMode_v2", &[0]);
    // Room for the widest result.
    let mut value = [0xff_u8; 16];
    gpu.run(name, &[arguments, &[place(&mut value)]].concat());
    assert_near(&kind.decode(&value[..kind.bytes()]), &[expected], tolerance, name);
    gpu.run("cublasSetPointerMode_v2", &[1]);
    let on_device = gpu.put_bytes(&[0xff; 16]);
    gpu.run(name, &[arguments, &[on_device]].concat());
    assert_near(&gpu.take(kind, on_device, 1), &[expected], tolerance, name);
    gpu.run("cublasSetPointerMode_v2", &[0]);
}

/// dot, nrm2, asum, amax and amin in every type, with results here and on the device.
pub fn numbers(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(12);
    for (letters, kind, result) in REAL_RESULT {
        for (n, incx, incy, is_wide) in SHAPES {
            let wide = suffix(is_wide);
            let x = Vector::random(kind, n, incx, &mut source);
            let y = Vector::random(kind, n, incy, &mut source);
            let (of_x, of_y) = (x.put(gpu), y.put(gpu));
            let tolerance = 2.0 * n as f64 * kind.epsilon();
            let one = [n as i64, of_x, incx];
            let values = if incx > 0 { x.values() } else { Vec::new() };
            let size = |value: &Number| value.0.abs() + value.1.abs();
            let squares: f64 = values.iter().map(|one| one.0 * one.0 + one.1 * one.1).sum();
            let name = format!("cublas{letters}nrm2{wide}");
            check_number(gpu, &name, &one, result, (squares.sqrt(), 0.0), tolerance);
            let sum: f64 = values.iter().map(size).sum();
            let name = format!("cublas{letters}asum{wide}");
            check_number(gpu, &name, &one, result, (sum, 0.0), tolerance);
            let letter = letters.to_lowercase();
            let letter = &letter[letter.len() - 1..];
            let sizes: Vec<f64> = values.iter().map(size).collect();
            for (name, extreme) in [
                ("amax", sizes.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
                ("amin", sizes.iter().copied().fold(f64::INFINITY, f64::min)),
            ] {
                let found = sizes.iter().position(|size| *size == extreme);
                let expected = (found.map_or(0, |at| at + 1) as f64, 0.0);
                // A 32-bit result is all that is compared; the upper half of the other is 0.
                let name = format!("cublasI{letter}{name}{wide}");
                check_number(gpu, &name, &one, Kind::I32, expected, 0.0);
            }
            let both = [n as i64, of_x, incx, of_y, incy];
            let products = |is_conjugate: bool| {
                let pairs = x.values().into_iter().zip(y.values());
                pairs.fold((0.0, 0.0), |sum, (x, y)| {
                    let x = if is_conjugate { (x.0, -x.1) } else { x };
                    add(sum, multiply(x, y))
                })
            };
            let upper = letter.to_uppercase();
            let names: &[(&str, bool)] = if kind.is_complex() {
                &[("dotu", false), ("dotc", true)]
            } else {
                &[("dot", false)]
            };
            for (name, is_conjugate) in names {
                let name = format!("cublas{upper}{name}{wide}");
                check_number(gpu, &name, &both, kind, products(*is_conjugate), tolerance);
            }
            gpu.free(of_x);
            gpu.free(of_y);
        }
    }
}

/// The functions that take the types as arguments.
pub fn extended(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(13);
    for (kind, compute) in [
        (Kind::H, Kind::S),
        (Kind::B, Kind::S),
        (Kind::S, Kind::S),
        (Kind::D, Kind::D),
        (Kind::C, Kind::C),
        (Kind::Z, Kind::Z),
    ] {
        let (n, tolerance) = (25, 60.0 * kind.epsilon());
        let x = Vector::random(kind, n, 2, &mut source);
        let y = Vector::random(kind, n, 1, &mut source);
        let (of_x, of_y) = (x.put(gpu), y.put(gpu));
        let alpha = compute.random(&mut source, 1);
        let (count, factor) = (n as i64, compute.encode(&alpha));
        let (types, computed) = (kind as i64, compute as i64);
        let dot = x.values().into_iter().zip(y.values());
        let dot = dot.fold((0.0, 0.0), |sum, (x, y)| add(sum, multiply(x, y)));
        let pair = [count, of_x, types, 2, of_y, types, 1];
        let mut value = vec![0_u8; kind.bytes()];
        let result = place(&mut value);
        gpu.run("cublasDotEx", &[&pair[..], &[result, types, computed]].concat());
        assert_near(&kind.decode(&value), &[dot], tolerance, "cublasDotEx");
        let arguments = [&[count, address(&factor), computed], &pair[1..], &[computed]].concat();
        gpu.run("cublasAxpyEx", &arguments);
        let sums = x.values().into_iter().zip(y.values());
        let sums: Vec<Number> = sums.map(|(x, y)| add(multiply(alpha[0], x), y)).collect();
        let found = gpu.take(kind, of_y, y.elements.len());
        assert_near(&found, &y.with(&sums), tolerance, "cublasAxpyEx");
        gpu.run("cublasScalEx_64", &[count, address(&factor), computed, of_x, types, 2, computed]);
        let scaled: Vec<Number> =
            x.values().iter().map(|value| multiply(alpha[0], *value)).collect();
        let found = gpu.take(kind, of_x, x.elements.len());
        assert_near(&found, &x.with(&scaled), tolerance, "cublasScalEx");
    }
}
