//! What the verification runs as the service's user: it loads what Ollama's children load, asks
//! the first questions that they ask, and says what it saw as one JSON document.
//!
//! This file and [`calls`] hold the installer's only unsafe code: opening libraries and calling
//! into them. [`link`] and [`api`] are what the doctor looks at beyond the verification.

pub mod api;
pub mod calls;
pub mod link;
pub mod pci;
pub mod runner;

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use serde::{Deserialize, Serialize};

use crate::cli::{Examine, Probe};
use crate::location::Location;

/// Most devices that are asked about: 64, above what one machine holds.
const DEVICES_MAX: c_int = 64;
/// Length of the buffers for names and versions, as NVML documents them.
const NAME_BYTES: usize = 96;

/// What opening one library gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedLibrary {
    /// The name or path that was opened.
    pub name: Location,
    /// The loader's own words if it failed.
    pub error: Option<String>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its memory in bytes.
    pub total_bytes: u64,
}

/// What the driver API said. Codes are those of `cuda.h`; none if the function is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuda {
    /// The answer of `cuInit`.
    pub init: Option<u32>,
    /// The version of CUDA, such as 13000.
    pub version: Option<i32>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// What NVML said. Codes are those of `nvml.h`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nvml {
    /// The answer of `nvmlInit_v2`.
    pub init: Option<u32>,
    /// The driver's version.
    pub driver: Option<String>,
    /// The number of devices.
    pub devices: Option<u32>,
}

/// Everything that the probe saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The libraries in the order in which they were opened.
    pub opened: Vec<OpenedLibrary>,
    /// The files behind our names that are mapped into the process.
    pub mapped: Vec<Location>,
    /// The driver API.
    pub cuda: Cuda,
    /// NVML.
    pub nvml: Nvml,
    /// The backend, opened with every symbol resolved.
    pub backend: Option<OpenedLibrary>,
}

/// Runs the probe and prints what it saw.
#[must_use]
pub fn main(asked: &Probe) -> ExitCode {
    let mut seen = Seen::default();
    let mut libraries: Vec<(PathBuf, Library)> = Vec::new();
    for name in &asked.names {
        seen.opened.push(open(name, &mut libraries));
    }
    let library = |name: &str| {
        libraries.iter().find(|(known, _)| known == Path::new(name)).map(|(_, library)| library)
    };
    if let Some(cuda) = library("libcuda.so.1") {
        seen.cuda = ask_cuda(cuda);
    }
    if let Some(nvml) = library("libnvidia-ml.so.1") {
        seen.nvml = ask_nvml(nvml);
    }
    if let Some(backend) = &asked.backend {
        seen.backend = Some(open(backend.as_os_str(), &mut libraries));
    }
    seen.mapped = mapped();
    // Nothing is closed: libraries like these are made to stay until the process ends.
    std::mem::forget(libraries);
    print(&seen)
}

/// Looks at one part more closely and prints what it saw.
#[must_use]
pub fn examine(part: &Examine) -> ExitCode {
    match part {
        Examine::Link => print(&link::look()),
        Examine::Api { major } => print(&api::look(*major)),
        Examine::Runner { program } => print(&runner::look(program)),
    }
}

