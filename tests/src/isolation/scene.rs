//! One thing of each kind that lives, and one that has ended.

use std::collections::BTreeMap;

use super::Kind;
use super::peer::{Peer, Refused};
use vgpu_link::wire::{Request, cublas, cuda};

/// Bytes of what is allocated, mapped and reserved: the granularity of every device so far.
pub(super) const BYTES: u64 = 2 << 20;

/// `CU_GRAPH_NODE_TYPE_KERNEL`.
const KERNEL_NODE: u32 = 0;

/// `CU_AD_FORMAT_UNSIGNED_INT32`.
const FORMAT_U32: u32 = 3;

/// A kernel that does nothing, for cards from Turing on.
const TOUCH: &[u8] = b".version 6.3\n.target sm_75\n.address_size 64\n\
    .visible .entry touch() { ret; }\n\0";

/// What a client has.
#[derive(Debug, Default)]
pub(super) struct Scene {
    /// One living thing of each kind that the device has.
    pub good: BTreeMap<Kind, u64>,
    /// One of each kind that has ended.
    pub stale: BTreeMap<Kind, u64>,
}

/// Hands an image to the host, which may have it already.
pub(super) fn image(peer: &mut Peer, text: &[u8]) -> Result<cuda::Image, Refused> {
    let hash = *blake3::hash(text).as_bytes();
    let image = cuda::Image { hash, bytes: text.len() as u64 };
    peer.post(&cuda::ImagePart { image: image.clone(), offset: 0 }, text)?;
    Ok(image)
}

impl Scene {
    /// Makes two things of each kind and ends one.
    pub fn make(peer: &mut Peer) -> Result<Self, Refused> {
        let mut scene = Self::default();
        scene.simple(peer)?;
        scene.memory(peer)?;
        scene.code(peer)?;
        scene.graphs(peer)?;
        peer.synchronise()?;
        Ok(scene)
    }

    /// Fills the memory with a byte, and returns where it lies.
    pub fn keep(&self, peer: &mut Peer, byte: u8) -> Result<u64, Refused> {
        let at = self.good[&Kind::Address];
        peer.call(&cuda::MemsetD8V2 { dst_device: at, uc: byte, n: BYTES })?;
        Ok(at)
    }

    /// Makes two with `make`, if the device knows how, and ends the first one.
    fn two<R: Request, E: Request>(
        &mut self,
        peer: &mut Peer,
        kind: Kind,
        make: &R,
        name: impl Fn(R::Reply) -> u64,
        end: impl Fn(u64) -> E,
    ) -> Result<(), Refused> {
        let first = match peer.call(make) {
            // Not every device has every kind; what is missing is told in the report.
            Err(Refused::Status(_)) => return Ok(()),
            made => name(made?),
        };
        let second = name(peer.call(make)?);
        peer.call(&end(first))?;
        self.stale.insert(kind, first);
        self.good.insert(kind, second);
        Ok(())
    }

    fn simple(&mut self, peer: &mut Peer) -> Result<(), Refused> {
        let made = cuda::CtxCreateV2 { flags: 0, dev: 0 };
        self.two(peer, Kind::Context, &made, |made| made.pctx, |ctx| cuda::CtxDestroyV2 { ctx })?;
        let made = cuda::StreamCreate { flags: 0 };
        let end = |stream| cuda::StreamDestroyV2 { stream };
        self.two(peer, Kind::Stream, &made, |made| made.stream, end)?;
        let made = cuda::EventCreate { flags: 0 };
        let end = |event| cuda::EventDestroyV2 { event };
        self.two(peer, Kind::Event, &made, |made| made.event, end)?;
        let event = self.good[&Kind::Event];
        peer.post(&cuda::EventRecord { event, stream: 0 }, &[])?;
        let made = cublas::CreateHandle { major: 12 };
        let end = |handle| cublas::DestroyHandle { handle };
        self.two(peer, Kind::Blas, &made, |made| made.handle, end)?;
        let made = cuda::LinkCreate { options: vec![] };
        let end = |state| cuda::LinkDestroy { state };
        self.two(peer, Kind::Link, &made, |made| made.state, end)
    }

