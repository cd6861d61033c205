//! The documented C functions that the probe of the API calls, each with safe arguments.
//!
//! Names are looked up in the library that the process got, whoever made it: what is missing is
//! told by its name. The signatures are those of the CUDA Driver API, the CUDA Runtime API, NVML
//! and cuBLAS.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libloading::os::unix::Library;
use serde::{Deserialize, Serialize};

/// Length of the buffers for names: what NVML documents as the longest, with room.
const NAME_BYTES: usize = 96;
/// Room for `cudaDeviceProp` of any CUDA line: 4 KiB; CUDA 12's has 1032 bytes, 13's has 1008.
const PROPERTIES_BYTES: usize = 4096;

/// A call that was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The function.
    pub function: String,
    /// What it answered; none if the library does not have it.
    pub code: Option<u32>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(formatter, "{} answered {code}", self.function),
            None => write!(formatter, "{} is missing", self.function),
        }
    }
}

/// What a call gave.
pub type Answer<T> = Result<T, Refusal>;

/// Looks a function up and calls it: `call!(library, "name", (types), values)`.
macro_rules! call {
    ($library:expr, $name:literal, ($($type:ty),*) $(, $value:expr)*) => {{
        // SAFETY: each use below writes the types that the documentation of that function names,
        // and passes pointers to live locals, or to slices together with no more than their length.
        let code = unsafe {
            $library
                .get::<unsafe extern "C" fn($($type),*) -> u32>(concat!($name, "\0").as_bytes())
                .ok()
                .map(|function| function($($value),*))
        };
        match code {
            Some(0) => Ok(()),
            code => Err(Refusal { function: $name.to_owned(), code }),
        }
    }};
}

/// The driver API of one library, after `cuInit`.
pub(super) struct Driver<'a>(&'a Library);

/// A kernel of a loaded module.
#[derive(Clone, Copy)]
pub(super) struct Kernel(*mut c_void);

/// A stream of the driver API.
#[derive(Clone, Copy)]
pub(super) struct Stream(*mut c_void);

impl Stream {
    /// The stream that a thread has without making one.
    pub(super) const DEFAULT: Self = Self(std::ptr::null_mut());
}

impl<'a> Driver<'a> {
    /// Initialises the driver API and makes the first device's context the thread's own.
    pub(super) fn begin(library: &'a Library) -> Answer<Self> {
        let this = Self(library);
        call!(library, "cuInit", (c_uint), 0)?;
        let mut context: *mut c_void = std::ptr::null_mut();
        let device = this.device(0)?;
        let retained = &raw mut context;
        call!(library, "cuDevicePrimaryCtxRetain", (*mut *mut c_void, c_int), retained, device)?;
        call!(library, "cuCtxSetCurrent", (*mut c_void), context)?;
        Ok(this)
    }

    pub(super) fn version(&self) -> Answer<i32> {
        let mut version = 0;
        call!(self.0, "cuDriverGetVersion", (*mut c_int), &raw mut version)?;
        Ok(version)
    }

    pub(super) fn count(&self) -> Answer<i32> {
        let mut count = 0;
        call!(self.0, "cuDeviceGetCount", (*mut c_int), &raw mut count)?;
        Ok(count)
    }

    pub(super) fn device(&self, ordinal: i32) -> Answer<i32> {
        let mut device = 0;
        call!(self.0, "cuDeviceGet", (*mut c_int, c_int), &raw mut device, ordinal)?;
        Ok(device)
    }

    pub(super) fn name(&self, device: i32) -> Answer<String> {
        let mut name = [0; NAME_BYTES];
        let (at, room) = (name.as_mut_ptr(), room(NAME_BYTES));
        call!(self.0, "cuDeviceGetName", (*mut c_char, c_int, c_int), at, room, device)?;
        Ok(text(&name))
    }

    pub(super) fn uuid(&self, device: i32) -> Answer<[u8; 16]> {
        let mut uuid = [0; 16];
        call!(self.0, "cuDeviceGetUuid_v2", (*mut u8, c_int), uuid.as_mut_ptr(), device)?;
        Ok(uuid)
    }

