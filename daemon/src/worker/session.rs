//! The conversation with one client after the handshake.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::{DeviceState, Snapshot, opcode, status};
use vgpu_link::wire::{Header, Kind, Malformed, Payload, Request, cuda};
use vgpu_link::{Bulk, Link, LinkError, handshake};

use super::deferred::Deferred;
use crate::device::Devices;
use crate::dispatch::{Answer, Call, dispatch};

/// Calls that may end a context.
const ENDING: [u32; 3] = [
    cuda::CtxDestroyV2::OPCODE,
    cuda::DevicePrimaryCtxReleaseV2::OPCODE,
    cuda::DevicePrimaryCtxResetV2::OPCODE,
];

/// Serves one client, one message after the other.
pub(crate) struct Session<'a> {
    link: &'a mut dyn Link,
    device: &'a mut dyn Devices,
    deferred: Deferred,
    answer: Answer,
}

impl<'a> Session<'a> {
    /// Connects a client with a device.
    pub fn new(link: &'a mut dyn Link, device: &'a mut dyn Devices) -> Self {
        Self { link, device, deferred: Deferred::default(), answer: Answer::default() }
    }

    /// Serves until the client goes.
    ///
    /// # Errors
    /// [`LinkError`]: [`LinkError::Closed`] in the ordinary case; for what the client does wrong
    /// after it was told so.
    pub fn serve(mut self) -> Result<(), LinkError> {
        let (mut payload, mut bulk) = (Vec::new(), Vec::new());
        loop {
            let served = self
                .link
                .receive(&mut payload, Bulk::Grow(&mut bulk))
                .and_then(|header| self.one(&header, &payload, &bulk));
            if let Err(error) = served {
                // Whether the client hears it or not, what it did is the error to report.
                let _ = handshake::part(self.link, &error);
                return Err(error);
            }
        }
    }

    fn one(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        let unexpected =
            LinkError::Unexpected { opcode: header.opcode, expected: "a call or a post" };
        match (header.kind, header.opcode) {
            (Kind::Call, Snapshot::OPCODE) => {
                Snapshot::from_payload(payload).map_err(malformed("Snapshot"))?;
                let reply = self.device.snapshot().to_payload();
                self.reply(header, status::DONE, &reply)
            }
            (Kind::Call, DeviceState::OPCODE) => {
                let asked = DeviceState::from_payload(payload).map_err(malformed("DeviceState"))?;
                match self.device.state(asked.device) {
                    Ok(state) => self.reply(header, status::DONE, &state.to_payload()),
                    Err(error) => self.reply(header, code(error.code()), &[]),
                }
            }
            (Kind::Call, number) if number >= opcode::DRIVER_FIRST => {
                self.call(header, payload, bulk)
            }
            (Kind::Post, number) if number >= opcode::DRIVER_FIRST => {
                self.dispatch(header, payload, bulk)?;
                if let Some(error) = Error::new(self.answer.status) {
                    self.deferred.keep(header.context, error);
                }
                Ok(())
            }
            _ => Err(unexpected),
        }
    }

    /// Answers a call, or reports in its place what an earlier post ran into.
    fn call(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        if let Some(error) = self.deferred.report(waiting_for(header, payload), header.opcode) {
            return self.reply(header, code(error.code()), &[]);
        }
        self.dispatch(header, payload, bulk)?;
        if self.answer.status == 0 && ENDING.contains(&header.opcode) {
            self.deferred.forget(|context| !self.device.is_alive(context));
        }
        let reply = Header { status: code(self.answer.status), ..reply_to(header) };
        self.link.send(&reply, &self.answer.payload, &self.answer.bulk)
    }

    fn dispatch(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        let call = Call { context: header.context, thread: header.thread };
        dispatch(self.device, &call, header.opcode, payload, bulk, &mut self.answer)
            .map_err(malformed("request"))
    }

    fn reply(&mut self, call: &Header, status: u16, payload: &[u8]) -> Result<(), LinkError> {
        self.link.send(&Header { status, ..reply_to(call) }, payload, &[])
    }
}

/// Names the context whose work a call waits for: the caller's, unless the call names another.
fn waiting_for(header: &Header, payload: &[u8]) -> u64 {
    if header.opcode != cuda::CtxSynchronizeV2::OPCODE {
        return header.context;
    }
    let named = cuda::CtxSynchronizeV2::from_payload(payload).map_or(0, |request| request.ctx);
    if named == 0 { header.context } else { named }
}

fn reply_to(call: &Header) -> Header {
    Header { kind: Kind::Reply, status: 0, ..*call }
}

fn malformed(what: &'static str) -> impl FnOnce(Malformed) -> LinkError {
    move |source| LinkError::Malformed { what, source }
}

/// Puts a driver code into a header. The largest documented one is 999.
fn code(status: u32) -> u16 {
    u16::try_from(status).expect("the device answers with documented codes, at most 999")
}
