//! Products of matrices, compared with three loops.

use crate::gpu::Gpu;
use crate::library::address;
use crate::number::{Kind, Number, add, assert_near, multiply};

/// How a function is told the types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Typed(&'static str),
    Mixed(&'static str),
    Extended(i64),
}

/// How a function finds its matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    Single,
    Strided,
    Listed,
}

/// One product that is asked for.
#[derive(Debug, Clone, Copy)]
struct Case {
    form: Form,
    batch: Batch,
    /// Types of A, B, C and of the factors.
    kinds: [Kind; 3],
    scalar: Kind,
    operations: [usize; 2],
    /// m, n, k.
    sizes: [usize; 3],
    /// What each leading dimension is more than it must be.
    slack: [usize; 3],
    alpha: Number,
    beta: Number,
    is_wide: bool,
    on_device: bool,
}

/// Batches have this many members.
const COUNT: usize = 3;

impl Case {
    fn count(&self) -> usize {
        if self.batch == Batch::Single { 1 } else { COUNT }
    }

    /// Rows and columns of the matrices as they lie in memory.
    fn shapes(&self) -> [(usize, usize); 3] {
        let [m, n, k] = self.sizes;
        let turn = |operation, rows, columns| {
            if operation == 0 { (rows, columns) } else { (columns, rows) }
        };
        [turn(self.operations[0], m, k), turn(self.operations[1], k, n), (m, n)]
    }

    fn leading(&self) -> [usize; 3] {
        let shapes = self.shapes();
        [0, 1, 2].map(|at| shapes[at].0.max(1) + self.slack[at])
    }

    /// Elements from one matrix of a batch to the next.
    fn strides(&self) -> [usize; 3] {
        let (shapes, leading) = (self.shapes(), self.leading());
        [0, 1, 2].map(|at| leading[at] * shapes[at].1 + 5)
    }

    fn name(&self) -> String {
        let wide = if self.is_wide { "_64" } else { "" };
        let batch = match self.batch {
            Batch::Single => "",
            Batch::Strided => "StridedBatched",
            Batch::Listed => "Batched",
        };
        match (self.form, self.batch) {
            (Form::Typed(letter), Batch::Single) if letter != "H" => {
                format!("cublas{letter}gemm_v2{wide}")
            }
            (Form::Typed(letter), _) => format!("cublas{letter}gemm{batch}{wide}"),
            (Form::Mixed(letter), _) => format!("cublas{letter}gemmEx{wide}"),
            (Form::Extended(_), _) => format!("cublasGemm{batch}Ex{wide}"),
        }
    }

    /// The arguments behind the handle, in the order of the documentation.
    fn arguments(&self, factors: [i64; 2], matrices: [i64; 3]) -> Vec<i64> {
        let (leading, strides) = (self.leading(), self.strides());
        let mut all: Vec<i64> = self.operations.iter().map(|one| *one as i64).collect();
        all.extend(self.sizes.iter().map(|size| *size as i64));
        all.push(factors[0]);
        for at in 0..3 {
            if at == 2 {
                all.push(factors[1]);
            }
            all.push(matrices[at]);
            if !matches!(self.form, Form::Typed(_)) {
                all.push(self.kinds[at] as i64);
            }
            all.push(leading[at] as i64);
            if self.batch == Batch::Strided {
                all.push(strides[at] as i64);
            }
        }
        if self.batch != Batch::Single {
            all.push(COUNT as i64);
        }
        if let Form::Extended(compute) = self.form {
            all.extend([compute, -1]);
        }
        all
    }

