//! Access between devices (CUDA Runtime API, "Peer Device Memory Access").

use vgpu_abi::cudart::cudaDeviceP2PAttr;

use crate::driver;
use crate::primary;
use crate::result::{Error, Result};

/// Tells whether `device` can reach the memory of `peer`; never so of a device and itself.
pub fn device_can_access_peer(device: i32, peer: i32) -> Result<i32> {
    let (driver, handle) = driver::device(device)?;
    let (_, peer_handle) = driver::device(peer)?;
    if handle == peer_handle {
        return Ok(0);
    }
    let mut can = 0;
    driver.device_can_access_peer(&mut can, handle, peer_handle)?;
    Ok(can)
}

/// Returns one attribute of the way between two devices; the numbers are the driver's own.
pub fn device_get_p2_p_attribute(
    attribute: cudaDeviceP2PAttr,
    source: i32,
    target: i32,
) -> Result<i32> {
    let (driver, source) = driver::device(source)?;
    let (_, target) = driver::device(target)?;
    let attribute = i32::try_from(attribute.0).map_err(|_| Error::INVALID_VALUE)?;
    let mut value = 0;
    driver.device_get_p2p_attribute(&mut value, attribute, source, target)?;
    Ok(value)
}

/// Lets the thread's device reach the memory of `peer`; `flags` is reserved and must be 0.
pub fn device_enable_peer_access(peer: i32, flags: u32) -> Result<()> {
    if flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let driver = primary::current()?;
    if peer == primary::device()? {
        return Err(Error::INVALID_DEVICE);
    }
    driver.ctx_enable_peer_access(primary::of(peer)?, 0)
}

/// Ends what [`device_enable_peer_access`] began.
pub fn device_disable_peer_access(peer: i32) -> Result<()> {
    let driver = primary::current()?;
    driver.ctx_disable_peer_access(primary::of(peer)?)
}
