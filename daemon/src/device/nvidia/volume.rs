//! Copies of rows and slices, and arrays, of the genuine driver.

use std::mem::offset_of;

use vgpu_abi::cuda::{
    CUDA_ARRAY3D_DESCRIPTOR_v2, CUDA_MEMCPY3D_v2, CUarray_format as Format, CUevent_flags,
    CUmemorytype as Place, Error,
};
use vgpu_link::wire::cuda::{
    ArrayCreate, ArrayCreateReply, ArrayDestroy, VolumeShape, VolumeSide, VolumeToDevice,
    VolumeToDeviceAsync, VolumeToHost, VolumeToHostAsync, VolumeWithin, VolumeWithinAsync,
};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::Nvidia;
use super::foreign::{Bytes, Pointer, Raw};
use super::handles::Kind;
use super::node::{COPY_BYTES, SHAPE};
use super::staging::PIECE_BYTES;
use crate::dispatch::{Call, Wait};

/// Most bytes of sources that copies still read: 256 MiB. Then the oldest is waited for.
const HELD_BYTES_MAX: usize = 256 << 20;

/// A source that a copy may still read, and the event that tells when it has.
#[derive(Debug)]
pub(super) struct Held {
    /// The context that the event ends with.
    pub context: u64,
    event: Pointer,
    contents: Vec<u8>,
}

/// Where the fields of one side lie: kind, host, device, array, x, y, z, pitch, height.
type Side = [usize; 9];

const SOURCE: Side = [
    offset_of!(CUDA_MEMCPY3D_v2, srcMemoryType),
    offset_of!(CUDA_MEMCPY3D_v2, srcHost),
    offset_of!(CUDA_MEMCPY3D_v2, srcDevice),
    offset_of!(CUDA_MEMCPY3D_v2, srcArray),
    offset_of!(CUDA_MEMCPY3D_v2, srcXInBytes),
    offset_of!(CUDA_MEMCPY3D_v2, srcY),
    offset_of!(CUDA_MEMCPY3D_v2, srcZ),
    offset_of!(CUDA_MEMCPY3D_v2, srcPitch),
    offset_of!(CUDA_MEMCPY3D_v2, srcHeight),
];

const TARGET: Side = [
    offset_of!(CUDA_MEMCPY3D_v2, dstMemoryType),
    offset_of!(CUDA_MEMCPY3D_v2, dstHost),
    offset_of!(CUDA_MEMCPY3D_v2, dstDevice),
    offset_of!(CUDA_MEMCPY3D_v2, dstArray),
    offset_of!(CUDA_MEMCPY3D_v2, dstXInBytes),
    offset_of!(CUDA_MEMCPY3D_v2, dstY),
    offset_of!(CUDA_MEMCPY3D_v2, dstZ),
    offset_of!(CUDA_MEMCPY3D_v2, dstPitch),
    offset_of!(CUDA_MEMCPY3D_v2, dstHeight),
];

/// A copy in the driver's words.
#[derive(Clone)]
struct Copy(Bytes<COPY_BYTES>);

impl Copy {
    fn of(shape: &VolumeShape) -> Self {
        let mut bytes = Bytes([0; COPY_BYTES]);
        for (at, size) in SHAPE.into_iter().zip([shape.width, shape.height, shape.depth]) {
            bytes.put(at, size.to_ne_bytes());
        }
        Self(bytes)
    }

    /// One side on the device.
    fn device(mut self, nvidia: &Nvidia, fields: Side, side: &VolumeSide) -> Result<Self, Error> {
        let [kind, _, device, array, x, y, z, pitch, height] = fields;
        if side.array == 0 {
            self.0.put(kind, Place::DEVICE.0.to_ne_bytes());
            self.0.put(device, side.address.to_ne_bytes());
        } else {
            let found = nvidia.handles.find(Kind::Array, side.array)?;
            self.0.put(kind, Place::ARRAY.0.to_ne_bytes());
            self.0.put(array, found.0.to_ne_bytes());
        }
        let values = [side.x, side.y, side.z, side.pitch, side.height];
        for (at, value) in [x, y, z, pitch, height].into_iter().zip(values) {
            self.0.put(at, value.to_ne_bytes());
        }
        Ok(self)
    }

