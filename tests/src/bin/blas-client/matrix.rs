//! Matrices of all forms, compared with plain loops.

use crate::gpu::Gpu;
use crate::library::address;
use crate::number::{Kind, Number, add, assert_near, multiply};

const TYPES: [(&str, Kind); 4] = [("S", Kind::S), ("D", Kind::D), ("C", Kind::C), ("Z", Kind::Z)];

const ZERO: Number = (0.0, 0.0);

/// A matrix in memory, column by column, with room between the columns.
#[derive(Clone)]
struct Matrix {
    rows: usize,
    columns: usize,
    leading: usize,
    elements: Vec<Number>,
}

impl Matrix {
    fn random(kind: Kind, rows: usize, columns: usize, source: &mut fastrand::Rng) -> Self {
        let leading = rows + source.usize(0..3);
        Self { rows, columns, leading, elements: kind.random(source, leading * columns) }
    }

    fn from(rows: usize, columns: usize, value: impl Fn(usize, usize) -> Number) -> Self {
        let mut elements = Vec::new();
        for column in 0..columns {
            elements.extend((0..rows).map(|row| value(row, column)));
        }
        Self { rows, columns, leading: rows, elements }
    }

    fn at(&self, row: usize, column: usize) -> Number {
        self.elements[column * self.leading + row]
    }

    /// As it is (0), transposed (1) or conjugate-transposed (2).
    fn turned(&self, operation: usize) -> Self {
        match operation {
            0 => Self::from(self.rows, self.columns, |row, column| self.at(row, column)),
            1 => Self::from(self.columns, self.rows, |row, column| self.at(column, row)),
            _ => Self::from(self.columns, self.rows, |row, column| {
                let (re, im) = self.at(column, row);
                (re, -im)
            }),
        }
    }

    fn times(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.rows);
        Self::from(self.rows, other.columns, |row, column| {
            let terms = (0..self.columns)
                .map(|inner| multiply(self.at(row, inner), other.at(inner, column)));
            terms.fold(ZERO, add)
        })
    }

    /// This matrix with `alpha sum + beta old` where `is_in` says so.
    fn with(
        &self,
        (alpha, sum): (Number, &Self),
        beta: Number,
        is_in: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut result = self.clone();
        for column in 0..self.columns {
            for row in 0..self.rows {
                if is_in(row, column) {
                    let old = multiply(beta, self.at(row, column));
                    let place = &mut result.elements[column * self.leading + row];
                    *place = add(multiply(alpha, sum.at(row, column)), old);
                }
            }
        }
        result
    }

    fn put(&self, gpu: &Gpu, kind: Kind) -> i64 {
        gpu.put(kind, &self.elements)
    }

    #[track_caller]
    fn check(&self, gpu: &Gpu, kind: Kind, memory: i64, what: &str) {
        let found = gpu.take(kind, memory, self.elements.len());
        assert_near(&found, &self.elements, 400.0 * kind.epsilon(), what);
    }

    fn ld(&self) -> i64 {
        self.leading as i64
    }
}

fn everywhere(_: usize, _: usize) -> bool {
    true
}

fn is_in_half(uplo: usize, row: usize, column: usize) -> bool {
    if uplo == 0 { row >= column } else { row <= column }
}

fn integers(values: &[usize]) -> Vec<i64> {
    values.iter().map(|value| *value as i64).collect()
}

