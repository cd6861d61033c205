//! What NVML says of the GPUs, asked once: plain data for the renderers.
//!
//! What a driver does not tell stays empty and is shown as `N/A`; nothing is made up.

use std::ffi::OsStr;
use std::path::PathBuf;

use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, PerformanceState, TemperatureSensor,
};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};
use serde::Serialize;

use crate::error::Error;

/// The version of the JSON answer's form.
pub const SCHEMA_VERSION: u32 = 1;
const LIBRARY: &str = "libnvidia-ml.so.1";
/// Our private directories, from the directory that holds `bin`.
const PRIVATE_DIRS: [&str; 3] =
    ["lib/x86_64-linux-gnu/vgpu", "lib/aarch64-linux-gnu/vgpu", "lib64/vgpu"];
/// Longest process name that is asked for.
const NAME_BYTES_MAX: usize = 256;

/// Everything that is shown, as of one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The driver of the GPUs' machine.
    pub driver_version: String,
    /// The newest CUDA that it runs, such as `13.0`.
    pub cuda_version: String,
    /// The GPUs, by index.
    pub gpus: Vec<Gpu>,
    /// Who computes on them.
    pub processes: Vec<Process>,
}

/// One GPU. Memory in bytes, clocks in MHz, power in mW, shares in percent.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[allow(missing_docs, reason = "the names are NVML's")]
pub struct Gpu {
    pub index: u32,
    pub name: String,
    pub uuid: String,
    pub pci_bus_id: String,
    pub pci_device_id: Option<u32>,
    pub pci_sub_device_id: Option<u32>,
    pub serial: Option<String>,
    pub vbios_version: Option<String>,
    pub compute_capability: Option<String>,
    pub compute_mode: Option<&'static str>,
    pub persistence_mode: Option<bool>,
    pub display_active: Option<bool>,
    pub mig_mode: Option<bool>,
    pub ecc_mode: Option<bool>,
    pub ecc_uncorrected_volatile: Option<u64>,
    pub performance_state: Option<u32>,
    pub memory_total: u64,
    pub memory_used: u64,
    pub memory_free: u64,
    pub memory_reserved: Option<u64>,
    pub utilization_gpu: Option<u32>,
    pub utilization_memory: Option<u32>,
    pub temperature: Option<u32>,
    pub fan_speed: Option<u32>,
    pub power_draw: Option<u32>,
    pub power_limit: Option<u32>,
    pub clock_graphics: Option<u32>,
    pub clock_sm: Option<u32>,
    pub clock_memory: Option<u32>,
    pub clock_video: Option<u32>,
    pub clock_graphics_max: Option<u32>,
    pub clock_sm_max: Option<u32>,
    pub clock_memory_max: Option<u32>,
}

/// A process that computes on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its GPU's index.
    pub gpu: u32,
    /// Its number, as the driver knows it.
    pub pid: u32,
    /// Its name, where the driver tells it.
    pub name: Option<String>,
    /// The GPU memory that it holds, in bytes.
    pub used_memory: Option<u64>,
}

impl Snapshot {
    /// Keeps only the named GPUs: by index, UUID or PCI bus id.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if one of the names is no GPU's.
    pub fn keep(&mut self, ids: &[String]) -> Result<(), Error> {
        let is = |gpu: &Gpu, id: &str| {
            gpu.index.to_string() == id
                || gpu.uuid == id
                || short(&gpu.pci_bus_id).eq_ignore_ascii_case(short(id))
        };
        if ids.iter().any(|id| !self.gpus.iter().any(|gpu| is(gpu, id))) {
            return Err(Error::NoDevice);
        }
        self.gpus.retain(|gpu| ids.iter().any(|id| is(gpu, id)));
        self.processes.retain(|process| self.gpus.iter().any(|gpu| gpu.index == process.gpu));
        Ok(())
    }
}

/// A PCI bus id with a domain of four digits instead of eight.
fn short(bus_id: &str) -> &str {
    bus_id.strip_prefix("0000").filter(|rest| rest.len() == "0000:01:00.0".len()).unwrap_or(bus_id)
}

/// An NVML library that has begun.
pub struct Library(Nvml);

impl Library {
    /// Opens our library beside this program, else the one that the loader finds: on a host, that
    /// is NVIDIA's.
    ///
    /// # Errors
    /// [`Error::NoLibrary`] or [`Error::Start`].
    pub fn open() -> Result<Self, Error> {
        let ours = ours();
        let found = ours.iter().find(|path| path.is_file()).map(|path| path.as_os_str());
        let path = found.unwrap_or(OsStr::new(LIBRARY));
        match Nvml::builder().lib_path(path).init() {
            Ok(nvml) => Ok(Self(nvml)),
            Err(source @ NvmlError::LibloadingError(_)) => {
                Err(Error::NoLibrary { tried: ours, source })
            }
            Err(source) => Err(Error::Start { source }),
        }
    }

