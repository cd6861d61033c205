//! The emulator of a virtual machine with the original device: the input is what it says to the
//! mediator, and what the workers of its clients do.
//!
//! Calls are made up around the truth, so that many of them are right: the streams of both
//! directions are known by place, and no byte may be anywhere but at its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use vgpu_link::pci::original::Desk;

/// The numbers of docs/pci.md, "The original device".
const MAGIC: u32 = 0x5647_5055;
const OPEN: u32 = 0x5647_5001;
const EXCHANGE: u32 = 0x5647_5002;
const CLOSE: u32 = 0x5647_5003;
const CALL: u32 = 0x10;
const RESULT: u32 = 0x11;
const HEADER_BYTES: usize = 24;
const HEADS_BYTES: usize = HEADER_BYTES + 88;
const BYTES_MAX: usize = 16 << 10;
const INVALID: u32 = 1;
const NO_SUCH_CLIENT: u32 = 400;

/// Clients whose streams are watched; one more would say nothing new.
const WATCHED_MAX: usize = 4;

/// A client, as its guest and its worker know it.
struct Client {
    number: u64,
    /// The worker's end.
    worker: UnixStream,
    /// Bytes that the host has taken, by its own word.
    accepted: u64,
    /// Bytes that the guest has acknowledged.
    received: u64,
    /// Bytes that the guest was shown: it may acknowledge them.
    shown: u64,
    /// Bytes that came to the worker.
    came: u64,
    /// Bytes that the worker has said.
    said: u64,
    hung_up: bool,
    /// Whether the silent were ended since it came.
    silenced: bool,
}

/// What a call was about.
struct Asked {
    id: u32,
    client: u64,
    sent: u64,
    received: u64,
    bytes: usize,
}

/// The byte at a place of a stream: to the host, or from it.
fn byte(client: u64, to_host: bool, at: u64) -> u8 {
    let mixed = (client ^ u64::from(to_host)).wrapping_add(at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

struct Game {
    desk: Desk,
    clients: Vec<Client>,
    /// Calls by their tag, which the mediator echoes. The input cannot know it.
    asked: HashMap<u32, Asked>,
    tag: u32,
    /// Something was said that is no message of ours: the next ones may be taken for its payload.
    in_doubt: bool,
}

/// The input's bytes, zeroes behind its end.
struct Moves<'a>(&'a [u8]);

impl Moves<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) =
            self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

