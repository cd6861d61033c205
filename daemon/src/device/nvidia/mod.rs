//! The genuine driver: NVIDIA's libcuda and libnvidia-ml of this machine.
//!
//! `generated` holds the functions of both and, for each message that is a function's image, the
//! call; the other modules hold what needs more than that, one a noun. What the guest names is
//! looked up in `handles`; device addresses travel as they are, as the driver checks them.

mod attributes;
mod blas;
mod capture;
mod code;
mod context;
mod copy;
mod event;
mod facts;
pub(crate) mod find;
mod foreign;
mod function;
mod generated;
mod graph;
mod graph_exec;
mod handles;
mod host_function;
mod jit;
mod kernel;
mod launch;
mod layouts;
mod library;
mod linker;
mod memory;
mod module;
mod node;
mod occupancy;
mod pinned;
mod pool;
mod staging;
mod state;
mod stream;
mod virtual_memory;
mod volume;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use vgpu_abi::cuda::Error;
use vgpu_link::Area;
use vgpu_link::wire::Malformed;
use vgpu_link::wire::control::{DeviceStateReply, SnapshotReply};

use super::spans::Spans;
use super::{Bank, Deliveries, Devices, Functions};
use crate::dispatch::{Answer, Call, Finish, Wait, dispatch};
use crate::store::Store;
use blas::Blas;
pub(crate) use facts::Genuine;
use foreign::Pointer;
use generated::driver::Driver;
use generated::nvml::Nvml;
use handles::{Handles, Kind};
use host_function::NodeFunctions;
use layouts::Layouts;
use memory::Allocations;
use staging::Staging;
use virtual_memory::PhysicalMemory;

/// CU_STREAM_PER_THREAD.
const PER_THREAD: u64 = 2;

/// Says whether a context lives, to threads that hold what ends with it.
type Life = Arc<Mutex<bool>>;

/// The devices of the genuine driver, as one client has them.
pub(crate) struct Nvidia {
    driver: Arc<Driver>,
    nvml: Box<Nvml>,
    snapshot: SnapshotReply,
    /// What the driver calls each device, by ordinal.
    devices: Vec<facts::Named>,
    handles: Handles,
    /// The number of each device's primary context, which it keeps over all its lives.
    primaries: Vec<u64>,
    /// The context that is current on this thread.
    current: u64,
    /// The stream that stands for CU_STREAM_PER_THREAD, by context and thread of the client: the
    /// driver's own would be that of this thread, which works for all of them.
    thread_streams: HashMap<(u64, u32), Pointer>,
    allocations: Allocations,
    /// Lives of the contexts, where anybody asked.
    lives: HashMap<u64, Life>,
    blas: Blas,
    deliveries: Arc<Deliveries>,
    physical: PhysicalMemory,
    layouts: Layouts,
    links: HashMap<u64, linker::Link>,
    images: Store,
    /// Sources that copies may still read.
    held: Vec<volume::Held>,
    staging: Staging,
    /// Pinned memory of the client.
    spans: Spans<pinned::Registered>,
    functions: Arc<Functions>,
    node_functions: NodeFunctions,
    bank: Box<dyn Bank>,
}

impl Nvidia {
    /// Gives one client the devices.
    pub fn new(
        genuine: Genuine,
        cublas: Option<PathBuf>,
        bank: impl Bank + 'static,
        images: Store,
    ) -> Self {
        let Genuine { driver, tells_layouts, nvml, snapshot, devices } = genuine;
        let mut handles = Handles::new();
        Self {
            primaries: devices.iter().map(|_| handles.take(Kind::Context)).collect(),
            driver,
            nvml,
            snapshot,
            devices,
            handles,
            current: 0,
            thread_streams: HashMap::new(),
            allocations: Allocations::default(),
            lives: HashMap::new(),
            physical: PhysicalMemory::default(),
            layouts: Layouts::new(tells_layouts),
            links: HashMap::new(),
            images,
            blas: Blas::new(cublas),
            held: Vec::new(),
            staging: Staging::default(),
            spans: Spans::new(None),
            bank: Box::new(bank),
            deliveries: Arc::default(),
            functions: Arc::default(),
            node_functions: NodeFunctions::default(),
        }
    }

    /// Takes up the memory that the client shares with us.
    pub fn sharing(self, area: Option<Area>) -> Self {
        Self { spans: Spans::new(area), ..self }
    }

    /// Makes the caller's context current on this thread, if another one is.
    fn enter(&mut self, call: &Call) -> Result<(), Error> {
        self.enter_context(call.context)
    }

