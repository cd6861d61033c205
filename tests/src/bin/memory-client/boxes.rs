//! Hundreds of small random copies in two and three dimensions, between memory of the program,
//! of the device and arrays, by every way to say so; after each, all bytes are those of a model.

use std::ffi::c_void;

use cudarc::driver::sys::{self, CUmemorytype};
use serde_json::json;

use crate::{Failed, Told, allocate, begin, ok, pattern, read, write};

const ROUNDS: usize = 500;

/// Bytes of each linear memory.
const BYTES: usize = 6000;

/// Bytes, rows and slices of the array.
const ARRAY: [usize; 3] = [16, 10, 8];

/// A small generator, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % end
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Device,
    UnifiedHost,
    UnifiedDevice,
    Array,
}

const KINDS: [Kind; 5] =
    [Kind::Host, Kind::Device, Kind::UnifiedHost, Kind::UnifiedDevice, Kind::Array];

impl Kind {
    /// Which of the three memories it means.
    fn memory(self) -> usize {
        match self {
            Self::Host | Self::UnifiedHost => 0,
            Self::Device | Self::UnifiedDevice => 1,
            Self::Array => 2,
        }
    }

    fn in_cuda(self) -> CUmemorytype {
        match self {
            Self::Host => CUmemorytype::CU_MEMORYTYPE_HOST,
            Self::Device => CUmemorytype::CU_MEMORYTYPE_DEVICE,
            Self::UnifiedHost | Self::UnifiedDevice => CUmemorytype::CU_MEMORYTYPE_UNIFIED,
            Self::Array => CUmemorytype::CU_MEMORYTYPE_ARRAY,
        }
    }
}

/// One side of a copy.
#[derive(Debug, Clone, Copy)]
struct Side {
    kind: Kind,
    at: [usize; 3],
    pitch: usize,
    height: usize,
}

impl Side {
    fn random(random: &mut Random, [width, height, _]: [usize; 3]) -> Self {
        let kind = KINDS[random.below(KINDS.len())];
        let at = [random.below(5), random.below(3), random.below(3)];
        if kind == Kind::Array {
            return Self { kind, at, pitch: ARRAY[0], height: ARRAY[1] };
        }
        // Now and then rows that lie together.
        let at = if random.below(3) == 0 { [0, 0, at[2]] } else { at };
        let gap = random.below(4).saturating_sub(1);
        Self { kind, at, pitch: at[0] + width + gap, height: at[1] + height + gap }
    }

    fn offset(&self, x: usize, y: usize, z: usize) -> usize {
        let [x0, y0, z0] = self.at;
        ((z0 + z) * self.height + y0 + y) * self.pitch + x0 + x
    }
}

/// One memory of each kind: the program's, the device's, an array.
struct Memories {
    host: Vec<u8>,
    device: sys::CUdeviceptr,
    array: sys::CUarray,
    model: [Vec<u8>; 3],
}

impl Memories {
    fn new(seed: usize) -> Result<Self, Failed> {
        let device = allocate(BYTES)?;
        let wanted = sys::CUDA_ARRAY3D_DESCRIPTOR {
            Width: ARRAY[0],
            Height: ARRAY[1],
            Depth: ARRAY[2],
            Format: sys::CUarray_format::CU_AD_FORMAT_UNSIGNED_INT8,
            NumChannels: 1,
            Flags: 0,
        };
        let mut array = std::ptr::null_mut();
        // SAFETY: the places are ours.
        ok("cuArray3DCreate", unsafe { sys::cuArray3DCreate_v2(&mut array, &wanted) })?;
        let host = pattern(BYTES, seed);
        let model = [host.clone(), pattern(BYTES, seed + 1), vec![0; ARRAY.iter().product()]];
        ok("cuMemcpyHtoD", write(device, &model[1]))?;
        Ok(Self { host, device, array, model })
    }

    fn place(&mut self) -> *mut c_void {
        self.host.as_mut_ptr().cast()
    }

    fn address(&mut self, side: &Side) -> u64 {
        if side.kind == Kind::UnifiedHost { self.place().addr() as u64 } else { self.device }
    }

    /// Compares all bytes of all memories with the model.
    fn is_as_modelled(&mut self, stream: sys::CUstream) -> Result<bool, Failed> {
        let mut device = vec![0; BYTES];
        ok("cuMemcpyDtoH", read(self.device, &mut device))?;
        let whole = |kind| Side { kind, at: [0; 3], pitch: ARRAY[0], height: ARRAY[1] };
        let held = std::mem::replace(&mut self.host, vec![0; BYTES]);
        let to_array = self.place();
        let it = describe(
            (&whole(Kind::Array), std::ptr::null_mut(), 0, self.array),
            (&whole(Kind::Host), to_array, 0, self.array),
            ARRAY,
        );
        copy(&it, true, stream)?;
        let array = std::mem::replace(&mut self.host, held);
        let seen = [&self.host[..], &device[..], &array[..ARRAY.iter().product()]];
        Ok(seen.iter().zip(&self.model).all(|(seen, model)| *seen == &model[..]))
    }
}

