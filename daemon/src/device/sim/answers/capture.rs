//! What the simulated device answers about stream capture.

use vgpu_abi::cuda::{CUstreamCaptureMode as Mode, CUstreamCaptureStatus as Status, Error};
use vgpu_link::wire::cuda::{
    CaptureDependencies, CaptureInfo, CaptureInfoReply, CaptureInvalidate, CaptureToGraph,
    GraphEdge, StreamBeginCaptureV2, StreamEndCapture, StreamEndCaptureReply, StreamIsCapturing,
    StreamIsCapturingReply,
};

use super::super::capture::State;
use super::super::graph::Dependency;
use crate::device::Sim;
use crate::dispatch::{Call, CaptureCalls};

/// CU_STREAM_SET_CAPTURE_DEPENDENCIES; 0 is CU_STREAM_ADD_CAPTURE_DEPENDENCIES.
const INSTEAD: u32 = 1;

impl CaptureCalls for Sim {
    fn stream_begin_capture_v2(
        &mut self,
        call: &Call,
        r: StreamBeginCaptureV2,
    ) -> Result<(), Error> {
        // The stricter modes are about threads, and the guest's to keep.
        if r.mode != Mode::RELAXED.0 {
            return Err(Error::INVALID_VALUE);
        }
        self.begin_capture(call, r.stream, None)
    }

    fn capture_to_graph(&mut self, call: &Call, r: CaptureToGraph) -> Result<(), Error> {
        self.begin_capture(call, r.stream, Some((r.graph, dependencies(&r.dependencies))))
    }

    fn stream_end_capture(
        &mut self,
        call: &Call,
        r: StreamEndCapture,
    ) -> Result<StreamEndCaptureReply, Error> {
        Ok(StreamEndCaptureReply { graph: self.end_capture(call, r.stream)? })
    }

    fn stream_is_capturing(
        &mut self,
        call: &Call,
        r: StreamIsCapturing,
    ) -> Result<StreamIsCapturingReply, Error> {
        let capture_status = status(&self.capture_state(call, r.stream)?);
        Ok(StreamIsCapturingReply { capture_status })
    }

    fn capture_info(&mut self, call: &Call, r: CaptureInfo) -> Result<CaptureInfoReply, Error> {
        let state = self.capture_state(call, r.stream)?;
        let status = status(&state);
        let (id, graph, next) = match state {
            State::Active { id, graph, next } => (id, graph, next),
            State::Idle | State::Invalid => (0, 0, Vec::new()),
        };
        Ok(CaptureInfoReply { status, id, graph, dependencies: edges(&next) })
    }

    fn capture_dependencies(&mut self, call: &Call, r: CaptureDependencies) -> Result<(), Error> {
        if r.flags > INSTEAD {
            return Err(Error::INVALID_VALUE);
        }
        let dependencies = dependencies(&r.dependencies);
        self.change_dependencies(call, r.stream, dependencies, r.flags == INSTEAD)
    }

    fn capture_invalidate(&mut self, call: &Call, r: CaptureInvalidate) -> Result<(), Error> {
        let meant = Call { thread: r.thread, ..*call };
        match self.await_stream(&meant, r.stream) {
            Err(Error::STREAM_CAPTURE_UNSUPPORTED | Error::STREAM_CAPTURE_INVALIDATED) => Ok(()),
            // It has ended meanwhile.
            other => other,
        }
    }
}

fn status(state: &State) -> u32 {
    match state {
        State::Idle => Status::NONE.0,
        State::Invalid => Status::INVALIDATED.0,
        State::Active { .. } => Status::ACTIVE.0,
    }
}

/// Reads dependencies from a message.
pub(super) fn dependencies(edges: &[GraphEdge]) -> Vec<Dependency> {
    edges.iter().map(|edge| Dependency { node: edge.node, data: edge.data }).collect()
}

/// Writes dependencies into a message.
pub(super) fn edges(dependencies: &[Dependency]) -> Vec<GraphEdge> {
    dependencies.iter().map(|one| GraphEdge { node: one.node, data: one.data }).collect()
}
