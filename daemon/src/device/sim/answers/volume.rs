//! What the simulated device answers about copies of rows and slices, and about arrays.

use vgpu_abi::cuda::{CUmemorytype, Error};
use vgpu_link::wire::cuda::{
    ArrayCreate, ArrayCreateReply, ArrayDestroy, NodeCopy, NodeCopyEnd, VolumeSide, VolumeToDevice,
    VolumeToDeviceAsync, VolumeToHost, VolumeToHostAsync, VolumeWithin, VolumeWithinAsync,
};

use super::super::operation::Operation;
use super::super::volume::{Volume, shape};
use super::super::{array, memory};
use crate::device::Sim;
use crate::dispatch::{Call, VolumeCalls, Wait};

impl VolumeCalls for Sim {
    fn volume_to_device(
        &mut self,
        call: &Call,
        r: VolumeToDevice,
        bulk: &[u8],
    ) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        self.store_volume(&r.target.into(), shape(&r.shape), bulk).map(Wait::Done)
    }

    fn volume_to_host(
        &mut self,
        call: &Call,
        r: VolumeToHost,
        bulk: &mut Vec<u8>,
    ) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        self.fetch_volume(&r.source.into(), shape(&r.shape), bulk).map(Wait::Done)
    }

    fn volume_within(&mut self, call: &Call, r: VolumeWithin) -> Result<Wait<()>, Error> {
        self.check_legacy(call)?;
        let (to, from, shape) = (r.target.into(), r.source.into(), shape(&r.shape));
        self.copy_volume(&Volume { to, from, shape }).map(Wait::Done)
    }

    fn volume_to_device_async(
        &mut self,
        call: &Call,
        r: VolumeToDeviceAsync,
        bulk: &[u8],
    ) -> Result<(), Error> {
        self.check_not_captured(call, r.stream)?;
        self.store_volume(&r.target.into(), shape(&r.shape), bulk)
    }

    fn volume_to_host_async(
        &mut self,
        call: &Call,
        r: VolumeToHostAsync,
        bulk: &mut Vec<u8>,
    ) -> Result<Wait<()>, Error> {
        self.check_not_captured(call, r.stream)?;
        self.fetch_volume(&r.source.into(), shape(&r.shape), bulk).map(Wait::Done)
    }

    fn volume_within_async(&mut self, call: &Call, r: VolumeWithinAsync) -> Result<(), Error> {
        if r.target.array == 0 && r.source.array == 0 {
            let copy = Operation::Copy(NodeCopy {
                from: end(&r.source),
                to: end(&r.target),
                width_bytes: r.shape.width,
                height: r.shape.height,
                depth: r.shape.depth,
            });
            return self.submit(call, r.stream, copy);
        }
        self.check_not_captured(call, r.stream)?;
        let (to, from, shape) = (r.target.into(), r.source.into(), shape(&r.shape));
        self.copy_volume(&Volume { to, from, shape })
    }

    fn array_create(&mut self, call: &Call, r: ArrayCreate) -> Result<ArrayCreateReply, Error> {
        let device = self.contexts.find(call.context)?.device;
        let lengths = array::lengths(&r)?;
        let bytes = memory::accounted(array::bytes_of(lengths)?).ok_or(Error::OUT_OF_MEMORY)?;
        self.bank.reserve(device, bytes)?;
        let created = self.arrays.create(call.context, device, lengths);
        let array = created.inspect_err(|_| self.bank.release(device, bytes))?;
        Ok(ArrayCreateReply { array })
    }

    fn array_destroy(&mut self, _: &Call, r: ArrayDestroy) -> Result<(), Error> {
        let (device, bytes) = self.arrays.destroy(r.array)?;
        self.bank.release(device, bytes);
        Ok(())
    }
}

/// Describes linear memory as a node of a graph does; copies with arrays are no nodes.
fn end(side: &VolumeSide) -> NodeCopyEnd {
    NodeCopyEnd {
        kind: CUmemorytype::DEVICE.0,
        address: side.address,
        x_bytes: side.x,
        y: side.y,
        z: side.z,
        level: 0,
        pitch: side.pitch,
        height: side.height,
    }
}
