//! What the simulated device answers about kernels of libraries.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    KernelAttributes, KernelAttributesReply, KernelDescribe, KernelDescribeReply,
    KernelGetFunction, KernelGetFunctionReply, KernelSetAttribute, KernelSetCacheConfig,
};

use super::super::code::parameters;
use crate::device::Sim;
use crate::dispatch::{Call, KernelCalls};

impl KernelCalls for Sim {
    fn kernel_describe(
        &mut self,
        _: &Call,
        r: KernelDescribe,
    ) -> Result<KernelDescribeReply, Error> {
        let (library, kernel) = self.library_kernel(r.kernel)?;
        let name = kernel.name.clone().into_bytes();
        Ok(KernelDescribeReply { name, library, parameters: parameters(kernel) })
    }

    fn kernel_get_function(
        &mut self,
        call: &Call,
        r: KernelGetFunction,
    ) -> Result<KernelGetFunctionReply, Error> {
        let function = self.function_of_kernel(call.context, r.kernel)?;
        Ok(KernelGetFunctionReply { function, facts: self.facts(call, function)? })
    }

    fn kernel_attributes(
        &mut self,
        _: &Call,
        r: KernelAttributes,
    ) -> Result<KernelAttributesReply, Error> {
        let settings = self.kernel_settings(r.kernel, r.device)?;
        let (_, kernel) = self.library_kernel(r.kernel)?;
        Ok(KernelAttributesReply { attributes: settings.attributes(kernel) })
    }

    fn kernel_set_attribute(&mut self, _: &Call, r: KernelSetAttribute) -> Result<(), Error> {
        self.change_kernel(r.kernel, r.dev, |settings, kernel| {
            settings.change(kernel, r.attrib, r.val)
        })
    }

    fn kernel_set_cache_config(&mut self, _: &Call, r: KernelSetCacheConfig) -> Result<(), Error> {
        self.change_kernel(r.kernel, r.dev, |settings, _| settings.prefer(r.config))
    }
}
