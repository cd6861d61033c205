//! Graphs (CUDA Driver API, Graph Management).

use vgpu_abi::cuda::{CUgraphEdgeData, CUgraphNode, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::GraphEdge;

/// Most dependencies of a message: what its lists hold.
const EDGES_MAX: usize = 32_768;

/// Puts dependencies into a message; with edge data unless the program gave NULL for it.
pub(super) fn edges(nodes: &[CUgraphNode], data: Memory<'_>) -> Result<Vec<GraphEdge>, Error> {
    let mut edges = plain_edges(nodes)?;
    if data.address() != 0 {
        let data = data.bytes::<Error>(nodes.len() * size_of::<CUgraphEdgeData>())?;
        for (edge, data) in edges.iter_mut().zip(data.as_chunks().0) {
            edge.data = *data;
        }
    }
    Ok(edges)
}

/// Puts dependencies without edge data into a message.
pub(super) fn plain_edges(nodes: &[CUgraphNode]) -> Result<Vec<GraphEdge>, Error> {
    if nodes.len() > EDGES_MAX {
        return Err(Error::NOT_SUPPORTED);
    }
    Ok(nodes.iter().map(|node| GraphEdge { node: node.0, data: [0; 8] }).collect())
}

/// Reads edge data from a message.
pub(super) fn edge_data(data: [u8; 8]) -> CUgraphEdgeData {
    let [from_port, to_port, r#type, reserved @ ..] = data;
    CUgraphEdgeData { from_port, to_port, r#type, reserved }
}
