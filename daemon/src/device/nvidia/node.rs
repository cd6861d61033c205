//! What nodes of graphs do, in the driver's words.

use std::mem::offset_of;

use vgpu_abi::cuda::{
    CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D_v2, CUDA_MEMSET_NODE_PARAMS_v1,
    CUgraphNodeType as Type, CUmemorytype as Place, Error,
};
use vgpu_link::wire::cuda::{Dim3, KernelLaunch, NodeCopy, NodeCopyEnd, NodeParams, NodeSet};

use super::Nvidia;
use super::foreign::{Bytes, Pointer, Raw, given};
use super::handles::Kind;
use super::host_function::HOST_BYTES;
use crate::device::spans;

pub(super) const KERNEL_BYTES: usize = size_of::<CUDA_KERNEL_NODE_PARAMS_v2>();
pub(super) const COPY_BYTES: usize = size_of::<CUDA_MEMCPY3D_v2>();
pub(super) const SET_BYTES: usize = size_of::<CUDA_MEMSET_NODE_PARAMS_v1>();

/// The word of a pointer in a structure.
pub(super) const WORD: usize = size_of::<usize>();

/// A launch; its parameters point into it.
pub(super) struct KernelWork {
    pub bytes: Bytes<KERNEL_BYTES>,
    pub launch: KernelLaunch,
    _pointers: Vec<Pointer>,
}

/// What a node does.
pub(super) enum Work {
    Kernel(Box<KernelWork>),
    Copy(Bytes<COPY_BYTES>),
    Set(Bytes<SET_BYTES>),
    Empty,
    Graph(Pointer),
    EventRecord(Pointer),
    EventWait(Pointer),
    Host(Bytes<HOST_BYTES>),
}

impl Nvidia {
    /// Puts what a node is to do into the driver's words; returns the context, too.
    ///
    /// # Errors
    /// NOT_SUPPORTED for a kind of node that is not carried, INVALID_VALUE if something is missing.
    pub(super) fn work(
        &mut self,
        current: u64,
        mut params: NodeParams,
    ) -> Result<(Work, Pointer), Error> {
        let context = if params.context == 0 { current } else { params.context };
        let context = self.context(context)?;
        let missing = Error::INVALID_VALUE;
        let work = match Type(params.kind) {
            Type::KERNEL => {
                let launch = params.launch.pop().ok_or(missing)?;
                Work::Kernel(Box::new(self.kernel_work(launch, context)?))
            }
            Type::MEMCPY => Work::Copy(self.copy_work(&params.copy.pop().ok_or(missing)?)?),
            Type::MEMSET => Work::Set(set(&params.set.pop().ok_or(missing)?)),
            Type::EMPTY => Work::Empty,
            Type::GRAPH => Work::Graph(self.handles.find(Kind::Graph, params.handle)?),
            Type::EVENT_RECORD => Work::EventRecord(self.handles.find(Kind::Event, params.handle)?),
            Type::WAIT_EVENT => Work::EventWait(self.handles.find(Kind::Event, params.handle)?),
            Type::HOST => Work::Host(self.host_work(params.handle)?),
            _ => return Err(Error::NOT_SUPPORTED),
        };
        Ok((work, context))
    }

    fn kernel_work(&self, mut launch: KernelLaunch, context: Pointer) -> Result<KernelWork, Error> {
        type Params = CUDA_KERNEL_NODE_PARAMS_v2;
        let mut pointers = self.arguments(&mut launch)?;
        let mut bytes = Bytes([0; KERNEL_BYTES]);
        match self.handles.find(Kind::Kernel, launch.function) {
            Ok(kernel) => {
                bytes.put(offset_of!(Params, kern), kernel.0.to_ne_bytes());
                bytes.put(offset_of!(Params, ctx), context.0.to_ne_bytes());
            }
            Err(_) => {
                let function = self.handles.find(Kind::Function, launch.function)?;
                bytes.put(offset_of!(Params, func), function.0.to_ne_bytes());
            }
        }
        let KernelLaunch { grid, block, shared_bytes, .. } = &launch;
        let sizes = [grid.x, grid.y, grid.z, block.x, block.y, block.z, *shared_bytes];
        // Seven u32, one behind the other.
        for (at, size) in sizes.into_iter().enumerate() {
            bytes.put(offset_of!(Params, gridDimX) + 4 * at, size.to_ne_bytes());
        }
        let list = Raw::write(&mut pointers).address().expose_provenance();
        bytes.put(offset_of!(Params, kernelParams), list.to_ne_bytes());
        Ok(KernelWork { bytes, launch, _pointers: pointers })
    }