    pub(super) fn pci(&self, device: i32) -> Answer<String> {
        let mut pci = [0; NAME_BYTES];
        let (at, room) = (pci.as_mut_ptr(), room(NAME_BYTES));
        call!(self.0, "cuDeviceGetPCIBusId", (*mut c_char, c_int, c_int), at, room, device)?;
        Ok(text(&pci))
    }

    pub(super) fn total_bytes(&self, device: i32) -> Answer<u64> {
        let mut bytes = 0_usize;
        call!(self.0, "cuDeviceTotalMem_v2", (*mut usize, c_int), &raw mut bytes, device)?;
        Ok(bytes as u64)
    }

    pub(super) fn attribute(&self, number: u32, device: i32) -> Answer<i32> {
        let mut value = 0;
        let at = &raw mut value;
        call!(self.0, "cuDeviceGetAttribute", (*mut c_int, c_uint, c_int), at, number, device)?;
        Ok(value)
    }

    /// Free and total bytes.
    pub(super) fn memory(&self) -> Answer<(u64, u64)> {
        let (mut free, mut total) = (0_usize, 0_usize);
        let (to_free, to_total) = (&raw mut free, &raw mut total);
        call!(self.0, "cuMemGetInfo_v2", (*mut usize, *mut usize), to_free, to_total)?;
        Ok((free as u64, total as u64))
    }

    pub(super) fn allocate(&self, bytes: usize) -> Answer<u64> {
        let mut pointer = 0;
        call!(self.0, "cuMemAlloc_v2", (*mut u64, usize), &raw mut pointer, bytes)?;
        Ok(pointer)
    }

    pub(super) fn free(&self, pointer: u64) -> Answer<()> {
        call!(self.0, "cuMemFree_v2", (u64), pointer)
    }

    pub(super) fn write(&self, pointer: u64, data: &[u8]) -> Answer<()> {
        let (from, bytes) = (data.as_ptr(), data.len());
        call!(self.0, "cuMemcpyHtoD_v2", (u64, *const u8, usize), pointer, from, bytes)
    }

    pub(super) fn read(&self, pointer: u64, data: &mut [u8]) -> Answer<()> {
        let (to, bytes) = (data.as_mut_ptr(), data.len());
        call!(self.0, "cuMemcpyDtoH_v2", (*mut u8, u64, usize), to, pointer, bytes)
    }

    /// Sets `count` words of 4 bytes, in the order of the stream.
    pub(super) fn set(&self, at: u64, value: u32, count: usize, stream: Stream) -> Answer<()> {
        let to = stream.0;
        call!(self.0, "cuMemsetD32Async", (u64, c_uint, usize, *mut c_void), at, value, count, to)
    }

