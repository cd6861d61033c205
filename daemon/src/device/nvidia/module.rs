//! Modules of the genuine driver, made of images that were stored.

use std::ffi::CString;
use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    Image, ImagePart, JitReport, ModuleGetFunction, ModuleGetFunctionReply, ModuleGetGlobal,
    ModuleGetGlobalReply, ModuleListFunctions, ModuleListFunctionsReply, ModuleLoad,
    ModuleLoadReply,
};

use super::Nvidia;
use super::code::LISTED_MAX;
use super::foreign::{Pointer, Raw};
use super::handles::Kind;
use super::jit::Options;
use crate::dispatch::Call;

/// What PTX does not begin with: a fat binary's magic number and that of an ELF file. The driver
/// takes anything else for a text, which ends with a zero byte.
const MAGICS: [[u8; 4]; 2] = [0xba55_ed50_u32.to_le_bytes(), *b"\x7fELF"];

/// Says that nothing was said, because nothing was done.
fn nothing() -> JitReport {
    JitReport { result: 0, info_log: Vec::new(), error_log: Vec::new(), values: Vec::new() }
}

impl Nvidia {
    /// Finds an image as the driver takes it; `None` if it is missing.
    pub(super) fn image(&mut self, image: &Image) -> Result<Option<Arc<[u8]>>, Error> {
        self.bank.afford(image.bytes)?;
        let Some(bytes) = self.images.find(image) else {
            return if self.images.takes(image.bytes) {
                Ok(None)
            } else {
                Err(Error::OUT_OF_MEMORY)
            };
        };
        let is_text = !MAGICS.iter().any(|magic| bytes.starts_with(magic));
        if is_text && bytes.last() != Some(&0) {
            return Ok(Some(bytes.iter().copied().chain([0]).collect()));
        }
        Ok(Some(bytes))
    }
}

pub(super) fn image_part(
    nvidia: &mut Nvidia,
    _: &Call,
    r: ImagePart,
    bulk: &[u8],
) -> Result<(), Error> {
    // What becomes of it the load that follows tells.
    nvidia.images.take_part(&r.image, r.offset, bulk);
    Ok(())
}

pub(super) fn module_load(
    nvidia: &mut Nvidia,
    call: &Call,
    r: ModuleLoad,
) -> Result<ModuleLoadReply, Error> {
    nvidia.enter(call)?;
    let Some(image) = nvidia.image(&r.image)? else {
        return Ok(ModuleLoadReply { missing: 1, module: 0, report: nothing() });
    };
    let mut options = Options::new(&r.options)?;
    let count = options.count();
    let mut module = Pointer::default();
    let (names, values) = options.lists();
    let given = Raw::read(&image);
    let loaded = nvidia.driver.module_load_data_ex(&mut module, given, count, names, values);
    let report = options.report(loaded);
    let module = match loaded {
        Ok(()) => nvidia.handles.keep(Kind::Module, module, call.context)?,
        Err(_) => 0,
    };
    if module != 0 {
        nvidia.learn(call, module, &image);
    }
    Ok(ModuleLoadReply { missing: 0, module, report })
}

pub(super) fn module_get_function(
    nvidia: &mut Nvidia,
    call: &Call,
    r: ModuleGetFunction,
) -> Result<ModuleGetFunctionReply, Error> {
    nvidia.enter(call)?;
    let module = nvidia.handles.find(Kind::Module, r.module)?;
    let mut function = Pointer::default();
    let name = name(r.name)?;
    nvidia.driver.module_get_function(&mut function, module, &name)?;
    let function = nvidia.handles.keep(Kind::Function, function, r.module)?;
    let facts = nvidia.facts(function, Some(name.as_bytes()))?;
    Ok(ModuleGetFunctionReply { function, facts })
}

/// Takes a name; one with a zero byte in it is the name of nothing.
pub(super) fn name(bytes: Vec<u8>) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| Error::NOT_FOUND)
}

pub(super) fn module_get_global(
    nvidia: &mut Nvidia,
    call: &Call,
    r: ModuleGetGlobal,
) -> Result<ModuleGetGlobalReply, Error> {
    nvidia.enter(call)?;
    let module = nvidia.handles.find(Kind::Module, r.module)?;
    let (mut address, mut bytes) = (0, 0);
    nvidia.driver.module_get_global_v2(&mut address, &mut bytes, module, &name(r.name)?)?;
    Ok(ModuleGetGlobalReply { address, bytes: bytes as u64 })
}

pub(super) fn module_list_functions(
    nvidia: &mut Nvidia,
    call: &Call,
    r: ModuleListFunctions,
) -> Result<ModuleListFunctionsReply, Error> {
    nvidia.enter(call)?;
    let module = nvidia.handles.find(Kind::Module, r.module)?;
    let mut count = 0;
    nvidia.driver.module_get_function_count(&mut count, module)?;
    let mut functions = Vec::new();
    if r.first < count {
        let mut list = vec![Pointer::default(); count as usize];
        nvidia.driver.module_enumerate_functions(Raw::write(&mut list), count, module)?;
        for function in list.into_iter().skip(r.first as usize).take(LISTED_MAX) {
            functions.push(nvidia.handles.keep(Kind::Function, function, r.module)?);
        }
    }
    Ok(ModuleListFunctionsReply { count, functions })
}
