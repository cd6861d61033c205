//! What graphs borrow of the program: memory that their nodes copy, and functions that they call.
//!
//! Before a launch what the program has there now is sent to the places that stand in for it, in
//! the same stream; behind it what they hold is asked for, and comes when the program synchronises,
//! as after any asynchronous copy. In a graph that calls functions, copies travel next to these,
//! too (`order`). (docs/decisions/0022-graphs-hold-no-memory-of-the-program.md)

mod copy;
mod function;
mod order;

pub(crate) use copy::{HostCopy, Way};
pub(crate) use function::NodeFunction;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUgraph, CUgraphExec, CUgraphNode, CUstream, Error};
use vgpu_guest::wire::cuda::{CtxSynchronize, GraphLaunch, GraphRun};

use crate::api::{self, graph, host_function};
use crate::handles::{self, Lane};
use crate::remote;
use crate::volume::Layout;
use function::Around;
use order::{Nodes, order};

/// What one node borrows.
#[derive(Debug)]
pub(crate) enum Borrowed {
    /// Memory.
    Copy(HostCopy),
    /// A function.
    Function(Arc<NodeFunction>),
}

/// Copies, and functions, by node.
type Copies = Vec<(u64, Arc<HostCopy>)>;
type Functions = Vec<(u64, Arc<NodeFunction>)>;

#[derive(Debug, Default)]
struct Known {
    graphs: HashMap<u64, Graph>,
    execs: HashMap<u64, Exec>,
    /// What nodes call that were changed in graphs which are not known here, such as those inside
    /// nodes. Kept for good: nobody says when they go.
    adrift: Vec<Arc<NodeFunction>>,
    /// Graphs inside nodes. What is added to them happens in graphs that are not known here.
    inner: HashSet<u64>,
}

#[derive(Debug, Default)]
struct Graph {
    copies: Copies,
    functions: Functions,
    /// Whether a capture makes it, which may yet fail.
    is_capturing: bool,
    /// Whether it was there before a capture into it, and stays if that fails.
    is_lasting: bool,
}

impl Graph {
    fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.functions.is_empty() && !self.is_lasting
    }
}

/// What the launches of a graph need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    before: Vec<Arc<HostCopy>>,
    behind: Vec<Arc<HostCopy>>,
    functions: Vec<Arc<NodeFunction>>,
    /// Whether there are copies at all.
    any_copies: bool,
}

#[derive(Debug)]
struct Exec {
    needs: Needs,
    /// Where it was launched last: its launches follow one another wherever they are.
    last: Option<Lane>,
}

static ALL: Mutex<Option<Known>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Known>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up what a node borrows.
pub(crate) fn insert(graph: CUgraph, node: CUgraphNode, borrowed: Borrowed, is_capturing: bool) {
    let mut all = lock();
    let graph = all.get_or_insert_default().graphs.entry(graph.0).or_default();
    match borrowed {
        Borrowed::Copy(copy) => graph.copies.push((node.0, Arc::new(copy))),
        Borrowed::Function(function) => graph.functions.push((node.0, function)),
    }
    graph.is_capturing |= is_capturing && !graph.is_lasting;
}

/// Takes up that a graph is captured into which was there before: what its nodes borrow stays.
pub(crate) fn keep(graph: CUgraph) {
    lock().get_or_insert_default().graphs.entry(graph.0).or_default().is_lasting = true;
}

/// Takes up that a graph is inside a node.
pub(crate) fn insert_inner(graph: CUgraph) {
    lock().get_or_insert_default().inner.insert(graph.0);
}

/// Checks that what a graph borrows is found where it is launched: not in a graph inside a node.
pub(crate) fn check_outer(graph: CUgraph) -> Result<(), Error> {
    let is_inner = lock().as_ref().is_some_and(|all| all.inner.contains(&graph.0));
    if is_inner { Err(Error::NOT_SUPPORTED) } else { Ok(()) }
}

/// Says whether a graph calls functions of the program.
pub(crate) fn calls_any(graph: CUgraph) -> bool {
    !functions_of(graph).is_empty()
}

/// Takes up that a node does all that another graph does.
pub(crate) fn insert_child(graph: CUgraph, node: CUgraphNode, child: CUgraph) {
    let functions = functions_of(child);
    insert_functions(graph, node, functions, false);
}

/// Takes up that a captured node does all that an executable graph does.
pub(crate) fn insert_exec(graph: CUgraph, node: CUgraphNode, exec: CUgraphExec) {
    let functions =
        lock().as_ref().and_then(|all| Some(all.execs.get(&exec.0)?.needs.functions.clone()));
    insert_functions(graph, node, functions.unwrap_or_default(), true);
}

