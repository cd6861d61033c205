//! Copies between device memory and spans of the memory that client and worker share.

use vgpu_abi::cuda::{CUgraphNodeType as Type, Error};
use vgpu_link::Area;
use vgpu_link::wire::cuda::*;

use super::graph_tests::plain;
use super::tests::Client;
use crate::device::spans::Spans;
use crate::dispatch::*;

const PAGE: u64 = 4 << 10;
const AREA: u64 = 16 * PAGE;

const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// A client that shares memory with its worker, of which it has pinned pages 1 to 4.
fn sharing() -> (Client, Area) {
    let mut client = Client::new();
    let area = Area::heap(AREA);
    client.sim.spans = Spans::new(Some(area.clone()));
    client.pin(PAGE, 4 * PAGE).expect("nothing is there");
    (client, area)
}

fn end(kind: u32, address: u64) -> NodeCopyEnd {
    NodeCopyEnd { kind, address, x_bytes: 0, y: 0, z: 0, level: 0, pitch: 0, height: 0 }
}

fn line(to: NodeCopyEnd, from: NodeCopyEnd, width_bytes: u64) -> NodeCopy {
    NodeCopy { from, to, width_bytes, height: 1, depth: 1 }
}

impl Client {
    fn pin(&mut self, offset: u64, bytes: u64) -> Result<(), Error> {
        self.sim.span_pin(&self.call, SpanPin { offset, bytes })
    }

    fn unpin(&mut self, offset: u64, bytes: u64) -> Result<(), Error> {
        self.sim.span_unpin(&self.call, SpanUnpin { offset, bytes })
    }

    fn copy(&mut self, copy: NodeCopy) -> Result<(), Error> {
        self.sim.span_copy(&self.call, SpanCopy { copy }).map(drop)
    }

    fn copy_in(&mut self, stream: u64, copy: NodeCopy) -> Result<(), Error> {
        self.sim.span_copy_async(&self.call, SpanCopyAsync { copy, stream })
    }
}

fn content(area: &Area, offset: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    area.copy_out(offset, &mut content).expect("in the area");
    content
}

#[test]
fn contents_go_from_a_span_to_the_device_and_back_to_another() {
    let (mut client, area) = sharing();
    let at = client.alloc(PAGE).expect("room");
    area.copy_in(PAGE + 7, &[1, 2, 3, 4]).expect("in the area");
    client.copy(line(end(DEVICE, at + 3), end(HOST, PAGE + 7), 4)).expect("pinned");
    assert_eq!(client.read(at, 8), Ok(vec![0, 0, 0, 1, 2, 3, 4, 0]));
    let stream = client.stream();
    let back = line(end(HOST, 2 * PAGE - 1), end(DEVICE, at + 3), 4);
    client.copy_in(stream, back).expect("pinned");
    assert_eq!(content(&area, 2 * PAGE - 2, 6), [0, 1, 2, 3, 4, 0]);
}

#[test]
fn rows_of_a_span_are_copied_each_to_its_place() {
    let (mut client, area) = sharing();
    let at = client.alloc(PAGE).expect("room");
    let bytes: Vec<u8> = (0..64).collect();
    area.copy_in(PAGE, &bytes).expect("in the area");
    let rows = |kind, address, x_bytes| NodeCopyEnd { x_bytes, pitch: 8, ..end(kind, address) };
    let copy = |to, from| NodeCopy { from, to, width_bytes: 2, height: 3, depth: 1 };
    client.copy(copy(rows(DEVICE, at, 1), rows(HOST, PAGE, 4))).expect("pinned");
    let mut expected = vec![0; 24];
    for row in 0..3 {
        expected[8 * row + 1..8 * row + 3].copy_from_slice(&bytes[8 * row + 4..8 * row + 6]);
    }
    assert_eq!(client.read(at, 24), Ok(expected));
    client.copy(copy(rows(HOST, 3 * PAGE, 6), rows(DEVICE, at, 1))).expect("pinned");
    assert_eq!(content(&area, 3 * PAGE + 16, 8), [0, 0, 0, 0, 0, 0, 20, 21]);
}