    fn memory(&mut self, peer: &mut Peer) -> Result<(), Refused> {
        let made = cuda::MemAllocV2 { bytesize: BYTES };
        let end = |dptr| cuda::MemFreeV2 { dptr };
        self.two(peer, Kind::Address, &made, |made| made.dptr, end)?;
        let made = cuda::MemAddressReserve { size: BYTES, alignment: BYTES, addr: 0, flags: 0 };
        let end = |ptr| cuda::MemAddressFree { ptr, size: BYTES };
        self.two(peer, Kind::Range, &made, |made| made.ptr, end)?;
        let made = cuda::MemCreate { bytes: BYTES, device: 0 };
        let end = |handle| cuda::MemRelease { handle };
        self.two(peer, Kind::Memory, &made, |made| made.handle, end)?;
        let made = cuda::PoolCreate { device: 0, bytes_max: 0 };
        let end = |pool| cuda::MemPoolDestroy { pool };
        self.two(peer, Kind::Pool, &made, |made| made.pool, end)?;
        let made = cuda::ArrayCreate {
            width: 64,
            height: 0,
            depth: 0,
            format: FORMAT_U32,
            channels: 1,
            flags: 0,
        };
        let end = |array| cuda::ArrayDestroy { array };
        self.two(peer, Kind::Array, &made, |made| made.array, end)
    }

    fn code(&mut self, peer: &mut Peer) -> Result<(), Refused> {
        let image = image(peer, TOUCH)?;
        let function = |peer: &mut Peer, module| {
            let name = b"touch".to_vec();
            Ok(peer.call(&cuda::ModuleGetFunction { module, name })?.function)
        };
        let load = cuda::ModuleLoad { image: image.clone(), options: vec![] };
        let modules = [peer.call(&load)?.module, peer.call(&load)?.module];
        self.stale.insert(Kind::Function, function(peer, modules[0])?);
        self.good.insert(Kind::Function, function(peer, modules[1])?);
        peer.call(&cuda::ModuleUnload { hmod: modules[0] })?;
        self.stale.insert(Kind::Module, modules[0]);
        self.good.insert(Kind::Module, modules[1]);
        let load = cuda::LibraryLoad { image, options: vec![] };
        let libraries = [peer.call(&load)?.library, peer.call(&load)?.library];
        let kernel = |peer: &mut Peer, library| {
            let name = b"touch".to_vec();
            Ok(peer.call(&cuda::LibraryGetKernel { library, name })?.kernel)
        };
        self.stale.insert(Kind::Kernel, kernel(peer, libraries[0])?);
        self.good.insert(Kind::Kernel, kernel(peer, libraries[1])?);
        peer.call(&cuda::LibraryUnload { library: libraries[0] })?;
        self.stale.insert(Kind::Library, libraries[0]);
        self.good.insert(Kind::Library, libraries[1]);
        Ok(())
    }

    fn graphs(&mut self, peer: &mut Peer) -> Result<(), Refused> {
        let made = cuda::GraphCreate { flags: 0 };
        let end = |graph| cuda::GraphDestroy { graph };
        self.two(peer, Kind::Graph, &made, |made| made.graph, end)?;
        let graph = self.good[&Kind::Graph];
        let params = cuda::NodeParams {
            kind: KERNEL_NODE,
            context: 0,
            launch: vec![launch(self.good[&Kind::Function])],
            copy: vec![],
            set: vec![],
            handle: 0,
        };
        let made = cuda::GraphAddNode { graph, dependencies: vec![], params };
        let end = |node| cuda::GraphDestroyNode { node };
        self.two(peer, Kind::Node, &made, |made| made.node, end)?;
        let made = cuda::GraphInstantiate { graph, flags: 0, upload: 0 };
        let end = |graph_exec| cuda::GraphExecDestroy { graph_exec };
        self.two(peer, Kind::Exec, &made, |made| made.exec, end)
    }
}

/// A launch of one thread.
pub(super) fn launch(function: u64) -> cuda::KernelLaunch {
    let one = cuda::Dim3 { x: 1, y: 1, z: 1 };
    cuda::KernelLaunch {
        function,
        grid: one.clone(),
        block: one,
        shared_bytes: 0,
        attributes: vec![],
        arguments: vec![],
    }
}