/// Takes up that a graph is the copy of another one. Which of its nodes are which is not known.
pub(crate) fn insert_clone(clone: CUgraph, original: CUgraph) {
    insert_functions(clone, CUgraphNode(0), functions_of(original), false);
}

fn functions_of(graph: CUgraph) -> Vec<Arc<NodeFunction>> {
    let all = lock();
    let graph = all.as_ref().and_then(|all| all.graphs.get(&graph.0));
    graph
        .map(|graph| graph.functions.iter().map(|(_, it)| Arc::clone(it)).collect())
        .unwrap_or_default()
}

fn insert_functions(
    graph: CUgraph,
    node: CUgraphNode,
    functions: Vec<Arc<NodeFunction>>,
    is_capturing: bool,
) {
    for function in functions {
        insert(graph, node, Borrowed::Function(function), is_capturing);
    }
}

/// Finds the program's memory that a place on a device stands in for, and how its rows lie.
pub(crate) fn place(stand_in: u64) -> Option<(usize, Layout)> {
    let all = lock();
    let mut copies = all.as_ref()?.graphs.values().flat_map(|graph| &graph.copies);
    copies.find(|(_, copy)| copy.stand_in == stand_in).map(|(_, copy)| copy.place())
}

/// Says whether a graph has nodes that copy memory of the program.
pub(crate) fn copies_any(graph: CUgraph) -> bool {
    let is_one = |all: &Known| all.graphs.get(&graph.0).is_some_and(|it| !it.copies.is_empty());
    lock().as_ref().is_some_and(is_one)
}

/// Says whether an executable graph has nodes that copy memory of the program.
pub(crate) fn exec_copies_any(exec: CUgraphExec) -> bool {
    let is_one = |all: &Known| all.execs.get(&exec.0).is_some_and(|it| it.needs.any_copies);
    lock().as_ref().is_some_and(is_one)
}

/// Says whether an executable graph borrows anything.
pub(crate) fn any_in_exec(exec: CUgraphExec) -> bool {
    lock().as_ref().is_some_and(|all| all.execs.contains_key(&exec.0))
}

/// Takes up the end of a capture: its graph, or that there is none.
pub(crate) fn end_capture(graph: Option<CUgraph>, any_left: bool) {
    let mut all = lock();
    let Some(known) = all.as_mut() else { return };
    if let Some(found) = graph.and_then(|graph| known.graphs.get_mut(&graph.0)) {
        found.is_capturing = false;
    }
    if any_left {
        return;
    }
    // Those of captures that failed.
    let failed: Vec<Graph> =
        known.graphs.extract_if(|_, graph| graph.is_capturing).map(|(_, graph)| graph).collect();
    drop(all);
    drop(failed);
}

/// Forgets what a node borrowed that is destroyed or does something else.
pub(crate) fn forget_node(node: CUgraphNode) {
    let mut gone = (Vec::new(), Vec::new());
    let mut all = lock();
    let Some(known) = all.as_mut() else { return };
    for graph in known.graphs.values_mut() {
        gone.0.extend(graph.copies.extract_if(.., |(other, _)| *other == node.0));
        gone.1.extend(graph.functions.extract_if(.., |(other, _)| *other == node.0));
    }
    known.graphs.retain(|_, graph| !graph.is_empty());
    drop(all);
    drop(gone);
}

/// Takes up that a node calls another function.
pub(crate) fn change_function(node: CUgraphNode, function: Arc<NodeFunction>) {
    let mut all = lock();
    let known = all.get_or_insert_default();
    let mut functions = known.graphs.values_mut().flat_map(|graph| &mut graph.functions);
    let old = match functions.find(|(other, _)| *other == node.0) {
        Some((_, old)) => Some(std::mem::replace(old, function)),
        None => {
            known.adrift.push(function);
            None
        }
    };
    drop(all);
    drop(old);
}

/// Takes up that an executable graph calls other functions, too, from now on.
pub(crate) fn add_functions(exec: CUgraphExec, functions: Vec<Arc<NodeFunction>>) {
    if let Some(exec) = lock().as_mut().and_then(|all| all.execs.get_mut(&exec.0)) {
        exec.needs.functions.extend(functions);
    }
}

