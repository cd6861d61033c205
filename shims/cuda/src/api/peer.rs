//! Several devices (CUDA Driver API, Peer Context Memory Access).

use vgpu_abi::cuda::{CUdevice, CUdevice_P2PAttribute as Attribute, Error};
use vgpu_guest::wire::cuda::{DeviceCanAccessPeer, DeviceGetP2PAttribute};

use crate::api::primary::host_device;
use crate::remote;

/// Says whether a device can reach the memory of another one; its own is no other's.
pub(crate) fn device_can_access_peer(device: CUdevice, peer: CUdevice) -> Result<i32, Error> {
    let (dev, peer_dev) = (host_device(device)?, host_device(peer)?);
    if dev == peer_dev {
        return Ok(0);
    }
    Ok(remote::call_without_context(&DeviceCanAccessPeer { dev, peer_dev })?.can_access_peer)
}

/// Tells of the way between two devices. A device has none to itself (INVALID_DEVICE).
pub(crate) fn device_get_p2_p_attribute(
    attribute: Attribute,
    device: CUdevice,
    peer: CUdevice,
) -> Result<i32, Error> {
    let (src_device, dst_device) = (host_device(device)?, host_device(peer)?);
    if src_device == dst_device {
        return Err(Error::INVALID_DEVICE);
    }
    let request = DeviceGetP2PAttribute { attrib: attribute.0, src_device, dst_device };
    Ok(remote::call_without_context(&request)?.value)
}