/// gemv and ger in every type.
pub fn with_vectors(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(21);
    for (letter, kind) in TYPES {
        for at in 0..12 {
            let (m, n, trans) = (source.usize(1..9), source.usize(1..9), at % 3);
            let wide = if at % 2 == 0 { "" } else { "_64" };
            let a = Matrix::random(kind, m, n, &mut source);
            let factors = kind.random(&mut source, 2);
            let [alpha, beta] = [0, 1].map(|one| kind.encode(&factors[one..=one]));
            let (of_x, of_y) = if trans == 0 { (n, m) } else { (m, n) };
            // A row of a matrix with a leading dimension is a vector with an increment.
            let x = Matrix { rows: 1, ..Matrix::random(kind, 2, of_x, &mut source) };
            let y = Matrix { rows: 1, ..Matrix::random(kind, 3, of_y, &mut source) };
            let memory = [a.put(gpu, kind), x.put(gpu, kind), y.put(gpu, kind)];
            let name = format!("cublas{letter}gemv_v2{wide}");
            let mut arguments = integers(&[trans, m, n]);
            arguments.extend([address(&alpha), memory[0], a.ld(), memory[1], x.ld()]);
            arguments.extend([address(&beta), memory[2], y.ld()]);
            gpu.run(&name, &arguments);
            let sum = a.turned(trans).times(&x.turned(1)).turned(1);
            let expected = y.with((factors[0], &sum), factors[1], everywhere);
            expected.check(gpu, kind, memory[2], &format!("{name} {m} {n} {trans}"));

            let y = Matrix { rows: 1, ..Matrix::random(kind, 2, n, &mut source) };
            let x = Matrix { rows: 1, ..Matrix::random(kind, 2, m, &mut source) };
            let (of_x, of_y) = (x.put(gpu, kind), y.put(gpu, kind));
            let forms: &[(&str, usize)] =
                if kind.is_complex() { &[("geru", 1), ("gerc", 2)] } else { &[("ger", 1)] };
            let mut before = a.clone();
            for (form, turn) in forms {
                let name = format!("cublas{letter}{form}_v2{wide}");
                let mut arguments = integers(&[m, n]);
                arguments.extend([address(&alpha), of_x, x.ld(), of_y, y.ld()]);
                gpu.run(&name, &[arguments, vec![memory[0], a.ld()]].concat());
                let y = if *turn == 2 { y.turned(2).turned(1) } else { y.turned(0) };
                let sum = x.turned(1).times(&y);
                before = before.with((factors[0], &sum), (1.0, 0.0), everywhere);
            }
            before.check(gpu, kind, memory[0], &format!("ger {letter} {m} {n}"));
        }
    }
}

/// geam and dgmm in every type.
pub fn sums_and_scaled_lines(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(22);
    for (letter, kind) in TYPES {
        for at in 0..9 {
            let (m, n) = (source.usize(1..9), source.usize(1..9));
            let (of_a, of_b) = (at % 3, at / 3);
            let shape = |operation| if operation == 0 { (m, n) } else { (n, m) };
            let a = Matrix::random(kind, shape(of_a).0, shape(of_a).1, &mut source);
            let b = Matrix::random(kind, shape(of_b).0, shape(of_b).1, &mut source);
            let c = Matrix::random(kind, m, n, &mut source);
            let factors = kind.random(&mut source, 2);
            let [alpha, beta] = [0, 1].map(|one| kind.encode(&factors[one..=one]));
            let memory = [&a, &b, &c].map(|one| one.put(gpu, kind));
            let mut arguments = integers(&[of_a, of_b, m, n]);
            arguments.extend([address(&alpha), memory[0], a.ld(), address(&beta), memory[1]]);
            arguments.extend([b.ld(), memory[2], c.ld()]);
            gpu.run(&format!("cublas{letter}geam"), &arguments);
            let first = c.with((factors[0], &a.turned(of_a)), ZERO, everywhere);
            let both = first.with((factors[1], &b.turned(of_b)), (1.0, 0.0), everywhere);
            both.check(gpu, kind, memory[2], &format!("{letter}geam {m} {n} {of_a} {of_b}"));

            let (side, lines) = if at % 2 == 0 { (0, m) } else { (1, n) };
            let a = Matrix::random(kind, m, n, &mut source);
            let x = Matrix { rows: 1, ..Matrix::random(kind, 2, lines, &mut source) };
            let memory = [&a, &x, &c].map(|one| one.put(gpu, kind));
            let mut arguments = integers(&[side, m, n]);
            arguments.extend([memory[0], a.ld(), memory[1], x.ld(), memory[2], c.ld()]);
            gpu.run(&format!("cublas{letter}dgmm_64"), &arguments);
            let scaled = Matrix::from(m, n, |row, column| {
                multiply(a.at(row, column), x.at(0, if side == 0 { row } else { column }))
            });
            let expected = c.with(((1.0, 0.0), &scaled), ZERO, everywhere);
            expected.check(gpu, kind, memory[2], &format!("{letter}dgmm {m} {n} {side}"));
        }
    }
}

