//! What the simulated device answers about libraries.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    LibraryGetGlobal, LibraryGetGlobalReply, LibraryGetKernel, LibraryGetKernelReply,
    LibraryGetModule, LibraryGetModuleReply, LibraryListKernels, LibraryListKernelsReply,
    LibraryLoad, LibraryLoadReply, LibraryUnload,
};

use super::super::code::parameters;
use super::module::{LISTED_MAX, report};
use crate::device::Sim;
use crate::dispatch::{Call, LibraryCalls};

impl LibraryCalls for Sim {
    fn library_load(&mut self, _: &Call, r: LibraryLoad) -> Result<LibraryLoadReply, Error> {
        Ok(match self.read_image(&r.image)? {
            None => LibraryLoadReply { missing: 1, library: 0, report: report(&Ok(())) },
            Some(Ok(loaded)) => {
                let library = self.load_library(loaded)?;
                LibraryLoadReply { missing: 0, library, report: report(&Ok(())) }
            }
            Some(Err(error)) => {
                LibraryLoadReply { missing: 0, library: 0, report: report(&Err(error)) }
            }
        })
    }

    fn library_unload(&mut self, _: &Call, r: LibraryUnload) -> Result<(), Error> {
        self.unload_library(r.library)
    }

    fn library_get_kernel(
        &mut self,
        _: &Call,
        r: LibraryGetKernel,
    ) -> Result<LibraryGetKernelReply, Error> {
        let kernel = self.kernel_named(r.library, &r.name)?;
        let parameters = parameters(self.library_kernel(kernel)?.1);
        Ok(LibraryGetKernelReply { kernel, parameters })
    }

    fn library_get_module(
        &mut self,
        call: &Call,
        r: LibraryGetModule,
    ) -> Result<LibraryGetModuleReply, Error> {
        Ok(LibraryGetModuleReply { p_mod: self.module_of_library(call.context, r.library)? })
    }

    fn library_get_global(
        &mut self,
        call: &Call,
        r: LibraryGetGlobal,
    ) -> Result<LibraryGetGlobalReply, Error> {
        let module = self.module_of_library(call.context, r.library)?;
        let (address, bytes) = self.variable(module, &r.name)?;
        Ok(LibraryGetGlobalReply { address, bytes })
    }

    fn library_list_kernels(
        &mut self,
        _: &Call,
        r: LibraryListKernels,
    ) -> Result<LibraryListKernelsReply, Error> {
        let (count, kernels) = self.kernels_from(r.library, r.first, LISTED_MAX)?;
        Ok(LibraryListKernelsReply { count, kernels })
    }
}
