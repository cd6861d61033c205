//! The clients of one virtual machine, each with a socket whose other end is a worker's.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::pci::original::random;
use crate::pci::original::tunnel::{self, Answer, BYTES_MAX, Call};

/// Clients of one virtual machine at a time, the limit of a host that is not told otherwise.
const CLIENTS_MAX: usize = 64;

/// How long a call waits for a worker's answer to what it brought: 100 us. Most workers answer
/// within, and the guest is spared another call, which costs it more. (The fuzzer's never do.)
const ANSWER_LIMIT: Timespec =
    Timespec { tv_sec: 0, tv_nsec: if cfg!(fuzzing) { 0 } else { 100_000 } };

/// A turn of the thread that comes so late was held up, and its clients were not silent: 1 second.
const LATE: Duration = Duration::from_secs(1);

/// The clients.
#[derive(Debug)]
pub(super) struct Clients {
    all: HashMap<u64, Client>,
    arrived: SyncSender<OwnedFd>,
    bell: UnixStream,
    /// How long a client may be silent.
    silence: Duration,
    /// When the silent were last looked for.
    looked: Instant,
}

/// One client. Its bytes wait in the socket's own buffers, which bound them.
#[derive(Debug)]
struct Client {
    socket: UnixStream,
    /// Bytes taken from the guest so far.
    accepted: u64,
    /// Bytes for the guest that it has.
    delivered: u64,
    /// Bytes that it may not have: an answer can be lost.
    unacknowledged: Vec<u8>,
    /// True once the worker has closed its end and all its bytes were read.
    is_ended: bool,
    heard: Instant,
}

impl Clients {
    /// Begins with none; those that come are sent to `arrived`, with one byte to `bell` each.
    pub fn new(arrived: SyncSender<OwnedFd>, bell: UnixStream, silence: Duration) -> Self {
        Self { all: HashMap::new(), arrived, bell, silence, looked: Instant::now() }
    }

    /// What hangs up when nobody takes clients any more.
    pub fn bell(&self) -> &UnixStream {
        &self.bell
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Answers one of our three calls; the error is the result to fail it with.
    pub fn serve(&mut self, id: u32, call: Call, data: &[u8]) -> Result<(Answer, &[u8]), u32> {
        let Call { client, sequence, .. } = call;
        let answer = Answer { client, sequence, ..Answer::default() };
        match id {
            tunnel::OPEN => Ok((Answer { accepted: self.open(call)?, ..answer }, &[])),
            tunnel::CLOSE => {
                self.all.remove(&client).ok_or(tunnel::NO_SUCH_CLIENT)?;
                Ok((answer, &[]))
            }
            _ => {
                let found = self.all.get_mut(&client).ok_or(tunnel::NO_SUCH_CLIENT)?;
                if !found.agrees(&call) {
                    self.all.remove(&client);
                    return Err(tunnel::INVALID);
                }
                // Borrowed anew, for the one above ends in the removal.
                let found = self.all.get_mut(&client).ok_or(tunnel::NO_SUCH_CLIENT)?;
                Ok(found.exchange(&call, data, answer))
            }
        }
    }

    fn open(&mut self, call: Call) -> Result<u64, u32> {
        if call.room != tunnel::VERSION {
            return Err(tunnel::INVALID);
        }
        let no_room = |_| tunnel::NO_ROOM;
        if self.all.len() >= CLIENTS_MAX {
            return Err(tunnel::NO_ROOM);
        }
        let (socket, theirs) = UnixStream::pair().map_err(no_room)?;
        socket.set_nonblocking(true).map_err(no_room)?;
        self.arrived.try_send(theirs.into()).map_err(|_| tunnel::NO_ROOM)?;
        // There is room for as many bytes as there is for arrivals.
        let _ = (&self.bell).write(&[1]);
        let number = random();
        let heard = Instant::now();
        let client = Client {
            socket,
            accepted: 0,
            delivered: 0,
            unacknowledged: Vec::new(),
            is_ended: false,
            heard,
        };
        self.all.insert(number, client);
        Ok(number)
    }

    /// Ends the clients that were not heard of for too long.
    pub fn end_the_silent(&mut self) {
        let now = Instant::now();
        let late = now - self.looked;
        self.looked = now;
        self.all.retain(|_, client| {
            if late > LATE {
                // Meanwhile nobody could be heard, and of those that wait only one at a time can.
                client.heard += late;
            }
            now.saturating_duration_since(client.heard) <= self.silence
        });
    }
}

impl Client {
    /// Says whether a call stands where this client can stand.
    fn agrees(&self, call: &Call) -> bool {
        let has = call.received.checked_sub(self.delivered);
        let has = has.is_some_and(|has| has <= self.unacknowledged.len() as u64);
        has && call.sent <= self.accepted
    }

    fn exchange(&mut self, call: &Call, data: &[u8], answer: Answer) -> (Answer, &[u8]) {
        self.heard = Instant::now();
        // Both differences were found possible by `agrees`.
        let has = (call.received - self.delivered) as usize;
        self.unacknowledged.drain(..has);
        self.delivered += has as u64;
        // Of a call that is made again, some or all may have been taken.
        let known = usize::try_from(self.accepted - call.sent).unwrap_or(usize::MAX);
        let new = data.get(known..).unwrap_or_default();
        // A worker that is gone takes nothing, and the end of what it said tells.
        let taken = if new.is_empty() { 0 } else { (&self.socket).write(new).unwrap_or(0) };
        self.accepted += taken as u64;
        let room = (call.room as usize).min(BYTES_MAX);
        self.fetch(room);
        if self.unacknowledged.is_empty() && !self.is_ended && taken > 0 && room > 0 {
            let mut watched = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
            // Interrupted or not, it has waited.
            let _ = poll(&mut watched, Some(&ANSWER_LIMIT));
            self.fetch(room);
        }
        let data = &self.unacknowledged[..self.unacknowledged.len().min(room)];
        let ends = self.is_ended && data.len() == self.unacknowledged.len();
        (Answer { accepted: self.accepted, ends, ..answer }, data)
    }

    /// Reads what the worker has said, up to `room` bytes that the guest does not have.
    fn fetch(&mut self, room: usize) {
        let have = self.unacknowledged.len();
        if have >= room || self.is_ended {
            return;
        }
        self.unacknowledged.resize(room, 0);
        let count = match (&self.socket).read(&mut self.unacknowledged[have..]) {
            Ok(0) => {
                self.is_ended = true;
                0
            }
            Ok(count) => count,
            Err(error) => {
                let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::Interrupted];
                self.is_ended = !waits.contains(&error.kind());
                0
            }
        };
        self.unacknowledged.truncate(have + count);
    }
}