/// A side, and where its memory lies by each way to say so.
type Place<'a> = (&'a Side, *mut c_void, u64, sys::CUarray);

fn describe(from: Place<'_>, to: Place<'_>, shape: [usize; 3]) -> sys::CUDA_MEMCPY3D {
    sys::CUDA_MEMCPY3D {
        srcXInBytes: from.0.at[0],
        srcY: from.0.at[1],
        srcZ: from.0.at[2],
        srcLOD: 0,
        srcMemoryType: from.0.kind.in_cuda(),
        srcHost: from.1,
        srcDevice: from.2,
        srcArray: from.3,
        reserved0: std::ptr::null_mut(),
        srcPitch: from.0.pitch,
        srcHeight: from.0.height,
        dstXInBytes: to.0.at[0],
        dstY: to.0.at[1],
        dstZ: to.0.at[2],
        dstLOD: 0,
        dstMemoryType: to.0.kind.in_cuda(),
        dstHost: to.1,
        dstDevice: to.2,
        dstArray: to.3,
        reserved1: std::ptr::null_mut(),
        dstPitch: to.0.pitch,
        dstHeight: to.0.height,
        WidthInBytes: shape[0],
        Height: shape[1],
        Depth: shape[2],
    }
}

fn copy(it: &sys::CUDA_MEMCPY3D, waits: bool, stream: sys::CUstream) -> Result<(), Failed> {
    let flat = sys::CUDA_MEMCPY2D {
        srcXInBytes: it.srcXInBytes,
        srcY: it.srcY,
        srcMemoryType: it.srcMemoryType,
        srcHost: it.srcHost,
        srcDevice: it.srcDevice,
        srcArray: it.srcArray,
        srcPitch: it.srcPitch,
        dstXInBytes: it.dstXInBytes,
        dstY: it.dstY,
        dstMemoryType: it.dstMemoryType,
        dstHost: it.dstHost,
        dstDevice: it.dstDevice,
        dstArray: it.dstArray,
        dstPitch: it.dstPitch,
        WidthInBytes: it.WidthInBytes,
        Height: it.Height,
    };
    let is_flat = it.Depth == 1 && it.srcZ == 0 && it.dstZ == 0;
    // SAFETY: each box lies within its memory, as the callers made it.
    let code = unsafe {
        match (is_flat, waits) {
            (true, true) => sys::cuMemcpy2D_v2(&flat),
            (true, false) => sys::cuMemcpy2DAsync_v2(&flat, stream),
            (false, true) => sys::cuMemcpy3D_v2(it),
            (false, false) => sys::cuMemcpy3DAsync_v2(it, stream),
        }
    };
    ok("cuMemcpy2D or 3D", code)?;
    // SAFETY: the stream is the callers'.
    ok("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(stream) })
}

/// Copies a random box from one set of memories to the other, here and in the model.
fn random_copy(
    random: &mut Random,
    source: &mut Memories,
    target: &mut Memories,
    stream: sys::CUstream,
) -> Result<(), Failed> {
    let depth = 1 + random.below(5) * random.below(2);
    let shape = [1 + random.below(9), 1 + random.below(6), depth];
    let (mut from, mut to) = (Side::random(random, shape), Side::random(random, shape));
    if depth == 1 && random.below(2) == 0 {
        (from.at[2], to.at[2]) = (0, 0);
    }
    let it = describe(
        (&from, source.place(), source.address(&from), source.array),
        (&to, target.place(), target.address(&to), target.array),
        shape,
    );
    copy(&it, random.below(2) == 0, stream)?;
    let source = &source.model[from.kind.memory()];
    let target = &mut target.model[to.kind.memory()];
    for z in 0..shape[2] {
        for y in 0..shape[1] {
            for x in 0..shape[0] {
                target[to.offset(x, y, z)] = source[from.offset(x, y, z)];
            }
        }
    }
    Ok(())
}

pub(crate) fn tell() -> Told {
    begin()?;
    let mut stream = std::ptr::null_mut();
    // SAFETY: the place is ours.
    ok("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, 1) })?;
    let (mut source, mut target) = (Memories::new(1)?, Memories::new(100)?);
    let mut random = Random(42);
    let mut wrong = Vec::new();
    for round in 0..ROUNDS {
        random_copy(&mut random, &mut source, &mut target, stream)?;
        if !target.is_as_modelled(stream)? || !source.is_as_modelled(stream)? {
            wrong.push(round);
            break;
        }
        std::mem::swap(&mut source, &mut target);
    }
    // SAFETY: the array is ours.
    ok("cuArrayDestroy", unsafe { sys::cuArrayDestroy(source.array) })?;
    let whole = Side { kind: Kind::Array, at: [0; 3], pitch: 0, height: 0 };
    let host = Side { kind: Kind::Host, ..whole };
    let place = source.place();
    let gone = describe((&whole, place, 0, source.array), (&host, place, 0, source.array), [1; 3]);
    // SAFETY: one byte of the program's own.
    let gone = unsafe { sys::cuMemcpy3D_v2(&gone) };
    Ok(json!({ "wrong": wrong, "destroyed": crate::name(gone) }))
}
