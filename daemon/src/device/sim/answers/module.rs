//! What the simulated device answers about modules, and about the images that make them.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    FunctionFacts, ImagePart, JitReport, ModuleGetFunction, ModuleGetFunctionReply,
    ModuleGetGlobal, ModuleGetGlobalReply, ModuleListFunctions, ModuleListFunctionsReply,
    ModuleLoad, ModuleLoadReply, ModuleUnload,
};

use crate::device::Sim;
use crate::dispatch::{Call, ModuleCalls};
use crate::image::ImageError;
use crate::log;

/// Most handles in one answer, as the messages say.
pub(super) const LISTED_MAX: usize = 4096;

/// Longest report on an image: enough for a sentence that quotes something.
const REPORT_BYTES_MAX: usize = 4096;

impl ModuleCalls for Sim {
    fn module_load(&mut self, call: &Call, r: ModuleLoad) -> Result<ModuleLoadReply, Error> {
        self.check(call)?;
        Ok(match self.read_image(&r.image)? {
            None => ModuleLoadReply { missing: 1, module: 0, report: report(&Ok(())) },
            Some(Ok(loaded)) => {
                let module = self.load_module(call.context, None, loaded)?;
                ModuleLoadReply { missing: 0, module, report: report(&Ok(())) }
            }
            Some(Err(error)) => {
                ModuleLoadReply { missing: 0, module: 0, report: report(&Err(error)) }
            }
        })
    }

    fn image_part(&mut self, _: &Call, r: ImagePart, bulk: &[u8]) -> Result<(), Error> {
        // What becomes of it the load that follows tells.
        self.images.take_part(&r.image, r.offset, bulk);
        Ok(())
    }

    fn module_unload(&mut self, _: &Call, r: ModuleUnload) -> Result<(), Error> {
        self.unload_module(r.hmod)
    }

    fn module_get_function(
        &mut self,
        call: &Call,
        r: ModuleGetFunction,
    ) -> Result<ModuleGetFunctionReply, Error> {
        let function = self.function_named(r.module, &r.name)?;
        Ok(ModuleGetFunctionReply { function, facts: self.facts(call, function)? })
    }

    fn module_get_global(
        &mut self,
        _: &Call,
        r: ModuleGetGlobal,
    ) -> Result<ModuleGetGlobalReply, Error> {
        let (address, bytes) = self.variable(r.module, &r.name)?;
        Ok(ModuleGetGlobalReply { address, bytes })
    }

    fn module_list_functions(
        &mut self,
        _: &Call,
        r: ModuleListFunctions,
    ) -> Result<ModuleListFunctionsReply, Error> {
        let (count, functions) = self.functions_from(r.module, r.first, LISTED_MAX)?;
        Ok(ModuleListFunctionsReply { count, functions })
    }
}

impl Sim {
    /// What a guest must know of a function, or of a kernel in the current context.
    pub(super) fn facts(&self, call: &Call, function: u64) -> Result<FunctionFacts, Error> {
        let resolved = self.resolve(call.context, function)?;
        Ok(resolved.settings.facts(resolved.kernel()))
    }
}

/// Cuts what is said of an image: it may quote a word of it, however long that is.
fn cut(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).find(|&at| at >= REPORT_BYTES_MAX);
    &text[..end.unwrap_or(text.len())]
}

/// Says how the reading of an image went, as the just-in-time compiler says it.
pub(super) fn report(read: &Result<(), ImageError>) -> JitReport {
    let (result, error_log) = match read {
        Ok(()) => (0, Vec::new()),
        Err(error) => {
            let why = cut(&error.to_string()).to_owned();
            log::event("image-unusable", &[("because", &why)]);
            let code = match error {
                ImageError::Invalid { .. } => Error::INVALID_IMAGE,
                ImageError::NoBinary { .. } => Error::NO_BINARY_FOR_GPU,
                ImageError::NewPtx { .. } => Error::UNSUPPORTED_PTX_VERSION,
                ImageError::Ptx { .. } => Error::INVALID_PTX,
            };
            (code.code(), why.into_bytes())
        }
    };
    JitReport { result, info_log: Vec::new(), error_log, values: Vec::new() }
}
