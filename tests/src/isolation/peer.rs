//! One client that speaks the protocol itself.

use std::time::{Duration, Instant};

use vgpu_link::tls::Files;
use vgpu_link::wire::control::{Hello, Role};
use vgpu_link::wire::{Header, Kind, Payload, Request, Text, cuda};
use vgpu_link::{Bulk, Link, LinkError, Uri, connect};

/// Bounds every wait: far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(60);

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Refused {
    /// The host said so.
    Status(u16),
    /// The connection ended.
    Link(LinkError),
}

impl Refused {
    /// Says of what an honest client asked that it was not done.
    ///
    /// # Panics
    /// If the host refused it: the device does not work.
    pub fn link(self) -> LinkError {
        match self {
            Self::Link(error) => error,
            Self::Status(status) => panic!("an honest client is refused with {status}"),
        }
    }
}

/// A client that was welcomed.
pub(super) struct Peer {
    link: Box<dyn Link>,
    /// Sent with every request, as the current context.
    pub context: u64,
    sequence: u32,
}

impl Peer {
    /// Connects, and makes the primary context current.
    ///
    /// # Panics
    /// If there is no device.
    pub fn connect(host: &Uri) -> Result<Self, LinkError> {
        let hello = Hello { role: Role::Guest, pid: std::process::id(), exe: Text::cut("peer") };
        let (link, _) = connect(host, &Files::default(), &hello, LIMIT)?;
        let mut peer = Self { link, context: 0, sequence: 0 };
        let retain = cuda::DevicePrimaryCtxRetain { dev: 0 };
        peer.context = peer.call(&retain).map_err(Refused::link)?.pctx;
        Ok(peer)
    }

    /// Asks for something that is answered by fields only.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Reply, Refused> {
        let (payload, _) = self.exchange(R::OPCODE, &request.to_payload(), &[])?;
        let reply = R::Reply::from_payload(&payload);
        reply.map_err(|source| Refused::Link(LinkError::Malformed { what: "reply", source }))
    }

    /// Asks for something that is not answered, with contents.
    pub fn post<R: Request>(&mut self, request: &R, contents: &[u8]) -> Result<(), Refused> {
        self.send(Kind::Post, R::OPCODE, &request.to_payload(), contents).map(drop)
    }

    /// Asks for anything, and for its error; answers with fields and contents.
    pub fn ask(
        &mut self,
        opcode: u32,
        is_call: bool,
        payload: &[u8],
        contents: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        if is_call {
            let (mut payload, contents) = self.exchange(opcode, payload, contents)?;
            payload.extend(contents);
            return Ok(payload);
        }
        self.send(Kind::Post, opcode, payload, contents)?;
        self.synchronise()?;
        Ok(Vec::new())
    }

    /// Waits for all that was asked, and hears what went wrong.
    pub fn synchronise(&mut self) -> Result<(), Refused> {
        self.call(&cuda::CtxSynchronize)
    }

    /// Reads memory of the device.
    pub fn read(&mut self, src_device: u64, bytes: usize) -> Result<Vec<u8>, Refused> {
        let request = cuda::MemcpyDtoHV2 { src_device, byte_count: bytes as u64 };
        Ok(self.exchange(cuda::MemcpyDtoHV2::OPCODE, &request.to_payload(), &[])?.1)
    }

    fn send(
        &mut self,
        kind: Kind,
        opcode: u32,
        payload: &[u8],
        contents: &[u8],
    ) -> Result<u32, Refused> {
        self.sequence = self.sequence.wrapping_add(1);
        let header =
            Header { sequence: self.sequence, context: self.context, ..Header::new(kind, opcode) };
        self.link.wait_until(Some(Instant::now() + LIMIT));
        self.link.send(&header, payload, contents).map_err(Refused::Link)?;
        Ok(self.sequence)
    }

    fn exchange(
        &mut self,
        opcode: u32,
        payload: &[u8],
        contents: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        let sequence = self.send(Kind::Call, opcode, payload, contents)?;
        let (mut payload, mut contents) = (Vec::new(), Vec::new());
        let reply = self.link.receive(&mut payload, Bulk::Grow(&mut contents));
        let reply = reply.map_err(Refused::Link)?;
        assert_eq!((reply.kind, reply.sequence), (Kind::Reply, sequence), "the answer to it");
        match reply.status {
            0 => Ok((payload, contents)),
            status => Err(Refused::Status(status)),
        }
    }
}
