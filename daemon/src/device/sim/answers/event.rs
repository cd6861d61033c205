//! What the simulated device answers about events.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    EventCreate, EventCreateReply, EventDestroyV2, EventElapsedTimeV2, EventElapsedTimeV2Reply,
    EventQuery, EventRecord, EventRecordWithFlags, EventSynchronize,
};

use super::is_external;
use crate::device::Sim;
use crate::dispatch::{Call, EventCalls, Wait};

impl EventCalls for Sim {
    fn event_create(&mut self, call: &Call, r: EventCreate) -> Result<EventCreateReply, Error> {
        self.check(call)?;
        Ok(EventCreateReply { event: self.queues.create_event(call.context, r.flags)? })
    }

    fn event_destroy_v2(&mut self, _: &Call, request: EventDestroyV2) -> Result<(), Error> {
        self.captures.forget_event(request.event);
        self.queues.destroy_event(request.event)
    }

    fn event_record(&mut self, call: &Call, r: EventRecord) -> Result<(), Error> {
        self.record_event(call, r.event, r.stream, false)
    }

    fn event_record_with_flags(
        &mut self,
        call: &Call,
        r: EventRecordWithFlags,
    ) -> Result<(), Error> {
        let is_external = is_external(r.flags)?;
        self.record_event(call, r.event, r.stream, is_external)
    }

    fn event_synchronize(
        &mut self,
        _: &Call,
        request: EventSynchronize,
    ) -> Result<Wait<()>, Error> {
        self.await_event(request.event).map(Wait::Done)
    }

    fn event_query(&mut self, _: &Call, request: EventQuery) -> Result<(), Error> {
        self.await_event(request.event)
    }

    fn event_elapsed_time_v2(
        &mut self,
        _: &Call,
        r: EventElapsedTimeV2,
    ) -> Result<EventElapsedTimeV2Reply, Error> {
        self.await_event(r.start)?;
        self.await_event(r.end)?;
        Ok(EventElapsedTimeV2Reply { p_milliseconds: self.queues.elapsed_ms(r.start, r.end)? })
    }
}
