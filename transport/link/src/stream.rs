//! Frames over a stream of bytes.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use vgpu_ring::{Area, Doorbell, Duplex};

use crate::pci::original;
use crate::wire::control::{Goodbye, Reason, opcode};
use crate::wire::header::{BULK_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use crate::wire::{Header, Kind, Payload};
use crate::{Closer, Link, LinkError, Receiver, Sender, tls};

/// Bytes read ahead: 8 KiB holds a burst of some 100 launches, and is the most of a bulk part
/// that is ever copied once more than needed.
const AHEAD_BYTES: usize = 8 << 10;

/// Moves bytes both ways, in order. One thread may read while another one writes.
pub trait Stream: Send + Sync + 'static {
    /// Waits until something can be read, and reads some of it; 0 means the peer closed.
    ///
    /// # Errors
    /// `TimedOut` when `limit` has passed, else what the system says.
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize>;

    /// Waits until something can be written, and writes some of `parts`. Raises no signal.
    ///
    /// # Errors
    /// `TimedOut` when `limit` has passed, `BrokenPipe` if the peer closed, else what the system
    /// says.
    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize>;

    /// Ends both directions, for who waits in the two above as well.
    fn close(&self);

    /// As [`Link::descriptors`].
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// As [`Link::ask`]; a stream that knows one way only has nothing to ask.
    ///
    /// # Errors
    /// As there.
    fn ask(&self) -> Result<(), LinkError> {
        Ok(())
    }

    /// As [`Link::grant`].
    ///
    /// # Errors
    /// As there.
    fn grant(&self, bulk_bytes: u64) -> Result<bool, LinkError> {
        let _ = bulk_bytes;
        Ok(false)
    }

    /// As [`Link::settle`].
    ///
    /// # Errors
    /// As there.
    fn settle(&self) -> Result<(), LinkError> {
        Ok(())
    }

    /// As [`Link::area`].
    fn area(&self) -> Option<Area> {
        None
    }
}

impl<B: Doorbell + 'static> Stream for Duplex<B> {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        Self::read(self, into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        Self::write(self, parts, limit)
    }

    fn close(&self) {
        Self::close(self);
    }

    fn area(&self) -> Option<Area> {
        Self::area(self).cloned()
    }
}

/// The sending half of a link over any stream of bytes.
#[derive(Debug)]
pub struct StreamSender<S> {
    stream: Arc<S>,
    limit: Option<Instant>,
}

impl<S: Stream> StreamSender<S> {
    fn write_all(&self, mut parts: &mut [IoSlice<'_>]) -> Result<(), LinkError> {
        while parts.iter().any(|part| !part.is_empty()) {
            match self.stream.write(parts, self.limit) {
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(source) if is_gone(&source) => return Err(LinkError::Closed),
                Err(source) if source.kind() == io::ErrorKind::TimedOut => {
                    return Err(LinkError::TimedOut);
                }
                Err(source) => {
                    let verb = "sending to the peer";
                    return Err(match original::told(&source) {
                        Some(source) => LinkError::Original { source },
                        None => LinkError::Io { verb, source },
                    });
                }
            }
        }
        Ok(())
    }
}

impl<S: Stream> Sender for StreamSender<S> {
    fn send(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        let header = Header {
            payload_bytes: check_size("payload", payload.len(), PAYLOAD_BYTES_MAX)?,
            bulk_bytes: check_size("bulk part", bulk.len(), BULK_BYTES_MAX)?,
            ..*header
        };
        let header = header.to_bytes();
        let mut parts = [IoSlice::new(&header), IoSlice::new(payload), IoSlice::new(bulk)];
        self.write_all(&mut parts)
    }

    fn limit_sends(&mut self, limit: Option<Instant>) {
        self.limit = limit;
    }

    fn closer(&self) -> Closer {
        Closer(Arc::<S>::clone(&self.stream))
    }
}

/// The receiving half of a link over any stream of bytes.
#[derive(Debug)]
pub struct StreamReceiver<S> {
    stream: Arc<S>,
    limit: Option<Instant>,
    ahead: Box<[u8]>,
    /// Unread bytes of `ahead`.
    unread: std::ops::Range<usize>,
}

impl<S: Stream> StreamReceiver<S> {
    /// Fills `into`: from what was read ahead, then straight from the stream.
    fn fill(&mut self, into: &mut [u8], part: &'static str) -> Result<(), LinkError> {
        let mut done = self.unread.len().min(into.len());
        let start = self.unread.start;
        into[..done].copy_from_slice(&self.ahead[start..start + done]);
        self.unread.start += done;
        while done < into.len() {
            done += match self.read_some(&mut into[done..])? {
                0 if part == "header" && done == 0 => return Err(LinkError::Closed),
                0 => {
                    let expected = into.len();
                    return Err(LinkError::Truncated { part, received: done, expected });
                }
                count => count,
            };
        }
        Ok(())
    }