    /// What must come out: three loops over each product, in double precision.
    fn expected(&self, inputs: &[Vec<Number>; 3]) -> Vec<Number> {
        let ([m, n, k], leading, strides) = (self.sizes, self.leading(), self.strides());
        let element = |matrix: usize, base: usize, operation: usize, row: usize, column: usize| {
            let (row, column) = if operation == 0 { (row, column) } else { (column, row) };
            let (re, im) = inputs[matrix][base + column * leading[matrix] + row];
            if operation == 2 { (re, -im) } else { (re, im) }
        };
        let mut result = inputs[2].clone();
        for member in 0..self.count() {
            let bases = strides.map(|stride| stride * member);
            for column in 0..n {
                for row in 0..m {
                    let mut sum = (0.0, 0.0);
                    for inner in 0..k {
                        let a = element(0, bases[0], self.operations[0], row, inner);
                        let b = element(1, bases[1], self.operations[1], inner, column);
                        sum = add(sum, multiply(a, b));
                    }
                    let old = &mut result[bases[2] + column * leading[2] + row];
                    let kept = if self.beta == (0.0, 0.0) {
                        (0.0, 0.0)
                    } else {
                        multiply(self.beta, *old)
                    };
                    *old = add(multiply(self.alpha, sum), kept);
                }
            }
        }
        result
    }

    fn check(&self, gpu: &Gpu, source: &mut fastrand::Rng) {
        let (count, strides) = (self.count(), self.strides());
        let mut inputs = [0, 1, 2].map(|at| self.kinds[at].random(source, strides[at] * count));
        let expected = self.expected(&inputs);
        if self.beta == (0.0, 0.0) && self.kinds[2].epsilon() > 0.0 {
            // What a beta of 0 must not read: between the columns nothing may be written.
            let untouched = inputs[2].clone();
            inputs[2] = untouched
                .iter()
                .zip(&expected)
                .map(|(old, new)| if old == new { *old } else { (f64::NAN, f64::NAN) })
                .collect();
        }
        let memory = [0, 1, 2].map(|at| gpu.put(self.kinds[at], &inputs[at]));
        let lists = [0, 1, 2].map(|at| {
            let step = strides[at] * self.kinds[at].bytes();
            let all: Vec<i64> =
                (0..count).map(|member| memory[at] + (step * member) as i64).collect();
            gpu.put_bytes(&all.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<_>>())
        });
        let values = [self.alpha, self.beta].map(|one| self.scalar.encode(&[one]));
        let factors = if self.on_device {
            values.each_ref().map(|value| gpu.put_bytes(value))
        } else {
            values.each_ref().map(|value| address(value))
        };
        let matrices = if self.batch == Batch::Listed { lists } else { memory };
        gpu.run("cublasSetPointerMode_v2", &[i64::from(self.on_device)]);
        gpu.run(&self.name(), &self.arguments(factors, matrices));
        let found = gpu.take(self.kinds[2], memory[2], expected.len());
        let computed = if self.kinds[2].is_complex() || self.kinds[2] == Kind::D {
            self.kinds[2]
        } else {
            Kind::S
        };
        let terms = (self.sizes[2] + 4) as f64;
        let tolerance = 2.0 * self.kinds[2].epsilon() + terms * computed.epsilon();
        let tolerance = if self.kinds[2] == Kind::I32 { 0.0 } else { tolerance };
        let tolerance = if self.kinds[0] == Kind::I8 || self.kinds[0] == Kind::C8 {
            tolerance * 2500.0
        } else {
            tolerance
        };
        assert_near(&found, &expected, tolerance, &format!("{} {self:?}", self.name()));
        [memory[0], memory[1]].iter().chain(&lists).for_each(|memory| gpu.free(*memory));
        if self.on_device {
            factors.iter().for_each(|memory| gpu.free(*memory));
        }
    }
}

