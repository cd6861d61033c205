//! The present state of a device, from NVML.

use vgpu_abi::nvml::Error;
use vgpu_link::wire::control::{Clocks, DeviceStateReply};

use super::foreign::{Bytes, Pointer};
use super::generated::nvml::Nvml;
use crate::desk::Usage;

/// NVML_TEMPERATURE_GPU.
const GPU_SENSOR: u32 = 0;

/// NVML_PSTATE_UNKNOWN.
const STATE_UNKNOWN: u32 = 32;

/// nvmlClockType_t.
const GRAPHICS: u32 = 0;
const SM: u32 = 1;
const MEMORY: u32 = 2;
const VIDEO: u32 = 3;

/// Bytes of a device's memory that nobody uses; `None` if NVML does not tell.
pub(super) fn free_memory(nvml: &Nvml, device: Pointer) -> Option<u64> {
    // nvmlMemory_t: total, free, used, 8 bytes each.
    let mut memory = Bytes([0; 24]);
    nvml.device_get_memory_info(device, &mut memory).ok()?;
    Some(u64::from_ne_bytes(memory.0[8..16].try_into().expect("8 of 24 bytes")))
}

/// Describes a device; memory is the clients' share, the rest what NVML says. What it does not
/// say is left out, or 0 where there is no way to leave it out.
pub(super) fn describe(nvml: &Nvml, device: Pointer, usage: Usage) -> DeviceStateReply {
    let number = |ask: &dyn Fn(&mut u32) -> Result<(), Error>| {
        let mut value = 0;
        ask(&mut value).ok().map(|()| value)
    };
    // nvmlUtilization_t: gpu, memory.
    let mut rates = Bytes([0; 8]);
    let known = nvml.device_get_utilization_rates(device, &mut rates).is_ok();
    let rate = |at: usize| {
        let bytes = rates.0[at..at + 4].try_into().expect("4 of 8 bytes");
        if known { u32::from_ne_bytes(bytes) } else { 0 }
    };
    let clocks = |ask: &dyn Fn(u32, &mut u32) -> Result<(), Error>| {
        let clock = |kind| number(&|value| ask(kind, value)).unwrap_or(0);
        Clocks {
            graphics_mhz: clock(GRAPHICS),
            sm_mhz: clock(SM),
            memory_mhz: clock(MEMORY),
            video_mhz: clock(VIDEO),
        }
    };
    DeviceStateReply {
        memory_total: usage.total,
        memory_free: usage.free,
        memory_used: usage.used,
        gpu_utilisation: rate(0),
        memory_utilisation: rate(4),
        temperature_c: number(&|value| nvml.device_get_temperature(device, GPU_SENSOR, value)),
        power_mw: number(&|value| nvml.device_get_power_usage(device, value)),
        power_limit_mw: number(&|value| nvml.device_get_enforced_power_limit(device, value)),
        fan_percent: number(&|value| nvml.device_get_fan_speed(device, value)),
        performance_state: number(&|value| nvml.device_get_performance_state(device, value))
            .unwrap_or(STATE_UNKNOWN),
        clocks: clocks(&|kind, value| nvml.device_get_clock_info(device, kind, value)),
        clocks_max: clocks(&|kind, value| nvml.device_get_max_clock_info(device, kind, value)),
        processes: usage.processes,
    }
}
