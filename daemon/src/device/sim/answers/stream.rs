//! What the simulated device answers about streams.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    StreamCreate, StreamCreateReply, StreamCreateWithPriority, StreamCreateWithPriorityReply,
    StreamDestroyV2, StreamGetPriority, StreamGetPriorityReply, StreamQuery, StreamSettle,
    StreamSynchronize, StreamWaitEvent,
};

use super::super::queue::PRIORITIES;
use super::is_external;
use crate::device::Sim;
use crate::dispatch::{Call, StreamCalls, Wait};

impl StreamCalls for Sim {
    fn stream_create(&mut self, call: &Call, r: StreamCreate) -> Result<StreamCreateReply, Error> {
        self.check(call)?;
        let stream = self.queues.create_stream(call.context, r.flags, PRIORITIES.0)?;
        Ok(StreamCreateReply { stream })
    }

    fn stream_create_with_priority(
        &mut self,
        call: &Call,
        r: StreamCreateWithPriority,
    ) -> Result<StreamCreateWithPriorityReply, Error> {
        self.check(call)?;
        let stream = self.queues.create_stream(call.context, r.flags, r.priority)?;
        Ok(StreamCreateWithPriorityReply { stream })
    }

    fn stream_destroy_v2(&mut self, _: &Call, request: StreamDestroyV2) -> Result<(), Error> {
        self.queues.destroy_stream(request.stream)?;
        self.leave_captures(|lane| lane.is_created(request.stream));
        Ok(())
    }

    fn stream_synchronize(&mut self, call: &Call, r: StreamSynchronize) -> Result<Wait<()>, Error> {
        self.await_stream(call, r.stream).map(Wait::Done)
    }

    fn stream_settle(&mut self, call: &Call, r: StreamSettle) -> Result<(), Error> {
        // What the stream was given is done.
        self.check_stream(call.context, r.stream).map(drop)
    }

    fn stream_query(&mut self, call: &Call, r: StreamQuery) -> Result<(), Error> {
        self.await_stream(call, r.stream)
    }

    fn stream_wait_event(&mut self, call: &Call, r: StreamWaitEvent) -> Result<(), Error> {
        let is_external = is_external(r.flags)?;
        self.wait_event(call, r.event, r.stream, is_external)
    }

    fn stream_get_priority(
        &mut self,
        call: &Call,
        r: StreamGetPriority,
    ) -> Result<StreamGetPriorityReply, Error> {
        self.check_stream(call.context, r.stream)?;
        Ok(StreamGetPriorityReply { priority: self.queues.priority(r.stream)? })
    }
}
