//! What `ollama gpu-discover` asks of the driver API and of NVML, each opened by its bare name.

use std::{
    error::Error,
    ffi::{CStr, c_char, c_int, c_uint},
};

use libloading::{Library, Symbol};
use serde::{Deserialize, Serialize};

/// `CU_DEVICE_ATTRIBUTE_INTEGRATED`, `.._COMPUTE_CAPABILITY_MAJOR` and `.._MINOR` (CUDA Driver
/// API, CUdevice_attribute).
const ATTRIBUTES: [c_int; 3] = [18, 75, 76];

/// Describes one device as the driver API does.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Device {
    /// The name of the card.
    pub name: String,
    /// PCI id in lower case.
    pub pci_id: String,
    /// Whether the device shares the memory of the host.
    pub integrated: bool,
    /// Compute capability, such as 9.0.
    pub compute: String,
    /// Total memory in bytes.
    pub total: usize,
}

/// Holds what both libraries said.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Discovery {
    /// CUDA version of the driver, such as 13.0.
    pub driver: String,
    /// Version of NVIDIA's kernel driver, if NVML gave one.
    pub nvidia: Option<String>,
    /// The devices in the driver's order.
    pub devices: Vec<Device>,
    /// Why there is none, in the words of the loader or as the code of the call that failed.
    pub failure: Option<String>,
}

/// Asks libcuda.so.1 and libnvidia-ml.so.1; a failure is part of the answer.
pub fn discover() -> Discovery {
    let mut found = Discovery { nvidia: nvml().ok(), ..Discovery::default() };
    if let Err(failure) = cuda(&mut found) {
        found.failure = Some(failure);
    }
    found
}

fn cuda(found: &mut Discovery) -> Result<(), String> {
    type Number = unsafe extern "C" fn(*mut c_int) -> c_uint;
    // SAFETY: a driver library; what it does on loading is the subject of the test.
    let library = unsafe { Library::new("libcuda.so.1") }.map_err(reason)?;
    // SAFETY: `CUresult cuInit(unsigned int)`.
    let init: Symbol<unsafe extern "C" fn(c_uint) -> c_uint> =
        unsafe { symbol(&library, "cuInit")? };
    // SAFETY: takes no pointer.
    check("cuInit", unsafe { init(0) })?;
    let (mut version, mut count) = (0, 0);
    // SAFETY: both are `CUresult f(int *)`, and the pointers are to locals.
    unsafe {
        check(
            "cuDriverGetVersion",
            symbol::<Number>(&library, "cuDriverGetVersion")?(&mut version),
        )?;
        check("cuDeviceGetCount", symbol::<Number>(&library, "cuDeviceGetCount")?(&mut count))?;
    }
    found.driver = format!("{}.{}", version / 1000, version % 1000 / 10);
    for ordinal in 0..count {
        found.devices.push(device(&library, ordinal)?);
    }
    Ok(())
}

fn device(library: &Library, ordinal: c_int) -> Result<Device, String> {
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_uint;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_uint;
    type Text = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_uint;
    type Size = unsafe extern "C" fn(*mut usize, c_int) -> c_uint;
    let (mut device, mut values, mut total) = (0, [0; ATTRIBUTES.len()], 0);
    let (mut name, mut pci) = ([0; 256], [0; 64]);
    // SAFETY: declared with these types in the CUDA Driver API; every pointer is to a local, and
    // the texts are given with their lengths.
    unsafe {
        check("cuDeviceGet", symbol::<Get>(library, "cuDeviceGet")?(&mut device, ordinal))?;
        let attribute = symbol::<Attribute>(library, "cuDeviceGetAttribute")?;
        for (value, which) in values.iter_mut().zip(ATTRIBUTES) {
            check("cuDeviceGetAttribute", attribute(value, which, device))?;
        }
        let memory = symbol::<Size>(library, "cuDeviceTotalMem_v2")?;
        check("cuDeviceTotalMem_v2", memory(&mut total, device))?;
        let text = symbol::<Text>(library, "cuDeviceGetName")?;
        check("cuDeviceGetName", text(name.as_mut_ptr(), 256, device))?;
        let text = symbol::<Text>(library, "cuDeviceGetPCIBusId")?;
        check("cuDeviceGetPCIBusId", text(pci.as_mut_ptr(), 64, device))?;
    }
    let [integrated, major, minor] = values;
    Ok(Device {
        name: text(&name),
        pci_id: text(&pci).to_lowercase(),
        integrated: integrated != 0,
        compute: format!("{major}.{minor}"),
        total,
    })
}

fn nvml() -> Result<String, String> {
    type Plain = unsafe extern "C" fn() -> c_uint;
    type Text = unsafe extern "C" fn(*mut c_char, c_uint) -> c_uint;
    let mut version = [0; 80];
    // SAFETY: declared with these types in nvml.h; the text is given with its length.
    unsafe {
        let library = Library::new("libnvidia-ml.so.1").map_err(reason)?;
        check("nvmlInit_v2", symbol::<Plain>(&library, "nvmlInit_v2")?())?;
        let driver = symbol::<Text>(&library, "nvmlSystemGetDriverVersion")?;
        check("nvmlSystemGetDriverVersion", driver(version.as_mut_ptr(), 80))?;
        check("nvmlShutdown", symbol::<Plain>(&library, "nvmlShutdown")?())?;
    }
    Ok(text(&version))
}

/// Looks a function up.
///
/// # Safety
/// `T` must be the function's type.
unsafe fn symbol<'l, T>(library: &'l Library, name: &str) -> Result<Symbol<'l, T>, String> {
    // SAFETY: the caller's promise.
    unsafe { library.get(name.as_bytes()) }.map_err(reason)
}

/// Is what the loader said: libloading keeps it as the source of its own error.
fn reason(error: libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn check(call: &str, code: c_uint) -> Result<(), String> {
    if code == 0 { Ok(()) } else { Err(format!("{call} answered {code}")) }
}

fn text(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|byte| byte.cast_unsigned()).collect();
    CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy().into_owned()
}
