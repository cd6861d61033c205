//! Graphs by messages: made by hand or captured, instantiated, updated and launched.

use vgpu_abi::cuda::{
    CUgraphExecUpdateResult as Outcome, CUgraphInstantiateResult as Made, CUgraphNodeType as Type,
    Error,
};
use vgpu_link::wire::cuda::*;

use super::tests::Client;
use crate::dispatch::*;

pub(super) fn plain(kind: Type, handle: u64) -> NodeParams {
    let (launch, copy, set) = (Vec::new(), Vec::new(), Vec::new());
    NodeParams { kind: kind.0, context: 0, launch, copy, set, handle }
}

pub(super) fn empty_node() -> NodeParams {
    plain(Type::EMPTY, 0)
}

fn set_node(to: u64, value: u32, width: u64) -> NodeParams {
    let set = NodeSet { to, pitch: 0, value, element_bytes: 1, width, height: 1 };
    NodeParams { set: vec![set], ..plain(Type::MEMSET, 0) }
}

fn copy_node(to: u64, from: u64, width_bytes: u64) -> NodeParams {
    let end = |address| NodeCopyEnd {
        kind: 2,
        address,
        x_bytes: 0,
        y: 0,
        z: 0,
        level: 0,
        pitch: 0,
        height: 0,
    };
    let copy = NodeCopy { from: end(from), to: end(to), width_bytes, height: 1, depth: 1 };
    NodeParams { copy: vec![copy], ..plain(Type::MEMCPY, 0) }
}

impl Client {
    pub(super) fn graph(&mut self) -> u64 {
        self.sim.graph_create(&self.call, GraphCreate { flags: 0 }).expect("a graph").graph
    }

    pub(super) fn add(
        &mut self,
        graph: u64,
        after: &[u64],
        params: NodeParams,
    ) -> Result<u64, Error> {
        let edge = |&node: &u64| GraphEdge { node, data: [0; 8] };
        let dependencies = after.iter().map(edge).collect();
        let request = GraphAddNode { graph, dependencies, params };
        self.sim.graph_add_node(&self.call, request).map(|reply| reply.node)
    }

    pub(super) fn kind(&mut self, node: u64) -> u32 {
        self.sim.graph_node_get_type(&self.call, GraphNodeGetType { node }).expect("a node").kind
    }

    fn make(&mut self, graph: u64, flags: u64) -> GraphInstantiateReply {
        let request = GraphInstantiate { graph, flags, upload: 0 };
        self.sim.graph_instantiate(&self.call, request).expect("an answer")
    }

    pub(super) fn exec(&mut self, graph: u64) -> u64 {
        let made = self.make(graph, 0);
        assert_eq!((made.code, made.result), (0, Made::SUCCESS.0));
        made.exec
    }

    pub(super) fn launch_exec(&mut self, graph_exec: u64, stream: u64) -> Result<(), Error> {
        self.sim.graph_launch(&self.call, GraphLaunch { graph_exec, stream })
    }

    fn update(&mut self, exec: u64, graph: u64) -> (u32, Outcome, u64, u64) {
        let reply = self.sim.graph_exec_update(&self.call, GraphExecUpdate { exec, graph });
        let reply = reply.expect("an answer");
        (reply.code, Outcome(reply.result), reply.error_node, reply.error_from_node)
    }

    fn change_exec(&mut self, exec: u64, node: u64, params: NodeParams) -> Result<(), Error> {
        self.sim.graph_exec_node_change(&self.call, GraphExecNodeChange { exec, node, params })
    }

    fn destroy(&mut self, graph: u64) -> Result<(), Error> {
        self.sim.graph_destroy(&self.call, GraphDestroy { graph })
    }

    /// A graph that sets 16 bytes and then copies them, its nodes, and the two places.
    fn set_then_copy(&mut self, value: u32) -> (u64, [u64; 2], [u64; 2]) {
        let places = [self.alloc(16).expect("room"), self.alloc(16).expect("room")];
        let graph = self.graph();
        let set = self.add(graph, &[], set_node(places[0], value, 16)).expect("added");
        let copy = self.add(graph, &[set], copy_node(places[1], places[0], 16)).expect("added");
        (graph, [set, copy], places)
    }
}

