//! Devices: which there are, which one a thread uses (CUDA Runtime API, "Device Management").

use std::ffi::CStr;

use vgpu_abi::cudart::{
    cudaDeviceAttr, cudaFlushGPUDirectRDMAWritesScope, cudaFlushGPUDirectRDMAWritesTarget,
};
use vgpu_guest::convert::TextBuffer;

use crate::driver;
use crate::primary;
use crate::result::{Error, Result};
use crate::thread;

/// `cudaDeviceMapHost`, which every context of the runtime has without asking.
const MAP_HOST: u32 = 0x08;
/// The flags of a device that the headers name (`cudaDeviceMask`).
const DEVICE_FLAGS: u32 = 0xff;
/// `cudaInitDeviceFlagsAreValid`: the device flags of `cudaInitDevice` are to be used.
const INIT_FLAGS_ARE_VALID: u32 = 0x01;

/// Returns the number of devices.
pub fn get_device_count() -> Result<i32> {
    let (_, devices) = driver::devices()?;
    i32::try_from(devices.len()).map_err(|_| Error::UNKNOWN)
}

/// Returns the device that the thread uses.
pub fn get_device() -> Result<i32> {
    primary::device()
}

/// Chooses the thread's device and makes its primary context current, which makes it if need be.
pub fn set_device(device: i32) -> Result<()> {
    primary::bind(device)?;
    thread::choose_device(device);
    Ok(())
}

/// Makes the primary context of a device, without making it current.
pub fn init_device(device: i32, device_flags: u32, flags: u32) -> Result<()> {
    if flags & !INIT_FLAGS_ARE_VALID != 0 {
        return Err(Error::INVALID_VALUE);
    }
    if flags & INIT_FLAGS_ARE_VALID != 0 {
        change_flags(device, device_flags)?;
    }
    primary::of(device).map(|_| ())
}

/// Sets the flags that the primary context of the thread's device has or will have.
pub fn set_device_flags(flags: u32) -> Result<()> {
    change_flags(primary::device()?, flags)
}

/// Returns the flags of the thread's context, or those that its device's context will have.
pub fn get_device_flags() -> Result<u32> {
    let driver = driver::initialised()?;
    let mut current = driver::Context::default();
    driver.ctx_get_current(&mut current)?;
    let mut flags = 0;
    if current != driver::Context::default() {
        driver.ctx_get_flags(&mut flags)?;
        return Ok(flags);
    }
    let (_, handle) = driver::device(thread::device())?;
    let mut active = 0;
    driver.primary_ctx_get_state(handle, &mut flags, &mut active)?;
    Ok(flags | MAP_HOST)
}

/// Returns one attribute of a device; the numbers are the driver's own.
pub fn device_get_attribute(attribute: cudaDeviceAttr, device: i32) -> Result<i32> {
    let (driver, handle) = driver::device(device)?;
    let attribute = i32::try_from(attribute.0).map_err(|_| Error::INVALID_VALUE)?;
    let mut value = 0;
    driver.device_get_attribute(&mut value, attribute, handle)?;
    Ok(value)
}

/// Writes the PCI bus id of a device, as `0000:00:05.0`.
pub fn device_get_pci_bus_id(mut text: TextBuffer<'_>, device: i32) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    let mut bytes = [0; 32];
    driver.device_get_pci_bus_id(&mut bytes, 32, handle)?;
    let id = CStr::from_bytes_until_nul(&bytes).map_err(|_| Error::UNKNOWN)?;
    let id = id.to_str().map_err(|_| Error::UNKNOWN)?;
    text.store(id)
}

/// Finds a device by its PCI bus id.
pub fn device_get_by_pci_bus_id(text: &CStr) -> Result<i32> {
    let driver = driver::initialised()?;
    let mut handle = 0;
    driver.device_get_by_pci_bus_id(&mut handle, text.into())?;
    driver::ordinal(handle)
}

/// Destroys what the process holds on the thread's device, as far as it is the runtime's.
pub fn device_reset() -> Result<()> {
    primary::reset()?;
    thread::forget_error();
    Ok(())
}

/// Waits for all work of the thread's device.
pub fn device_synchronize() -> Result<()> {
    primary::current()?.ctx_synchronize()
}

fn change_flags(device: i32, flags: u32) -> Result<()> {
    if flags & !DEVICE_FLAGS != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let (driver, handle) = driver::device(device)?;
    driver.primary_ctx_set_flags(handle, flags)
}

/// Makes what other devices of the machine wrote to the device's memory visible.
pub fn device_flush_gpu_direct_rdma_writes(
    target: cudaFlushGPUDirectRDMAWritesTarget,
    scope: cudaFlushGPUDirectRDMAWritesScope,
) -> Result<()> {
    primary::current()?.flush_gpu_direct_rdma_writes(target.0, scope.0)
}

/// Lets a profiler begin to record.
pub fn profiler_start() -> Result<()> {
    primary::current()?.profiler_start()
}

/// Lets a profiler stop recording.
pub fn profiler_stop() -> Result<()> {
    primary::current()?.profiler_stop()
}

/// As [`device_synchronize`]: its name before CUDA 4.
pub fn thread_synchronize() -> Result<()> {
    device_synchronize()
}

/// As [`device_reset`]: its name before CUDA 4.
pub fn thread_exit() -> Result<()> {
    device_reset()
}
