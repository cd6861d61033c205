//! The emulator's socket: it connects when the machine is made and before each call, sends one
//! message, and takes the answer that bears its number.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

pub const MAGIC: u32 = 0x5647_5055;
pub const REQUEST: u32 = 1;
pub const CALL: u32 = 0x10;
const HEADER_BYTES: usize = 24;
const RESULT_BYTES: usize = 88;

/// How long a send may wait for room.
const SEND_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    socket: Option<UnixStream>,
    came: Vec<u8>,
    number: u32,
}

/// What came by the socket.
pub enum Event {
    Ended,
    Busy,
    Quarantined,
    /// Of the older kind, with its status.
    Response(u32),
    Result {
        status: u32,
        results: Vec<u64>,
        data: Vec<u8>,
    },
}

impl Connection {
    pub fn to(path: PathBuf) -> Self {
        let mut connection = Self { path, socket: None, came: Vec::new(), number: 0 };
        connection.connect();
        connection
    }

    fn connect(&mut self) {
        let socket = UnixStream::connect(&self.path).ok();
        self.socket = socket.filter(|it| it.set_nonblocking(true).is_ok());
        self.came.clear();
    }

    /// Sends a message under a new number; false if nobody can be reached.
    pub fn send(&mut self, kind: u32, payload: &[u8]) -> bool {
        // A look, which finds whether the peer has gone since.
        self.receive();
        if self.socket.is_none() {
            self.connect();
        }
        self.number += 1;
        let mut message = Vec::with_capacity(HEADER_BYTES + payload.len());
        let words = [MAGIC, kind, 9, self.number, 0x0000_0141, payload.len() as u32];
        words.iter().for_each(|word| message.extend(word.to_le_bytes()));
        message.extend(payload);
        let Some(mut socket) = self.socket.take() else { return false };
        // Bounded, as the emulator's; a message that is cut ends the connection.
        let limited = socket.set_nonblocking(false).is_ok()
            && socket.set_write_timeout(Some(SEND_LIMIT)).is_ok();
        let sent = limited && socket.write_all(&message).is_ok();
        self.socket = Some(socket).filter(|it| sent && it.set_nonblocking(true).is_ok());
        sent
    }

    /// Receives what there is; true if the peer has gone.
    fn receive(&mut self) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut bytes = [0; 65536];
        loop {
            match socket.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => self.came.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => break,
            }
        }
        self.socket = None;
        true
    }

    /// Takes the next thing that came; `None` if there is none.
    pub fn look(&mut self) -> Option<Event> {
        let ended = self.receive();
        loop {
            if self.came.len() >= HEADER_BYTES && super::word(&self.came, 0) != MAGIC {
                // All of it is dropped, whatever else is in it.
                self.came.clear();
            }
            let word = |at: usize| super::word(&self.came, at);
            let length = HEADER_BYTES + word(20) as usize;
            if self.came.len() < HEADER_BYTES.max(length) {
                return ended.then_some(Event::Ended);
            }
            let (kind, number) = (word(4), word(12));
            let message: Vec<u8> = self.came.drain(..length).collect();
            if let Some(event) = self.understand(kind, number, &message) {
                return Some(event);
            }
        }
    }

    /// Gives a message its meaning; `None` for those that are dropped.
    fn understand(&mut self, kind: u32, number: u32, message: &[u8]) -> Option<Event> {
        let payload = &message[HEADER_BYTES..];
        match kind {
            3 => {
                let mut pong = message[..HEADER_BYTES].to_vec();
                pong[4] = 4;
                pong[20..].fill(0);
                let socket = self.socket.as_mut();
                let _ = socket.map(|socket| socket.write_all(&pong));
                None
            }
            5 => Some(Event::Busy),
            6 => Some(Event::Quarantined),
            2 if payload.len() >= 32 => Some(Event::Response(super::word(payload, 4))),
            // An answer to another call is dropped, and the guest waits on.
            0x11 if number == self.number && payload.len() >= RESULT_BYTES => {
                let word = |at| super::word(payload, at);
                let result = |at: usize| {
                    let at = 24 + 8 * at;
                    u64::from(word(at + 4)) << 32 | u64::from(word(at))
                };
                let data = &payload[RESULT_BYTES..];
                let data = data[..data.len().min(word(16) as usize)].to_vec();
                let results = (0..word(12).min(8) as usize).map(result).collect();
                Some(Event::Result { status: word(8), results, data })
            }
            _ => None,
        }
    }
}
