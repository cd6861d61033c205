//! From a message to the function and its arguments, in the order of the documentation.

use vgpu_abi::cublas::{Error, batch, cudaDataType_t as Data, form, operation};
use vgpu_link::wire::cublas::{
    AddMatrices, AddOuter, AddSquare, Multiply, MultiplySymmetric, MultiplyTriangular,
    MultiplyVector, Operand, Reduce, ReduceToDevice, ScaleLines, SolveTriangular, Vectors,
};

use super::entries::Word;

/// One argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    /// A number, an enum or an address.
    Plain(u64),
    /// The factor of this number.
    Factor(usize),
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Plain(number.cast_unsigned())
    }
}

impl From<u32> for Argument {
    fn from(number: u32) -> Self {
        Self::Plain(number.into())
    }
}

const ALPHA: Argument = Argument::Factor(0);
const BETA: Argument = Argument::Factor(1);

/// A function and its arguments behind the handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name.
    pub name: String,
    arguments: Vec<Argument>,
}

impl Function {
    fn new<const N: usize>(name: String, parts: [Vec<Argument>; N]) -> Self {
        Self { name, arguments: parts.concat() }
    }

    /// Lists the arguments with the factors in their places.
    pub fn words<'a>(&self, factors: &'a [Word<'a>]) -> impl Iterator<Item = Word<'a>> {
        self.arguments.iter().map(|argument| match argument {
            Argument::Plain(number) => Word::Number(*number),
            Argument::Factor(at) => factors[*at],
        })
    }
}

/// Returns the letter for a type in a name.
fn letter(kind: u32) -> Result<char, Error> {
    match Data(kind) {
        Data::R_32F => Ok('S'),
        Data::R_64F => Ok('D'),
        Data::C_32F => Ok('C'),
        Data::C_64F => Ok('Z'),
        Data::R_16F => Ok('H'),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Address and leading dimension or increment.
fn plain(operand: &Operand) -> Vec<Argument> {
    vec![Argument::Plain(operand.address), operand.step.into()]
}

/// The same with the type between them.
fn typed(operand: &Operand) -> Vec<Argument> {
    vec![Argument::Plain(operand.address), operand.kind.into(), operand.step.into()]
}

fn numbers(numbers: &[i64]) -> Vec<Argument> {
    numbers.iter().map(|number| (*number).into()).collect()
}

fn enums(values: &[u32]) -> Vec<Argument> {
    values.iter().map(|value| (*value).into()).collect()
}

/// What a batch adds to an operand, and behind all.
fn strided(batch: u32, operand: Vec<Argument>, stride: i64) -> Vec<Argument> {
    let stride = (batch == batch::STRIDED).then(|| stride.into());
    operand.into_iter().chain(stride).collect()
}

fn counted(batch: u32, count: i64) -> Vec<Argument> {
    if batch == batch::SINGLE { vec![] } else { vec![count.into()] }
}

/// Returns the part of a name that tells a batch. What is no batch has no name: a function that is
/// called with the arguments of another one reads what nobody gave it.
fn batch_name(batch: u32) -> Result<&'static str, Error> {
    match batch {
        batch::SINGLE => Ok(""),
        batch::STRIDED => Ok("StridedBatched"),
        batch::LISTED => Ok("Batched"),
        _ => Err(Error::INVALID_VALUE),
    }
}

pub(super) fn multiply(r: &Multiply) -> Result<Function, Error> {
    let batch = batch_name(r.batch)?;
    let name = match (r.form, batch) {
        (form::TYPED, "") if Data(r.a.kind) != Data::R_16F => {
            format!("cublas{}gemm_v2_64", letter(r.a.kind)?)
        }
        (form::TYPED, _) => format!("cublas{}gemm{batch}_64", letter(r.a.kind)?),
        (form::MIXED, "") => format!("cublas{}gemmEx_64", letter(r.alpha.kind)?),
        (form::EXTENDED, _) => format!("cublasGemm{batch}Ex_64"),
        _ => return Err(Error::INVALID_VALUE),
    };
    let of = |operand: &Operand| {
        let told = if r.form == form::TYPED { plain(operand) } else { typed(operand) };
        strided(r.batch, told, operand.stride)
    };
    let extended = r.form == form::EXTENDED;
    let arithmetic = if extended { enums(&[r.compute, r.algorithm]) } else { vec![] };
    Ok(Function::new(
        name,
        [
            enums(&[r.transa, r.transb]),
            numbers(&[r.m, r.n, r.k]),
            vec![ALPHA],
            of(&r.a),
            of(&r.b),
            vec![BETA],
            of(&r.c),
            counted(r.batch, r.count),
            arithmetic,
        ],
    ))
}

pub(super) fn vectors(r: &Vectors) -> Result<Function, Error> {
    let n = numbers(&[r.n]);
    if r.form == form::EXTENDED {
        let factor = vec![ALPHA, r.alpha.kind.into()];
        let compute = enums(&[r.compute]);
        return match r.operation {
            operation::AXPY => {
                let name = "cublasAxpyEx_64".into();
                Ok(Function::new(name, [n, factor, typed(&r.x), typed(&r.y), compute]))
            }
            operation::SCAL => {
                Ok(Function::new("cublasScalEx_64".into(), [n, factor, typed(&r.x), compute]))
            }
            _ => Err(Error::INVALID_VALUE),
        };
    }
    let letter = letter(r.x.kind)?;
    let (x, y) = (plain(&r.x), plain(&r.y));
    Ok(match r.operation {
        operation::AXPY => {
            Function::new(format!("cublas{letter}axpy_v2_64"), [n, vec![ALPHA], x, y])
        }
        operation::SCAL => {
            let real = match (letter, r.alpha.kind == r.x.kind) {
                ('C', false) => "s",
                ('Z', false) => "d",
                _ => "",
            };
            Function::new(format!("cublas{letter}{real}scal_v2_64"), [n, vec![ALPHA], x])
        }
        operation::COPY => Function::new(format!("cublas{letter}copy_v2_64"), [n, x, y]),
        operation::SWAP => Function::new(format!("cublas{letter}swap_v2_64"), [n, x, y]),
        _ => return Err(Error::NOT_SUPPORTED),
    })
}

/// A number made of vectors, wherever it goes.
pub(super) struct Number {
    operation: u32,
    form: u32,
    n: i64,
    x: Operand,
    y: Operand,
    compute: u32,
    result_kind: u32,
}

impl From<Reduce> for Number {
    fn from(r: Reduce) -> Self {
        let Reduce { operation, form, n, x, y, compute, result_kind, .. } = r;
        Self { operation, form, n, x, y, compute, result_kind }
    }
}

impl From<ReduceToDevice> for Number {
    fn from(r: ReduceToDevice) -> Self {
        let ReduceToDevice { operation, form, n, x, y, compute, result_kind, .. } = r;
        Self { operation, form, n, x, y, compute, result_kind }
    }
}

/// A function, its arguments before the place of the result, and those behind it.
type Reduction = (String, Vec<Word<'static>>, Vec<Word<'static>>);

impl Number {
    /// Finds the function.
    pub fn function(&self) -> Result<Reduction, Error> {
        let letter = letter(self.compute);
        let own = || letter.map(|letter| letter.to_string());
        let is_complex = matches!(Data(self.x.kind), Data::C_32F | Data::C_64F);
        let is_extended = self.form == form::EXTENDED;
        // A real result of complex elements.
        let real = || own().map(|own| if is_complex { real_name(&own) } else { own });
        let name = match (self.operation, is_extended) {
            (operation::DOT, true) => "cublasDotEx_64".into(),
            (operation::DOT_CONJUGATE, true) => "cublasDotcEx_64".into(),
            (operation::NRM2, true) => "cublasNrm2Ex_64".into(),
            (operation::DOT, _) if is_complex => format!("cublas{}dotu_v2_64", own()?),
            (operation::DOT, _) => format!("cublas{}dot_v2_64", own()?),
            (operation::DOT_CONJUGATE, _) => format!("cublas{}dotc_v2_64", own()?),
            (operation::NRM2, _) => format!("cublas{}nrm2_v2_64", real()?),
            (operation::ASUM, _) => format!("cublas{}asum_v2_64", real()?),
            (operation::AMAX | operation::AMIN, _) => {
                let which = if self.operation == operation::AMAX { "amax" } else { "amin" };
                // The place of the result is as wide as the guest's function says.
                let wide = if Data(self.result_kind) == Data::R_64I { "_64" } else { "" };
                format!("cublasI{}{which}_v2{wide}", own()?.to_lowercase())
            }
            _ => return Err(Error::NOT_SUPPORTED),
        };
        let of = |operand| if is_extended { typed(operand) } else { plain(operand) };
        let is_of_two = matches!(self.operation, operation::DOT | operation::DOT_CONJUGATE);
        let y = if is_of_two { of(&self.y) } else { vec![] };
        let after = if is_extended { enums(&[self.result_kind, self.compute]) } else { vec![] };
        let words = |parts: [Vec<Argument>; 3]| {
            Function::new(String::new(), parts).words(&[]).collect::<Vec<Word<'static>>>()
        };
        let before = words([numbers(&[self.n]), of(&self.x), y]);
        Ok((name, before, words([after, vec![], vec![]])))
    }
}

/// Names the functions with a real result.
fn real_name(letter: &str) -> String {
    if letter == "C" { "Sc".into() } else { "Dz".into() }
}

pub(super) fn multiply_vector(r: &MultiplyVector) -> Result<Function, Error> {
    let letter = letter(r.a.kind)?;
    let name = match batch_name(r.batch)? {
        "" => format!("cublas{letter}gemv_v2_64"),
        batch => format!("cublas{letter}gemv{batch}_64"),
    };
    let of = |operand: &Operand| strided(r.batch, plain(operand), operand.stride);
    Ok(Function::new(
        name,
        [
            enums(&[r.trans]),
            numbers(&[r.m, r.n]),
            vec![ALPHA],
            of(&r.a),
            of(&r.x),
            vec![BETA],
            of(&r.y),
            counted(r.batch, r.count),
        ],
    ))
}

pub(super) fn add_outer(r: &AddOuter) -> Result<Function, Error> {
    let form = match (letter(r.a.kind)?, r.conjugate) {
        (letter @ ('C' | 'Z'), 0) => format!("cublas{letter}geru_v2_64"),
        (letter @ ('C' | 'Z'), _) => format!("cublas{letter}gerc_v2_64"),
        (letter, _) => format!("cublas{letter}ger_v2_64"),
    };
    let operands = [plain(&r.x), plain(&r.y), plain(&r.a)].concat();
    Ok(Function::new(form, [numbers(&[r.m, r.n]), vec![ALPHA], operands]))
}

pub(super) fn add_matrices(r: &AddMatrices) -> Result<Function, Error> {
    let name = format!("cublas{}geam_64", letter(r.a.kind)?);
    let flags = [enums(&[r.transa, r.transb]), numbers(&[r.m, r.n])].concat();
    let (a, b, c) = (plain(&r.a), plain(&r.b), plain(&r.c));
    Ok(Function::new(name, [flags, vec![ALPHA], a, vec![BETA], b, c]))
}

pub(super) fn multiply_symmetric(r: &MultiplySymmetric) -> Result<Function, Error> {
    let form = if r.hermitian == 0 { "symm" } else { "hemm" };
    let name = format!("cublas{}{form}_v2_64", letter(r.a.kind)?);
    let flags = [enums(&[r.side, r.uplo]), numbers(&[r.m, r.n])].concat();
    let (a, b, c) = (plain(&r.a), plain(&r.b), plain(&r.c));
    Ok(Function::new(name, [flags, vec![ALPHA], a, b, vec![BETA], c]))
}

pub(super) fn add_square(r: &AddSquare) -> Result<Function, Error> {
    let form = if r.hermitian == 0 { "syrk" } else { "herk" };
    let suffix = if r.of_two == 0 { "_v2_64" } else { "x_64" };
    let name = format!("cublas{}{form}{suffix}", letter(r.a.kind)?);
    let flags = [enums(&[r.uplo, r.trans]), numbers(&[r.n, r.k])].concat();
    let b = if r.of_two == 0 { vec![] } else { plain(&r.b) };
    Ok(Function::new(name, [flags, vec![ALPHA], plain(&r.a), b, vec![BETA], plain(&r.c)]))
}

pub(super) fn solve_triangular(r: &SolveTriangular) -> Result<Function, Error> {
    let letter = letter(r.a.kind)?;
    let name = match r.batch {
        batch::LISTED => format!("cublas{letter}trsmBatched_64"),
        batch::SINGLE => format!("cublas{letter}trsm_v2_64"),
        _ => return Err(Error::INVALID_VALUE),
    };
    let flags = [enums(&[r.side, r.uplo, r.trans, r.diag]), numbers(&[r.m, r.n])].concat();
    let (a, b) = (plain(&r.a), plain(&r.b));
    Ok(Function::new(name, [flags, vec![ALPHA], a, b, counted(r.batch, r.count)]))
}

pub(super) fn multiply_triangular(r: &MultiplyTriangular) -> Result<Function, Error> {
    let name = format!("cublas{}trmm_v2_64", letter(r.a.kind)?);
    let flags = [enums(&[r.side, r.uplo, r.trans, r.diag]), numbers(&[r.m, r.n])].concat();
    let operands = [plain(&r.a), plain(&r.b), plain(&r.c)].concat();
    Ok(Function::new(name, [flags, vec![ALPHA], operands]))
}

pub(super) fn scale_lines(r: &ScaleLines) -> Result<Function, Error> {
    let name = format!("cublas{}dgmm_64", letter(r.a.kind)?);
    let operands = [plain(&r.a), plain(&r.x), plain(&r.c)].concat();
    Ok(Function::new(name, [enums(&[r.side]), numbers(&[r.m, r.n]), operands]))
}

#[cfg(test)]
mod tests {
    use vgpu_link::wire::cublas::{Scalar, Setting};

    use super::*;

    fn product(form: u32, batch: u32) -> Result<Function, Error> {
        let kind = Data::R_32F.0;
        let operand = || Operand { address: 1, kind, step: 1, stride: 1 };
        let scalar = || Scalar { kind, device: 0, value: [0; 16] };
        let setting = Setting {
            handle: 1,
            stream: 0,
            workspace: 0,
            workspace_bytes: 0,
            math_mode: 0,
            atomics_mode: 0,
            sm_count_target: 0,
        };
        multiply(&Multiply {
            setting,
            form,
            batch,
            transa: 0,
            transb: 0,
            m: 1,
            n: 1,
            k: 1,
            alpha: scalar(),
            a: operand(),
            b: operand(),
            beta: scalar(),
            c: operand(),
            count: 1,
            compute: 68,
            algorithm: 0,
        })
    }

    #[test]
    fn a_function_gets_as_many_arguments_as_it_has_parameters_behind_the_handle() {
        for (form, batch, name, count) in [
            (form::TYPED, batch::SINGLE, "cublasSgemm_v2_64", 13),
            (form::TYPED, batch::LISTED, "cublasSgemmBatched_64", 14),
            (form::TYPED, batch::STRIDED, "cublasSgemmStridedBatched_64", 17),
            (form::MIXED, batch::SINGLE, "cublasSgemmEx_64", 16),
            (form::EXTENDED, batch::SINGLE, "cublasGemmEx_64", 18),
            (form::EXTENDED, batch::LISTED, "cublasGemmBatchedEx_64", 19),
            (form::EXTENDED, batch::STRIDED, "cublasGemmStridedBatchedEx_64", 22),
        ] {
            let function = product(form, batch).expect(name);
            assert_eq!((function.name.as_str(), function.arguments.len()), (name, count));
        }
    }

    #[test]
    fn a_form_or_batch_that_there_is_none_of_names_no_function() {
        for (form, batch) in [(3, 0), (form::TYPED, 3), (form::EXTENDED, 9), (form::MIXED, 1)] {
            assert_eq!(product(form, batch), Err(Error::INVALID_VALUE), "{form} {batch}");
        }
    }
}
