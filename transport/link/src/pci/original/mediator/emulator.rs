//! One connection of an emulator.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::clients::Clients;
use super::message::{CALL_BYTES, Call, Garbage, HEADER_BYTES, Header, kind, refuse_request};
use crate::pci::original::tunnel;

/// Most steps of one turn: then others of this thread get theirs.
const STEPS_MAX: usize = 64;

/// The most that is kept of what an emulator sends: one call of ours.
const KEPT_BYTES_MAX: usize = HEADER_BYTES + CALL_BYTES + tunnel::BYTES_MAX;

/// Longest request of the older kind, and the shortest.
const REQUEST_BYTES: std::ops::RangeInclusive<u32> = 1..=1024;

/// A connection of an emulator. It asks one thing at a time; one that asks more waits until its
/// answers are read.
#[derive(Debug)]
pub(super) struct Emulator {
    socket: OwnedFd,
    /// What came of the message that is being read.
    came: Vec<u8>,
    /// Bytes to come that nobody wants.
    unwanted: usize,
    /// What is to be sent, from `sent` on.
    answers: Vec<u8>,
    sent: usize,
    /// Set if the last turn was over before there was nothing to do.
    has_more: bool,
}

/// What there is to do with the bytes that came.
enum Step {
    /// More are needed, up to so many in all.
    Needs(usize),
    /// The first message was dealt with, up to here; of the rest of it so many are unwanted.
    Done { used: usize, unwanted: usize },
}

impl Emulator {
    /// Takes up a connection, which must not block.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            came: Vec::new(),
            unwanted: 0,
            answers: Vec::new(),
            sent: 0,
            has_more: false,
        }
    }

    /// Gives the connection back, to be closed.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// What to wait for.
    pub fn awaits(&self) -> PollFlags {
        if self.answers.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// Says whether there is something to do whatever comes.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Deals with what came; returns false if the connection is of no more use.
    pub fn turn(&mut self, clients: &mut Clients) -> bool {
        for _ in 0..STEPS_MAX {
            match self.advance(clients) {
                Ok(true) => {}
                Ok(false) => {
                    self.has_more = false;
                    return true;
                }
                Err(_) => return false,
            }
        }
        self.has_more = true;
        true
    }

    /// Does one thing; returns false if there is nothing to do until the socket is ready.
    fn advance(&mut self, clients: &mut Clients) -> Result<bool, Gone> {
        if !self.answers.is_empty() {
            return self.send();
        }
        if self.unwanted > 0 {
            let mut heap = [0; 4096];
            let room = self.unwanted.min(heap.len());
            let Some(count) = receive(&self.socket, &mut heap[..room])? else { return Ok(false) };
            self.unwanted -= count;
            return Ok(true);
        }
        match step(&self.came, clients, &mut self.answers)? {
            Step::Done { used, unwanted } => {
                self.came.drain(..used);
                self.unwanted = unwanted;
                Ok(true)
            }
            Step::Needs(bytes) => {
                debug_assert!(self.came.len() < bytes && bytes <= KEPT_BYTES_MAX);
                let have = self.came.len();
                self.came.resize(bytes, 0);
                let count = receive(&self.socket, &mut self.came[have..]);
                let came = count.as_ref().map_or(0, |count| count.unwrap_or(0));
                self.came.truncate(have + came);
                Ok(count?.is_some())
            }
        }
    }

    /// Sends what is to be sent, as far as there is room.
    fn send(&mut self) -> Result<bool, Gone> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.socket, &self.answers[self.sent..], flags) {
            Ok(count) => self.sent += count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(_) => return Err(Gone),
        }
        if self.sent == self.answers.len() {
            self.answers.clear();
            self.sent = 0;
        }
        Ok(true)
    }
}

/// Receives some bytes; `None` if there are none yet.
fn receive(socket: &OwnedFd, into: &mut [u8]) -> Result<Option<usize>, Gone> {
    match rustix::net::recv(socket, into, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(Gone),
        Ok((count, _)) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(_) => Err(Gone),
    }
}

/// The emulator is gone, or speaks something else.
struct Gone;

impl From<Garbage> for Gone {
    fn from(Garbage: Garbage) -> Self {
        Self
    }
}

impl AsFd for Emulator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Deals with the message that `came` begins with, if enough of it is there.
fn step(came: &[u8], clients: &mut Clients, answers: &mut Vec<u8>) -> Result<Step, Garbage> {
    let Some((bytes, payload)) = came.split_first_chunk() else {
        return Ok(Step::Needs(HEADER_BYTES));
    };
    let header = Header::parse(bytes)?;
    match header.kind {
        kind::CALL => call(&header, payload, clients, answers),
        kind::REQUEST => {
            if !REQUEST_BYTES.contains(&header.payload_bytes) {
                return Err(Garbage);
            }
            let bytes = header.payload_bytes as usize;
            if payload.len() < bytes {
                return Ok(Step::Needs(HEADER_BYTES + bytes));
            }
            let version = payload.first_chunk().filter(|_| bytes >= 4);
            refuse_request(&header, version.map_or(0, |it| u32::from_le_bytes(*it)), answers);
            Ok(Step::Done { used: HEADER_BYTES + bytes, unwanted: 0 })
        }
        other => {
            if other == kind::PING {
                header.answer(kind::PONG, 0, answers);
            }
            Ok(Step::Done { used: HEADER_BYTES, unwanted: header.payload_bytes as usize })
        }
    }
}

fn call(
    header: &Header,
    payload: &[u8],
    clients: &mut Clients,
    answers: &mut Vec<u8>,
) -> Result<Step, Garbage> {
    let Some((bytes, data)) = payload.split_first_chunk() else {
        return Ok(Step::Needs(HEADER_BYTES + CALL_BYTES));
    };
    let call = Call::parse(bytes, header.payload_bytes)?;
    let data_bytes = header.payload_bytes as usize - CALL_BYTES;
    let heads = HEADER_BYTES + CALL_BYTES;
    let refusal = match call.id {
        tunnel::OPEN | tunnel::EXCHANGE | tunnel::CLOSE => {
            (data_bytes > tunnel::BYTES_MAX).then_some(tunnel::INVALID)
        }
        // Answered, or a guest of the original system would wait for its own limit.
        _ => Some(tunnel::NOT_SUPPORTED),
    };
    if let Some(status) = refusal {
        call.answer(header, status, &[], &[], answers);
        return Ok(Step::Done { used: heads, unwanted: data_bytes });
    }
    let Some(data) = data.get(..data_bytes) else { return Ok(Step::Needs(heads + data_bytes)) };
    match tunnel::Call::from_args(call.args()) {
        None => call.answer(header, tunnel::INVALID, &[], &[], answers),
        Some(said) => match clients.serve(call.id, said, data) {
            Ok((answer, data)) => {
                call.answer(header, 0, &answer.to_results(), data, answers);
            }
            Err(status) => call.answer(header, status, &[], &[], answers),
        },
    }
    Ok(Step::Done { used: heads + data_bytes, unwanted: 0 })
}
