//! Products of matrices (cuBLAS Library, "cuBLAS Level-3 Function Reference" and "BLAS-like
//! Extension"): `C = alpha op(A) op(B) + beta C`, column by column.
//!
//! All functions here become the same message; what the documentation calls an invalid value or an
//! unsupported combination of types is refused before it is sent.

use vgpu_abi::cublas::{
    Error, batch, cublasComputeType_t as Compute, cublasGemmAlgo_t, cublasHandle_t,
    cublasOperation_t, cudaDataType_t as Data, form,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::Multiply;

use super::Kind;
use super::argument::{check_operation, operand, require, scalar};
use crate::{driver, handles};

/// One of the three matrices, or the first of many.
#[derive(Debug)]
struct Matrix<'call> {
    memory: Memory<'call>,
    kind: Data,
    leading: i64,
    stride: i64,
}

impl<'call> Matrix<'call> {
    fn new(memory: Memory<'call>, kind: Data, leading: i64, stride: i64) -> Self {
        Self { memory, kind, leading, stride }
    }
}

/// What a function was asked for.
#[derive(Debug)]
struct Product<'call> {
    form: u32,
    batch: u32,
    count: i64,
    operations: [cublasOperation_t; 2],
    /// m, n, k.
    sizes: [i64; 3],
    alpha: Memory<'call>,
    a: Matrix<'call>,
    b: Matrix<'call>,
    beta: Memory<'call>,
    c: Matrix<'call>,
    scalar: Data,
    compute: Compute,
    algorithm: cublasGemmAlgo_t,
}

impl Product<'_> {
    /// Checks what the documentation asks for, and sends it.
    fn send(self, handle: cublasHandle_t) -> Result<(), Error> {
        let state = handles::state(handle)?;
        let [transa, transb] = self.operations;
        let [m, n, k] = self.sizes;
        self.operations.into_iter().try_for_each(check_operation)?;
        require(m >= 0 && n >= 0 && k >= 0 && self.count >= 0)?;
        let rows = |operation, plain: i64, transposed: i64| {
            if operation == cublasOperation_t::N { plain } else { transposed }
        };
        require(self.a.leading >= rows(transa, m, k).max(1))?;
        require(self.b.leading >= rows(transb, k, n).max(1))?;
        require(self.c.leading >= m.max(1))?;
        let alpha = scalar(&state, self.scalar, self.alpha)?;
        let beta = scalar(&state, self.scalar, self.beta)?;
        if m == 0 || n == 0 || self.count == 0 {
            return Ok(());
        }
        require(self.c.memory.address() != 0)?;
        let of = |one: &Matrix<'_>| operand(&one.memory, one.kind, one.leading, one.stride);
        driver::post(&Multiply {
            setting: state.setting(handle),
            form: self.form,
            batch: self.batch,
            count: self.count,
            transa: transa.0,
            transb: transb.0,
            m,
            n,
            k,
            alpha,
            a: of(&self.a),
            b: of(&self.b),
            beta,
            c: of(&self.c),
            compute: self.compute.0,
            algorithm: self.algorithm.0,
        })
    }
}

/// The arithmetic of the functions whose name tells the type.
fn own_compute(kind: Data) -> Compute {
    match kind {
        Data::R_16F => Compute::_16F,
        Data::R_64F | Data::C_64F => Compute::_64F,
        _ => Compute::_32F,
    }
}

