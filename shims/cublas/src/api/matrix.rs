//! Matrices and vectors together, and sums of matrices (cuBLAS Library, "cuBLAS Level-2 Function
//! Reference" and "BLAS-like Extension").

use vgpu_abi::cublas::{Error, batch, cublasHandle_t, cublasOperation_t, cublasSideMode_t};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{AddMatrices, AddOuter, MultiplyVector, Operand, ScaleLines};

use super::Kind;
use super::argument::{check_operation, check_side, operand, require, scalar};
use crate::{driver, handles};

/// What the three forms of gemv have in common.
struct Product<'call> {
    batch: u32,
    count: i64,
    trans: cublasOperation_t,
    sizes: [i64; 2],
    factors: [Memory<'call>; 2],
    a: Operand,
    x: Operand,
    y: Operand,
}

impl Product<'_> {
    fn send(self, kind: Kind, handle: cublasHandle_t) -> Result<(), Error> {
        let state = handles::state(handle)?;
        let [m, n] = self.sizes;
        check_operation(self.trans)?;
        require(m >= 0 && n >= 0 && self.count >= 0 && self.a.step >= m.max(1))?;
        require(self.x.step != 0 && self.y.step != 0)?;
        let [alpha, beta] = self.factors;
        let alpha = scalar(&state, kind.scalar, alpha)?;
        let beta = scalar(&state, kind.scalar, beta)?;
        if m == 0 || n == 0 || self.count == 0 {
            return Ok(());
        }
        driver::post(&MultiplyVector {
            setting: state.setting(handle),
            batch: self.batch,
            count: self.count,
            trans: self.trans.0,
            m,
            n,
            alpha,
            a: self.a,
            x: self.x,
            beta,
            y: self.y,
        })
    }
}

macro_rules! products {
    ($($(#[$doc:meta])* $name:ident $batch:ident
        $(, strides $sa:ident $sx:ident $sy:ident)? $(, count $count:ident)?;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As the documentation of the function says.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            kind: Kind,
            handle: cublasHandle_t,
            trans: cublasOperation_t,
            m: i64,
            n: i64,
            alpha: Memory<'_>,
            a: Memory<'_>,
            lda: i64,
            $($sa: i64,)?
            x: Memory<'_>,
            incx: i64,
            $($sx: i64,)?
            beta: Memory<'_>,
            y: Memory<'_>,
            incy: i64,
            $($sy: i64,)?
            $($count: i64,)?
        ) -> Result<(), Error> {
            let product = Product {
                batch: batch::$batch,
                count: products!(@or 1 $(, $count)?),
                trans,
                sizes: [m, n],
                factors: [alpha, beta],
                a: operand(&a, kind.element, lda, products!(@or 0 $(, $sa)?)),
                x: operand(&x, kind.element, incx, products!(@or 0 $(, $sx)?)),
                y: operand(&y, kind.element, incy, products!(@or 0 $(, $sy)?)),
            };
            product.send(kind, handle)
        }
    )*};
    (@or $otherwise:literal) => { $otherwise };
    (@or $otherwise:literal, $given:ident) => { $given };
}

products! {
    /// Multiplies a matrix and a vector.
    gemv SINGLE;
    /// Multiplies matrices and vectors that lie at equal distances.
    gemv_strided_batched STRIDED, strides stride_a stride_x stride_y, count count;
    /// Multiplies matrices and vectors whose addresses are listed on the device.
    gemv_batched LISTED, count count;
}

fn outer(
    kind: Kind,
    is_conjugate: bool,
    handle: cublasHandle_t,
    [m, n]: [i64; 2],
    alpha: Memory<'_>,
    [x, y, a]: [Operand; 3],
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    require(m >= 0 && n >= 0 && x.step != 0 && y.step != 0 && a.step >= m.max(1))?;
    let alpha = scalar(&state, kind.scalar, alpha)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let (setting, conjugate) = (state.setting(handle), u8::from(is_conjugate));
    driver::post(&AddOuter { setting, conjugate, m, n, alpha, x, y, a })
}

macro_rules! outers {
    ($($(#[$doc:meta])* $name:ident $conjugate:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As the documentation of the function says.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            kind: Kind,
            handle: cublasHandle_t,
            m: i64,
            n: i64,
            alpha: Memory<'_>,
            x: Memory<'_>,
            incx: i64,
            y: Memory<'_>,
            incy: i64,
            a: Memory<'_>,
            lda: i64,
        ) -> Result<(), Error> {
            let of = |memory: &Memory<'_>, step| operand(memory, kind.element, step, 0);
            let operands = [of(&x, incx), of(&y, incy), of(&a, lda)];
            outer(kind, $conjugate, handle, [m, n], alpha, operands)
        }
    )*};
}

outers! {
    /// Adds the outer product of two vectors to a matrix.
    ger false;
    /// As [`ger`], with the conjugates of y.
    ger_conjugate true;
}

/// Adds two matrices, each as it is or transposed.
///
/// # Errors
/// As the documentation of the function says.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn geam(
    kind: Kind,
    handle: cublasHandle_t,
    transa: cublasOperation_t,
    transb: cublasOperation_t,
    m: i64,
    n: i64,
    alpha: Memory<'_>,
    a: Memory<'_>,
    lda: i64,
    beta: Memory<'_>,
    b: Memory<'_>,
    ldb: i64,
    c: Memory<'_>,
    ldc: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    let rows = |operation| if operation == cublasOperation_t::N { m } else { n };
    [transa, transb].into_iter().try_for_each(check_operation)?;
    require(m >= 0 && n >= 0 && lda >= rows(transa).max(1))?;
    require(ldb >= rows(transb).max(1) && ldc >= m.max(1))?;
    // In place only as it is ("In-place mode", cublas<t>geam).
    for (one, operation, leading) in [(&a, transa, lda), (&b, transb, ldb)] {
        let is_in_place = one.address() == c.address();
        require(!is_in_place || (operation == cublasOperation_t::N && leading == ldc))?;
    }
    let alpha = scalar(&state, kind.scalar, alpha)?;
    let beta = scalar(&state, kind.scalar, beta)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let of = |memory: &Memory<'_>, step| operand(memory, kind.element, step, 0);
    driver::post(&AddMatrices {
        setting: state.setting(handle),
        transa: transa.0,
        transb: transb.0,
        m,
        n,
        alpha,
        a: of(&a, lda),
        beta,
        b: of(&b, ldb),
        c: of(&c, ldc),
    })
}

/// Multiplies the rows (left) or columns (right) of a matrix by the elements of a vector.
///
/// # Errors
/// As the documentation of the function says.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn dgmm(
    kind: Kind,
    handle: cublasHandle_t,
    side: cublasSideMode_t,
    m: i64,
    n: i64,
    a: Memory<'_>,
    lda: i64,
    x: Memory<'_>,
    incx: i64,
    c: Memory<'_>,
    ldc: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    check_side(side)?;
    require(m >= 0 && n >= 0 && lda >= m.max(1) && ldc >= m.max(1))?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let of = |memory: &Memory<'_>, step| operand(memory, kind.element, step, 0);
    driver::post(&ScaleLines {
        setting: state.setting(handle),
        side: side.0,
        m,
        n,
        a: of(&a, lda),
        x: of(&x, incx),
        c: of(&c, ldc),
    })
}
