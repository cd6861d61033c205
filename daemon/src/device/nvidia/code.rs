//! What the genuine driver says of functions and kernels.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{FunctionAttribute, FunctionFacts, Parameter};

use super::Nvidia;
use super::foreign::{Pointer, given_text};
use super::handles::Kind;

/// Largest number that is asked for as an attribute of a function: 31. CUDA 13 defines 16.
const ATTRIBUTE_MAX: u32 = 31;

/// Most parameters of a function: one for each byte of the largest parameter space.
pub(super) const PARAMETERS_MAX: usize = 32_764;

/// Most handles in one answer, as the messages say.
pub(super) const LISTED_MAX: usize = 4096;

impl Nvidia {
    /// Finds a function, or a kernel in the place of one.
    pub(super) fn function(&self, number: u64) -> Result<Pointer, Error> {
        let kernel = self.handles.find(Kind::Kernel, number);
        kernel.or_else(|_| self.handles.find(Kind::Function, number))
    }

    /// Says what the guest must know of a function, of which the name may be known.
    pub(super) fn facts(
        &mut self,
        number: u64,
        name: Option<&[u8]>,
    ) -> Result<FunctionFacts, Error> {
        let function = self.handles.find(Kind::Function, number)?;
        let attributes = attributes(|value, attribute| {
            self.driver.func_get_attribute(value, attribute, function)
        });
        let parameters = self.layout(number, name, |nvidia| {
            parameters(|index, offset, bytes| {
                nvidia.driver.func_get_param_info(function, index, offset, bytes)
            })
        })?;
        Ok(FunctionFacts { attributes, parameters })
    }

    /// Learns where the parameters of a function or kernel lie, unless that is known.
    pub(super) fn learn_layout(&mut self, number: u64) -> Result<(), Error> {
        if self.layouts.find(number).is_ok() {
            return Ok(());
        }
        let mut name = Pointer::default();
        match self.handles.find(Kind::Kernel, number) {
            Ok(kernel) => {
                self.driver.kernel_get_name(&mut name, kernel)?;
                self.kernel_parameters(number, &given_text(name)).map(drop)
            }
            Err(_) => {
                let function = self.handles.find(Kind::Function, number)?;
                self.driver.func_get_name(&mut name, function)?;
                self.facts(number, Some(&given_text(name))).map(drop)
            }
        }
    }

    /// Says where the parameters of a kernel lie.
    pub(super) fn kernel_parameters(
        &mut self,
        number: u64,
        name: &[u8],
    ) -> Result<Vec<Parameter>, Error> {
        let kernel = self.handles.find(Kind::Kernel, number)?;
        self.layout(number, Some(name), |nvidia| {
            parameters(|index, offset, bytes| {
                nvidia.driver.kernel_get_param_info(kernel, index, offset, bytes)
            })
        })
    }
}

/// Asks for all attributes that the driver knows.
pub(super) fn attributes(
    ask: impl Fn(&mut i32, u32) -> Result<(), Error>,
) -> Vec<FunctionAttribute> {
    let one = |attribute| {
        let mut value = 0;
        ask(&mut value, attribute).ok().map(|()| FunctionAttribute { attribute, value })
    };
    (0..=ATTRIBUTE_MAX).filter_map(one).collect()
}

/// Asks for one parameter after the other, until there is none of that index (INVALID_VALUE).
fn parameters(
    ask: impl Fn(usize, &mut usize, &mut usize) -> Result<(), Error>,
) -> Result<Vec<Parameter>, Error> {
    let mut parameters = Vec::new();
    while parameters.len() < PARAMETERS_MAX {
        let (mut offset, mut bytes) = (0, 0);
        match ask(parameters.len(), &mut offset, &mut bytes) {
            Ok(()) => {
                parameters.push(Parameter { offset: offset as u32, bytes: bytes as u32 });
            }
            Err(Error::INVALID_VALUE) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(parameters)
}