    /// Asks for everything.
    ///
    /// # Errors
    /// [`Error::Nvml`] if what every GPU has is refused; [`Error::NoDevice`] if there is none.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let asking = |what| move |source| Error::Nvml { what, source };
        let nvml = &self.0;
        let driver_version = nvml.sys_driver_version().map_err(asking("the driver's version"))?;
        let cuda = nvml.sys_cuda_driver_version().map_err(asking("the version of CUDA"))?;
        let count = nvml.device_count().map_err(asking("the number of GPUs"))?;
        let (mut gpus, mut processes) = (Vec::new(), Vec::new());
        for index in 0..count {
            let device = nvml.device_by_index(index).map_err(asking("a GPU"))?;
            gpus.push(gpu(&device, index)?);
            processes.extend(self.processes(&device, index));
        }
        if gpus.is_empty() {
            return Err(Error::NoDevice);
        }
        let (major, minor) = (cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda));
        Ok(Snapshot {
            schema_version: SCHEMA_VERSION,
            driver_version,
            cuda_version: format!("{major}.{minor}"),
            gpus,
            processes,
        })
    }

    fn processes(&self, device: &Device<'_>, gpu: u32) -> Vec<Process> {
        let known = device.running_compute_processes().unwrap_or_default();
        let process = |info: nvml_wrapper::struct_wrappers::device::ProcessInfo| Process {
            gpu,
            pid: info.pid,
            name: self.0.sys_process_name(info.pid, NAME_BYTES_MAX).ok(),
            used_memory: match info.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
        };
        known.into_iter().map(process).collect()
    }
}

fn ours() -> Vec<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let prefix = program.parent().and_then(std::path::Path::parent).unwrap_or(&program);
    PRIVATE_DIRS.iter().map(|dir| prefix.join(dir).join(LIBRARY)).collect()
}

fn gpu(device: &Device<'_>, index: u32) -> Result<Gpu, Error> {
    let asking = |what| move |source| Error::Nvml { what, source };
    let memory = device.memory_info().map_err(asking("a GPU's memory"))?;
    let pci = device.pci_info().map_err(asking("a GPU's PCI address"))?;
    let utilization = device.utilization_rates().ok();
    let clock = |clock| device.clock_info(clock).ok();
    let clock_max = |clock| device.max_clock_info(clock).ok();
    Ok(Gpu {
        index,
        name: device.name().map_err(asking("a GPU's name"))?,
        uuid: device.uuid().map_err(asking("a GPU's UUID"))?,
        pci_bus_id: pci.bus_id,
        pci_device_id: Some(pci.pci_device_id),
        pci_sub_device_id: pci.pci_sub_system_id,
        serial: device.serial().ok(),
        vbios_version: device.vbios_version().ok(),
        compute_capability: device
            .cuda_compute_capability()
            .ok()
            .map(|version| format!("{}.{}", version.major, version.minor)),
        compute_mode: device.compute_mode().ok().map(compute_mode),
        persistence_mode: device.is_in_persistent_mode().ok(),
        display_active: device.is_display_active().ok(),
        mig_mode: device.mig_mode().ok().map(|mode| mode.current == 1),
        ecc_mode: device.is_ecc_enabled().ok().map(|mode| mode.currently_enabled),
        ecc_uncorrected_volatile: device
            .total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
            .ok(),
        performance_state: device.performance_state().ok().and_then(performance),
        memory_total: memory.total,
        memory_used: memory.used,
        memory_free: memory.free,
        memory_reserved: Some(memory.reserved),
        utilization_gpu: utilization.as_ref().map(|rates| rates.gpu),
        utilization_memory: utilization.as_ref().map(|rates| rates.memory),
        temperature: device.temperature(TemperatureSensor::Gpu).ok(),
        fan_speed: device.fan_speed(0).ok(),
        power_draw: device.power_usage().ok(),
        power_limit: device.enforced_power_limit().ok(),
        clock_graphics: clock(Clock::Graphics),
        clock_sm: clock(Clock::SM),
        clock_memory: clock(Clock::Memory),
        clock_video: clock(Clock::Video),
        clock_graphics_max: clock_max(Clock::Graphics),
        clock_sm_max: clock_max(Clock::SM),
        clock_memory_max: clock_max(Clock::Memory),
    })
}

fn compute_mode(mode: nvml_wrapper::enum_wrappers::device::ComputeMode) -> &'static str {
    use nvml_wrapper::enum_wrappers::device::ComputeMode;
    match mode {
        ComputeMode::Default => "Default",
        ComputeMode::ExclusiveThread => "Exclusive_Thread",
        ComputeMode::Prohibited => "Prohibited",
        ComputeMode::ExclusiveProcess => "Exclusive_Process",
    }
}

fn performance(state: PerformanceState) -> Option<u32> {
    let number = state.as_c();
    (number <= 15).then_some(number)
}
