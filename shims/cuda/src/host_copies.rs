//! Copies between the program's memory and a device that are nodes of graphs.
//!
//! The host cannot reach the program's memory when a graph runs. So the node copies between the
//! device's place and another one on the device that stands in for the program's memory. Before a
//! launch what the program has there now is sent to the stand-in, in the same stream; behind it
//! what the stand-in holds is asked for, and comes when the program synchronises, as after any
//! asynchronous copy. (docs/decisions/0022-graphs-hold-no-memory-of-the-program.md)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUgraph, CUgraphExec, CUgraphNode, CUstream, Error};
use vgpu_guest::convert::Kept;
use vgpu_guest::wire::cuda::{CtxSynchronize, MemAllocV2, MemFreeV2};
use vgpu_guest::{reach, session};

use crate::api::copy;
use crate::handles::{self, Lane};
use crate::{contexts, remote};

/// Which way a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the program to a device.
    In,
    /// From a device to the program.
    Out,
}

/// A copy of the program's memory in a graph.
#[derive(Debug)]
pub(crate) struct HostCopy {
    /// Where on the device the program's memory is stood in for.
    pub stand_in: u64,
    way: Way,
    place: Kept,
    address: u64,
    bytes: usize,
    /// The context of the stand-in, which is freed with it, and its number.
    context: (u64, u64),
}

impl HostCopy {
    /// Makes a stand-in for some of the program's memory.
    pub(crate) fn new(way: Way, place: Kept, bytes: usize) -> Result<Self, Error> {
        let address = place.memory().address();
        check_reach(way, address, bytes)?;
        let (handle, context) = contexts::current()?;
        let bytesize = bytes as u64;
        // Not by way of `remote`, which would take it for an unsafe call of the program.
        let stand_in = session::call(&MemAllocV2 { bytesize })?.dptr;
        Ok(Self { stand_in, way, place, address, bytes, context: (handle, context.id) })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.address < other.address + other.bytes as u64
            && other.address < self.address + self.bytes as u64
    }

    /// Sends what the program has there now, behind what the stream does.
    fn send(&self, stream: CUstream) -> Result<(), Error> {
        check_reach(self.way, self.address, self.bytes)?;
        if session::has_copies_into(self.address, self.bytes as u64)? {
            // What an earlier copy brings there is still under way.
            remote::call(&CtxSynchronize {})?;
        }
        copy::send_behind(self.stand_in, self.place.memory().bytes::<Error>(self.bytes)?, stream)
    }

    /// Asks for what is there, behind what the stream does.
    fn fetch(&self, stream: CUstream) -> Result<(), Error> {
        check_reach(self.way, self.address, self.bytes)?;
        copy::fetch_behind(self.place.memory(), self.stand_in, self.bytes, stream)
    }
}

impl Drop for HostCopy {
    fn drop(&mut self) {
        let (handle, id) = self.context;
        // Else it has gone with its context.
        if contexts::find(handle).is_ok_and(|context| context.id == id) {
            // A connection that is lost has nothing left to free.
            let _ = session::post(&MemFreeV2 { dptr: self.stand_in });
        }
    }
}