    /// Loads a PTX text.
    pub(super) fn load(&self, ptx: &CStr) -> Answer<Module<'a>> {
        let mut module: *mut c_void = std::ptr::null_mut();
        let (to, image) = (&raw mut module, ptx.as_ptr());
        call!(self.0, "cuModuleLoadData", (*mut *mut c_void, *const c_char), to, image)?;
        Ok(Module(self.0, module))
    }

    /// `CU_FUNC_ATTRIBUTE_…` of a kernel.
    pub(super) fn kernel_attribute(&self, number: u32, kernel: Kernel) -> Answer<i32> {
        let mut value = 0;
        let at = &raw mut value;
        call!(
            self.0,
            "cuFuncGetAttribute",
            (*mut c_int, c_uint, *mut c_void),
            at,
            number,
            kernel.0
        )?;
        Ok(value)
    }

    /// Launches one block of threads with a pointer and a number as the kernel's parameters.
    pub(super) fn launch(
        &self,
        kernel: Kernel,
        threads: u32,
        (pointer, number): (u64, u32),
        stream: Stream,
    ) -> Answer<()> {
        let (mut pointer, mut number) = (pointer, number);
        let mut arguments: [*mut c_void; 2] = [(&raw mut pointer).cast(), (&raw mut number).cast()];
        let (given, none) = (arguments.as_mut_ptr(), std::ptr::null_mut());
        #[rustfmt::skip]
        let launched = call!(
            self.0,
            "cuLaunchKernel",
            (
                *mut c_void, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, *mut c_void,
                *mut *mut c_void, *mut *mut c_void
            ),
            kernel.0, 1, 1, 1, threads, 1, 1, 0, stream.0, given, none
        );
        launched
    }

    pub(super) fn synchronise(&self) -> Answer<()> {
        call!(self.0, "cuCtxSynchronize", ())
    }

    /// Makes a stream that does not wait for the default one.
    pub(super) fn stream(&self) -> Answer<Stream> {
        let mut stream: *mut c_void = std::ptr::null_mut();
        call!(self.0, "cuStreamCreate", (*mut *mut c_void, c_uint), &raw mut stream, 1)?;
        Ok(Stream(stream))
    }

    /// Records what `work` puts into the stream, makes a graph of it, launches that once, and
    /// waits for its end.
    pub(super) fn through_graph(
        &self,
        stream: Stream,
        work: impl FnOnce() -> Answer<()>,
    ) -> Answer<()> {
        const RELAXED: c_uint = 2;
        let mut graph: *mut c_void = std::ptr::null_mut();
        let mut executable: *mut c_void = std::ptr::null_mut();
        call!(self.0, "cuStreamBeginCapture_v2", (*mut c_void, c_uint), stream.0, RELAXED)?;
        let worked = work();
        let to = &raw mut graph;
        call!(self.0, "cuStreamEndCapture", (*mut c_void, *mut *mut c_void), stream.0, to)?;
        worked?;
        let to = &raw mut executable;
        call!(
            self.0,
            "cuGraphInstantiateWithFlags",
            (*mut *mut c_void, *mut c_void, u64),
            to,
            graph,
            0
        )?;
        call!(self.0, "cuGraphLaunch", (*mut c_void, *mut c_void), executable, stream.0)?;
        call!(self.0, "cuStreamSynchronize", (*mut c_void), stream.0)?;
        call!(self.0, "cuGraphExecDestroy", (*mut c_void), executable)?;
        call!(self.0, "cuGraphDestroy", (*mut c_void), graph)
    }
}

/// A module that is loaded until the process ends.
pub(super) struct Module<'a>(&'a Library, *mut c_void);

impl Module<'_> {
    pub(super) fn kernel(&self, name: &CStr) -> Answer<Kernel> {
        let mut kernel: *mut c_void = std::ptr::null_mut();
        let (to, name) = (&raw mut kernel, name.as_ptr());
        call!(
            self.0,
            "cuModuleGetFunction",
            (*mut *mut c_void, *mut c_void, *const c_char),
            to,
            self.1,
            name
        )?;
        Ok(Kernel(kernel))
    }
}

/// One device as a library describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Its UUID as `GPU-…`.
    pub uuid: String,
    /// Its place on the bus, as the library writes it.
    pub pci: String,
    /// Its memory in bytes.
    pub total_bytes: u64,
}

/// What NVML says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlSeen {
    /// The driver's version.
    pub driver: String,
    /// The version of CUDA, such as 13000.
    pub cuda_version: i32,
    /// The first device.
    pub card: Card,
}

