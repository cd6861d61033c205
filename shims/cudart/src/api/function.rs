//! What is known of a kernel, and set for it (CUDA Runtime API, "Execution Control").
//!
//! Attributes are those of the kernel on the thread's device; their numbers are the driver's own.

use std::ffi::c_char;
use std::ptr;

use vgpu_abi::cudart::{cudaFuncAttribute, cudaFuncCache, cudaSharedMemConfig};
use vgpu_abi::{cudart12, cudart13};
use vgpu_guest::convert::Memory;

use crate::code::{self, Code};
use crate::driver::{self, Driver};
use crate::primary;
use crate::result::{Error, Result};

/// The last attribute that every driver since CUDA 11 knows. A later one may be unknown to an
/// older driver, whose kernels then lack the feature.
const LAST_BASIC_ATTRIBUTE: u32 = 9;

/// Returns the attributes of a kernel in the layout of the library's major.
pub fn func_get_attributes<A: Layout>(function: Memory<'_>) -> Result<A> {
    A::of(&Subject::new(function)?)
}

/// Sets one attribute of a kernel.
pub fn func_set_attribute(
    function: Memory<'_>,
    attribute: cudaFuncAttribute,
    value: i32,
) -> Result<()> {
    let subject = Subject::new(function)?;
    match subject.code {
        Code::Kernel(kernel) => {
            subject.driver.kernel_set_attribute(attribute.0, value, kernel, subject.device)
        }
        Code::Function(function) => subject.driver.func_set_attribute(function, attribute.0, value),
    }
}

/// Sets the preferred split between cache and shared memory for a kernel.
pub fn func_set_cache_config(function: Memory<'_>, config: cudaFuncCache) -> Result<()> {
    let subject = Subject::new(function)?;
    match subject.code {
        Code::Kernel(kernel) => {
            subject.driver.kernel_set_cache_config(kernel, config.0, subject.device)
        }
        Code::Function(function) => subject.driver.func_set_cache_config(function, config.0),
    }
}

/// Sets the bank size of shared memory for a kernel.
pub fn func_set_shared_mem_config(function: Memory<'_>, config: cudaSharedMemConfig) -> Result<()> {
    let subject = Subject::new(function)?;
    let function = subject.code.function(subject.driver)?;
    subject.driver.func_set_shared_mem_config(function, config.0)
}

/// Returns the name of a kernel in its image; it lives as long as the kernel.
pub fn func_get_name(function: Memory<'_>) -> Result<*const c_char> {
    let subject = Subject::new(function)?;
    let mut name = 0;
    match subject.code {
        Code::Kernel(kernel) => subject.driver.kernel_get_name(&mut name, kernel)?,
        Code::Function(function) => subject.driver.func_get_name(&mut name, function)?,
    }
    Ok(ptr::with_exposed_provenance(name as usize))
}

/// Returns where a parameter of a kernel stands among its parameters, and its size in bytes.
pub fn func_get_param_info(function: Memory<'_>, index: usize) -> Result<(usize, usize)> {
    let subject = Subject::new(function)?;
    let (mut offset, mut size) = (0, 0);
    match subject.code {
        Code::Kernel(kernel) => {
            subject.driver.kernel_get_param_info(kernel, index, &mut offset, &mut size)?;
        }
        Code::Function(function) => {
            subject.driver.func_get_param_info(function, index, &mut offset, &mut size)?;
        }
    }
    Ok((offset, size))
}

/// Returns how many parameters a kernel has.
pub fn func_get_param_count(function: Memory<'_>) -> Result<usize> {
    let subject = Subject::new(function)?;
    let mut count = 0;
    match subject.code {
        Code::Kernel(kernel) => subject.driver.kernel_get_param_count(kernel, &mut count)?,
        Code::Function(function) => subject.driver.func_get_param_count(function, &mut count)?,
    }
    Ok(count)
}

/// A kernel on the thread's device.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    driver: &'static Driver,
    device: i32,
    code: Code,
}

impl Subject {
    fn new(function: Memory<'_>) -> Result<Self> {
        let code = code::of(function.address())?;
        primary::current()?;
        let (driver, device) = driver::device(primary::device()?)?;
        Ok(Self { driver, device, code })
    }

    /// Returns one attribute by the driver's number (`CUfunction_attribute`).
    ///
    /// # Errors
    /// Those of the driver.
    pub fn attribute(&self, attribute: u32) -> Result<i32> {
        let mut value = 0;
        let answer = match self.code {
            Code::Kernel(kernel) => {
                self.driver.kernel_get_attribute(&mut value, attribute, kernel, self.device)
            }
            Code::Function(function) => {
                self.driver.func_get_attribute(&mut value, attribute, function)
            }
        };
        match answer {
            Err(Error::INVALID_VALUE) if attribute > LAST_BASIC_ATTRIBUTE => Ok(0),
            answer => answer.map(|()| value),
        }
    }

    fn bytes(&self, attribute: u32) -> Result<usize> {
        Ok(usize::try_from(self.attribute(attribute)?).unwrap_or(0))
    }
}

/// A layout of `cudaFuncAttributes`.
pub trait Layout: Sized {
    /// Reads the attributes of a kernel.
    ///
    /// # Errors
    /// Those of the driver.
    fn of(subject: &Subject) -> Result<Self>;
}

/// Fills a layout: the fields that both have, then what is listed.
macro_rules! layout {
    ($kind:ty, $($field:ident: $value:expr),*) => {
        impl Layout for $kind {
            fn of(s: &Subject) -> Result<Self> {
                Ok(Self {
                    sharedSizeBytes: s.bytes(1)?,
                    constSizeBytes: s.bytes(2)?,
                    localSizeBytes: s.bytes(3)?,
                    maxThreadsPerBlock: s.attribute(0)?,
                    numRegs: s.attribute(4)?,
                    ptxVersion: s.attribute(5)?,
                    binaryVersion: s.attribute(6)?,
                    cacheModeCA: s.attribute(7)?,
                    maxDynamicSharedSizeBytes: s.attribute(8)?,
                    preferredShmemCarveout: s.attribute(9)?,
                    clusterDimMustBeSet: s.attribute(10)?,
                    requiredClusterWidth: s.attribute(11)?,
                    requiredClusterHeight: s.attribute(12)?,
                    requiredClusterDepth: s.attribute(13)?,
                    clusterSchedulingPolicyPreference: s.attribute(15)?,
                    nonPortableClusterSizeAllowed: s.attribute(14)?,
                    $($field: $value),*
                })
            }
        }
    };
}

layout! { cudart12::cudaFuncAttributes, reserved: [0; 16] }
layout! { cudart13::cudaFuncAttributes,
    deviceNodeUpdateStatus: 0, sharedMemoryMode: cudart13::cudaSharedMemoryMode(0),
    reserved: [0; 14]
}