const FAILED: u32 = 910;

#[test]
fn a_launch_does_the_nodes_in_the_order_of_their_dependencies_each_time() {
    let mut client = Client::new();
    let (source, target) = (client.alloc(16).expect("room"), client.alloc(16).expect("room"));
    let graph = client.graph();
    // The copy is added first, and depends on the set all the same.
    let copy = client.add(graph, &[], copy_node(target, source, 16)).expect("added");
    let set = client.add(graph, &[], set_node(source, 5, 16)).expect("added");
    let edges = vec![GraphLink { from: set, to: copy, data: [0; 8] }];
    client.sim.graph_add_edges(&client.call, GraphAddEdges { graph, edges }).expect("added");
    let (exec, stream) = (client.exec(graph), client.stream());
    client.destroy(graph).expect("the executable one lives on");
    assert_eq!(client.read(target, 2), Ok(vec![0, 0]));
    for _ in 0..3 {
        client.launch_exec(exec, stream).expect("launched");
        assert_eq!(client.read(target, 2), Ok(vec![5, 5]));
        client.write(target, &[0; 16]).expect("in range");
    }
    let gone = GraphExecDestroy { graph_exec: exec };
    client.sim.graph_exec_destroy(&client.call, gone.clone()).expect("destroyed");
    assert_eq!(client.sim.graph_exec_destroy(&client.call, gone), Err(Error::INVALID_VALUE));
    assert_eq!(client.launch_exec(exec, stream), Err(Error::INVALID_VALUE));
}

#[test]
fn what_was_captured_is_launched_and_updated_by_another_capture() {
    let mut client = Client::new();
    let (stream, at) = (client.stream(), client.alloc(16).expect("room"));
    let capture = |client: &mut Client, value| {
        client.begin(stream).expect("a capture begins");
        client.set(stream, at, value).expect("recorded");
        client.end(stream).expect("a graph")
    };
    let first = capture(&mut client, 1);
    let exec = client.exec(first);
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(at, 1), Ok(vec![1]));
    let second = capture(&mut client, 2);
    assert_eq!(client.update(exec, second), (0, Outcome::SUCCESS, 0, 0));
    assert_eq!(client.read(at, 1), Ok(vec![1]), "an update does nothing by itself");
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(at, 1), Ok(vec![2]));
}

#[test]
fn an_update_names_what_is_not_alike() {
    let mut client = Client::new();
    let (graph, _, places) = client.set_then_copy(1);
    let exec = client.exec(graph);
    let other = client.graph();
    assert_eq!(client.update(exec, other), (FAILED, Outcome::ERROR_TOPOLOGY_CHANGED, 0, 0));
    let set = client.add(other, &[], set_node(places[0], 2, 16)).expect("added");
    let end = client.add(other, &[], copy_node(places[1], places[0], 16)).expect("added");
    let unlike = (FAILED, Outcome::ERROR_TOPOLOGY_CHANGED, end, 0);
    assert_eq!(client.update(exec, other), unlike, "more ends");
    let edge = |from, to| vec![GraphLink { from, to, data: [0; 8] }];
    let edges = edge(set, end);
    let call = client.call;
    client.sim.graph_add_edges(&call, GraphAddEdges { graph: other, edges }).expect("added");
    assert_eq!(client.update(exec, other), (0, Outcome::SUCCESS, 0, 0));
    let kind = client.graph();
    let set = client.add(kind, &[], set_node(places[0], 2, 16)).expect("added");
    let empty = client.add(kind, &[set], empty_node()).expect("added");
    let unlike = (FAILED, Outcome::ERROR_NODE_TYPE_CHANGED, empty, 0);
    assert_eq!(client.update(exec, kind), unlike);
    let stream = client.stream();
    client.launch_exec(exec, stream).expect("what was before");
    assert_eq!(client.read(places[1], 1), Ok(vec![2]));
    assert_eq!(client.update(exec, 5).0, Error::INVALID_VALUE.code());
}

