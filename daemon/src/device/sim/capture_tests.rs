//! Stream capture by messages: every rule, and what breaking it does to the capture.

use vgpu_abi::cuda::{CUstreamCaptureMode as Mode, CUstreamCaptureStatus as Status, Error};
use vgpu_link::wire::cuda::*;

use super::tests::Client;
use crate::dispatch::*;

/// Something that a client tries with a handle or an address.
type Try = fn(&mut Client, u64) -> Result<(), Error>;

const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;

impl Client {
    pub(super) fn begin(&mut self, stream: u64) -> Result<(), Error> {
        let request = StreamBeginCaptureV2 { stream, mode: Mode::RELAXED.0 };
        self.sim.stream_begin_capture_v2(&self.call, request)
    }

    pub(super) fn end(&mut self, stream: u64) -> Result<u64, Error> {
        self.sim.stream_end_capture(&self.call, StreamEndCapture { stream }).map(|one| one.graph)
    }

    pub(super) fn wait(&mut self, stream: u64, event: u64) -> Result<(), Error> {
        self.sim.stream_wait_event(&self.call, StreamWaitEvent { stream, event, flags: 0 })
    }

    pub(super) fn set(&mut self, stream: u64, at: u64, value: u8) -> Result<(), Error> {
        let request = MemsetD8Async { dst_device: at, uc: value, n: 16, stream };
        self.sim.memset_d8_async(&self.call, request)
    }

    pub(super) fn status(&mut self, stream: u64) -> Result<Status, Error> {
        let reply = self.sim.stream_is_capturing(&self.call, StreamIsCapturing { stream })?;
        Ok(Status(reply.capture_status))
    }

    pub(super) fn info(&mut self, stream: u64) -> CaptureInfoReply {
        self.sim.capture_info(&self.call, CaptureInfo { stream }).expect("a stream")
    }

    pub(super) fn nodes(&mut self, graph: u64) -> Vec<u64> {
        let reply = self.sim.graph_nodes(&self.call, GraphNodes { graph, first: 0 });
        reply.expect("a graph").nodes
    }

    fn blocking_stream(&mut self) -> u64 {
        self.sim.stream_create(&self.call, StreamCreate { flags: 0 }).expect("a stream").stream
    }

    fn synchronize(&mut self, stream: u64) -> Result<(), Error> {
        self.sim.stream_synchronize(&self.call, StreamSynchronize { stream }).map(drop)
    }

    /// A stream in a capture that has recorded one set, and where that sets.
    fn capturing(&mut self) -> (u64, u64) {
        let (stream, at) = (self.stream(), self.alloc(16).expect("room"));
        self.begin(stream).expect("a capture begins");
        self.set(stream, at, 7).expect("it is recorded");
        (stream, at)
    }

    /// Expects that the capture of a stream has failed, and ends it.
    fn expect_invalid(&mut self, stream: u64, at: u64) {
        assert_eq!(self.status(stream), Ok(Status::INVALIDATED));
        assert_eq!(self.set(stream, at, 9), Err(Error::STREAM_CAPTURE_INVALIDATED));
        assert_eq!(self.end(stream), Err(Error::STREAM_CAPTURE_INVALIDATED));
        assert_eq!(self.status(stream), Ok(Status::NONE));
        assert_eq!(self.set(stream, at, 1), Ok(()), "an ordinary stream again");
    }
}

#[test]
fn captured_work_is_recorded_and_not_done() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    assert_eq!(client.read(at, 1), Ok(vec![0]));
    assert_eq!(client.status(stream), Ok(Status::ACTIVE));
    let info = client.info(stream);
    assert_ne!((info.id, info.graph), (0, 0));
    let graph = client.end(stream).expect("a graph");
    assert_eq!(graph, info.graph);
    let nodes = client.nodes(graph);
    assert_eq!(nodes, info.dependencies.iter().map(|one| one.node).collect::<Vec<_>>());
    assert_eq!((client.status(stream), client.info(stream).id), (Ok(Status::NONE), 0));
}

#[test]
fn work_of_a_stream_depends_on_what_it_captured_before() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    client.set(stream, at, 8).expect("it is recorded");
    let graph = client.end(stream).expect("a graph");
    let nodes = client.nodes(graph);
    let edges = client.sim.graph_edges(&client.call, GraphEdges { graph, first: 0 });
    let data = [0; 8];
    assert_eq!(edges.expect("a graph").edges, [GraphLink { from: nodes[0], to: nodes[1], data }]);
}