    /// Reads into a large rest directly, and through the read-ahead otherwise.
    fn read_some(&mut self, rest: &mut [u8]) -> Result<usize, LinkError> {
        if rest.len() >= AHEAD_BYTES {
            return self.stream.read(rest, self.limit).or_else(read_failed);
        }
        let count = self.stream.read(&mut self.ahead, self.limit).or_else(read_failed)?;
        let taken = count.min(rest.len());
        rest[..taken].copy_from_slice(&self.ahead[..taken]);
        self.unread = taken..count;
        Ok(taken)
    }
}

impl<S: Stream> Receiver for StreamReceiver<S> {
    fn header(&mut self) -> Result<Header, LinkError> {
        let mut bytes = [0; HEADER_BYTES];
        self.fill(&mut bytes, "header")?;
        let size = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
        };
        for (part, bytes, bytes_max) in
            [("payload", size(0), PAYLOAD_BYTES_MAX), ("bulk part", size(4), BULK_BYTES_MAX)]
        {
            if bytes > bytes_max {
                return Err(LinkError::Oversized { part, bytes, bytes_max });
            }
        }
        Header::from_bytes(&bytes)
            .map_err(|source| LinkError::Malformed { what: "frame header", source })
    }

    fn payload(&mut self, header: &Header, payload: &mut Vec<u8>) -> Result<(), LinkError> {
        payload.resize(header.payload_bytes as usize, 0);
        self.fill(payload, "payload")?;
        if header.opcode == opcode::GOODBYE && header.kind == Kind::Post {
            return Err(goodbye(payload));
        }
        Ok(())
    }

    fn bulk(&mut self, place: &mut [u8]) -> Result<(), LinkError> {
        self.fill(place, "bulk part")
    }

    fn limit_waits(&mut self, limit: Option<Instant>) {
        self.limit = limit;
    }
}

/// A link over any stream of bytes.
#[derive(Debug)]
pub struct StreamLink<S> {
    sender: StreamSender<S>,
    receiver: StreamReceiver<S>,
}

impl<S: Stream> StreamLink<S> {
    /// Speaks frames over `stream`, which must be at the start of one.
    pub fn new(stream: S) -> Self {
        let stream = Arc::new(stream);
        let ahead = vec![0; AHEAD_BYTES].into();
        Self {
            sender: StreamSender { stream: Arc::clone(&stream), limit: None },
            receiver: StreamReceiver { stream, limit: None, ahead, unread: 0..0 },
        }
    }

    /// Borrows the stream, to ask it for what frames do not show.
    pub fn stream(&self) -> &S {
        &self.sender.stream
    }
}

impl<S: Stream> Sender for StreamLink<S> {
    fn send(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        self.sender.send(header, payload, bulk).map_err(|error| match error {
            LinkError::Closed => self.receiver.last_words(),
            error => error,
        })
    }

    fn limit_sends(&mut self, limit: Option<Instant>) {
        self.sender.limit_sends(limit);
    }

    fn closer(&self) -> Closer {
        self.sender.closer()
    }
}

impl<S: Stream> Receiver for StreamLink<S> {
    fn header(&mut self) -> Result<Header, LinkError> {
        self.receiver.header()
    }

    fn payload(&mut self, header: &Header, payload: &mut Vec<u8>) -> Result<(), LinkError> {
        self.receiver.payload(header, payload)
    }

    fn bulk(&mut self, place: &mut [u8]) -> Result<(), LinkError> {
        self.receiver.bulk(place)
    }

    fn limit_waits(&mut self, limit: Option<Instant>) {
        self.receiver.limit_waits(limit);
    }
}

impl<S: Stream> Link for StreamLink<S> {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.stream().descriptors()
    }

    fn ask(&self) -> Result<(), LinkError> {
        self.stream().ask()
    }

    fn grant(&self, bulk_bytes: u64) -> Result<bool, LinkError> {
        self.stream().grant(bulk_bytes)
    }

    fn settle(&self) -> Result<(), LinkError> {
        self.stream().settle()
    }

    fn area(&self) -> Option<Area> {
        self.stream().area()
    }

    fn split(self: Box<Self>) -> (Box<dyn Sender>, Box<dyn Receiver>) {
        (Box::new(self.sender), Box::new(self.receiver))
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A reset is the end as well: the peer went without reading all that we had sent.
fn read_failed(source: io::Error) -> Result<usize, LinkError> {
    match source.kind() {
        io::ErrorKind::TimedOut => Err(LinkError::TimedOut),
        _ if is_gone(&source) => Ok(0),
        _ => {
            let device = original::told(&source).map(|source| LinkError::Original { source });
            Err(tls::told(&source)
                .or(device)
                .unwrap_or(LinkError::Io { verb: "receiving from the peer", source }))
        }
    }
}

fn check_size(part: &'static str, bytes: usize, bytes_max: usize) -> Result<u32, LinkError> {
    match u32::try_from(bytes) {
        Ok(size) if bytes <= bytes_max => Ok(size),
        _ => Err(LinkError::TooLarge { part, bytes, bytes_max }),
    }
}

/// Turns a `Goodbye` into the error that it stands for.
fn goodbye(payload: &[u8]) -> LinkError {
    match Goodbye::from_payload(payload) {
        Ok(Goodbye { reason: Reason::Done, .. }) => LinkError::Closed,
        Ok(Goodbye { reason, text }) => LinkError::Goodbye { reason, text: text.to_string() },
        Err(source) => LinkError::Malformed { what: "Goodbye", source },
    }
}