    /// One side packed in memory of ours.
    fn packed(mut self, fields: Side, place: Raw<'_>, shape: &VolumeShape) -> Self {
        let [kind, host, _, _, _, _, _, pitch, height] = fields;
        self.0.put(kind, Place::HOST.0.to_ne_bytes());
        self.0.put(host, place.address().expose_provenance().to_ne_bytes());
        self.0.put(pitch, shape.width.to_ne_bytes());
        self.0.put(height, shape.height.to_ne_bytes());
        self
    }
}

/// Counts the bytes of a copy, at most those of a frame.
fn bytes_of(shape: &VolumeShape) -> Result<usize, Error> {
    let rows = shape.height.checked_mul(shape.depth);
    let bytes = rows.and_then(|rows| rows.checked_mul(shape.width)).ok_or(Error::INVALID_VALUE)?;
    if bytes <= BULK_BYTES_MAX as u64 { Ok(bytes as usize) } else { Err(Error::INVALID_VALUE) }
}

fn check(bulk: &[u8], shape: &VolumeShape) -> Result<(), Error> {
    if bulk.len() == bytes_of(shape)? { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

pub(super) fn volume_to_device(
    nvidia: &mut Nvidia,
    call: &Call,
    r: VolumeToDevice,
    bulk: &[u8],
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    check(bulk, &r.shape)?;
    let bulk = bulk.to_vec();
    let copy = Copy::of(&r.shape).device(nvidia, TARGET, &r.target)?;
    Ok(nvidia.later(move |driver, _| {
        let mut copy = copy.packed(SOURCE, Raw::read(&bulk), &r.shape);
        driver.memcpy3_d_v2(&mut copy.0)
    }))
}

pub(super) fn volume_to_host(
    nvidia: &mut Nvidia,
    call: &Call,
    r: VolumeToHost,
    _: &mut Vec<u8>,
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    let bytes = bytes_of(&r.shape)?;
    let copy = Copy::of(&r.shape).device(nvidia, SOURCE, &r.source)?;
    Ok(nvidia.later(move |driver, bulk| {
        bulk.resize(bytes, 0);
        let mut copy = copy.packed(TARGET, Raw::write(bulk), &r.shape);
        driver.memcpy3_d_v2(&mut copy.0)
    }))
}

pub(super) fn volume_within(
    nvidia: &mut Nvidia,
    call: &Call,
    r: VolumeWithin,
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    let copy = Copy::of(&r.shape).device(nvidia, SOURCE, &r.source)?;
    let mut copy = copy.device(nvidia, TARGET, &r.target)?;
    Ok(nvidia.later(move |driver, _| driver.memcpy3_d_v2(&mut copy.0)))
}

/// The source was captured when the client asked; it is kept until the copy has read it.
pub(super) fn volume_to_device_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: VolumeToDeviceAsync,
    bulk: &[u8],
) -> Result<(), Error> {
    nvidia.enter(call)?;
    check(bulk, &r.shape)?;
    nvidia.check_not_captured(call, r.stream)?;
    let (user, stream) = (nvidia.user(call, r.stream), nvidia.stream(call, r.stream)?);
    let copy = Copy::of(&r.shape).device(nvidia, TARGET, &r.target)?;
    if (1..=PIECE_BYTES).contains(&bulk.len()) {
        let driver = &*nvidia.driver;
        let sent = nvidia.staging.inward.send(driver, (user, stream), bulk, |_, contents| {
            let mut copy = copy.clone().packed(SOURCE, Raw::read(contents), &r.shape);
            driver.memcpy3_d_async_v2(&mut copy.0, stream)
        })?;
        if sent > 0 {
            return Ok(());
        }
    }
    nvidia.release_held()?;
    let contents = bulk.to_vec();
    let mut copy = copy.packed(SOURCE, Raw::read(&contents), &r.shape);
    let mut event = Pointer::default();
    nvidia.driver.event_create(&mut event, CUevent_flags::DISABLE_TIMING.0)?;
    let copied = nvidia.driver.memcpy3_d_async_v2(&mut copy.0, stream);
    // Kept whatever came of it: the driver may have begun.
    nvidia.held.push(Held { context: call.context, event, contents });
    copied?;
    nvidia.driver.event_record(event, stream).inspect_err(|_| {
        // Nothing else says when the source was read. The first error is what counts.
        let _ = nvidia.driver.stream_synchronize(stream);
    })
}

impl Nvidia {
    /// Gives up the sources that were read; waits for the oldest where they are too many.
    fn release_held(&mut self) -> Result<(), Error> {
        let total: usize = self.held.iter().map(|held| held.contents.len()).sum();
        if total > HELD_BYTES_MAX
            && let Some(oldest) = self.held.first()
        {
            self.driver.event_synchronize(oldest.event)?;
        }
        let driver = &self.driver;
        self.held.retain(|held| {
            let is_read = driver.event_query(held.event) != Err(Error::NOT_READY);
            if is_read {
                // Fails only if the context has ended, and the event with it.
                let _ = driver.event_destroy_v2(held.event);
            }
            !is_read
        });
        Ok(())
    }
}

pub(super) fn volume_to_host_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: VolumeToHostAsync,
    _: &mut Vec<u8>,
) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    let bytes = bytes_of(&r.shape)?;
    nvidia.check_not_captured(call, r.stream)?;
    let stream = nvidia.stream(call, r.stream)?;
    let copy = Copy::of(&r.shape).device(nvidia, SOURCE, &r.source)?;
    Ok(nvidia.later(move |driver, bulk| {
        bulk.resize(bytes, 0);
        let mut copy = copy.packed(TARGET, Raw::write(bulk), &r.shape);
        driver.memcpy3_d_async_v2(&mut copy.0, stream)?;
        driver.stream_synchronize(stream)
    }))
}

