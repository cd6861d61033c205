//! Triangular matrices (cuBLAS Library, "cuBLAS Level-3 Function Reference" and "BLAS-like
//! Extension").

use vgpu_abi::cublas::{
    Error, batch, cublasDiagType_t, cublasFillMode_t, cublasHandle_t, cublasOperation_t,
    cublasSideMode_t,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{MultiplyTriangular, SolveTriangular};

use super::Kind;
use super::argument::{
    check_diag, check_operation, check_side, check_uplo, operand, require, scalar,
};
use crate::{driver, handles};

/// How a triangular matrix is given, and what it meets.
#[derive(Clone, Copy)]
struct Shape {
    side: cublasSideMode_t,
    uplo: cublasFillMode_t,
    trans: cublasOperation_t,
    diag: cublasDiagType_t,
    m: i64,
    n: i64,
}

impl Shape {
    fn check(&self, lda: i64, ldb: i64) -> Result<(), Error> {
        check_side(self.side)?;
        check_uplo(self.uplo)?;
        check_operation(self.trans)?;
        check_diag(self.diag)?;
        let order = if self.side == cublasSideMode_t::LEFT { self.m } else { self.n };
        require(self.m >= 0 && self.n >= 0 && lda >= order.max(1) && ldb >= self.m.max(1))
    }
}

fn solve(
    kind: Kind,
    handle: cublasHandle_t,
    shape: Shape,
    alpha: Memory<'_>,
    (a, lda): (Memory<'_>, i64),
    (b, ldb): (Memory<'_>, i64),
    (batch, count): (u32, i64),
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    shape.check(lda, ldb)?;
    require(count >= 0)?;
    let alpha = scalar(&state, kind.scalar, alpha)?;
    let Shape { side, uplo, trans, diag, m, n } = shape;
    if m == 0 || n == 0 || count == 0 {
        return Ok(());
    }
    driver::post(&SolveTriangular {
        setting: state.setting(handle),
        batch,
        count,
        side: side.0,
        uplo: uplo.0,
        trans: trans.0,
        diag: diag.0,
        m,
        n,
        alpha,
        a: operand(&a, kind.element, lda, 0),
        b: operand(&b, kind.element, ldb, 0),
    })
}

/// Solves equations with a triangular matrix; the solution takes the place of B.
///
/// # Errors
/// As the documentation of the function says.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn trsm(
    kind: Kind,
    handle: cublasHandle_t,
    side: cublasSideMode_t,
    uplo: cublasFillMode_t,
    trans: cublasOperation_t,
    diag: cublasDiagType_t,
    m: i64,
    n: i64,
    alpha: Memory<'_>,
    a: Memory<'_>,
    lda: i64,
    b: Memory<'_>,
    ldb: i64,
) -> Result<(), Error> {
    let shape = Shape { side, uplo, trans, diag, m, n };
    solve(kind, handle, shape, alpha, (a, lda), (b, ldb), (batch::SINGLE, 1))
}

/// As [`trsm`], for matrices whose addresses are listed on the device.
///
/// # Errors
/// As the documentation of the function says.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn trsm_batched(
    kind: Kind,
    handle: cublasHandle_t,
    side: cublasSideMode_t,
    uplo: cublasFillMode_t,
    trans: cublasOperation_t,
    diag: cublasDiagType_t,
    m: i64,
    n: i64,
    alpha: Memory<'_>,
    a: Memory<'_>,
    lda: i64,
    b: Memory<'_>,
    ldb: i64,
    count: i64,
) -> Result<(), Error> {
    let shape = Shape { side, uplo, trans, diag, m, n };
    solve(kind, handle, shape, alpha, (a, lda), (b, ldb), (batch::LISTED, count))
}

/// Multiplies a triangular matrix and another.
///
/// # Errors
/// As the documentation of the function says.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn trmm(
    kind: Kind,
    handle: cublasHandle_t,
    side: cublasSideMode_t,
    uplo: cublasFillMode_t,
    trans: cublasOperation_t,
    diag: cublasDiagType_t,
    m: i64,
    n: i64,
    alpha: Memory<'_>,
    a: Memory<'_>,
    lda: i64,
    b: Memory<'_>,
    ldb: i64,
    c: Memory<'_>,
    ldc: i64,
) -> Result<(), Error> {
    let state = handles::state(handle)?;
    Shape { side, uplo, trans, diag, m, n }.check(lda, ldb)?;
    require(ldc >= m.max(1))?;
    let alpha = scalar(&state, kind.scalar, alpha)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    driver::post(&MultiplyTriangular {
        setting: state.setting(handle),
        side: side.0,
        uplo: uplo.0,
        trans: trans.0,
        diag: diag.0,
        m,
        n,
        alpha,
        a: operand(&a, kind.element, lda, 0),
        b: operand(&b, kind.element, ldb, 0),
        c: operand(&c, kind.element, ldc, 0),
    })
}