/// symm, hemm, syrk, herk, syrkx and herkx in every type.
pub fn symmetric(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(23);
    for (letter, kind) in TYPES {
        let forms: &[(&str, bool)] =
            if kind.is_complex() { &[("sy", false), ("he", true)] } else { &[("sy", false)] };
        for (form, is_hermitian) in forms {
            for at in 0..8 {
                product(gpu, (letter, kind), (form, *is_hermitian), at, &mut source);
                square(gpu, (letter, kind), (form, *is_hermitian), at, &mut source);
            }
        }
    }
}

fn product(
    gpu: &Gpu,
    (letter, kind): (&str, Kind),
    (form, is_hermitian): (&str, bool),
    at: usize,
    source: &mut fastrand::Rng,
) {
    let (m, n) = (source.usize(1..9), source.usize(1..9));
    let (side, uplo) = (at % 2, at / 2 % 2);
    let order = if side == 0 { m } else { n };
    let a = Matrix::random(kind, order, order, source);
    let b = Matrix::random(kind, m, n, source);
    let c = Matrix::random(kind, m, n, source);
    let factors = kind.random(source, 2);
    let [alpha, beta] = [0, 1].map(|one| kind.encode(&factors[one..=one]));
    let memory = [&a, &b, &c].map(|one| one.put(gpu, kind));
    let mut arguments = integers(&[side, uplo, m, n]);
    arguments.extend([address(&alpha), memory[0], a.ld(), memory[1], b.ld()]);
    arguments.extend([address(&beta), memory[2], c.ld()]);
    let name = format!("cublas{letter}{form}mm_v2");
    gpu.run(&name, &arguments);
    let whole = Matrix::from(order, order, |row, column| {
        let (re, im) = a.at(row, column);
        let (other_re, other_im) = a.at(column, row);
        match (is_in_half(uplo, row, column), is_hermitian) {
            (true, true) if row == column => (re, 0.0),
            (true, _) => (re, im),
            (false, true) => (other_re, -other_im),
            (false, false) => (other_re, other_im),
        }
    });
    let sum = if side == 0 { whole.times(&b) } else { b.times(&whole) };
    let expected = c.with((factors[0], &sum), factors[1], everywhere);
    expected.check(gpu, kind, memory[2], &format!("{name} {m} {n} {side} {uplo}"));
}

fn square(
    gpu: &Gpu,
    (letter, kind): (&str, Kind),
    (form, is_hermitian): (&str, bool),
    at: usize,
    source: &mut fastrand::Rng,
) {
    let (n, k) = (source.usize(1..9), source.usize(1..9));
    let (uplo, is_of_two) = (at % 2, at / 4 == 1);
    // Transposed: a Hermitian result takes the conjugate, a symmetric one does not.
    let turn = if is_hermitian { 2 } else { 1 };
    let trans = if (at / 2).is_multiple_of(2) { 0 } else { turn };
    let (rows, columns) = if trans == 0 { (n, k) } else { (k, n) };
    let a = Matrix::random(kind, rows, columns, source);
    let b = if is_of_two { Matrix::random(kind, rows, columns, source) } else { a.clone() };
    let mut c = Matrix::random(kind, n, n, source);
    if is_hermitian {
        for one in 0..n {
            c.elements[one * c.leading + one].1 = 0.0;
        }
    }
    let real = match kind {
        Kind::C if is_hermitian => Kind::S,
        Kind::Z if is_hermitian => Kind::D,
        kind => kind,
    };
    let alpha_kind = if is_of_two { kind } else { real };
    let (alpha, beta) = (alpha_kind.random(source, 1), real.random(source, 1));
    let (alpha_bytes, beta_bytes) = (alpha_kind.encode(&alpha), real.encode(&beta));
    let memory = [&a, &b, &c].map(|one| one.put(gpu, kind));
    let mut arguments = integers(&[uplo, trans, n, k]);
    arguments.extend([address(&alpha_bytes), memory[0], a.ld()]);
    if is_of_two {
        arguments.extend([memory[1], b.ld()]);
    }
    arguments.extend([address(&beta_bytes), memory[2], c.ld()]);
    let suffix = if is_of_two { "rkx" } else { "rk_v2" };
    let name = format!("cublas{letter}{form}{suffix}");
    gpu.run(&name, &arguments);
    let sum = a.turned(trans).times(&b.turned(trans).turned(turn));
    let mut expected =
        c.with((alpha[0], &sum), beta[0], |row, column| is_in_half(uplo, row, column));
    if is_hermitian {
        for one in 0..n {
            expected.elements[one * c.leading + one].1 = 0.0;
        }
    }
    expected.check(gpu, kind, memory[2], &format!("{name} {n} {k} {uplo} {trans}"));
}