#[test]
fn the_legacy_stream_is_not_captured_and_no_stream_twice() {
    let mut client = Client::new();
    for stream in [0, LEGACY] {
        assert_eq!(client.begin(stream), Err(Error::STREAM_CAPTURE_UNSUPPORTED));
    }
    let (stream, _) = client.capturing();
    assert_eq!(client.begin(stream), Err(Error::ILLEGAL_STATE));
    assert_eq!(client.status(stream), Ok(Status::ACTIVE));
    let other = client.stream();
    assert_eq!(client.end(other), Err(Error::ILLEGAL_STATE));
    let strict = StreamBeginCaptureV2 { stream: other, mode: Mode::GLOBAL.0 };
    let begun = client.sim.stream_begin_capture_v2(&client.call, strict);
    assert_eq!(begun, Err(Error::INVALID_VALUE), "modes are the guest's");
}

#[test]
fn a_thread_captures_its_own_stream_beside_those_of_others() {
    let mut client = Client::new();
    client.begin(PER_THREAD).expect("a capture begins");
    client.call.thread = 1;
    assert_eq!(client.status(PER_THREAD), Ok(Status::NONE));
    assert_eq!(client.end(PER_THREAD), Err(Error::ILLEGAL_STATE));
    let invalidate = CaptureInvalidate { stream: PER_THREAD, thread: 0 };
    client.sim.capture_invalidate(&client.call, invalidate).expect("it goes on");
    client.call.thread = 0;
    assert_eq!(client.end(PER_THREAD), Err(Error::STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn a_stream_in_a_capture_is_neither_waited_for_nor_asked() {
    let query = |client: &mut Client, stream| {
        client.sim.stream_query(&client.call, StreamQuery { stream }).map(drop)
    };
    let context = |client: &mut Client, _| {
        client.sim.ctx_synchronize(&client.call, CtxSynchronize {}).map(drop)
    };
    for wait in [Client::synchronize, query, context] {
        let mut client = Client::new();
        let (stream, at) = client.capturing();
        assert_eq!(wait(&mut client, stream), Err(Error::STREAM_CAPTURE_UNSUPPORTED));
        client.expect_invalid(stream, at);
    }
}

#[test]
fn other_streams_work_on_during_a_capture() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let other = client.stream();
    client.set(other, at, 3).expect("it is done");
    assert_eq!(client.synchronize(other), Ok(()));
    assert_eq!(client.read(at, 1), Ok(vec![3]), "a capture of a stream that is not blocking");
    assert!(client.end(stream).is_ok());
}

#[test]
fn the_legacy_stream_is_not_used_while_a_blocking_stream_is_captured() {
    let uses: [Try; 4] = [
        |client, at| client.set(LEGACY, at, 1),
        |client, at| client.set(0, at, 1),
        |client, at| client.write(at, &[1]),
        |client, _| client.synchronize(0),
    ];
    for (number, use_legacy) in uses.into_iter().enumerate() {
        let mut client = Client::new();
        let (stream, at) = (client.blocking_stream(), client.alloc(16).expect("room"));
        client.begin(stream).expect("a capture begins");
        assert_eq!(client.status(LEGACY), Err(Error::STREAM_CAPTURE_IMPLICIT), "{number}");
        assert_eq!(client.status(stream), Ok(Status::ACTIVE), "{number}");
        let used = use_legacy(&mut client, at);
        assert_eq!(used, Err(Error::STREAM_CAPTURE_IMPLICIT), "{number}");
        client.expect_invalid(stream, at);
    }
}

#[test]
fn streams_fork_and_join_by_events() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let (other, fork, join) = (client.stream(), client.event(2), client.event(2));
    let (fork, join) = (fork.expect("an event"), join.expect("an event"));
    client.record(fork, stream).expect("recorded");
    client.wait(other, fork).expect("it takes part");
    assert_eq!(client.status(other), Ok(Status::ACTIVE));
    assert_eq!(client.info(other).id, client.info(stream).id);
    client.set(other, at, 8).expect("it is recorded");
    client.set(stream, at, 9).expect("it is recorded");
    client.record(join, other).expect("recorded");
    client.wait(stream, join).expect("joined");
    assert_eq!(client.info(stream).dependencies.len(), 2);
    client.set(stream, at, 10).expect("it is recorded");
    let graph = client.end(stream).expect("a graph");
    let edges = client.sim.graph_edges(&client.call, GraphEdges { graph, first: 0 });
    let edges: Vec<_> =
        edges.expect("a graph").edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let n = client.nodes(graph);
    assert_eq!(edges, [(n[0], n[1]), (n[0], n[2]), (n[2], n[3]), (n[1], n[3])]);
    assert_eq!(client.status(other), Ok(Status::NONE));
}

#[test]
fn a_fork_that_was_not_joined_fails_the_capture() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let (other, fork) = (client.stream(), client.event(2).expect("an event"));
    client.record(fork, stream).expect("recorded");
    client.wait(other, fork).expect("it takes part");
    client.set(other, at, 8).expect("it is recorded");
    let graph = client.info(stream).graph;
    assert_eq!(client.end(stream), Err(Error::STREAM_CAPTURE_UNJOINED));
    assert_eq!((client.status(stream), client.status(other)), (Ok(Status::NONE), Ok(Status::NONE)));
    let nodes = client.sim.graph_nodes(&client.call, GraphNodes { graph, first: 0 });
    assert_eq!(nodes.map(drop), Err(Error::INVALID_VALUE), "the graph is gone");
}

