//! The simulated device: memory, copies, sets, streams and events are real, in this process's
//! memory; kernels are computed from their PTX (`ptx`).
//!
//! Everything is done when it is asked for, or when its graph is launched. To a client that is a
//! device that is always faster than its next question, which CUDA's rules allow.

mod answers;
mod array;
mod blas;
mod capture;
mod capture_events;
#[cfg(test)]
mod capture_tests;
mod code;
mod context;
mod exec;
mod exec_update;
mod graph;
#[cfg(test)]
mod graph_tests;
mod handles;
#[cfg(test)]
mod hostile_tests;
mod memory;
#[cfg(test)]
mod node_tests;
mod operation;
mod physical;
mod pool;
#[cfg(test)]
mod pool_tests;
mod profile;
pub(crate) mod ptx;
mod queue;
mod run;
#[cfg(test)]
mod span_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod virtual_memory_tests;
mod volume;
#[cfg(test)]
mod volume_tests;

pub(crate) use profile::Profile;

use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_link::Area;
use vgpu_link::wire::Malformed;
use vgpu_link::wire::control::{DeviceStateReply, SnapshotReply};

use super::spans::Spans;
use super::{Bank, Deliveries, Devices, Functions};
use crate::dispatch::{Answer, Call, Finish, dispatch};
use crate::store::Store;
use array::Arrays;
use capture::Captures;
use code::Codes;
use context::Contexts;
use exec::Exec;
use graph::Graphs;
use handles::{Kind, Table};
use memory::{Memory, Owner};
use physical::PhysicalMemory;
use pool::Pools;
use queue::Queues;

/// The simulated devices, as one client has them.
pub(crate) struct Sim {
    profile: Profile,
    contexts: Contexts,
    memory: Memory,
    physical: PhysicalMemory,
    /// Pinned memory of the client.
    spans: Spans<()>,
    arrays: Arrays,
    pools: Pools,
    queues: Queues,
    captures: Captures,
    graphs: Graphs,
    blas: blas::Handles,
    execs: Table<Exec>,
    /// Steps and edges of all of them.
    execs_weight: usize,
    /// In the order in which they were launched.
    runs: Vec<run::Run>,
    codes: Codes,
    images: Store,
    deliveries: Arc<Deliveries>,
    functions: Arc<Functions>,
    /// Last, so that it is dropped last: the host process waits for the end of a worker whose
    /// account is closed, and many gigabytes take a while to give back.
    bank: Box<dyn Bank>,
}

impl Devices for Sim {
    fn snapshot(&self) -> &SnapshotReply {
        &self.profile.snapshot
    }

    fn state(&self, device: u32) -> Result<DeviceStateReply, Error> {
        if device as usize >= self.profile.snapshot.devices.len() {
            return Err(Error::INVALID_DEVICE);
        }
        Ok(self.profile.state(self.bank.usage(device)?))
    }

    fn is_alive(&self, context: u64) -> bool {
        self.contexts.find(context).is_ok()
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    fn functions(&self) -> &Arc<Functions> {
        &self.functions
    }

    fn go_on(&mut self, ticket: u64) -> Result<(), (u64, Error)> {
        self.resume(ticket)
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

impl Sim {
    /// Gives one client the devices of a profile.
    pub fn new(profile: Profile, bank: impl Bank + 'static, images: Store) -> Self {
        let devices = profile.snapshot.devices.len();
        Self {
            profile,
            bank: Box::new(bank),
            contexts: Contexts::new(devices),
            memory: Memory::new(devices),
            physical: PhysicalMemory::new(),
            spans: Spans::new(None),
            arrays: Arrays::new(),
            pools: Pools::new(devices),
            queues: Queues::new(),
            captures: Captures::default(),
            graphs: Graphs::new(),
            blas: blas::Handles::new(),
            execs: Table::new(Kind::GraphExec),
            execs_weight: 0,
            runs: Vec::new(),
            codes: Codes::new(),
            images,
            deliveries: Arc::default(),
            functions: Arc::default(),
        }
    }

    /// Takes up the memory that the client shares with us.
    pub fn sharing(self, area: Option<Area>) -> Self {
        Self { spans: Spans::new(area), ..self }
    }

    /// Allocates memory of a context's device.
    fn allocate(&mut self, context: u64, bytes: u64) -> Result<u64, Error> {
        let device = self.contexts.find(context)?.device;
        if bytes == 0 {
            return Err(Error::INVALID_VALUE);
        }
        self.allocate_for(Owner { device, context, pool: 0 }, bytes)
    }

    fn allocate_for(&mut self, owner: Owner, bytes: u64) -> Result<u64, Error> {
        let accounted = memory::accounted(bytes).ok_or(Error::OUT_OF_MEMORY)?;
        self.bank.reserve(owner.device, accounted)?;
        let allocated = self.memory.allocate(owner, bytes);
        allocated.inspect_err(|_| self.bank.release(owner.device, accounted))
    }

    fn free(&mut self, context: u64, address: u64) -> Result<(), Error> {
        self.contexts.find(context)?;
        if address == 0 {
            return Ok(());
        }
        let (owner, bytes) = self.memory.free(address)?;
        self.give_back(owner, bytes);
        Ok(())
    }

    fn give_back(&mut self, owner: Owner, bytes: u64) {
        let accounted = memory::accounted(bytes).expect("it was accounted when it was reserved");
        self.bank.release(owner.device, accounted);
        if owner.pool != 0 {
            self.pools.give_back(owner.pool, accounted);
        }
    }

    /// Ends what belonged to a context that has ended.
    fn bury_context(&mut self, context: u64) {
        self.leave_captures(|lane| lane.is_of(context));
        self.contexts.forget_peer(context);
        self.blas.end_context(context);
        for event in self.queues.end_context(context) {
            self.captures.forget_event(event);
        }
        for (owner, bytes) in self.memory.free_all(context) {
            self.give_back(owner, bytes);
        }
        self.end_context_code(context);
        for (device, bytes) in self.arrays.end_context(context) {
            self.bank.release(device, bytes);
        }
    }

    /// Checks a stream and the context that its work needs.
    fn check_stream(&self, current: u64, stream: u64) -> Result<u64, Error> {
        self.queues.context_of(&self.contexts, current, stream)
    }
}
