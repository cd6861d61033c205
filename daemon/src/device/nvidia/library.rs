//! Libraries of the genuine driver: modules that belong to no context.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    JitReport, LibraryGetGlobal, LibraryGetGlobalReply, LibraryGetKernel, LibraryGetKernelReply,
    LibraryListKernels, LibraryListKernelsReply, LibraryLoad, LibraryLoadReply,
};

use super::Nvidia;
use super::code::LISTED_MAX;
use super::foreign::{Pointer, Raw};
use super::handles::Kind;
use super::jit::Options;
use super::module::name;
use crate::dispatch::Call;

pub(super) fn library_load(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LibraryLoad,
) -> Result<LibraryLoadReply, Error> {
    nvidia.enter(call)?;
    let Some(image) = nvidia.image(&r.image)? else {
        let report = JitReport { result: 0, info_log: vec![], error_log: vec![], values: vec![] };
        return Ok(LibraryLoadReply { missing: 1, library: 0, report });
    };
    let mut options = Options::new(&r.options)?;
    let count = options.count();
    let mut library = Pointer::default();
    let (names, values) = options.lists();
    // Without CU_LIBRARY_BINARY_IS_PRESERVED the driver keeps a copy of its own.
    let loaded = nvidia.driver.library_load_data(
        &mut library,
        Raw::read(&image),
        names,
        values,
        count,
        Raw::NULL,
        Raw::NULL,
        0,
    );
    let report = options.report(loaded);
    let library = match loaded {
        Ok(()) => nvidia.handles.keep(Kind::Library, library, 0)?,
        Err(_) => 0,
    };
    if library != 0 {
        nvidia.learn(call, library, &image);
    }
    Ok(LibraryLoadReply { missing: 0, library, report })
}

pub(super) fn library_get_kernel(
    nvidia: &mut Nvidia,
    _: &Call,
    r: LibraryGetKernel,
) -> Result<LibraryGetKernelReply, Error> {
    let library = nvidia.handles.find(Kind::Library, r.library)?;
    let mut kernel = Pointer::default();
    let name = name(r.name)?;
    nvidia.driver.library_get_kernel(&mut kernel, library, &name)?;
    let kernel = nvidia.handles.keep(Kind::Kernel, kernel, r.library)?;
    let parameters = nvidia.kernel_parameters(kernel, name.as_bytes())?;
    Ok(LibraryGetKernelReply { kernel, parameters })
}

pub(super) fn library_get_global(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LibraryGetGlobal,
) -> Result<LibraryGetGlobalReply, Error> {
    nvidia.enter(call)?;
    let library = nvidia.handles.find(Kind::Library, r.library)?;
    let (mut address, mut bytes) = (0, 0);
    nvidia.driver.library_get_global(&mut address, &mut bytes, library, &name(r.name)?)?;
    Ok(LibraryGetGlobalReply { address, bytes: bytes as u64 })
}

pub(super) fn library_list_kernels(
    nvidia: &mut Nvidia,
    _: &Call,
    r: LibraryListKernels,
) -> Result<LibraryListKernelsReply, Error> {
    let library = nvidia.handles.find(Kind::Library, r.library)?;
    let mut count = 0;
    nvidia.driver.library_get_kernel_count(&mut count, library)?;
    let mut kernels = Vec::new();
    if r.first < count {
        let mut list = vec![Pointer::default(); count as usize];
        nvidia.driver.library_enumerate_kernels(Raw::write(&mut list), count, library)?;
        for kernel in list.into_iter().skip(r.first as usize).take(LISTED_MAX) {
            kernels.push(nvidia.handles.keep(Kind::Kernel, kernel, r.library)?);
        }
    }
    Ok(LibraryListKernelsReply { count, kernels })
}