pub(super) fn volume_within_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: VolumeWithinAsync,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let copy = Copy::of(&r.shape).device(nvidia, SOURCE, &r.source)?;
    let mut copy = copy.device(nvidia, TARGET, &r.target)?;
    nvidia.driver.memcpy3_d_async_v2(&mut copy.0, stream)
}

pub(super) fn array_create(
    nvidia: &mut Nvidia,
    call: &Call,
    r: ArrayCreate,
) -> Result<ArrayCreateReply, Error> {
    type Descriptor = CUDA_ARRAY3D_DESCRIPTOR_v2;
    nvidia.enter(call)?;
    let mut descriptor = Bytes([0; size_of::<Descriptor>()]);
    descriptor.put(offset_of!(Descriptor, Width), r.width.to_ne_bytes());
    descriptor.put(offset_of!(Descriptor, Height), r.height.to_ne_bytes());
    descriptor.put(offset_of!(Descriptor, Depth), r.depth.to_ne_bytes());
    descriptor.put(offset_of!(Descriptor, Format), r.format.to_ne_bytes());
    descriptor.put(offset_of!(Descriptor, NumChannels), r.channels.to_ne_bytes());
    descriptor.put(offset_of!(Descriptor, Flags), r.flags.to_ne_bytes());
    let bytes = array_bytes(&r).ok_or(Error::OUT_OF_MEMORY)?;
    let array = nvidia.allocate(call, bytes, |nvidia| {
        let mut array = Pointer::default();
        nvidia.driver.array3_d_create_v2(&mut array, &mut descriptor)?;
        // No address of a device: all are of one address space (CUDA Driver API, Unified
        // addressing).
        Ok(array.0 as u64)
    })?;
    let array = Pointer(array as usize);
    Ok(ArrayCreateReply { array: nvidia.handles.keep(Kind::Array, array, call.context)? })
}

/// Counts the bytes of an array; compressed and planar formats count as one of 32 bits.
fn array_bytes(r: &ArrayCreate) -> Option<u64> {
    let channel = match Format(r.format) {
        Format::UNSIGNED_INT8 | Format::SIGNED_INT8 => 1,
        Format::UNSIGNED_INT16 | Format::SIGNED_INT16 | Format::HALF => 2,
        _ => 4_u64,
    };
    let lengths = [r.height.max(1), r.depth.max(1), u64::from(r.channels.max(1)), channel];
    lengths.into_iter().try_fold(r.width, u64::checked_mul)
}

pub(super) fn array_destroy(
    nvidia: &mut Nvidia,
    call: &Call,
    r: ArrayDestroy,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let array = nvidia.handles.find(Kind::Array, r.array)?;
    nvidia.driver.array_destroy(array)?;
    nvidia.handles.end(r.array);
    nvidia.give_back(array.0 as u64);
    Ok(())
}