fn print(seen: &impl Serialize) -> ExitCode {
    let text = serde_json::to_string(seen).unwrap_or_default();
    let written = writeln!(std::io::stdout(), "{text}");
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open(name: &OsStr, libraries: &mut Vec<(PathBuf, Library)>) -> OpenedLibrary {
    // SAFETY: loading runs the library's initialisers in this process, which exists for nothing
    // else. The files were checked by the parent: ours, or the backend that Ollama itself loads.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
    let error = match library {
        Ok(library) => {
            libraries.push((name.into(), library));
            None
        }
        Err(error) => {
            // The loader's own words are the source; the error itself only names the call.
            let words = std::error::Error::source(&error).map(ToString::to_string);
            Some(words.unwrap_or_else(|| error.to_string()))
        }
    };
    OpenedLibrary { name: Path::new(name).into(), error }
}

/// Lists the mapped files whose names are among those that we serve.
fn mapped() -> Vec<Location> {
    const STEMS: [&str; 4] = ["libcuda.so", "libnvidia-ml.so", "libcudart.so", "libcublas.so"];
    #[expect(clippy::disallowed_methods, reason = "the probe looks at its own process")]
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    let mut files: Vec<Location> = Vec::new();
    for path in maps.split(|byte| *byte == b'\n').filter_map(mapped_path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let known = files.iter().any(|file| file.as_ref() == path);
        if !known && STEMS.iter().any(|stem| name.starts_with(stem)) {
            files.push(path.into());
        }
    }
    files
}

/// The file of one line of `maps`; paths keep their bytes, text or not.
fn mapped_path(line: &[u8]) -> Option<&Path> {
    let start = line.iter().position(|byte| *byte == b'/')?;
    Some(Path::new(OsStr::from_bytes(&line[start..])))
}

fn ask_cuda(library: &Library) -> Cuda {
    let mut cuda = Cuda::default();
    // SAFETY: the signatures are those that the CUDA driver API documents for these names; every
    // pointer is to a live local of the documented type, and lengths are those of the buffers.
    unsafe {
        let Ok(init) = library.get::<unsafe extern "C" fn(c_uint) -> u32>(b"cuInit\0") else {
            return cuda;
        };
        cuda.init = Some(init(0));
        type GetInt = unsafe extern "C" fn(*mut c_int) -> u32;
        let mut version = 0;
        if let Ok(ask) = library.get::<GetInt>(b"cuDriverGetVersion\0")
            && ask(&raw mut version) == 0
        {
            cuda.version = Some(version);
        }
        let mut count = 0;
        let Ok(ask) = library.get::<GetInt>(b"cuDeviceGetCount\0") else { return cuda };
        if cuda.init != Some(0) || ask(&raw mut count) != 0 {
            return cuda;
        }
        for ordinal in 0..count.min(DEVICES_MAX) {
            cuda.devices.extend(ask_device(library, ordinal));
        }
    }
    cuda
}

/// # Safety
/// `cuInit` of this library must have succeeded.
unsafe fn ask_device(library: &Library, ordinal: c_int) -> Option<Device> {
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> u32;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> u32;
    type Memory = unsafe extern "C" fn(*mut usize, c_int) -> u32;
    let mut handle = 0;
    let mut name = [0 as c_char; NAME_BYTES];
    let mut total = 0_usize;
    // SAFETY: documented signatures (CUDA Driver API, Device Management); live locals, and the
    // name's length is one less than the buffer, so that it ends with a zero in any case.
    unsafe {
        let length = c_int::try_from(NAME_BYTES - 1).ok()?;
        if library.get::<Get>(b"cuDeviceGet\0").ok()?(&raw mut handle, ordinal) != 0
            || library.get::<Name>(b"cuDeviceGetName\0").ok()?(name.as_mut_ptr(), length, handle)
                != 0
            || library.get::<Memory>(b"cuDeviceTotalMem_v2\0").ok()?(&raw mut total, handle) != 0
        {
            return None;
        }
    }
    Some(Device { name: text(&name), total_bytes: total as u64 })
}

fn ask_nvml(library: &Library) -> Nvml {
    type Plain = unsafe extern "C" fn() -> u32;
    type Text = unsafe extern "C" fn(*mut c_char, c_uint) -> u32;
    type Count = unsafe extern "C" fn(*mut c_uint) -> u32;
    let mut nvml = Nvml::default();
    // SAFETY: the signatures are those that the NVML reference documents for these names; every
    // pointer is to a live local, and the buffer's length is given one short of its end.
    unsafe {
        let Ok(init) = library.get::<Plain>(b"nvmlInit_v2\0") else { return nvml };
        nvml.init = Some(init());
        if nvml.init != Some(0) {
            return nvml;
        }
        let mut version = [0 as c_char; NAME_BYTES];
        if let Ok(ask) = library.get::<Text>(b"nvmlSystemGetDriverVersion\0")
            && ask(version.as_mut_ptr(), 95) == 0
        {
            nvml.driver = Some(text(&version));
        }
        let mut count = 0;
        if let Ok(ask) = library.get::<Count>(b"nvmlDeviceGetCount_v2\0")
            && ask(&raw mut count) == 0
        {
            nvml.devices = Some(count);
        }
        if let Ok(shutdown) = library.get::<Plain>(b"nvmlShutdown\0") {
            shutdown();
        }
    }
    nvml
}

fn text(buffer: &[c_char; NAME_BYTES]) -> String {
    let bytes = buffer.map(c_char::cast_unsigned);
    CStr::from_bytes_until_nul(&bytes)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