#[test]
fn an_update_pairs_nodes_by_their_edges_and_finds_the_one_that_leads_elsewhere() {
    let mut client = Client::new();
    let diamond = |client: &mut Client, crossed: bool| {
        let graph = client.graph();
        let top = client.add(graph, &[], empty_node()).expect("added");
        let left = client.add(graph, &[top], empty_node()).expect("added");
        let other = if crossed { left } else { top };
        let right = client.add(graph, &[other], empty_node()).expect("added");
        let end = client.add(graph, &[left, right], empty_node()).expect("added");
        (graph, [top, left, right, end])
    };
    let (graph, _) = diamond(&mut client, false);
    let exec = client.exec(graph);
    let (again, _) = diamond(&mut client, false);
    assert_eq!(client.update(exec, again).0, 0);
    let (crossed, [_, left, right, _]) = diamond(&mut client, true);
    let (code, outcome, node, from) = client.update(exec, crossed);
    assert_eq!((code, outcome), (FAILED, Outcome::ERROR_TOPOLOGY_CHANGED));
    assert_eq!((node, from), (right, left));
}

#[test]
fn an_update_changes_no_device_and_no_form_of_rows() {
    let mut client = Client::new();
    let (graph, [set, _], places) = client.set_then_copy(1);
    let exec = client.exec(graph);
    let other = client.graph();
    let rows = NodeSet { to: places[0], pitch: 8, value: 2, element_bytes: 1, width: 4, height: 2 };
    let rows = NodeParams { set: vec![rows], ..plain(Type::MEMSET, 0) };
    let first = client.add(other, &[], rows).expect("added");
    client.add(other, &[first], copy_node(places[1], places[0], 16)).expect("added");
    let unlike = (FAILED, Outcome::ERROR_PARAMETERS_CHANGED, first, 0);
    assert_eq!(client.update(exec, other), unlike);
    assert_eq!(client.change_exec(exec, set, set_node(5, 1, 16)), Err(Error::INVALID_VALUE));
    assert_eq!(client.change_exec(exec, set, empty_node()), Err(Error::INVALID_VALUE));
    client.change_exec(exec, set, set_node(places[0], 9, 8)).expect("changed");
    let stream = client.stream();
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(places[1], 16), Ok([[9; 8], [0; 8]].concat()));
    let exec = client.exec(graph);
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(places[1], 1), Ok(vec![1]), "the graph itself is as before");
}

#[test]
fn a_node_that_is_disabled_does_nothing_until_it_is_enabled() {
    let mut client = Client::new();
    let (graph, [set, copy], places) = client.set_then_copy(7);
    let (graph_exec, stream) = (client.exec(graph), client.stream());
    let request = |node, is_enabled| GraphNodeSetEnabled { graph_exec, node, is_enabled };
    let call = client.call;
    client.sim.graph_node_set_enabled(&call, request(copy, 0)).expect("disabled");
    let asked =
        client.sim.graph_node_get_enabled(&call, GraphNodeGetEnabled { graph_exec, node: copy });
    assert_eq!(asked.map(|reply| reply.is_enabled), Ok(0));
    client.launch_exec(graph_exec, stream).expect("launched");
    let both = (client.read(places[0], 1), client.read(places[1], 1));
    assert_eq!(both, (Ok(vec![7]), Ok(vec![0])));
    client.sim.graph_node_set_enabled(&call, request(copy, 1)).expect("enabled");
    client.launch_exec(graph_exec, stream).expect("launched");
    assert_eq!(client.read(places[1], 1), Ok(vec![7]));
    let empty = client.add(graph, &[set], empty_node()).expect("added");
    let unknown = client.sim.graph_node_set_enabled(&call, request(empty, 0));
    assert_eq!(unknown, Err(Error::INVALID_VALUE), "added after it was made");
}

#[test]
fn a_cycle_is_not_instantiated_and_the_node_is_named() {
    let mut client = Client::new();
    let (graph, [set, copy], _) = client.set_then_copy(7);
    let edges = vec![GraphLink { from: copy, to: set, data: [0; 8] }];
    let call = client.call;
    client.sim.graph_add_edges(&call, GraphAddEdges { graph, edges }).expect("added");
    let made = client.make(graph, 0);
    assert_eq!((made.code, made.exec), (Error::INVALID_VALUE.code(), 0));
    assert_eq!((made.result, made.error_node), (Made::INVALID_STRUCTURE.0, set));
    assert_eq!(client.make(graph, 4).code, Error::NOT_SUPPORTED.code(), "a launch by the device");
    assert_eq!(client.make(graph, 16).code, Error::INVALID_VALUE.code());
}