#[test]
fn what_is_not_in_one_pinned_span_is_refused_and_nothing_is_copied() {
    let (mut client, area) = sharing();
    client.pin(5 * PAGE, PAGE).expect("beside the other one");
    let (at, stream) = (client.alloc(8 * PAGE).expect("room"), client.stream());
    area.copy_in(0, &vec![9; AREA as usize]).expect("in the area");
    let rows = NodeCopyEnd { pitch: 2 * PAGE, ..end(HOST, PAGE) };
    let wrong = [
        line(end(DEVICE, at), end(HOST, 0), 1),
        line(end(DEVICE, at), end(HOST, PAGE - 1), 2),
        line(end(DEVICE, at), end(HOST, 5 * PAGE - 1), 2),
        line(end(DEVICE, at), end(HOST, AREA), 1),
        line(end(DEVICE, at), end(HOST, u64::MAX), 2),
        line(end(DEVICE, at), end(HOST, PAGE), u64::MAX),
        line(end(DEVICE, at + 8 * PAGE), end(HOST, PAGE), 1),
        line(end(DEVICE, at), NodeCopyEnd { x_bytes: 5 * PAGE, ..end(HOST, PAGE) }, 1),
        line(end(DEVICE, at), NodeCopyEnd { x_bytes: u64::MAX, ..end(HOST, PAGE) }, 1),
        line(end(DEVICE, at), NodeCopyEnd { level: 1, ..end(HOST, PAGE) }, 1),
        NodeCopy { height: 3, ..line(NodeCopyEnd { pitch: 8, ..end(DEVICE, at) }, rows, 1) },
    ];
    for copy in wrong {
        let shown = format!("{copy:?}");
        assert_eq!(client.copy(copy.clone()), Err(Error::INVALID_VALUE), "{shown}");
        assert_eq!(client.copy_in(stream, copy), Err(Error::INVALID_VALUE), "{shown}");
    }
    let within = line(end(HOST, PAGE), end(HOST, 2 * PAGE), 1);
    assert_eq!(client.copy(within), Err(Error::NOT_SUPPORTED), "no device does that");
    assert_eq!(client.read(at, 8 * PAGE), Ok(vec![0; 8 * PAGE as usize]));
    client.unpin(PAGE, 4 * PAGE).expect("it was pinned");
    let freed = line(end(DEVICE, at), end(HOST, PAGE), 1);
    assert_eq!(client.copy(freed), Err(Error::INVALID_VALUE), "it was let go");
}

#[test]
fn a_graph_reads_and_writes_spans_at_each_launch_until_they_are_let_go() {
    let (mut client, area) = sharing();
    let (at, stream) = (client.alloc(PAGE).expect("room"), client.stream());
    client.begin(stream).expect("an idle stream");
    client.copy_in(stream, line(end(DEVICE, at), end(HOST, PAGE), 8)).expect("pinned");
    client.copy_in(stream, line(end(HOST, 2 * PAGE), end(DEVICE, at), 8)).expect("pinned");
    let graph = client.end(stream).expect("a graph");
    assert_eq!(client.nodes(graph).len(), 2);
    let exec = client.exec(graph);
    for value in 1..4 {
        area.copy_in(PAGE, &[value; 8]).expect("in the area");
        client.launch_exec(exec, stream).expect("launched");
        assert_eq!(content(&area, 2 * PAGE, 8), [value; 8]);
    }
    client.unpin(PAGE, 4 * PAGE).expect("it was pinned");
    area.copy_in(PAGE, &[9; 8]).expect("in the area");
    assert_eq!(client.launch_exec(exec, stream), Err(Error::INVALID_VALUE));
    assert_eq!(client.read(at, 8), Ok(vec![3; 8]));
}

#[test]
fn a_node_tells_the_span_that_it_was_given() {
    let (mut client, _) = sharing();
    let at = client.alloc(PAGE).expect("room");
    let (copy, graph) = (line(end(DEVICE, at), end(HOST, PAGE + 5), 3), client.graph());
    let params = NodeParams { copy: vec![copy.clone()], ..plain(Type::MEMCPY, 0) };
    let node = client.add(graph, &[], params.clone()).expect("pinned");
    let told = client.sim.graph_node_params(&client.call, GraphNodeParams { node });
    assert_eq!(told.expect("a node").params.copy, [copy]);
    client.unpin(PAGE, 4 * PAGE).expect("it was pinned");
    assert_eq!(client.add(graph, &[], params), Err(Error::INVALID_VALUE));
}