    /// Describes what a node does.
    pub(super) fn node_params(&mut self, number: u64) -> Result<NodeParams, Error> {
        let node = self.handles.find(Kind::Node, number)?;
        let mut kind = 0;
        self.driver.graph_node_get_type(node, &mut kind)?;
        let mut params = NodeParams {
            kind,
            context: 0,
            launch: Vec::new(),
            copy: Vec::new(),
            set: Vec::new(),
            handle: 0,
        };
        let mut pointer = Pointer::default();
        match Type(kind) {
            Type::KERNEL => {
                let mut bytes = Bytes([0; KERNEL_BYTES]);
                self.driver.graph_kernel_node_get_params_v2(node, &mut bytes)?;
                params.launch.push(self.told_launch(&bytes)?);
            }
            Type::MEMCPY => {
                let mut bytes = Bytes([0; COPY_BYTES]);
                self.driver.graph_memcpy_node_get_params(node, &mut bytes)?;
                params.copy.push(self.told_copy(&bytes)?);
            }
            Type::MEMSET => {
                let mut bytes = Bytes([0; SET_BYTES]);
                self.driver.graph_memset_node_get_params(node, &mut bytes)?;
                params.set.push(told_set(&bytes));
            }
            Type::EMPTY => {}
            Type::GRAPH => {
                self.driver.graph_child_graph_node_get_graph(node, &mut pointer)?;
                params.handle = self.handles.keep(Kind::Graph, pointer, number)?;
            }
            Type::EVENT_RECORD => {
                self.driver.graph_event_record_node_get_event(node, &mut pointer)?;
                params.handle = self.handles.keep(Kind::Event, pointer, 0)?;
            }
            Type::WAIT_EVENT => {
                self.driver.graph_event_wait_node_get_event(node, &mut pointer)?;
                params.handle = self.handles.keep(Kind::Event, pointer, 0)?;
            }
            Type::HOST => {
                let mut bytes = Bytes([0; HOST_BYTES]);
                self.driver.graph_host_node_get_params(node, &mut bytes)?;
                params.handle = self.told_host(&bytes)?;
            }
            _ => return Err(Error::NOT_SUPPORTED),
        }
        Ok(params)
    }