/// trsm, trsmBatched and trmm in every type: what was solved, multiplied again, is what was given.
pub fn triangular(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(24);
    for (letter, kind) in TYPES {
        for at in 0..24 {
            let flags = [at % 2, at / 2 % 2, at / 4 % 3, at / 12];
            triangular_one(gpu, letter, kind, flags, &mut source);
        }
    }
}

fn triangular_one(
    gpu: &Gpu,
    letter: &str,
    kind: Kind,
    [side, uplo, trans, diag]: [usize; 4],
    source: &mut fastrand::Rng,
) {
    let (m, n) = (source.usize(1..7), source.usize(1..7));
    let order = if side == 0 { m } else { n };
    let mut a = Matrix::random(kind, order, order, source);
    for one in 0..order {
        // Far from 0, so that little is lost.
        a.elements[one * a.leading + one].0 += 4.0;
    }
    a.elements = kind.decode(&kind.encode(&a.elements));
    let whole = Matrix::from(order, order, |row, column| match (row == column, diag) {
        (true, 1) => (1.0, 0.0),
        _ if is_in_half(uplo, row, column) => a.at(row, column),
        _ => ZERO,
    });
    let turned = whole.turned(trans);
    let apply = |b: &Matrix| if side == 0 { turned.times(b) } else { b.times(&turned) };
    let b = Matrix::random(kind, m, n, source);
    let c = Matrix::random(kind, m, n, source);
    let alpha = kind.random(source, 1);
    let factor = kind.encode(&alpha);
    let what = format!("{letter} {m} {n} side {side} uplo {uplo} trans {trans} diag {diag}");
    let memory = [&a, &b, &c].map(|one| one.put(gpu, kind));
    let mut arguments = integers(&[side, uplo, trans, diag, m, n]);
    arguments.extend([address(&factor), memory[0], a.ld(), memory[1], b.ld()]);
    let product = [&arguments[..], &[memory[2], c.ld()]].concat();
    gpu.run(&format!("cublas{letter}trmm_v2"), &product);
    let expected = c.with((alpha[0], &apply(&b)), ZERO, everywhere);
    expected.check(gpu, kind, memory[2], &format!("trmm {what}"));

    // op(A) X = alpha B, for one B and for a list of two.
    let other = Matrix { elements: kind.random(source, b.elements.len()), ..b.clone() };
    let other_memory = other.put(gpu, kind);
    let check_solution = |memory: i64, b: &Matrix| {
        let solution = Matrix { elements: gpu.fetch(kind, memory, b.elements.len()), ..b.clone() };
        let scaled = b.with((alpha[0], b), ZERO, everywhere);
        let again = scaled.with(((1.0, 0.0), &apply(&solution)), ZERO, everywhere);
        let tolerance = 2000.0 * kind.epsilon();
        assert_near(&again.elements, &scaled.elements, tolerance, &format!("trsm {what}"));
    };
    let lists = [[memory[0]; 2], [memory[1], other_memory]].map(|list| {
        gpu.put_bytes(&list.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<_>>())
    });
    let mut batched = arguments.clone();
    (batched[7], batched[9]) = (lists[0], lists[1]);
    batched.push(2);
    gpu.run(&format!("cublas{letter}trsmBatched"), &batched);
    check_solution(memory[1], &b);
    check_solution(other_memory, &other);
    let again = b.put(gpu, kind);
    arguments[9] = again;
    gpu.run(&format!("cublas{letter}trsm_v2_64"), &arguments);
    check_solution(again, &b);
    [memory[0], memory[1], other_memory, again, lists[0], lists[1]]
        .into_iter()
        .for_each(|memory| gpu.free(memory));
}
