//! Handles of kernels (CUDA Runtime API, "Execution Control").

use vgpu_abi::cudart::cudaFuncAttribute;
use vgpu_guest::convert::Memory;

use crate::code::{self, Code};
use crate::driver::{self, Function, Kernel};
use crate::primary;
use crate::result::{Error, Result};

/// Returns the kernel that a stub stands for.
///
/// # Errors
/// `INVALID_DEVICE_FUNCTION` if nobody registered the stub; those of loading its image.
pub fn get_kernel(stub: Memory<'_>) -> Result<Kernel> {
    match code::of(stub.address())? {
        Code::Kernel(kernel) => {
            code::give(Code::Kernel(kernel));
            Ok(kernel)
        }
        Code::Function(_) => Err(Error::INVALID_DEVICE_FUNCTION),
    }
}

/// Returns the function, in the current context, of the kernel that a stub stands for.
pub fn get_func_by_symbol(stub: Memory<'_>) -> Result<Function> {
    let code = code::of(stub.address())?;
    let function = code.function(primary::current()?)?;
    code::give(Code::Function(function));
    Ok(function)
}

/// Sets one attribute of a kernel on a device; the numbers are the driver's own.
pub fn kernel_set_attribute_for_device(
    kernel: Kernel,
    attribute: cudaFuncAttribute,
    value: i32,
    device: i32,
) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.kernel_set_attribute(attribute.0, value, kernel, handle)
}