    /// Reads what the driver says of a kernel node. Its arguments are packed by their layout.
    fn told_launch(&mut self, bytes: &Bytes<KERNEL_BYTES>) -> Result<KernelLaunch, Error> {
        type Params = CUDA_KERNEL_NODE_PARAMS_v2;
        let word = |at| Pointer(usize::from_ne_bytes(bytes.take(at)));
        let number = |at| u32::from_ne_bytes(bytes.take(at));
        let (function, kernel) = (word(offset_of!(Params, func)), word(offset_of!(Params, kern)));
        let handle = if function == Pointer::default() {
            self.handles.keep(Kind::Kernel, kernel, 0)?
        } else {
            self.handles.keep(Kind::Function, function, 0)?
        };
        self.learn_layout(handle)?;
        let layout = self.layouts.find(handle)?;
        let list = word(offset_of!(Params, kernelParams));
        if list == Pointer::default() && !layout.is_empty() {
            // Packed by the one who made the node, in a length that the driver does not tell.
            return Err(Error::NOT_SUPPORTED);
        }
        let end = layout.iter().map(|one| (one.offset + one.bytes) as usize).max();
        let mut arguments = vec![0; end.unwrap_or(0)];
        let pointers = given::<WORD>(list, layout.len());
        for (parameter, pointer) in layout.iter().zip(pointers) {
            let (offset, count) = (parameter.offset as usize, parameter.bytes as usize);
            let value = given::<1>(Pointer(usize::from_ne_bytes(pointer)), count);
            arguments[offset..offset + value.len()].copy_from_slice(value.as_flattened());
        }
        let first = offset_of!(Params, gridDimX);
        let sizes: [u32; 7] = std::array::from_fn(|at| number(first + 4 * at));
        Ok(KernelLaunch {
            function: handle,
            grid: Dim3 { x: sizes[0], y: sizes[1], z: sizes[2] },
            block: Dim3 { x: sizes[3], y: sizes[4], z: sizes[5] },
            shared_bytes: sizes[6],
            attributes: Vec::new(),
            arguments,
        })
    }
}

/// Where the fields of one side of a copy lie: x, y, z, level, kind, device, host, pitch, height.
type Side = [usize; 9];

const SIDES: [Side; 2] = [
    [
        offset_of!(CUDA_MEMCPY3D_v2, srcXInBytes),
        offset_of!(CUDA_MEMCPY3D_v2, srcY),
        offset_of!(CUDA_MEMCPY3D_v2, srcZ),
        offset_of!(CUDA_MEMCPY3D_v2, srcLOD),
        offset_of!(CUDA_MEMCPY3D_v2, srcMemoryType),
        offset_of!(CUDA_MEMCPY3D_v2, srcDevice),
        offset_of!(CUDA_MEMCPY3D_v2, srcHost),
        offset_of!(CUDA_MEMCPY3D_v2, srcPitch),
        offset_of!(CUDA_MEMCPY3D_v2, srcHeight),
    ],
    [
        offset_of!(CUDA_MEMCPY3D_v2, dstXInBytes),
        offset_of!(CUDA_MEMCPY3D_v2, dstY),
        offset_of!(CUDA_MEMCPY3D_v2, dstZ),
        offset_of!(CUDA_MEMCPY3D_v2, dstLOD),
        offset_of!(CUDA_MEMCPY3D_v2, dstMemoryType),
        offset_of!(CUDA_MEMCPY3D_v2, dstDevice),
        offset_of!(CUDA_MEMCPY3D_v2, dstHost),
        offset_of!(CUDA_MEMCPY3D_v2, dstPitch),
        offset_of!(CUDA_MEMCPY3D_v2, dstHeight),
    ],
];

/// Bytes of a row, rows, slices.
pub(super) const SHAPE: [usize; 3] = [
    offset_of!(CUDA_MEMCPY3D_v2, WidthInBytes),
    offset_of!(CUDA_MEMCPY3D_v2, Height),
    offset_of!(CUDA_MEMCPY3D_v2, Depth),
];

impl Nvidia {
    /// Puts a copy into the driver's words.
    ///
    /// # Errors
    /// INVALID_VALUE for a place that is in no span of the client's pinned memory; NOT_SUPPORTED
    /// for arrays.
    pub(super) fn copy_work(&mut self, copy: &NodeCopy) -> Result<Bytes<COPY_BYTES>, Error> {
        let mut bytes = Bytes([0; COPY_BYTES]);
        for (side, end) in SIDES.into_iter().zip([&copy.from, &copy.to]) {
            let [x, y, z, level, kind, device, host, pitch, height] = side;
            match Place(end.kind) {
                Place::DEVICE | Place::UNIFIED => {
                    bytes.put(kind, Place::DEVICE.0.to_ne_bytes());
                    bytes.put(device, end.address.to_ne_bytes());
                }
                Place::HOST => {
                    let (first, length) = spans::extent(end, copy)?;
                    // The driver adds to the base what leads to the first row.
                    let before = first - end.address;
                    let base = self.span_address(first, length)?.wrapping_sub(before);
                    bytes.put(kind, Place::HOST.0.to_ne_bytes());
                    bytes.put(host, base.to_ne_bytes());
                }
                _ => return Err(Error::NOT_SUPPORTED),
            }
            let fields = [end.x_bytes, end.y, end.z, end.level, end.pitch, end.height];
            for (at, field) in [x, y, z, level, pitch, height].into_iter().zip(fields) {
                bytes.put(at, field.to_ne_bytes());
            }
        }
        for (at, size) in SHAPE.into_iter().zip([copy.width_bytes, copy.height, copy.depth]) {
            bytes.put(at, size.to_ne_bytes());
        }
        Ok(bytes)
    }