#[test]
fn a_graph_inside_a_node_is_a_copy_and_ends_with_it() {
    let mut client = Client::new();
    let (inner, [set, _], places) = client.set_then_copy(3);
    let outer = client.graph();
    let node = client.add(outer, &[], plain(Type::GRAPH, inner)).expect("added");
    client.destroy(inner).expect("it was copied");
    let request = GraphChildGraphNodeGetGraph { node };
    let child = client.sim.graph_child_graph_node_get_graph(&client.call, request.clone());
    let child = child.expect("it has one").graph;
    assert_eq!(client.destroy(child), Err(Error::INVALID_VALUE), "it is the node's");
    let (exec, stream) = (client.exec(outer), client.stream());
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(places[1], 1), Ok(vec![3]));
    let found = GraphNodeFindInClone { original_node: set, cloned_graph: child };
    let found = client.sim.graph_node_find_in_clone(&client.call, found).expect("copied").node;
    client.change_exec(exec, found, set_node(places[0], 4, 16)).expect("inside, too");
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(places[1], 1), Ok(vec![4]));
    let (other, _, _) = client.set_then_copy(6);
    client.change_exec(exec, node, plain(Type::GRAPH, other)).expect("a whole child");
    client.launch_exec(exec, stream).expect("launched");
    assert_eq!(client.read(places[1], 1), Ok(vec![4]), "it writes elsewhere now");
    client.sim.graph_destroy_node(&client.call, GraphDestroyNode { node }).expect("destroyed");
    let child = client.sim.graph_child_graph_node_get_graph(&client.call, request);
    assert_eq!(child, Err(Error::INVALID_VALUE));
}

#[test]
fn a_launch_in_a_capture_becomes_a_node_with_all_its_work() {
    let mut client = Client::new();
    let (graph, _, places) = client.set_then_copy(3);
    let (exec, stream) = (client.exec(graph), client.stream());
    client.begin(stream).expect("a capture begins");
    client.launch_exec(exec, stream).expect("recorded");
    client.set(stream, places[0], 9).expect("recorded");
    let captured = client.end(stream).expect("a graph");
    assert_eq!(client.read(places[1], 1), Ok(vec![0]));
    let first = client.nodes(captured)[0];
    assert_eq!(client.kind(first), Type::GRAPH.0);
    let exec = client.exec(captured);
    client.launch_exec(exec, stream).expect("launched");
    let both = (client.read(places[0], 1), client.read(places[1], 1));
    assert_eq!(both, (Ok(vec![9]), Ok(vec![3])));
}

#[test]
fn a_clone_is_changed_without_its_original() {
    let mut client = Client::new();
    let (graph, [set, copy], places) = client.set_then_copy(3);
    let request = GraphClone { original_graph: graph };
    let clone = client.sim.graph_clone(&client.call, request).expect("cloned").graph_clone;
    let find = |node| GraphNodeFindInClone { original_node: node, cloned_graph: clone };
    let found = client.sim.graph_node_find_in_clone(&client.call, find(set)).expect("copied").node;
    let params = set_node(places[0], 8, 16);
    let change = GraphNodeChange { node: found, params: params.clone() };
    client.sim.graph_node_change(&client.call, change).expect("changed");
    let asked = client.sim.graph_node_params(&client.call, GraphNodeParams { node: found });
    assert_eq!(asked.expect("a node").params.set, params.set);
    let asked = client.sim.graph_node_params(&client.call, GraphNodeParams { node: set });
    assert_eq!(asked.expect("a node").params.set[0].value, 3);
    let wrong = GraphNodeChange { node: found, params: empty_node() };
    let wrong = client.sim.graph_node_change(&client.call, wrong);
    assert_eq!(wrong, Err(Error::INVALID_VALUE), "another kind");
    client.sim.graph_destroy_node(&client.call, GraphDestroyNode { node: copy }).expect("gone");
    assert_eq!((client.nodes(graph).len(), client.nodes(clone).len()), (1, 2));
    let gone = client.sim.graph_node_find_in_clone(&client.call, find(5));
    assert_eq!(gone, Err(Error::INVALID_VALUE));
}