#[test]
fn a_fork_without_work_of_its_own_need_not_be_joined() {
    let mut client = Client::new();
    let (stream, _) = client.capturing();
    let (other, fork) = (client.stream(), client.event(2).expect("an event"));
    client.record(fork, stream).expect("recorded");
    client.wait(other, fork).expect("it takes part");
    assert!(client.end(stream).is_ok());
}

#[test]
fn a_capture_ends_where_it_began() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let (other, fork) = (client.stream(), client.event(2).expect("an event"));
    client.record(fork, stream).expect("recorded");
    client.wait(other, fork).expect("it takes part");
    assert_eq!(client.end(other), Err(Error::STREAM_CAPTURE_UNMATCHED));
    client.expect_invalid(stream, at);
}

#[test]
fn two_captures_are_not_merged() {
    let mut client = Client::new();
    let ((one, at), (other, _)) = (client.capturing(), client.capturing());
    let event = client.event(2).expect("an event");
    client.record(event, one).expect("recorded");
    assert_eq!(client.wait(other, event), Err(Error::STREAM_CAPTURE_MERGE));
    client.expect_invalid(one, at);
    client.expect_invalid(other, at);
}

#[test]
fn a_capture_does_not_depend_on_work_outside() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let (outside, event) = (client.stream(), client.event(2).expect("an event"));
    client.record(event, outside).expect("recorded");
    assert_eq!(client.wait(stream, event), Err(Error::STREAM_CAPTURE_ISOLATION));
    client.expect_invalid(stream, at);
}

#[test]
fn an_event_of_a_capture_does_not_happen() {
    let mut client = Client::new();
    let asks: [Try; 3] = [
        |c, event| c.sim.event_query(&c.call, EventQuery { event }).map(drop),
        |c, event| c.sim.event_synchronize(&c.call, EventSynchronize { event }).map(drop),
        |c, event| c.elapsed(event, event).map(drop),
    ];
    for ask in asks {
        let (stream, at) = client.capturing();
        let event = client.event(0).expect("an event");
        client.record(event, stream).expect("recorded");
        assert_eq!(ask(&mut client, event), Err(Error::CAPTURED_EVENT));
        client.expect_invalid(stream, at);
        // It stays one of that capture until it is recorded elsewhere.
        assert_eq!(ask(&mut client, event), Err(Error::CAPTURED_EVENT));
        assert_eq!(client.wait(stream, event), Err(Error::CAPTURED_EVENT));
        client.record(event, stream).expect("recorded");
        assert_eq!(ask(&mut client, event), Ok(()));
    }
}

#[test]
fn external_events_become_nodes_and_are_for_captures_only() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let event = client.event(0).expect("an event");
    let record = |stream| EventRecordWithFlags { event, stream, flags: 1 };
    let wait = |stream| StreamWaitEvent { event, stream, flags: 1 };
    client.sim.event_record_with_flags(&client.call, record(stream)).expect("recorded");
    client.sim.stream_wait_event(&client.call, wait(stream)).expect("recorded");
    let other = client.stream();
    let outside = client.sim.event_record_with_flags(&client.call, record(other));
    assert_eq!(outside, Err(Error::INVALID_VALUE));
    let outside = client.sim.stream_wait_event(&client.call, wait(other));
    assert_eq!(outside, Err(Error::INVALID_VALUE));
    let graph = client.end(stream).expect("a graph");
    let kinds: Vec<u32> = client.nodes(graph).into_iter().map(|node| client.kind(node)).collect();
    assert_eq!(kinds, [2, 7, 6]);
    assert_eq!(client.set(stream, at, 1), Ok(()));
}

