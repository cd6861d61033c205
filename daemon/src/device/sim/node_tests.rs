//! Nodes of graphs by messages: copies of all forms, and graphs within graphs.

use vgpu_abi::cuda::{CUgraphNodeType as Type, Error};
use vgpu_link::wire::cuda::*;

use super::graph_tests::{empty_node, plain};
use super::tests::Client;

#[test]
fn copies_of_rows_and_slices_move_only_what_they_name() {
    let mut client = Client::new();
    let (source, target) = (client.alloc(64).expect("room"), client.alloc(64).expect("room"));
    let bytes: Vec<u8> = (0..64).collect();
    client.write(source, &bytes).expect("in range");
    let graph = client.graph();
    let end = |address, x_bytes| NodeCopyEnd {
        kind: 2,
        address,
        x_bytes,
        y: 1,
        z: 0,
        level: 0,
        pitch: 8,
        height: 4,
    };
    let copy = |from, to| NodeParams {
        copy: vec![NodeCopy { from, to, width_bytes: 2, height: 2, depth: 2 }],
        ..plain(Type::MEMCPY, 0)
    };
    client.add(graph, &[], copy(end(source, 3), end(target, 0))).expect("added");
    for wrong in [end(source, 7), end(source + 40, 0), NodeCopyEnd { y: 3, ..end(source, 0) }] {
        let added = client.add(graph, &[], copy(wrong, end(target, 0)));
        assert_eq!(added, Err(Error::INVALID_VALUE));
    }
    let host = NodeCopyEnd { kind: 1, ..end(source, 0) };
    let added = client.add(graph, &[], copy(host, end(target, 0)));
    assert_eq!(added, Err(Error::INVALID_VALUE), "no span was taken up");
    let (exec, stream) = (client.exec(graph), client.stream());
    client.launch_exec(exec, stream).expect("launched");
    let mut expected = vec![0; 64];
    for at in [8, 16, 40, 48] {
        expected[at..at + 2].copy_from_slice(&bytes[at + 3..at + 5]);
    }
    assert_eq!(client.read(target, 64), Ok(expected));
}

#[test]
fn graphs_are_not_nested_without_end() {
    let mut client = Client::new();
    let mut graph = client.graph();
    client.add(graph, &[], empty_node()).expect("added");
    for _ in 1..32 {
        let outer = client.graph();
        client.add(outer, &[], plain(Type::GRAPH, graph)).expect("added");
        graph = outer;
    }
    let outer = client.graph();
    let added = client.add(outer, &[], plain(Type::GRAPH, graph));
    assert_eq!(added, Err(Error::OUT_OF_MEMORY));
    let exec = client.exec(graph);
    let stream = client.stream();
    assert_eq!(client.launch_exec(exec, stream), Ok(()));
}
