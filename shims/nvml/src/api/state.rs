//! The present state of a device: asked for at each call (NVML API, Device Queries).

use vgpu_abi::nvml::{
    Error, nvmlClockId_t, nvmlClockType_t, nvmlDevice_t, nvmlMemory_t, nvmlMemory_v2_t,
    nvmlPstates_t, nvmlTemperature_t, nvmlTemperatureSensors_t, nvmlUtilization_t,
};
use vgpu_guest::wire::control::{Clocks, DeviceStateReply};

use crate::library;

fn state(device: nvmlDevice_t) -> Result<DeviceStateReply, Error> {
    library::known()?.state(device)
}

/// Marks a structure with its version as NVML's programs do: size, and number from bit 24 on.
const fn version_of<T>(number: u32) -> u32 {
    size_of::<T>() as u32 | number << 24
}

/// Returns the memory of the device in bytes.
pub(crate) fn device_get_memory_info(device: nvmlDevice_t) -> Result<nvmlMemory_t, Error> {
    let state = state(device)?;
    Ok(nvmlMemory_t { total: state.memory_total, free: state.memory_free, used: state.memory_used })
}

/// As [`device_get_memory_info`], in a structure that names its version. The host counts what it
/// reserves as used.
pub(crate) fn device_get_memory_info_v2(
    device: nvmlDevice_t,
    memory: &mut nvmlMemory_v2_t,
) -> Result<(), Error> {
    if memory.version != version_of::<nvmlMemory_v2_t>(2) {
        return Err(Error::ARGUMENT_VERSION_MISMATCH);
    }
    let state = state(device)?;
    memory.total = state.memory_total;
    memory.reserved = 0;
    memory.free = state.memory_free;
    memory.used = state.memory_used;
    Ok(())
}

/// Returns how busy the device and its memory were in the last second, in percent.
pub(crate) fn device_get_utilization_rates(
    device: nvmlDevice_t,
) -> Result<nvmlUtilization_t, Error> {
    let state = state(device)?;
    Ok(nvmlUtilization_t { gpu: state.gpu_utilisation, memory: state.memory_utilisation })
}

/// Returns the temperature of the GPU in °C; there is no other sensor.
pub(crate) fn device_get_temperature(
    device: nvmlDevice_t,
    sensor: nvmlTemperatureSensors_t,
) -> Result<u32, Error> {
    let known = library::known()?;
    if sensor != nvmlTemperatureSensors_t::GPU {
        return Err(Error::INVALID_ARGUMENT);
    }
    known.state(device)?.temperature_c.ok_or(Error::NOT_SUPPORTED)
}

/// As [`device_get_temperature`], in a structure that names its version.
pub(crate) fn device_get_temperature_v(
    device: nvmlDevice_t,
    temperature: &mut nvmlTemperature_t,
) -> Result<(), Error> {
    if temperature.version != version_of::<nvmlTemperature_t>(1) {
        return Err(Error::ARGUMENT_VERSION_MISMATCH);
    }
    let degrees = device_get_temperature(device, temperature.sensorType)?;
    temperature.temperature = i32::try_from(degrees).map_err(|_| Error::UNKNOWN)?;
    Ok(())
}

/// Returns the power draw in mW.
pub(crate) fn device_get_power_usage(device: nvmlDevice_t) -> Result<u32, Error> {
    state(device)?.power_mw.ok_or(Error::NOT_SUPPORTED)
}

/// Returns the power limit that is kept, in mW.
pub(crate) fn device_get_enforced_power_limit(device: nvmlDevice_t) -> Result<u32, Error> {
    state(device)?.power_limit_mw.ok_or(Error::NOT_SUPPORTED)
}

/// Returns the speed of the fan in percent; a device without one is NOT_SUPPORTED.
pub(crate) fn device_get_fan_speed(device: nvmlDevice_t) -> Result<u32, Error> {
    state(device)?.fan_percent.ok_or(Error::NOT_SUPPORTED)
}

/// Returns a present clock rate in MHz.
pub(crate) fn device_get_clock_info(
    device: nvmlDevice_t,
    clock: nvmlClockType_t,
) -> Result<u32, Error> {
    rate(state(device)?.clocks, clock)
}

/// Returns the highest clock rate in MHz.
pub(crate) fn device_get_max_clock_info(
    device: nvmlDevice_t,
    clock: nvmlClockType_t,
) -> Result<u32, Error> {
    rate(state(device)?.clocks_max, clock)
}

/// Returns a present clock rate in MHz; targets and boosts are not told.
pub(crate) fn device_get_clock(
    device: nvmlDevice_t,
    clock: nvmlClockType_t,
    which: nvmlClockId_t,
) -> Result<u32, Error> {
    let known = library::known()?;
    match which {
        nvmlClockId_t::CURRENT => rate(known.state(device)?.clocks, clock),
        which if which.0 < nvmlClockId_t::COUNT.0 => Err(Error::NOT_SUPPORTED),
        _ => Err(Error::INVALID_ARGUMENT),
    }
}

fn rate(clocks: Clocks, clock: nvmlClockType_t) -> Result<u32, Error> {
    Ok(match clock {
        nvmlClockType_t::GRAPHICS => clocks.graphics_mhz,
        nvmlClockType_t::SM => clocks.sm_mhz,
        nvmlClockType_t::MEM => clocks.memory_mhz,
        nvmlClockType_t::VIDEO => clocks.video_mhz,
        _ => return Err(Error::INVALID_ARGUMENT),
    })
}

/// Returns the performance state: 0 is the fastest.
pub(crate) fn device_get_performance_state(device: nvmlDevice_t) -> Result<nvmlPstates_t, Error> {
    Ok(nvmlPstates_t(state(device)?.performance_state))
}

/// As [`device_get_performance_state`], under its old name.
pub(crate) fn device_get_power_state(device: nvmlDevice_t) -> Result<nvmlPstates_t, Error> {
    device_get_performance_state(device)
}
