//! Numbers made of vectors (cuBLAS Library, "cuBLAS Level-1 Function Reference"): the only
//! operations for which a program waits, unless the number goes to the device.

use vgpu_abi::cublas::{
    Error, cublasHandle_t, cublasPointerMode_t, cudaDataType_t as Data, form, operation,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cublas::{Operand, Reduce, ReduceToDevice};

use super::Kind;
use super::argument::{compute_of, no_operand, operand, real_of, require, scalar_bytes};
use crate::{driver, handles};

/// What a function was asked for.
struct Asked<'call> {
    operation: u32,
    form: u32,
    n: i64,
    x: Operand,
    y: Operand,
    compute: Data,
    result: Memory<'call>,
    result_kind: Data,
}

impl Asked<'_> {
    fn send(self, handle: cublasHandle_t) -> Result<(), Error> {
        let state = handles::state(handle)?;
        require(self.result.address() != 0)?;
        let setting = state.setting(handle);
        let Self { operation, form, n, x, y, result, .. } = self;
        let (compute, result_kind) = (self.compute.0, self.result_kind.0);
        if state.pointer_mode == cublasPointerMode_t::DEVICE {
            let result = result.address();
            return driver::post(&ReduceToDevice {
                setting,
                operation,
                form,
                n,
                x,
                y,
                compute,
                result_kind,
                result,
            });
        }
        let mut value = [0; 16];
        if n > 0 {
            let asked = Reduce { setting, operation, form, n, x, y, compute, result_kind };
            value = driver::call(&asked)?.value;
        }
        result.store(&value[..scalar_bytes(self.result_kind)?])
    }
}

fn dot_of(
    kind: Kind,
    operation: u32,
    handle: cublasHandle_t,
    n: i64,
    (x, incx): (Memory<'_>, i64),
    (y, incy): (Memory<'_>, i64),
    result: Memory<'_>,
) -> Result<(), Error> {
    let asked = Asked {
        operation,
        form: form::TYPED,
        n,
        x: operand(&x, kind.element, incx, 0),
        y: operand(&y, kind.element, incy, 0),
        compute: kind.element,
        result,
        result_kind: kind.element,
    };
    asked.send(handle)
}

/// Sums the products of the elements of x and y.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none, INVALID_VALUE if `result` is NULL.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn dot(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    incx: i64,
    y: Memory<'_>,
    incy: i64,
    result: Memory<'_>,
) -> Result<(), Error> {
    dot_of(kind, operation::DOT, handle, n, (x, incx), (y, incy), result)
}

/// As [`dot`], with the conjugates of x.
///
/// # Errors
/// Those of [`dot`].
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn dot_conjugate(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    incx: i64,
    y: Memory<'_>,
    incy: i64,
    result: Memory<'_>,
) -> Result<(), Error> {
    dot_of(kind, operation::DOT_CONJUGATE, handle, n, (x, incx), (y, incy), result)
}

macro_rules! extended_dots {
    ($($(#[$doc:meta])* $name:ident $operation:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Those of [`dot`], and NOT_SUPPORTED for types that do not belong together.
        #[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
        pub fn $name(
            handle: cublasHandle_t,
            n: i64,
            x: Memory<'_>,
            x_kind: Data,
            incx: i64,
            y: Memory<'_>,
            y_kind: Data,
            incy: i64,
            result: Memory<'_>,
            result_kind: Data,
            compute: Data,
        ) -> Result<(), Error> {
            handles::state(handle)?;
            if x_kind != y_kind || result_kind != x_kind || compute != compute_of(x_kind)? {
                return Err(Error::NOT_SUPPORTED);
            }
            let asked = Asked {
                operation: operation::$operation,
                form: form::EXTENDED,
                n,
                x: operand(&x, x_kind, incx, 0),
                y: operand(&y, y_kind, incy, 0),
                compute,
                result,
                result_kind,
            };
            asked.send(handle)
        }
    )*};
}

extended_dots! {
    /// As [`dot`], with the types as arguments.
    dot_ex DOT;
    /// As [`dot_conjugate`], with the types as arguments.
    dot_conjugate_ex DOT_CONJUGATE;
}

/// Asks for a number made of one vector.
fn of_one(
    operation: u32,
    handle: cublasHandle_t,
    n: i64,
    (x, kind, incx): (Memory<'_>, Data, i64),
    (result, result_kind): (Memory<'_>, Data),
) -> Result<(), Error> {
    // "If n or incx are not positive, the result is 0" (reference BLAS).
    let n = if incx > 0 { n } else { 0 };
    let asked = Asked {
        operation,
        form: form::TYPED,
        n,
        x: operand(&x, kind, incx, 0),
        y: no_operand(),
        compute: kind,
        result,
        result_kind,
    };
    asked.send(handle)
}

/// Computes the Euclidean length of a vector.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none, INVALID_VALUE if `result` is NULL.
pub fn nrm2(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    incx: i64,
    result: Memory<'_>,
) -> Result<(), Error> {
    of_one(operation::NRM2, handle, n, (x, kind.element, incx), (result, kind.scalar))
}

/// As [`nrm2`], with the types as arguments.
///
/// # Errors
/// Those of [`nrm2`], and NOT_SUPPORTED for types that do not belong together.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub fn nrm2_ex(
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    x_kind: Data,
    incx: i64,
    result: Memory<'_>,
    result_kind: Data,
    compute: Data,
) -> Result<(), Error> {
    handles::state(handle)?;
    if result_kind != real_of(x_kind) || compute != real_of(compute_of(x_kind)?) {
        return Err(Error::NOT_SUPPORTED);
    }
    let asked = Asked {
        operation: operation::NRM2,
        form: form::EXTENDED,
        n: if incx > 0 { n } else { 0 },
        x: operand(&x, x_kind, incx, 0),
        y: no_operand(),
        compute,
        result,
        result_kind,
    };
    asked.send(handle)
}

/// Sums the absolute values of a vector; of a complex number those of both parts.
///
/// # Errors
/// NOT_INITIALIZED for a handle that is none, INVALID_VALUE if `result` is NULL.
pub fn asum(
    kind: Kind,
    handle: cublasHandle_t,
    n: i64,
    x: Memory<'_>,
    incx: i64,
    result: Memory<'_>,
) -> Result<(), Error> {
    of_one(operation::ASUM, handle, n, (x, kind.element, incx), (result, kind.scalar))
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident $operation:ident $kind:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// NOT_INITIALIZED for a handle that is none, INVALID_VALUE if `result` is NULL.
        pub fn $name(
            kind: Kind,
            handle: cublasHandle_t,
            n: i64,
            x: Memory<'_>,
            incx: i64,
            result: Memory<'_>,
        ) -> Result<(), Error> {
            let x = (x, kind.element, incx);
            of_one(operation::$operation, handle, n, x, (result, Data::$kind))
        }
    )*};
}

places! {
    /// Finds the first element with the largest absolute value, counted from 1.
    amax AMAX R_32I;
    /// As [`amax`], with a result of 64 bits.
    amax_wide AMAX R_64I;
    /// Finds the first element with the smallest absolute value, counted from 1.
    amin AMIN R_32I;
    /// As [`amin`], with a result of 64 bits.
    amin_wide AMIN R_64I;
}
