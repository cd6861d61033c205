//! Which stream and event a message is about: what has to wait for a function, and what need not.

use vgpu_link::wire::{Header, Payload, Request, cuda};

/// CU_STREAM_LEGACY, which 0 stands for, too.
const LEGACY: u64 = 1;

/// CU_STREAM_PER_THREAD.
const PER_THREAD: u64 = 2;

/// A stream as it names one thing. The legacy stream is one of each context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    context: u64,
    stream: u64,
    thread: u32,
}

impl Lane {
    /// Names a stream as a message means it.
    fn new(header: &Header, stream: u64) -> Self {
        match stream {
            0 | LEGACY => Self { context: header.context, stream: LEGACY, thread: 0 },
            PER_THREAD => Self { context: header.context, stream, thread: header.thread },
            _ => Self { context: 0, stream, thread: 0 },
        }
    }

    /// Says whether it is the stream that waits for all blocking ones, as they wait for it.
    pub fn is_legacy(self) -> bool {
        self.stream == LEGACY
    }

    /// The stream's handle.
    pub fn stream(self) -> u64 {
        self.stream
    }
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    /// One stream.
    Stream(Lane),
    /// The same, in which an event is recorded.
    Record(Lane, u64),
    /// The same, which waits for an event.
    Wait(Lane, u64),
    /// An event.
    Event(u64),
    /// More than that, or nothing that is known here.
    Anything,
}

/// Reads the field `stream` of the messages that have one.
macro_rules! stream_of {
    ($opcode:expr, $payload:expr, [$($message:ident),* $(,)?]) => {
        match $opcode {
            $(cuda::$message::OPCODE => {
                cuda::$message::from_payload($payload).ok().map(|message| message.stream)
            })*
            _ => None,
        }
    };
}

impl Touch {
    /// Says what a message is about. One that does not decode is about anything: who does it says
    /// what is wrong with it.
    pub fn of(header: &Header, payload: &[u8]) -> Self {
        Self::known(header, payload).unwrap_or(Self::Anything)
    }

    fn known(header: &Header, payload: &[u8]) -> Option<Self> {
        match header.opcode {
            cuda::EventQuery::OPCODE => {
                Some(Self::Event(cuda::EventQuery::from_payload(payload).ok()?.event))
            }
            cuda::EventSynchronize::OPCODE => {
                Some(Self::Event(cuda::EventSynchronize::from_payload(payload).ok()?.event))
            }
            cuda::EventDestroyV2::OPCODE => {
                Some(Self::Event(cuda::EventDestroyV2::from_payload(payload).ok()?.event))
            }
            cuda::EventRecord::OPCODE => {
                let record = cuda::EventRecord::from_payload(payload).ok()?;
                Some(Self::Record(Lane::new(header, record.stream), record.event))
            }
            cuda::EventRecordWithFlags::OPCODE => {
                let record = cuda::EventRecordWithFlags::from_payload(payload).ok()?;
                Some(Self::Record(Lane::new(header, record.stream), record.event))
            }
            cuda::StreamWaitEvent::OPCODE => {
                let wait = cuda::StreamWaitEvent::from_payload(payload).ok()?;
                Some(Self::Wait(Lane::new(header, wait.stream), wait.event))
            }
            opcode => Some(Self::Stream(Lane::new(header, stream(opcode, payload)?))),
        }
    }

    /// The stream that is meant, if it is one.
    pub fn lane(self) -> Option<Lane> {
        match self {
            Self::Stream(lane) | Self::Record(lane, _) | Self::Wait(lane, _) => Some(lane),
            Self::Event(_) | Self::Anything => None,
        }
    }
}

fn stream(opcode: u32, payload: &[u8]) -> Option<u64> {
    stream_of!(
        opcode,
        payload,
        [
            MemcpyHtoDAsyncV2,
            MemcpyDtoDAsyncV2,
            CopyToGuest,
            SpanCopyAsync,
            VolumeToDeviceAsync,
            VolumeToHostAsync,
            VolumeWithinAsync,
            MemsetD8Async,
            MemsetD16Async,
            MemsetD32Async,
            MemsetD2D8Async,
            MemsetD2D16Async,
            MemsetD2D32Async,
            MemAllocAsync,
            MemAllocFromPoolAsync,
            MemFreeAsync,
            LaunchKernel,
            LaunchHostFunction,
            GraphLaunch,
            GraphRun,
            GraphUpload,
            StreamSynchronize,
            StreamSettle,
            StreamQuery,
            StreamDestroyV2,
            StreamBeginCaptureV2,
            StreamEndCapture,
            StreamIsCapturing,
            CaptureInfo,
        ]
    )
}

/// Names the context that a message works on: the caller's, unless it names another.
pub(crate) fn works_on(header: &Header, payload: &[u8]) -> u64 {
    if header.opcode != cuda::CtxSynchronizeV2::OPCODE {
        return header.context;
    }
    let named = cuda::CtxSynchronizeV2::from_payload(payload).map_or(0, |request| request.ctx);
    if named == 0 { header.context } else { named }
}

#[cfg(test)]
mod tests {
    use vgpu_link::wire::Kind;

    use super::*;

    #[test]
    fn a_message_names_its_stream_and_event() {
        let header = |opcode| Header { context: 7, thread: 3, ..Header::new(Kind::Post, opcode) };
        let touch = |opcode, payload: Vec<u8>| Touch::of(&header(opcode), &payload);
        let lane = |context, stream, thread| Lane { context, stream, thread };
        let record = |stream| cuda::EventRecord { event: 5, stream }.to_payload();
        let opcode = cuda::EventRecord::OPCODE;
        assert_eq!(touch(opcode, record(9)), Touch::Record(lane(0, 9, 0), 5));
        assert_eq!(touch(opcode, record(2)), Touch::Record(lane(7, 2, 3), 5));
        assert_eq!(touch(opcode, record(0)), Touch::Record(lane(7, 1, 0), 5));
        assert_eq!(touch(opcode, vec![1]), Touch::Anything);
        let synchronise = cuda::StreamSynchronize { stream: 9 }.to_payload();
        let opcode = cuda::StreamSynchronize::OPCODE;
        assert_eq!(touch(opcode, synchronise), Touch::Stream(lane(0, 9, 0)));
        assert_eq!(touch(cuda::CtxSynchronize::OPCODE, Vec::new()), Touch::Anything);
    }
}