#[test]
fn edges_stay_within_a_graph_and_are_told_from_both_ends() {
    let mut client = Client::new();
    let (graph, [set, copy], _) = client.set_then_copy(3);
    let (_, [stranger, _], _) = client.set_then_copy(3);
    let call = client.call;
    let add = |from, to| GraphAddEdges { graph, edges: vec![GraphLink { from, to, data: [0; 8] }] };
    for (from, to) in [(set, copy), (set, set), (set, stranger), (5, copy)] {
        let added = client.sim.graph_add_edges(&call, add(from, to));
        assert_eq!(added, Err(Error::INVALID_VALUE), "{from:#x} {to:#x}");
    }
    assert_eq!(client.add(graph, &[stranger], empty_node()), Err(Error::INVALID_VALUE));
    assert_eq!(client.add(graph, &[set, set], empty_node()), Err(Error::INVALID_VALUE));
    let ask = |node, is_dependent| GraphNodeEdges { node, is_dependent, first: 0 };
    let told = client.sim.graph_node_edges(&call, ask(copy, 0)).expect("a node");
    assert_eq!((told.count, told.edges[0].node), (1, set));
    let told = client.sim.graph_node_edges(&call, ask(set, 1)).expect("a node");
    assert_eq!((told.count, told.edges[0].node), (1, copy));
    let remove =
        |data| GraphRemoveEdges { graph, edges: vec![GraphLink { from: set, to: copy, data }] };
    let other = client.sim.graph_remove_edges(&call, remove([1; 8]));
    assert_eq!(other, Err(Error::INVALID_VALUE), "other edge data");
    client.sim.graph_remove_edges(&call, remove([0; 8])).expect("removed");
    let told = client.sim.graph_edges(&call, GraphEdges { graph, first: 0 }).expect("a graph");
    assert_eq!(told.count, 0);
}

/// A clone and an executable graph are asked for by a few bytes, however many edges they have.
#[test]
fn graphs_do_not_fill_the_memory_of_the_host() {
    let mut client = Client::new();
    let graph = client.graph();
    let first: Vec<u64> =
        (0..1500).map(|_| client.add(graph, &[], empty_node()).expect("added")).collect();
    for _ in 0..700 {
        client.add(graph, &first, empty_node()).expect("added");
    }
    let clone = |client: &mut Client| {
        let request = GraphClone { original_graph: graph };
        client.sim.graph_clone(&client.call, request).map(|reply| reply.graph_clone)
    };
    let clones: Vec<u64> = (0..6).map(|_| clone(&mut client).expect("cloned")).collect();
    assert_eq!(clone(&mut client), Err(Error::OUT_OF_MEMORY));
    client.destroy(clones[0]).expect("destroyed");
    let again = clone(&mut client).expect("what was given back");
    assert_eq!(clone(&mut client), Err(Error::OUT_OF_MEMORY), "that of the failed one, too");
    client.destroy(again).expect("destroyed");
    let execs: Vec<u64> = (0..7).map(|_| client.exec(graph)).collect();
    assert_eq!(client.make(graph, 0).code, Error::OUT_OF_MEMORY.code());
    let gone = GraphExecDestroy { graph_exec: execs[0] };
    client.sim.graph_exec_destroy(&client.call, gone).expect("destroyed");
    client.exec(graph);
}

#[test]
fn events_are_recorded_by_the_launch() {
    let mut client = Client::new();
    let (graph, stream) = (client.graph(), client.stream());
    let (start, end) = (client.event(0).expect("an event"), client.event(0).expect("an event"));
    let first = client.add(graph, &[], plain(Type::EVENT_RECORD, start)).expect("added");
    let wait = client.add(graph, &[first], plain(Type::WAIT_EVENT, start)).expect("added");
    client.add(graph, &[wait], plain(Type::EVENT_RECORD, end)).expect("added");
    assert_eq!(client.elapsed(start, end), Err(Error::INVALID_HANDLE), "never recorded");
    let exec = client.exec(graph);
    client.launch_exec(exec, stream).expect("launched");
    assert!(client.elapsed(start, end).expect("recorded") >= 0.0);
}