fn check_reach(way: Way, address: u64, bytes: usize) -> Result<(), Error> {
    let place = std::ptr::without_provenance(address as usize);
    let is_reached = match way {
        Way::In => reach::is_readable(place, bytes),
        Way::Out => reach::is_writable(place, bytes),
    };
    if is_reached { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// The copies of a graph, by node.
type Copies = Vec<(u64, Arc<HostCopy>)>;

#[derive(Debug, Default)]
struct Known {
    graphs: HashMap<u64, Graph>,
    execs: HashMap<u64, Exec>,
}

#[derive(Debug, Default)]
struct Graph {
    copies: Copies,
    /// Whether a capture makes it, which may yet fail.
    is_capturing: bool,
}

#[derive(Debug)]
struct Exec {
    copies: Copies,
    /// Where it was launched last: its launches follow one another wherever they are.
    last: Option<Lane>,
}

static ALL: Mutex<Option<Known>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Known>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up a node that copies memory of the program.
pub(crate) fn insert(graph: CUgraph, node: CUgraphNode, copy: HostCopy, is_capturing: bool) {
    let mut all = lock();
    let graph = all.get_or_insert_default().graphs.entry(graph.0).or_default();
    graph.copies.push((node.0, Arc::new(copy)));
    graph.is_capturing |= is_capturing;
}

/// Finds where the program's memory lies that a place on a device stands in for.
pub(crate) fn place(stand_in: u64) -> Option<usize> {
    let all = lock();
    let mut copies = all.as_ref()?.graphs.values().flat_map(|graph| &graph.copies);
    copies.find(|(_, copy)| copy.stand_in == stand_in).map(|(_, copy)| copy.address as usize)
}

/// Says whether a graph has nodes that copy memory of the program.
pub(crate) fn any_in_graph(graph: CUgraph) -> bool {
    lock().as_ref().is_some_and(|all| all.graphs.contains_key(&graph.0))
}

/// Says whether an executable graph has nodes that copy memory of the program.
pub(crate) fn any_in_exec(exec: CUgraphExec) -> bool {
    lock().as_ref().is_some_and(|all| all.execs.contains_key(&exec.0))
}

/// Takes up the end of a capture: its graph, or that there is none.
pub(crate) fn end_capture(graph: Option<CUgraph>, any_left: bool) {
    let mut all = lock();
    let Some(all) = all.as_mut() else { return };
    if let Some(found) = graph.and_then(|graph| all.graphs.get_mut(&graph.0)) {
        found.is_capturing = false;
    }
    if !any_left {
        // Those of captures that failed.
        all.graphs.retain(|_, graph| !graph.is_capturing);
    }
}

/// Forgets a node that is destroyed or does something else.
pub(crate) fn forget_node(node: CUgraphNode) {
    let mut all = lock();
    let Some(all) = all.as_mut() else { return };
    for graph in all.graphs.values_mut() {
        graph.copies.retain(|(other, _)| *other != node.0);
    }
    all.graphs.retain(|_, graph| !graph.copies.is_empty());
}

/// Forgets a graph that is destroyed.
pub(crate) fn forget_graph(graph: CUgraph) {
    let forgotten = lock().as_mut().and_then(|all| all.graphs.remove(&graph.0));
    drop(forgotten);
}

/// Forgets an executable graph that is destroyed.
pub(crate) fn forget_exec(exec: CUgraphExec) {
    let forgotten = lock().as_mut().and_then(|all| all.execs.remove(&exec.0));
    drop(forgotten);
}

/// Checks that a graph reads no memory of the program which it writes itself: what is to be read
/// is sent before the launch.
///
/// # Errors
/// NOT_SUPPORTED.
pub(crate) fn check_graph(graph: CUgraph) -> Result<(), Error> {
    let all = lock();
    let copies = all.as_ref().and_then(|all| all.graphs.get(&graph.0));
    let copies: &[_] = copies.map_or(&[], |graph| &graph.copies);
    let of = |way| copies.iter().map(|(_, copy)| copy).filter(move |copy| copy.way == way);
    let is_stale = of(Way::In).any(|read| of(Way::Out).any(|written| read.overlaps(written)));
    if is_stale { Err(Error::NOT_SUPPORTED) } else { Ok(()) }
}

/// Takes up that an executable graph does from now on what a graph says.
pub(crate) fn make(exec: CUgraphExec, graph: CUgraph) {
    let mut all = lock();
    let Some(all) = all.as_mut() else { return };
    let copies = all.graphs.get(&graph.0).map(|graph| graph.copies.clone()).unwrap_or_default();
    let last = all.execs.get(&exec.0).and_then(|exec| exec.last);
    if copies.is_empty() && last.is_none() {
        all.execs.remove(&exec.0);
    } else {
        all.execs.insert(exec.0, Exec { copies, last });
    }
}

/// Launches an executable graph between what its copies need before and behind.
pub(crate) fn around_launch(
    exec: CUgraphExec,
    stream: CUstream,
    launch: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let lane = Lane::of(handles::stream(stream)?.context, stream);
    let known = lock().as_mut().and_then(|all| {
        let exec = all.execs.get_mut(&exec.0)?;
        Some((exec.copies.clone(), exec.last.replace(lane)))
    });
    let Some((copies, last)) = known else { return launch() };
    if last.is_some_and(|last| last != lane) {
        // The stand-ins are still read and written in the other stream.
        remote::call(&CtxSynchronize {})?;
    }
    for (_, copy) in copies.iter().filter(|(_, copy)| copy.way == Way::In) {
        copy.send(stream)?;
    }
    launch()?;
    for (_, copy) in copies.iter().filter(|(_, copy)| copy.way == Way::Out) {
        copy.fetch(stream)?;
    }
    Ok(())
}
