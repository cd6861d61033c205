//! What the simulated device answers about several devices.

use vgpu_abi::cuda::{CUdevice_P2PAttribute as Attribute, Error};
use vgpu_link::wire::cuda::{
    CtxDisablePeerAccess, CtxEnablePeerAccess, DeviceCanAccessPeer, DeviceCanAccessPeerReply,
    DeviceGetP2PAttribute, DeviceGetP2PAttributeReply,
};

use crate::device::Sim;
use crate::dispatch::{Call, PeerCalls};

impl PeerCalls for Sim {
    fn device_can_access_peer(
        &mut self,
        _: &Call,
        r: DeviceCanAccessPeer,
    ) -> Result<DeviceCanAccessPeerReply, Error> {
        let (device, peer) = (self.device(r.dev)?, self.device(r.peer_dev)?);
        // All simulated memory is this process's.
        Ok(DeviceCanAccessPeerReply { can_access_peer: i32::from(device != peer) })
    }

    fn device_get_p2_p_attribute(
        &mut self,
        _: &Call,
        r: DeviceGetP2PAttribute,
    ) -> Result<DeviceGetP2PAttributeReply, Error> {
        if self.device(r.src_device)? == self.device(r.dst_device)? {
            return Err(Error::INVALID_DEVICE);
        }
        let value = match Attribute(r.attrib) {
            Attribute::ACCESS_SUPPORTED => 1,
            // All ways are the first; atomics and arrays between devices are not simulated.
            Attribute::PERFORMANCE_RANK
            | Attribute::NATIVE_ATOMIC_SUPPORTED
            | Attribute::CUDA_ARRAY_ACCESS_SUPPORTED => 0,
            _ => return Err(Error::INVALID_VALUE),
        };
        Ok(DeviceGetP2PAttributeReply { value })
    }

    fn ctx_enable_peer_access(&mut self, call: &Call, r: CtxEnablePeerAccess) -> Result<(), Error> {
        let peer = self.contexts.find(r.peer_context).map_err(|_| Error::INVALID_CONTEXT)?.device;
        let context = self.contexts.find_mut(call.context)?;
        if r.flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        if r.peer_context == call.context {
            return Err(Error::INVALID_CONTEXT);
        }
        if context.device == peer {
            return Err(Error::PEER_ACCESS_UNSUPPORTED);
        }
        if context.peers.insert(r.peer_context) {
            Ok(())
        } else {
            Err(Error::PEER_ACCESS_ALREADY_ENABLED)
        }
    }

    fn ctx_disable_peer_access(
        &mut self,
        call: &Call,
        r: CtxDisablePeerAccess,
    ) -> Result<(), Error> {
        self.contexts.find(r.peer_context).map_err(|_| Error::INVALID_CONTEXT)?;
        let context = self.contexts.find_mut(call.context)?;
        if context.peers.remove(&r.peer_context) {
            Ok(())
        } else {
            Err(Error::PEER_ACCESS_NOT_ENABLED)
        }
    }
}