/// Asks NVML about the driver and the first device.
pub(super) fn nvml(library: &Library) -> Answer<NvmlSeen> {
    call!(library, "nvmlInit_v2", ())?;
    let mut driver = [0; NAME_BYTES];
    let room = NAME_BYTES as c_uint - 1;
    let to = driver.as_mut_ptr();
    call!(library, "nvmlSystemGetDriverVersion", (*mut c_char, c_uint), to, room)?;
    let mut cuda_version = 0;
    let to = &raw mut cuda_version;
    call!(library, "nvmlSystemGetCudaDriverVersion_v2", (*mut c_int), to)?;
    let mut device: *mut c_void = std::ptr::null_mut();
    let to = &raw mut device;
    call!(library, "nvmlDeviceGetHandleByIndex_v2", (c_uint, *mut *mut c_void), 0, to)?;
    let mut name = [0; NAME_BYTES];
    let to = name.as_mut_ptr();
    call!(library, "nvmlDeviceGetName", (*mut c_void, *mut c_char, c_uint), device, to, room)?;
    let mut uuid = [0; NAME_BYTES];
    let to = uuid.as_mut_ptr();
    call!(library, "nvmlDeviceGetUUID", (*mut c_void, *mut c_char, c_uint), device, to, room)?;
    let mut pci = PciInfo { short: [0; 16], numbers: [0; 5], bus_id: [0; 32] };
    let to = &raw mut pci;
    call!(library, "nvmlDeviceGetPciInfo_v3", (*mut c_void, *mut PciInfo), device, to)?;
    // nvmlMemory_t: total, free, used.
    let mut memory = [0_u64; 3];
    let to = memory.as_mut_ptr();
    call!(library, "nvmlDeviceGetMemoryInfo", (*mut c_void, *mut u64), device, to)?;
    call!(library, "nvmlShutdown", ())?;
    let card = Card {
        name: text(&name),
        uuid: text(&uuid),
        pci: text(&pci.bus_id),
        total_bytes: memory[0],
    };
    Ok(NvmlSeen { driver: text(&driver), cuda_version, card })
}

/// `nvmlPciInfo_t` of the NVML reference.
#[repr(C)]
struct PciInfo {
    short: [c_char; 16],
    /// Domain, bus, device, device id, subsystem id.
    numbers: [c_uint; 5],
    bus_id: [c_char; 32],
}

/// What the runtime says of the first device: its bus id, and the bytes of its `cudaDeviceProp`.
pub(super) fn runtime(library: &Library, major: u32) -> Answer<(String, Vec<u8>)> {
    let mut pci = [0; NAME_BYTES];
    let (to, room) = (pci.as_mut_ptr(), room(NAME_BYTES));
    call!(library, "cudaDeviceGetPCIBusId", (*mut c_char, c_int, c_int), to, room, 0)?;
    let mut properties = vec![0_u64; PROPERTIES_BYTES / 8];
    let to: *mut c_void = properties.as_mut_ptr().cast();
    // The headers of CUDA 12 rename the function, those of 13 took the plain name back.
    if major == 12 {
        call!(library, "cudaGetDeviceProperties_v2", (*mut c_void, c_int), to, 0)?;
    } else {
        call!(library, "cudaGetDeviceProperties", (*mut c_void, c_int), to, 0)?;
    }
    Ok((text(&pci), properties.iter().flat_map(|word| word.to_ne_bytes()).collect()))
}

/// Multiplies two square matrices in device memory, columns first: `c = a · b`.
pub(super) fn product(library: &Library, size: i32, (a, b, c): (u64, u64, u64)) -> Answer<()> {
    let mut handle: *mut c_void = std::ptr::null_mut();
    call!(library, "cublasCreate_v2", (*mut *mut c_void), &raw mut handle)?;
    let (one, zero) = (1.0_f32, 0.0_f32);
    #[rustfmt::skip]
    let multiplied = call!(
        library,
        "cublasSgemm_v2",
        (
            *mut c_void, c_uint, c_uint, c_int, c_int, c_int, *const f32, u64, c_int, u64, c_int,
            *const f32, u64, c_int
        ),
        handle, 0, 0, size, size, size, &raw const one, a, size, b, size, &raw const zero, c, size
    );
    let destroyed = call!(library, "cublasDestroy_v2", (*mut c_void), handle);
    multiplied.and(destroyed)
}

/// The length of a buffer as C's `int`, one less than it has, so that a text ends with a zero.
fn room(bytes: usize) -> c_int {
    c_int::try_from(bytes - 1).unwrap_or(c_int::MAX)
}

fn text(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|byte| byte.cast_unsigned()).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
