//! Kernels of libraries of the genuine driver.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    KernelAttributes, KernelAttributesReply, KernelDescribe, KernelDescribeReply,
    KernelGetFunction, KernelGetFunctionReply,
};

use super::Nvidia;
use super::code::attributes;
use super::foreign::{Pointer, given_text};
use super::handles::Kind;
use crate::dispatch::Call;

pub(super) fn kernel_describe(
    nvidia: &mut Nvidia,
    _: &Call,
    r: KernelDescribe,
) -> Result<KernelDescribeReply, Error> {
    let kernel = nvidia.handles.find(Kind::Kernel, r.kernel)?;
    let (mut name, mut library) = (Pointer::default(), Pointer::default());
    nvidia.driver.kernel_get_name(&mut name, kernel)?;
    nvidia.driver.kernel_get_library(&mut library, kernel)?;
    let name = given_text(name);
    let library = nvidia.handles.keep(Kind::Library, library, 0)?;
    let parameters = nvidia.kernel_parameters(r.kernel, &name)?;
    Ok(KernelDescribeReply { name, library, parameters })
}

pub(super) fn kernel_get_function(
    nvidia: &mut Nvidia,
    call: &Call,
    r: KernelGetFunction,
) -> Result<KernelGetFunctionReply, Error> {
    nvidia.enter(call)?;
    let kernel = nvidia.handles.find(Kind::Kernel, r.kernel)?;
    let mut function = Pointer::default();
    nvidia.driver.kernel_get_function(&mut function, kernel)?;
    let function = nvidia.handles.keep(Kind::Function, function, r.kernel)?;
    Ok(KernelGetFunctionReply { function, facts: nvidia.facts(function, None)? })
}

pub(super) fn kernel_attributes(
    nvidia: &mut Nvidia,
    _: &Call,
    r: KernelAttributes,
) -> Result<KernelAttributesReply, Error> {
    let kernel = nvidia.handles.find(Kind::Kernel, r.kernel)?;
    let device = nvidia.device(r.device)?;
    let attributes = attributes(|value, attribute| {
        nvidia.driver.kernel_get_attribute(value, attribute, kernel, device)
    });
    Ok(KernelAttributesReply { attributes })
}