thread_local! {
    /// What the last input left as it began: opening one costs more than most inputs do.
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

/// The input is moves of a byte and its arguments.
pub fn mediator(data: &[u8]) {
    let (desk, asked) = (DESK.take().unwrap_or_else(Desk::open), HashMap::new());
    let tag = RandomState::new().build_hasher().finish() as u32;
    let mut game = Game { desk, clients: Vec::new(), asked, tag, in_doubt: false };
    let mut moves = Moves(data);
    while !moves.0.is_empty() {
        if !game.advance(&mut moves) {
            break;
        }
    }
    game.settle();
    if !game.in_doubt {
        game.desk.end_the_silent();
        DESK.set(Some(game.desk));
    }
}

impl Game {
    /// Makes one move; says whether the emulator is still heard.
    fn advance(&mut self, moves: &mut Moves<'_>) -> bool {
        let what = moves.next();
        let amount = what >> 3;
        match what & 7 {
            0 => {
                let count = 1 + usize::from(moves.next());
                let bytes = moves.take(count).to_vec();
                self.in_doubt = true;
                return self.say(&bytes);
            }
            1 => {
                let room = if amount & 16 == 0 { 1 } else { u32::from(amount) };
                return self.call(OPEN, u64::from(amount), [0, 0], room, 0);
            }
            2 | 3 => return self.exchange(amount, moves),
            4 => self.worker_speaks(amount, usize::from(moves.next())),
            5 => self.worker_hears(amount),
            6 => {
                let number = self.number(amount);
                return self.call(CLOSE, number, [0, 0], 0, 0);
            }
            _ if amount & 1 == 0 => {
                self.desk.end_the_silent();
                self.clients.iter_mut().for_each(|client| client.silenced = true);
            }
            // An older request, a ping, something unknown: with a payload of any length.
            _ => {
                let bytes = usize::from(moves.next()) << (amount >> 3);
                let kind = u32::from(amount >> 1 & 3);
                self.in_doubt |= kind == 1 && !(1..=1024).contains(&bytes);
                return self.say(&self.message(kind, &vec![amount; bytes]));
            }
        }
        true
    }

    /// The number of a watched client, or a made-up one.
    fn number(&self, amount: u8) -> u64 {
        let client = self.clients.get(usize::from(amount & 7));
        client.map_or(u64::from(amount), |client| client.number)
    }

    fn exchange(&mut self, amount: u8, moves: &mut Moves<'_>) -> bool {
        let [lie, room, bytes] = [moves.next(), moves.next(), moves.next()];
        let number = self.number(amount);
        let (mut sent, mut received) = (0, 0);
        if let Some(client) = self.clients.get(usize::from(amount & 7)) {
            (sent, received) = (client.accepted, client.shown);
        }
        let near = |value: u64| match lie >> 2 {
            63 => u64::MAX,
            62 => value.wrapping_add(1 << 63),
            far @ 32.. => value.wrapping_add(u64::from(far - 31)),
            far => value.wrapping_sub(u64::from(far)),
        };
        (sent, received) = (
            if lie & 1 == 0 { sent } else { near(sent) },
            if lie & 2 == 0 { received } else { near(received) },
        );
        let room = match u32::from(room) {
            255 => u32::MAX,
            more @ 240.. => 1200 * (more - 239),
            few => few,
        };
        // Up to more than a call may bring.
        let bytes = match usize::from(bytes) {
            more @ 240.. => 1100 * (more - 239),
            few => few,
        };
        self.call(EXCHANGE, number, [sent, received], room, bytes)
    }

    fn message(&self, kind: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = words(&[MAGIC, kind, 9, self.tag, 0x0102, payload.len() as u32]);
        bytes.extend(payload);
        bytes
    }

    fn call(&mut self, id: u32, client: u64, places: [u64; 2], room: u32, bytes: usize) -> bool {
        let [sent, received] = places;
        self.tag = self.tag.wrapping_add(1);
        self.asked.insert(self.tag, Asked { id, client, sent, received, bytes });
        let half = |value: u64| [value as u32, (value >> 32) as u32];
        let ([a, b], [c, d], [e, f]) = (half(client), half(sent), half(received));
        let mut payload = words(&[MAGIC, id, 5, 0, 8, bytes as u32]);
        payload.extend(words(&[a, b, c, d, e, f, room, self.tag]));
        payload.extend([0; 32]);
        payload.extend((0..bytes as u64).map(|at| byte(client, true, sent.wrapping_add(at))));
        self.say(&self.message(CALL, &payload))
    }

    /// Says some bytes and hears the answers; false once the connection is ended.
    fn say(&mut self, bytes: &[u8]) -> bool {
        let Some(answers) = self.desk.say(bytes) else {
            assert!(self.in_doubt, "honest messages end no connection");
            return false;
        };
        let mut rest = &answers[..];
        while !rest.is_empty() {
            assert!(rest.len() >= HEADER_BYTES, "an answer is whole");
            assert_eq!(word(rest, 0), MAGIC);
            let (kind, tag) = (word(rest, 4), word(rest, 12));
            let (message, after) = rest.split_at(HEADER_BYTES + word(rest, 20) as usize);
            if kind == RESULT {
                self.result(tag, message);
            }
            rest = after;
        }
        if !self.in_doubt {
            assert!(self.asked.is_empty(), "every call is answered at once");
        }
        true
    }

    fn result(&mut self, tag: u32, message: &[u8]) {
        let (status, data) = (word(message, 32), &message[HEADS_BYTES..]);
        let result = |at: usize| {
            u64::from(word(message, 52 + 8 * at)) << 32 | u64::from(word(message, 48 + 8 * at))
        };
        assert!(data.len() <= BYTES_MAX && word(message, 40) as usize == data.len());
        let Some(asked) = self.asked.remove(&tag) else {
            assert!(self.in_doubt, "nobody asked {tag}");
            // The one call of ours that needs no client's number.
            if status == 0 && result(0) != 0 {
                drop(self.desk.arrived());
            }
            return;
        };
        let found = self.clients.iter().position(|client| client.number == asked.client);
        if asked.id == OPEN {
            if status == 0 {
                self.opened(result(0));
            }
            return;
        }
        let Some(at) = found else {
            assert_ne!(status, 0, "client {} is made up", asked.client);
            return;
        };
        let client = &mut self.clients[at];
        match status {
            0 if asked.id == EXCHANGE => {
                return client.exchanged(&asked, result(0), result(1) & 1 == 1, data);
            }
            0 => {}
            INVALID if asked.bytes > BYTES_MAX => return,
            INVALID => assert!(!client.stands(&asked), "what is right is not refused"),
            NO_SUCH_CLIENT => assert!(client.silenced, "it lives"),
            other => panic!("the status is {other}"),
        }
        // Closed, refused for a lie, or gone before for its silence.
        self.clients.remove(at).is_over();
    }

    fn opened(&mut self, number: u64) {
        let worker = self.desk.arrived().expect("who is opened arrives");
        worker.set_nonblocking(true).expect("it is ours");
        if self.clients.len() < WATCHED_MAX {
            self.clients.push(Client {
                number,
                worker,
                accepted: 0,
                received: 0,
                shown: 0,
                came: 0,
                said: 0,
                hung_up: false,
                silenced: false,
            });
        }
    }

    fn worker_speaks(&mut self, amount: u8, bytes: usize) {
        let Some(client) = self.clients.get_mut(usize::from(amount & 7)) else { return };
        if amount & 16 != 0 {
            let _ = client.worker.shutdown(std::net::Shutdown::Write);
            client.hung_up = true;
        } else if !client.hung_up {
            let said = client.said;
            let bytes = (0..bytes as u64).map(|at| byte(client.number, false, said + at));
            let bytes: Vec<u8> = bytes.collect();
            client.said += client.worker.write(&bytes).unwrap_or(0) as u64;
        }
    }

    fn worker_hears(&mut self, amount: u8) {
        if let Some(client) = self.clients.get_mut(usize::from(amount & 7)) {
            client.hear();
        }
    }

    /// Looks at what all workers have.
    fn settle(&mut self) {
        for client in &mut self.clients {
            client.hear();
        }
    }
}

impl Client {
    /// Says whether a call is one that an honest guest could make.
    fn stands(&self, asked: &Asked) -> bool {
        asked.sent <= self.accepted && (self.received..=self.shown).contains(&asked.received)
    }

    fn exchanged(&mut self, asked: &Asked, accepted: u64, ends: bool, data: &[u8]) {
        assert!(accepted >= self.accepted, "what was taken stays taken");
        assert!(accepted <= self.accepted.max(asked.sent.saturating_add(asked.bytes as u64)));
        self.accepted = accepted;
        self.received = asked.received;
        for (at, found) in (asked.received..).zip(data) {
            assert_eq!(*found, byte(self.number, false, at), "at {at}");
        }
        let end = asked.received + data.len() as u64;
        assert!(end <= self.said);
        self.shown = self.shown.max(end);
        assert!(!ends || (self.hung_up && end == self.said), "an end before the end");
    }

    /// Reads what has come; says whether that was all.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.worker.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => {
                    for found in &buffer[..count] {
                        assert_eq!(*found, byte(self.number, true, self.came), "at {}", self.came);
                        self.came += 1;
                    }
                    assert!(self.came <= self.accepted, "more than was taken");
                }
                // Bytes that the mediator did not read are lost with its end.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    return false;
                }
            }
        }
    }

    fn is_over(mut self) {
        assert!(self.hear(), "the worker of a client that is gone hears of it");
    }
}
