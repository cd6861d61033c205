//! Functions of the client's program in streams and graphs of the genuine driver.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::Arc;

use vgpu_abi::cuda::{
    CUDA_HOST_NODE_PARAMS_v1, CUstream_flags, CUstreamCaptureStatus as Status, Error,
};
use vgpu_link::wire::cuda::{GraphRun, LaunchHostFunction, StandInRead, StandInWrite};

use super::Nvidia;
use super::foreign::{Awaited, Bytes, Called, Pointer, Raw};
use super::handles::Kind;
use crate::device::Holds;
use crate::dispatch::{Call, Wait};

pub(super) const HOST_BYTES: usize = size_of::<CUDA_HOST_NODE_PARAMS_v1>();

/// Most functions of nodes that one client may have made: a million. They are kept to its end.
const CALLED_MAX: usize = 1 << 20;

/// The functions that nodes of one client's graphs call.
#[derive(Debug, Default)]
pub(super) struct NodeFunctions {
    called: HashMap<u64, Called>,
    /// Their numbers by what the driver is given.
    tickets: HashMap<usize, u64>,
    /// By context: the stream in which stand-ins are read and written.
    beside: HashMap<u64, Pointer>,
}

impl NodeFunctions {
    /// Forgets the streams of a context that has ended.
    pub fn end_context(&mut self, context: u64) {
        self.beside.remove(&context);
    }
}

/// Lets the stream wait for a function. The driver is given a callback and not a function of
/// `cuLaunchHostFunc`, which it would not call if the context broke before: only a callback is
/// always called, with the stream's result code, and nobody waits for ever (CUDA Driver API,
/// `cuStreamAddCallback`, `cuLaunchHostFunc`). A capture takes only the latter.
pub(super) fn launch_host_function(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LaunchHostFunction,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let mut status = 0;
    nvidia.driver.stream_is_capturing(stream, &mut status)?;
    if status != Status::NONE.0 {
        let data = nvidia.called(r.ticket)?;
        return nvidia.driver.launch_host_func(stream, Called::function(), data);
    }
    nvidia.functions.launch(r.ticket, Holds::Stream)?;
    let added = nvidia.call_back(stream, r.ticket);
    added.inspect_err(|_| nvidia.functions.withdraw(r.ticket))
}

/// Launches an executable graph that calls functions. The driver's thread that calls them waits for
/// the client, so nothing that may wait for the driver comes to it before the run is over: the
/// callback behind the graph says so, which is called whatever becomes of it.
pub(super) fn graph_run(nvidia: &mut Nvidia, call: &Call, r: GraphRun) -> Result<(), Error> {
    nvidia.functions.launch(r.ticket, Holds::All)?;
    let launched = nvidia.launch_run(call, &r);
    launched.inspect_err(|error| nvidia.functions.come_to(r.ticket, error.code()))
}

/// Reads memory of the device beside what streams do: the run of a graph waits meanwhile.
pub(super) fn stand_in_read(
    nvidia: &mut Nvidia,
    call: &Call,
    r: StandInRead,
    _: &mut Vec<u8>,
) -> Result<Wait<()>, Error> {
    let stream = nvidia.beside(call)?;
    Ok(nvidia.later(move |driver, bulk| {
        super::copy::room(bulk, r.bytes)?;
        let bytes = bulk.len();
        driver.memcpy_dto_h_async_v2(Raw::write(bulk), r.source, bytes, stream)?;
        driver.stream_synchronize(stream)
    }))
}

/// Writes memory of the device beside what streams do.
pub(super) fn stand_in_write(
    nvidia: &mut Nvidia,
    call: &Call,
    r: StandInWrite,
    bulk: &[u8],
) -> Result<Wait<()>, Error> {
    let stream = nvidia.beside(call)?;
    let bulk = bulk.to_vec();
    Ok(nvidia.later(move |driver, _| {
        driver.memcpy_hto_d_async_v2(r.target, Raw::read(&bulk), bulk.len(), stream)?;
        driver.stream_synchronize(stream)
    }))
}

impl Nvidia {
    fn call_back(&self, stream: Pointer, ticket: u64) -> Result<(), Error> {
        let awaited = Awaited::new(Arc::clone(&self.functions), ticket);
        let added =
            self.driver.stream_add_callback(stream, Awaited::callback(), awaited.address(), 0);
        if added.is_err() {
            awaited.take_back();
        }
        added
    }

    fn launch_run(&mut self, call: &Call, r: &GraphRun) -> Result<(), Error> {
        self.enter(call)?;
        let exec = self.handles.find(Kind::Exec, r.graph_exec)?;
        let stream = self.stream(call, r.stream)?;
        self.driver.graph_launch(exec, stream)?;
        self.call_back(stream, r.ticket)
    }

    /// Finds what nodes that call a function are given.
    fn called(&mut self, ticket: u64) -> Result<Raw<'static>, Error> {
        let known = &mut self.node_functions;
        if known.called.len() >= CALLED_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let new = || Called::new(Arc::clone(&self.functions), ticket);
        let address = known.called.entry(ticket).or_insert_with(new).address();
        known.tickets.insert(address.address().addr(), ticket);
        Ok(address)
    }

    /// Puts a call of a function into the driver's words.
    pub(super) fn host_work(&mut self, ticket: u64) -> Result<Bytes<HOST_BYTES>, Error> {
        type Params = CUDA_HOST_NODE_PARAMS_v1;
        let data = self.called(ticket)?.address().expose_provenance();
        let function = Called::function().address().expose_provenance();
        let mut bytes = Bytes([0; HOST_BYTES]);
        bytes.put(offset_of!(Params, r#fn), function.to_ne_bytes());
        bytes.put(offset_of!(Params, userData), data.to_ne_bytes());
        Ok(bytes)
    }

    /// Reads which function the driver says that a node calls.
    pub(super) fn told_host(&self, bytes: &Bytes<HOST_BYTES>) -> Result<u64, Error> {
        let data = usize::from_ne_bytes(bytes.take(offset_of!(CUDA_HOST_NODE_PARAMS_v1, userData)));
        self.node_functions.tickets.get(&data).copied().ok_or(Error::NOT_SUPPORTED)
    }

    /// Finds the stream in which stand-ins of a context are read and written. It has the highest
    /// priority, so that it shares no queue of the device with those that wait.
    fn beside(&mut self, call: &Call) -> Result<Pointer, Error> {
        self.enter(call)?;
        if let Some(stream) = self.node_functions.beside.get(&call.context) {
            return Ok(*stream);
        }
        let (mut stream, non_blocking) = (Pointer::default(), CUstream_flags::NON_BLOCKING.0);
        // A priority outside the range is moved into it.
        self.driver.stream_create_with_priority(&mut stream, non_blocking, i32::MIN)?;
        self.node_functions.beside.insert(call.context, stream);
        Ok(stream)
    }
}