    /// Reads a copy that the driver tells. What lies in the memory that is shared with the client
    /// is told by its offset there.
    fn told_copy(&self, bytes: &Bytes<COPY_BYTES>) -> Result<NodeCopy, Error> {
        let number = |at| u64::from_ne_bytes(bytes.take(at));
        let end = |[x, y, z, level, kind, device, host, pitch, height]: Side| {
            let kind = u32::from_ne_bytes(bytes.take(kind));
            let address = match Place(kind) {
                Place::DEVICE | Place::UNIFIED => number(device),
                Place::HOST => number(host),
                _ => return Err(Error::NOT_SUPPORTED),
            };
            let (kind, address) = match self.spans.offset(address) {
                Some(offset) => (Place::HOST.0, offset),
                None if Place(kind) == Place::HOST => return Err(Error::NOT_SUPPORTED),
                None => (kind, address),
            };
            Ok(NodeCopyEnd {
                kind,
                address,
                x_bytes: number(x),
                y: number(y),
                z: number(z),
                level: number(level),
                pitch: number(pitch),
                height: number(height),
            })
        };
        let [width_bytes, height, depth] = SHAPE.map(number);
        Ok(NodeCopy { from: end(SIDES[0])?, to: end(SIDES[1])?, width_bytes, height, depth })
    }
}

/// Where the fields of a set lie: target, pitch, value, element's bytes, width, height.
const SET: [usize; 6] = [
    offset_of!(CUDA_MEMSET_NODE_PARAMS_v1, dst),
    offset_of!(CUDA_MEMSET_NODE_PARAMS_v1, pitch),
    offset_of!(CUDA_MEMSET_NODE_PARAMS_v1, value),
    offset_of!(CUDA_MEMSET_NODE_PARAMS_v1, elementSize),
    offset_of!(CUDA_MEMSET_NODE_PARAMS_v1, width),
    offset_of!(CUDA_MEMSET_NODE_PARAMS_v1, height),
];

fn set(set: &NodeSet) -> Bytes<SET_BYTES> {
    let [to, pitch, value, element, width, height] = SET;
    let mut bytes = Bytes([0; SET_BYTES]);
    bytes.put(to, set.to.to_ne_bytes());
    bytes.put(pitch, set.pitch.to_ne_bytes());
    bytes.put(value, set.value.to_ne_bytes());
    bytes.put(element, set.element_bytes.to_ne_bytes());
    bytes.put(width, set.width.to_ne_bytes());
    bytes.put(height, set.height.to_ne_bytes());
    bytes
}

fn told_set(bytes: &Bytes<SET_BYTES>) -> NodeSet {
    let [to, pitch, value, element, width, height] = SET;
    NodeSet {
        to: u64::from_ne_bytes(bytes.take(to)),
        pitch: u64::from_ne_bytes(bytes.take(pitch)),
        value: u32::from_ne_bytes(bytes.take(value)),
        element_bytes: u32::from_ne_bytes(bytes.take(element)),
        width: u64::from_ne_bytes(bytes.take(width)),
        height: u64::from_ne_bytes(bytes.take(height)),
    }
}