/// Types of A and B, of C and of the factors, and the arithmetic (`cublasComputeType_t`), as the
/// documentation of `cublasGemmEx` lists them.
const EXTENDED: [(Kind, Kind, Kind, i64); 19] = [
    (Kind::H, Kind::H, Kind::H, 64),
    (Kind::H, Kind::H, Kind::H, 65),
    (Kind::I8, Kind::I32, Kind::I32, 72),
    (Kind::I8, Kind::I32, Kind::I32, 73),
    (Kind::B, Kind::B, Kind::S, 68),
    (Kind::H, Kind::H, Kind::S, 68),
    (Kind::I8, Kind::S, Kind::S, 68),
    (Kind::B, Kind::S, Kind::S, 69),
    (Kind::H, Kind::S, Kind::S, 68),
    (Kind::S, Kind::S, Kind::S, 68),
    (Kind::C8, Kind::C, Kind::C, 68),
    (Kind::C, Kind::C, Kind::C, 69),
    (Kind::S, Kind::S, Kind::S, 74),
    (Kind::S, Kind::S, Kind::S, 75),
    (Kind::S, Kind::S, Kind::S, 77),
    (Kind::C, Kind::C, Kind::C, 77),
    (Kind::D, Kind::D, Kind::D, 70),
    (Kind::D, Kind::D, Kind::D, 71),
    (Kind::Z, Kind::Z, Kind::Z, 70),
];

const TYPED: [(&str, Kind); 5] =
    [("S", Kind::S), ("D", Kind::D), ("C", Kind::C), ("Z", Kind::Z), ("H", Kind::H)];

const FACTORS: [(Number, Number); 4] = [
    ((1.0, 0.0), (0.0, 0.0)),
    ((1.0, 0.0), (1.0, 0.0)),
    ((0.0, 0.0), (-2.0, 0.5)),
    ((0.5, -1.5), (3.0, 1.0)),
];

/// Makes a case of random sizes, transposes and factors.
fn random(form: Form, batch: Batch, kinds: [Kind; 3], scalar: Kind, at: usize) -> Case {
    let mut source = fastrand::Rng::with_seed(at as u64 + 7);
    let (alpha, beta) = FACTORS[at % FACTORS.len()];
    let held = |number: Number| {
        let held = scalar.decode(&scalar.encode(&[number]));
        held[0]
    };
    Case {
        form,
        batch,
        kinds,
        scalar,
        operations: [at % 3, at / 3 % 3],
        sizes: [source.usize(1..20), source.usize(1..20), source.usize(0..33)],
        slack: [source.usize(0..4), source.usize(0..4), source.usize(0..4)],
        alpha: held(alpha),
        beta: held(beta),
        is_wide: at % 2 == 1,
        on_device: at % 4 >= 2,
    }
}

const BATCHES: [Batch; 3] = [Batch::Single, Batch::Strided, Batch::Listed];

/// Multiplies in every type that a name tells.
pub fn typed(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(1);
    for (letter, kind) in TYPED {
        for batch in BATCHES {
            for at in 0..18 {
                let case = random(Form::Typed(letter), batch, [kind; 3], kind, at);
                case.check(gpu, &mut source);
            }
        }
    }
}

/// Multiplies in every combination of types that `cublasGemmEx` takes.
pub fn extended(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(2);
    for (matrix, result, scalar, compute) in EXTENDED {
        for batch in BATCHES {
            for at in 0..9 {
                let kinds = [matrix, matrix, result];
                let case = random(Form::Extended(compute), batch, kinds, scalar, at);
                case.check(gpu, &mut source);
            }
        }
    }
}

/// Multiplies in the combinations of `cublasSgemmEx` and `cublasCgemmEx`.
pub fn mixed(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(3);
    for (matrix, result, scalar, compute) in EXTENDED {
        let letter = if scalar == Kind::S { "S" } else { "C" };
        if compute == 68 && matches!(scalar, Kind::S | Kind::C) {
            for at in 0..9 {
                let kinds = [matrix, matrix, result];
                random(Form::Mixed(letter), Batch::Single, kinds, scalar, at)
                    .check(gpu, &mut source);
            }
        }
    }
}

/// Multiplies larger matrices, which take another way through the arithmetic.
pub fn large(gpu: &Gpu) {
    let mut source = fastrand::Rng::with_seed(4);
    let case = Case {
        sizes: [130, 257, 512],
        ..random(Form::Typed("S"), Batch::Single, [Kind::S; 3], Kind::S, 3)
    };
    case.check(gpu, &mut source);
}