    /// Makes a context current; 0 leaves none.
    fn enter_context(&mut self, context: u64) -> Result<(), Error> {
        let pointer = self.context(context)?;
        if context != self.current {
            self.driver.ctx_set_current(pointer)?;
            self.current = context;
        }
        Ok(())
    }

    /// Leaves a call that may wait to another thread, with the context that is current here.
    fn later<T: 'static>(
        &self,
        ask: impl FnOnce(&Driver, &mut Vec<u8>) -> Result<T, Error> + Send + 'static,
    ) -> Wait<T> {
        let driver = Arc::clone(&self.driver);
        // `enter` has found it a moment ago.
        let context = self.handles.find(Kind::Context, self.current);
        Wait::later(move |bulk| {
            driver.ctx_set_current(context?)?;
            ask(&driver, bulk)
        })
    }

    /// Finds a stream. The default streams are the driver's own, but for the thread's.
    fn stream(&mut self, call: &Call, stream: u64) -> Result<Pointer, Error> {
        match stream {
            0 | 1 => Ok(Pointer(stream as usize)),
            PER_THREAD => self.thread_stream(call),
            _ => self.handles.find(Kind::Stream, stream),
        }
    }

    /// Finds the caller's own default stream, which waits for the legacy one and is waited for by
    /// it (CUDA Driver API, Stream synchronization behavior): an ordinary, blocking stream.
    fn thread_stream(&mut self, call: &Call) -> Result<Pointer, Error> {
        let key = (call.context, call.thread);
        if let Some(&stream) = self.thread_streams.get(&key) {
            return Ok(stream);
        }
        let mut stream = Pointer::default();
        self.driver.stream_create(&mut stream, 0)?;
        self.thread_streams.insert(key, stream);
        Ok(stream)
    }

    /// Finds what the driver calls a device.
    fn device(&self, ordinal: i32) -> Result<i32, Error> {
        let known = usize::try_from(ordinal).ok().and_then(|ordinal| self.devices.get(ordinal));
        known.map(|device| device.cuda).ok_or(Error::INVALID_DEVICE)
    }

    /// The life of a context.
    fn life(&mut self, context: u64) -> Life {
        Arc::clone(self.lives.entry(context).or_insert_with(|| Arc::new(Mutex::new(true))))
    }

    /// Tells other threads that a context is about to end: they must not touch what ends with it.
    fn announce_end(&mut self, context: u64) {
        if let Some(life) = self.lives.remove(&context) {
            *life.lock().unwrap_or_else(PoisonError::into_inner) = false;
        }
        if self.staging.is_used_by(context) || self.is_registered_in(context) {
            // Fails only where the context is broken, and unpins all by its end.
            let _ = self.enter_context(context);
            self.staging.end_context(&*self.driver, context);
            self.unregister_all(context);
        }
    }

    /// Ends a context's number and all that belonged to it; the driver has ended the rest.
    fn bury_context(&mut self, context: u64) {
        self.handles.end(context);
        self.blas.end_context(context);
        self.staging.bury_context(context);
        self.thread_streams.retain(|(of, _), _| *of != context);
        self.node_functions.end_context(context);
        self.held.retain(|held| held.context != context);
        self.links.retain(|link, _| self.handles.is_alive(*link));
        self.layouts.sweep(&self.handles);
        for (device, bytes) in self.allocations.end_context(context) {
            self.bank.release(device, bytes);
        }
        // The driver may have taken it off this thread, or not: the next call says which it needs.
        if self.current == context {
            self.current = 0;
            // Fails only where nothing is current, which is what is asked for.
            let _ = self.driver.ctx_set_current(Pointer::default());
        }
    }
}

impl Devices for Nvidia {
    fn snapshot(&self) -> &SnapshotReply {
        &self.snapshot
    }

    fn state(&self, device: u32) -> Result<DeviceStateReply, Error> {
        let named = self.devices.get(device as usize).ok_or(Error::INVALID_DEVICE)?;
        Ok(state::describe(&self.nvml, named.nvml, self.bank.usage(device)?))
    }

    fn is_alive(&self, context: u64) -> bool {
        self.handles.is_alive(context)
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    fn functions(&self) -> &Arc<Functions> {
        &self.functions
    }

    fn answer(
        &mut self,
        call: &Call,
        opcode: u32,
        payload: &[u8],
        bulk: &[u8],
        answer: &mut Answer,
    ) -> Result<Option<Finish>, Malformed> {
        dispatch(self, call, opcode, payload, bulk, answer)
    }
}
