//! Matrices of which one half says all: symmetric and Hermitian ones (cuBLAS Library, "cuBLAS
//! Level-3 Function Reference").

use vgpu_abi::cublas::{
    Error, cublasFillMode_t, cublasHandle_t, cublasOperation_t, cublasSideMode_t,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{AddSquare, MultiplySymmetric};

use super::Kind;
use super::argument::{
    check_operation, check_side, check_uplo, no_operand, operand, real_of, require, scalar,
};
use crate::{driver, handles};

macro_rules! products {
    ($($(#[$doc:meta])* $name:ident $hermitian:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As the documentation of the function says.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            kind: Kind,
            handle: cublasHandle_t,
            side: cublasSideMode_t,
            uplo: cublasFillMode_t,
            m: i64,
            n: i64,
            alpha: Memory<'_>,
            a: Memory<'_>,
            lda: i64,
            b: Memory<'_>,
            ldb: i64,
            beta: Memory<'_>,
            c: Memory<'_>,
            ldc: i64,
        ) -> Result<(), Error> {
            let state = handles::state(handle)?;
            check_side(side)?;
            check_uplo(uplo)?;
            let order = if side == cublasSideMode_t::LEFT { m } else { n };
            require(m >= 0 && n >= 0 && lda >= order.max(1))?;
            require(ldb >= m.max(1) && ldc >= m.max(1))?;
            let alpha = scalar(&state, kind.scalar, alpha)?;
            let beta = scalar(&state, kind.scalar, beta)?;
            if m == 0 || n == 0 {
                return Ok(());
            }
            let of = |memory: &Memory<'_>, step| operand(memory, kind.element, step, 0);
            driver::post(&MultiplySymmetric {
                setting: state.setting(handle),
                hermitian: u8::from($hermitian),
                side: side.0,
                uplo: uplo.0,
                m,
                n,
                alpha,
                a: of(&a, lda),
                b: of(&b, ldb),
                beta,
                c: of(&c, ldc),
            })
        }
    )*};
}

products! {
    /// Multiplies a symmetric matrix and another.
    symm false;
    /// Multiplies a Hermitian matrix and another.
    hemm true;
}

/// What the functions have in common that make a symmetric or Hermitian matrix.
struct Square<'call> {
    is_hermitian: bool,
    uplo: cublasFillMode_t,
    trans: cublasOperation_t,
    sizes: [i64; 2],
    factors: [Memory<'call>; 2],
    a: (Memory<'call>, i64),
    b: Option<(Memory<'call>, i64)>,
    c: (Memory<'call>, i64),
}

impl Square<'_> {
    fn send(self, kind: Kind, handle: cublasHandle_t) -> Result<(), Error> {
        let state = handles::state(handle)?;
        check_uplo(self.uplo)?;
        check_operation(self.trans)?;
        // A Hermitian result takes conjugates; a symmetric one of complex numbers takes none.
        let other = if self.is_hermitian { cublasOperation_t::T } else { cublasOperation_t::C };
        let is_complex = real_of(kind.element) != kind.element;
        require(self.trans != other || !is_complex)?;
        let [n, k] = self.sizes;
        let rows = if self.trans == cublasOperation_t::N { n } else { k };
        require(n >= 0 && k >= 0 && self.a.1 >= rows.max(1) && self.c.1 >= n.max(1))?;
        require(self.b.as_ref().is_none_or(|(_, ldb)| *ldb >= rows.max(1)))?;
        // So that the diagonal stays real: alpha of herk, and beta of both.
        let real = real_of(kind.element);
        let is_of_two = self.b.is_some();
        let alpha_kind = if self.is_hermitian && !is_of_two { real } else { kind.element };
        let beta_kind = if self.is_hermitian { real } else { kind.element };
        let [alpha, beta] = self.factors;
        let alpha = scalar(&state, alpha_kind, alpha)?;
        let beta = scalar(&state, beta_kind, beta)?;
        if n == 0 {
            return Ok(());
        }
        let of = |(memory, step): &(Memory<'_>, i64)| operand(memory, kind.element, *step, 0);
        driver::post(&AddSquare {
            setting: state.setting(handle),
            hermitian: u8::from(self.is_hermitian),
            of_two: u8::from(is_of_two),
            uplo: self.uplo.0,
            trans: self.trans.0,
            n,
            k,
            alpha,
            a: of(&self.a),
            b: self.b.as_ref().map_or_else(no_operand, of),
            beta,
            c: of(&self.c),
        })
    }
}

macro_rules! squares {
    ($($(#[$doc:meta])* $name:ident $hermitian:literal $(, two $b:ident $ldb:ident)?;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As the documentation of the function says.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            kind: Kind,
            handle: cublasHandle_t,
            uplo: cublasFillMode_t,
            trans: cublasOperation_t,
            n: i64,
            k: i64,
            alpha: Memory<'_>,
            a: Memory<'_>,
            lda: i64,
            $($b: Memory<'_>, $ldb: i64,)?
            beta: Memory<'_>,
            c: Memory<'_>,
            ldc: i64,
        ) -> Result<(), Error> {
            let square = Square {
                is_hermitian: $hermitian,
                uplo,
                trans,
                sizes: [n, k],
                factors: [alpha, beta],
                a: (a, lda),
                b: squares!(@some $($b $ldb)?),
                c: (c, ldc),
            };
            square.send(kind, handle)
        }
    )*};
    (@some) => { None };
    (@some $b:ident $ldb:ident) => { Some(($b, $ldb)) };
}

squares! {
    /// Adds the product of a matrix and its transpose to one half of a matrix.
    syrk false;
    /// As [`syrk`], with the conjugate transpose.
    herk true;
    /// Adds the product of a matrix and another's transpose to one half of a matrix.
    syrkx false, two b ldb;
    /// As [`syrkx`], with the conjugate transpose.
    herkx true, two b ldb;
}