/// Finds the type of the factors; NOT_SUPPORTED for a combination that the documentation of
/// `cublasGemmEx` does not list.
fn scalar_kind(compute: Compute, [a, b, c]: [Data; 3]) -> Result<Data, Error> {
    if a != b {
        return Err(Error::NOT_SUPPORTED);
    }
    match (compute, a, c) {
        (Compute::_16F | Compute::_16F_PEDANTIC, Data::R_16F, Data::R_16F) => Ok(Data::R_16F),
        (Compute::_32I | Compute::_32I_PEDANTIC, Data::R_8I, Data::R_32I) => Ok(Data::R_32I),
        (
            Compute::_32F | Compute::_32F_PEDANTIC,
            Data::R_16F | Data::R_16BF | Data::R_8I | Data::R_32F,
            Data::R_32F,
        )
        | (Compute::_32F | Compute::_32F_PEDANTIC, Data::R_16F, Data::R_16F)
        | (Compute::_32F | Compute::_32F_PEDANTIC, Data::R_16BF, Data::R_16BF) => Ok(Data::R_32F),
        (Compute::_32F | Compute::_32F_PEDANTIC, Data::C_8I | Data::C_32F, Data::C_32F) => {
            Ok(Data::C_32F)
        }
        (
            Compute::_32F_FAST_16F | Compute::_32F_FAST_16BF | Compute::_32F_FAST_TF32,
            Data::R_32F | Data::C_32F,
            _,
        ) if c == a => Ok(a),
        (Compute::_64F | Compute::_64F_PEDANTIC, Data::R_64F | Data::C_64F, _) if c == a => Ok(a),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Writes one body for each way to tell the types and to find the matrices. The parameters are
/// C's, in their order.
macro_rules! bodies {
    (@typed $(#[$doc:meta])* $name:ident, $batch:ident
        $(, strides $sa:ident $sb:ident $sc:ident)? $(, count $count:ident)?) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// As the documentation of the function says.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            kind: Kind,
            handle: cublasHandle_t,
            transa: cublasOperation_t,
            transb: cublasOperation_t,
            m: i64,
            n: i64,
            k: i64,
            alpha: Memory<'_>,
            a: Memory<'_>,
            lda: i64,
            $($sa: i64,)?
            b: Memory<'_>,
            ldb: i64,
            $($sb: i64,)?
            beta: Memory<'_>,
            c: Memory<'_>,
            ldc: i64,
            $($sc: i64,)?
            $($count: i64,)?
        ) -> Result<(), Error> {
            let kind = kind.element;
            let product = Product {
                form: form::TYPED,
                batch: batch::$batch,
                count: bodies!(@or 1 $(, $count)?),
                operations: [transa, transb],
                sizes: [m, n, k],
                alpha,
                a: Matrix::new(a, kind, lda, bodies!(@or 0 $(, $sa)?)),
                b: Matrix::new(b, kind, ldb, bodies!(@or 0 $(, $sb)?)),
                beta,
                c: Matrix::new(c, kind, ldc, bodies!(@or 0 $(, $sc)?)),
                scalar: kind,
                compute: own_compute(kind),
                algorithm: cublasGemmAlgo_t::DEFAULT,
            };
            product.send(handle)
        }
    };
    (@extended $(#[$doc:meta])* $name:ident, $batch:ident
        $(, strides $sa:ident $sb:ident $sc:ident)? $(, count $count:ident)?) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// As the documentation of the function says.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            handle: cublasHandle_t,
            transa: cublasOperation_t,
            transb: cublasOperation_t,
            m: i64,
            n: i64,
            k: i64,
            alpha: Memory<'_>,
            a: Memory<'_>,
            a_kind: Data,
            lda: i64,
            $($sa: i64,)?
            b: Memory<'_>,
            b_kind: Data,
            ldb: i64,
            $($sb: i64,)?
            beta: Memory<'_>,
            c: Memory<'_>,
            c_kind: Data,
            ldc: i64,
            $($sc: i64,)?
            $($count: i64,)?
            compute: Compute,
            algorithm: cublasGemmAlgo_t,
        ) -> Result<(), Error> {
            handles::state(handle)?;
            let product = Product {
                form: form::EXTENDED,
                batch: batch::$batch,
                count: bodies!(@or 1 $(, $count)?),
                operations: [transa, transb],
                sizes: [m, n, k],
                alpha,
                a: Matrix::new(a, a_kind, lda, bodies!(@or 0 $(, $sa)?)),
                b: Matrix::new(b, b_kind, ldb, bodies!(@or 0 $(, $sb)?)),
                beta,
                c: Matrix::new(c, c_kind, ldc, bodies!(@or 0 $(, $sc)?)),
                scalar: scalar_kind(compute, [a_kind, b_kind, c_kind])?,
                compute,
                algorithm,
            };
            product.send(handle)
        }
    };
    (@or $otherwise:literal) => { $otherwise };
    (@or $otherwise:literal, $given:ident) => { $given };
}

