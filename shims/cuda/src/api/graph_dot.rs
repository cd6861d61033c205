//! Graphs as text (CUDA Driver API, `cuGraphDebugDotPrint`), for Graphviz.

use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use vgpu_abi::cuda::{CUgraph, CUgraphNodeType as Type, Error};
use vgpu_guest::wire::cuda::{GraphLink, GraphNodeParams, NodeParams};

use super::graph::{edges_of, nodes_of};
use crate::{code, remote};

/// All flags of CUgraphDebugDot_flags: what they ask for is always written.
const FLAGS: u32 = 0x3_ffff;

/// Writes a graph, and what its nodes do, to a file of the guest.
pub(crate) fn graph_debug_dot_print(graph: CUgraph, path: &CStr, flags: u32) -> Result<(), Error> {
    remote::ready()?;
    if flags & !FLAGS != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let mut nodes = Vec::new();
    for node in nodes_of(graph)? {
        nodes.push((node.0, remote::call(&GraphNodeParams { node: node.0 })?.params));
    }
    let text = text(graph.0, &nodes, &edges_of(graph)?);
    let path = OsStr::from_bytes(path.to_bytes());
    std::fs::write(path, text).map_err(|_| Error::OPERATING_SYSTEM)
}

fn text(graph: u64, nodes: &[(u64, NodeParams)], edges: &[GraphLink]) -> String {
    let mut out = format!("digraph \"graph_{graph:#x}\" {{\n  node [shape=box];\n");
    for (node, params) in nodes {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  \"{node:#x}\" [label=\"{}\"];", label(params));
    }
    for edge in edges {
        let _ = writeln!(out, "  \"{:#x}\" -> \"{:#x}\";", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

fn label(params: &NodeParams) -> String {
    if let Some(launch) = params.launch.first() {
        let (grid, block) = (&launch.grid, &launch.block);
        let known = code::function::function(launch.function);
        let name = known.map_or_else(
            |_| format!("{:#x}", launch.function),
            |known| known.name.to_string_lossy().into_owned(),
        );
        return format!(
            "KERNEL\\n{name}\\n<<<({}, {}, {}), ({}, {}, {}), {}>>>",
            grid.x, grid.y, grid.z, block.x, block.y, block.z, launch.shared_bytes
        );
    }
    if let Some(copy) = params.copy.first() {
        return format!(
            "MEMCPY\\n{:#x} to {:#x}\\n{} x {} x {} bytes",
            copy.from.address, copy.to.address, copy.width_bytes, copy.height, copy.depth
        );
    }
    if let Some(set) = params.set.first() {
        return format!(
            "MEMSET\\n{:#x} to {:#x}\\n{} x {} elements of {} bytes",
            set.value, set.to, set.width, set.height, set.element_bytes
        );
    }
    match Type(params.kind) {
        Type::GRAPH => format!("GRAPH\\n{:#x}", params.handle),
        Type::EMPTY => "EMPTY".into(),
        Type::WAIT_EVENT => format!("WAIT EVENT\\n{:#x}", params.handle),
        Type::HOST => "HOST".into(),
        Type::EVENT_RECORD => format!("EVENT RECORD\\n{:#x}", params.handle),
        kind => format!("node of kind {}", kind.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::node_params::plain;

    #[test]
    fn a_graph_is_written_with_all_nodes_and_edges() {
        let nodes = [(16, plain(Type::EMPTY, 0)), (17, plain(Type::WAIT_EVENT, 3))];
        let edges = [GraphLink { from: 16, to: 17, data: [0; 8] }];
        let expected = [
            "digraph \"graph_0x1\" {",
            "  node [shape=box];",
            "  \"0x10\" [label=\"EMPTY\"];",
            "  \"0x11\" [label=\"WAIT EVENT\\n0x3\"];",
            "  \"0x10\" -> \"0x11\";",
            "}\n",
        ]
        .join("\n");
        assert_eq!(text(1, &nodes, &edges), expected);
    }
}
