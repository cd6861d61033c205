//! What the simulated device answers about functions.

use vgpu_abi::cuda::{CUfunctionLoadingState as LoadingState, Error};
use vgpu_link::wire::cuda::{
    FuncIsLoaded, FuncIsLoadedReply, FuncLoad, FuncSetAttribute, FuncSetCacheConfig,
    FuncSetSharedMemConfig, FunctionDescribe, FunctionDescribeReply,
};

use crate::device::Sim;
use crate::dispatch::{Call, FunctionCalls};

impl FunctionCalls for Sim {
    fn function_describe(
        &mut self,
        call: &Call,
        r: FunctionDescribe,
    ) -> Result<FunctionDescribeReply, Error> {
        let (module, context) = self.module_of_function(r.function)?;
        let resolved = self.resolve(context, r.function)?;
        let name = resolved.kernel().name.clone().into_bytes();
        Ok(FunctionDescribeReply { name, module, facts: self.facts(call, r.function)? })
    }

    fn func_set_attribute(&mut self, _: &Call, r: FuncSetAttribute) -> Result<(), Error> {
        self.change_function(r.hfunc, |settings, kernel| settings.change(kernel, r.attrib, r.value))
    }

    fn func_set_cache_config(&mut self, _: &Call, r: FuncSetCacheConfig) -> Result<(), Error> {
        self.change_function(r.hfunc, |settings, _| settings.prefer(r.config))
    }

    fn func_set_shared_mem_config(
        &mut self,
        _: &Call,
        r: FuncSetSharedMemConfig,
    ) -> Result<(), Error> {
        // Banks are 4 bytes wide on this device whatever is asked for, as on all since 5.0.
        self.change_function(r.hfunc, |_, _| Ok(()))
    }

    fn func_load(&mut self, _: &Call, r: FuncLoad) -> Result<(), Error> {
        self.module_of_function(r.function).map(drop)
    }

    fn func_is_loaded(&mut self, _: &Call, r: FuncIsLoaded) -> Result<FuncIsLoadedReply, Error> {
        self.module_of_function(r.function)?;
        Ok(FuncIsLoadedReply { state: LoadingState::LOADED.0 })
    }
}