bodies! {@typed
    /// Multiplies two matrices.
    gemm, SINGLE
}
bodies! {@typed
    /// Multiplies matrices that lie at equal distances.
    gemm_strided_batched, STRIDED, strides stride_a stride_b stride_c, count count
}
bodies! {@typed
    /// Multiplies matrices whose addresses are listed on the device.
    gemm_batched, LISTED, count count
}
bodies! {@extended
    /// Multiplies two matrices of given types.
    gemm_ex, SINGLE
}
bodies! {@extended
    /// Multiplies matrices of given types that lie at equal distances.
    gemm_strided_batched_ex, STRIDED, strides stride_a stride_b stride_c, count count
}
bodies! {@extended
    /// Multiplies matrices of given types whose addresses are listed on the device.
    gemm_batched_ex, LISTED, count count
}

/// Multiplies two matrices of given types in single precision.
///
/// # Errors
/// As the documentation of the function says.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn gemm_mixed(
    kind: Kind,
    handle: cublasHandle_t,
    transa: cublasOperation_t,
    transb: cublasOperation_t,
    m: i64,
    n: i64,
    k: i64,
    alpha: Memory<'_>,
    a: Memory<'_>,
    a_kind: Data,
    lda: i64,
    b: Memory<'_>,
    b_kind: Data,
    ldb: i64,
    beta: Memory<'_>,
    c: Memory<'_>,
    c_kind: Data,
    ldc: i64,
) -> Result<(), Error> {
    handles::state(handle)?;
    if scalar_kind(Compute::_32F, [a_kind, b_kind, c_kind])? != kind.scalar {
        return Err(Error::NOT_SUPPORTED);
    }
    let product = Product {
        form: form::MIXED,
        batch: batch::SINGLE,
        count: 1,
        operations: [transa, transb],
        sizes: [m, n, k],
        alpha,
        a: Matrix::new(a, a_kind, lda, 0),
        b: Matrix::new(b, b_kind, ldb, 0),
        beta,
        c: Matrix::new(c, c_kind, ldc, 0),
        scalar: kind.scalar,
        compute: Compute::_32F,
        algorithm: cublasGemmAlgo_t::DEFAULT,
    };
    product.send(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_have_the_type_that_the_documentation_lists() {
        use Data as D;
        let cases = [
            (Compute::_16F, [D::R_16F, D::R_16F, D::R_16F], Some(D::R_16F)),
            (Compute::_16F, [D::R_16F, D::R_16F, D::R_32F], None),
            (Compute::_32F, [D::R_16F, D::R_16F, D::R_16F], Some(D::R_32F)),
            (Compute::_32F, [D::R_16BF, D::R_16BF, D::R_32F], Some(D::R_32F)),
            (Compute::_32F, [D::R_16BF, D::R_16BF, D::R_16F], None),
            (Compute::_32F, [D::R_16F, D::R_16BF, D::R_32F], None),
            (Compute::_32F, [D::C_8I, D::C_8I, D::C_32F], Some(D::C_32F)),
            (Compute::_32F_FAST_TF32, [D::R_32F, D::R_32F, D::R_32F], Some(D::R_32F)),
            (Compute::_32F_FAST_TF32, [D::R_16F, D::R_16F, D::R_32F], None),
            (Compute::_32I, [D::R_8I, D::R_8I, D::R_32I], Some(D::R_32I)),
            (Compute::_32I, [D::R_8I, D::R_8I, D::R_32F], None),
            (Compute::_64F, [D::C_64F, D::C_64F, D::C_64F], Some(D::C_64F)),
            (Compute::_64F, [D::R_64F, D::R_64F, D::R_32F], None),
            (Compute(0), [D::R_32F, D::R_32F, D::R_32F], None),
        ];
        for (compute, kinds, expected) in cases {
            let expected = expected.ok_or(Error::NOT_SUPPORTED);
            assert_eq!(scalar_kind(compute, kinds), expected, "{compute:?} {kinds:?}");
        }
    }
}