#[test]
fn what_cannot_be_recorded_fails_the_capture() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    assert_eq!(client.set(stream, 5, 1), Err(Error::INVALID_VALUE), "no memory there");
    client.expect_invalid(stream, at);
    let (stream, at) = client.capturing();
    let request = MemcpyHtoDAsyncV2 { dst_device: at, stream };
    let copied = client.sim.memcpy_hto_d_async_v2(&client.call, request, &[1]);
    assert_eq!(copied, Err(Error::NOT_SUPPORTED), "the program's memory");
    client.expect_invalid(stream, at);
}

#[test]
fn dependencies_of_the_next_node_are_added_or_replaced() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let info = client.info(stream);
    let add = GraphAddNode {
        graph: info.graph,
        dependencies: Vec::new(),
        params: super::graph_tests::empty_node(),
    };
    let node = client.sim.graph_add_node(&client.call, add).expect("added").node;
    let edge = |node| GraphEdge { node, data: [0; 8] };
    let change = |flags, dependencies| CaptureDependencies { stream, flags, dependencies };
    let call = client.call;
    client.sim.capture_dependencies(&call, change(0, vec![edge(node)])).expect("added");
    assert_eq!(client.info(stream).dependencies.len(), 2);
    client.sim.capture_dependencies(&call, change(1, vec![edge(node)])).expect("replaced");
    assert_eq!(client.info(stream).dependencies, [edge(node)]);
    let wrong = client.sim.capture_dependencies(&call, change(2, Vec::new()));
    assert_eq!(wrong, Err(Error::INVALID_VALUE));
    let wrong = client.sim.capture_dependencies(&call, change(0, vec![edge(5)]));
    assert_eq!(wrong, Err(Error::INVALID_VALUE));
    client.set(stream, at, 1).expect("it is recorded");
    let other = client.stream();
    let outside = CaptureDependencies { stream: other, flags: 0, dependencies: Vec::new() };
    let outside = client.sim.capture_dependencies(&call, outside);
    assert_eq!(outside, Err(Error::ILLEGAL_STATE));
    assert!(client.end(stream).is_ok(), "what was left out on purpose need not be joined");
}

#[test]
fn a_capture_into_a_graph_adds_to_what_is_there_and_leaves_it_when_it_fails() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let graph = client.end(stream).expect("a graph");
    let first = client.nodes(graph)[0];
    let dependencies = vec![GraphEdge { node: first, data: [0; 8] }];
    let into = CaptureToGraph { stream, graph, dependencies };
    client.sim.capture_to_graph(&client.call, into.clone()).expect("a capture begins");
    client.set(stream, at, 8).expect("it is recorded");
    let destroyed = client.sim.graph_destroy(&client.call, GraphDestroy { graph });
    assert_eq!(destroyed, Err(Error::INVALID_VALUE), "a capture adds to it");
    assert_eq!(client.end(stream), Ok(graph));
    assert_eq!(client.nodes(graph).len(), 2);
    client.sim.capture_to_graph(&client.call, into).expect("a capture begins");
    assert_eq!(client.synchronize(stream), Err(Error::STREAM_CAPTURE_UNSUPPORTED));
    client.expect_invalid(stream, at);
    assert_eq!(client.nodes(graph).len(), 2);
}

#[test]
fn a_capture_ends_with_its_stream_and_fails_with_a_branch() {
    let mut client = Client::new();
    let (stream, at) = client.capturing();
    let (other, fork) = (client.stream(), client.event(2).expect("an event"));
    client.record(fork, stream).expect("recorded");
    client.wait(other, fork).expect("it takes part");
    let destroy = |stream| StreamDestroyV2 { stream };
    client.sim.stream_destroy_v2(&client.call, destroy(other)).expect("destroyed");
    client.expect_invalid(stream, at);
    let (stream, _) = client.capturing();
    let graph = client.info(stream).graph;
    client.sim.stream_destroy_v2(&client.call, destroy(stream)).expect("destroyed");
    let nodes = client.sim.graph_nodes(&client.call, GraphNodes { graph, first: 0 });
    assert_eq!(nodes.map(drop), Err(Error::INVALID_VALUE), "the graph is gone");
}