/// Lists the functions that a graph calls, to be called with no copies next to them.
///
/// # Errors
/// NOT_SUPPORTED if an executable graph has copies next to one.
pub(crate) fn functions_alone(graph: CUgraph) -> Result<Vec<Arc<NodeFunction>>, Error> {
    let functions = functions_of(graph);
    functions.iter().try_for_each(|function| function.place(Around::default()))?;
    Ok(functions)
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

/// Finds out what the launches of a graph need.
///
/// # Errors
/// NOT_SUPPORTED where the graph reads memory of the program which it writes itself, with no
/// function in between: what is to be read is sent before the launch. The same where which node
/// calls a function is not known, and copies are to be ordered with it; and where a function has
/// other copies next to it, or none, in another executable graph.
pub(crate) fn needs(graph: CUgraph) -> Result<Needs, Error> {
    let found = lock().as_ref().and_then(|all| {
        let graph = all.graphs.get(&graph.0)?;
        Some((graph.copies.clone(), graph.functions.clone()))
    });
    let Some((copies, functions)) = found else { return Ok(Needs::default()) };
    let nodes = |way| -> Vec<u64> {
        let of_way = copies.iter().filter(|(_, copy)| copy.way == way);
        of_way.map(|(node, _)| *node).collect()
    };
    let callers: Vec<u64> = functions.iter().map(|(node, _)| *node).collect();
    let mut edges = Vec::new();
    if !copies.is_empty() && !functions.is_empty() {
        let is_known =
            |node: &u64| *node != 0 && callers.iter().filter(|it| *it == node).count() == 1;
        if !callers.iter().all(is_known) {
            return Err(Error::NOT_SUPPORTED);
        }
        edges.extend(graph::edges_of(graph)?.iter().map(|edge| (edge.from, edge.to)));
    }
    let (reads, writes) = (nodes(Way::In), nodes(Way::Out));
    let order = order(&Nodes { functions: &callers, reads: &reads, writes: &writes }, &edges);
    let pick = |nodes: &[u64]| -> Vec<Arc<HostCopy>> {
        let of_nodes = copies.iter().filter(|(node, _)| nodes.contains(node));
        of_nodes.map(|(_, copy)| Arc::clone(copy)).collect()
    };
    let (before, behind) = (pick(&order.before), pick(&order.behind));
    check_fresh(&before, &pick(&writes))?;
    check_fresh(&pick(&reads), &behind)?;
    for ((_, function), (fetched, sent)) in functions.iter().zip(&order.around) {
        function.place(Around { fetched: pick(fetched), sent: pick(sent) })?;
    }
    let any_copies = !copies.is_empty();
    let functions = functions.into_iter().map(|(_, function)| function).collect();
    Ok(Needs { before, behind, functions, any_copies })
}

fn check_fresh(reads: &[Arc<HostCopy>], writes: &[Arc<HostCopy>]) -> Result<(), Error> {
    for read in reads {
        for written in writes {
            if read.overlaps(written)? {
                return Err(Error::NOT_SUPPORTED);
            }
        }
    }
    Ok(())
}

/// Takes up what the launches of an executable graph need from now on.
pub(crate) fn make(exec: CUgraphExec, needs: Needs) {
    let mut all = lock();
    let known = all.get_or_insert_default();
    let last = known.execs.get(&exec.0).and_then(|exec| exec.last);
    let old = if !needs.any_copies && needs.functions.is_empty() && last.is_none() {
        known.execs.remove(&exec.0)
    } else {
        known.execs.insert(exec.0, Exec { needs, last })
    };
    drop(all);
    drop(old);
}

/// Launches an executable graph that borrows something, between what its copies need before and
/// behind.
pub(crate) fn launch(exec: CUgraphExec, stream: CUstream) -> Result<(), Error> {
    let lane = Lane::of(handles::stream(stream)?.context, stream);
    let known = lock().as_mut().and_then(|all| {
        let exec = all.execs.get_mut(&exec.0)?;
        Some((exec.needs.clone(), exec.last.replace(lane)))
    });
    let (needs, last) = known.unwrap_or_default();
    let moved = last.is_some_and(|last| last != lane);
    if needs.any_copies && moved {
        // The stand-ins are still read and written in the other stream.
        remote::call(&CtxSynchronize {})?;
    }
    if !needs.before.is_empty() {
        api::copy::await_functions(stream)?;
    }
    for copy in &needs.before {
        copy.send(stream)?;
    }
    let (graph_exec, stream_number) = (exec.0, stream.0);
    if needs.functions.is_empty() {
        remote::post_to(stream, &GraphLaunch { graph_exec, stream: stream_number })?;
    } else {
        host_function::launch_run(needs.functions, |ticket| {
            remote::post_to(stream, &GraphRun { graph_exec, stream: stream_number, ticket })
        })?;
    }
    needs.behind.iter().try_for_each(|copy| copy.fetch(stream))
}

#[cfg(test)]
mod tests;
