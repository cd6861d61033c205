//! What an emulator, which belongs to a virtual machine, may send to the host.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vgpu_link::{Socket, Stream};

use crate::device::tunnel::{Machine, arrival};

const MAGIC: u32 = 0x5647_5055;
const OPEN: u32 = 0x5647_5001;
const EXCHANGE: u32 = 0x5647_5002;
const CLOSE: u32 = 0x5647_5003;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn message(kind: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = words(&[MAGIC, kind, 9, 77, 0x0102, payload.len() as u32]);
    bytes.extend(payload);
    bytes
}

/// A call with its arguments and data.
fn call(id: u32, args: [u32; 8], data: &[u8]) -> Vec<u8> {
    let mut payload = words(&[MAGIC, id, 5, 0, 8, data.len() as u32]);
    payload.extend(words(&args));
    payload.extend([0; 32]);
    payload.extend(data);
    message(0x10, &payload)
}

/// Arguments: client, where the data begin, what was received, the room, and the number.
fn args(client: u64, sent: u64, received: u64, room: u32) -> [u32; 8] {
    let half = |value: u64| [value as u32, (value >> 32) as u32];
    let ([a, b], [c, d], [e, f]) = (half(client), half(sent), half(received));
    [a, b, c, d, e, f, room, 3]
}

/// An emulator's connection.
struct Emulator(UnixStream);

/// Status, results and data of an answer.
type Answer = (u32, [u64; 4], Vec<u8>);

impl Emulator {
    fn of(machine: &Machine) -> Self {
        // The host takes what is over, as it goes on.
        machine.mediator.left().for_each(drop);
        let socket = UnixStream::connect(&machine.socket).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        Self(socket)
    }

    fn ask(&mut self, message: &[u8]) -> Answer {
        self.0.write_all(message).expect("sent");
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut heads = [0; 24 + 88];
        self.0.read_exact(&mut heads).expect("an answer");
        let word = |at: usize| u32::from_le_bytes(heads[at..at + 4].try_into().expect("four"));
        // Everything that is the emulator's own comes back.
        let echoed = (word(0), word(4), word(8), word(12), word(16));
        assert_eq!(echoed, (MAGIC, 0x11, 9, 77, 0x0102));
        assert_eq!((word(24), word(28)), (MAGIC, 5));
        assert_eq!(word(20), 88 + word(40));
        let mut data = vec![0; word(40) as usize];
        self.0.read_exact(&mut data).expect("its data");
        let result =
            |at: usize| u64::from(word(48 + 8 * at + 4)) << 32 | u64::from(word(48 + 8 * at));
        (word(32), [0, 1, 2, 3].map(result), data)
    }

    fn open(&mut self) -> u64 {
        let (status, [client, _, ticket, number], _) =
            self.ask(&call(OPEN, args(55, 0, 0, 1), &[]));
        assert_eq!((status, ticket, number), (0, 55, 3));
        client
    }

    /// Says whether the host has ended the connection.
    fn is_ended(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_ping_is_answered_and_what_is_unknown_is_ignored() {
    let machine = Machine::new();
    let mut emulator = Emulator::of(&machine);
    emulator.0.write_all(&message(0x12, &[1; 5000])).expect("sent");
    emulator.0.write_all(&message(99, &[])).expect("sent");
    emulator.0.write_all(&message(3, &[])).expect("sent");
    let mut pong = [0; 24];
    emulator.0.read_exact(&mut pong).expect("an answer");
    assert_eq!(pong[..], message(4, &[])[..]);
}

/// The thread turns to others after so many steps. What it had received by then lay unread, as
/// nothing more came to wake it.
#[test]
fn messages_that_come_together_are_all_answered() {
    let machine = Machine::new();
    for count in 1..70 {
        let mut emulator = Emulator::of(&machine);
        emulator.0.write_all(&message(3, &[]).repeat(count)).expect("sent");
        emulator.0.read_exact(&mut vec![0; 24 * count]).expect("as many answers");
    }
}

#[test]
fn what_no_emulator_sends_ends_the_connection_and_nothing_else() {
    let machine = Machine::new();
    let mut well = Emulator::of(&machine);
    let client = well.open();
    let mut headers = Vec::new();
    let header = |kind, length: u32| words(&[MAGIC, kind, 9, 77, 0x0102, length]);
    headers.push(words(&[0x1234_5678, 0x10, 9, 77, 0, 88]));
    headers.push(header(0x10, u32::MAX));
    headers.push(header(0x10, 88 + (8 << 20) + 1));
    headers.push(header(0x10, 87));
    headers.push(header(1, 0));
    headers.push(header(1, 1025));
    let spoilt = |at: usize, value: u32| {
        let mut bytes = call(EXCHANGE, args(client, 0, 0, 9), &[1; 100]);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    // The call's own magic, the number of its arguments, the length of its data.
    headers.extend([spoilt(24, 1), spoilt(40, 17), spoilt(44, 99), spoilt(44, u32::MAX)]);
    for (number, bytes) in headers.iter().enumerate() {
        let mut emulator = Emulator::of(&machine);
        emulator.0.write_all(bytes).expect("sent");
        assert!(emulator.is_ended(), "number {number}");
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let mut emulator = Emulator::of(&machine);
        let mut bytes = vec![0; random.usize(24..300)];
        random.fill(&mut bytes);
        emulator.0.write_all(&bytes).expect("sent");
        assert!(emulator.is_ended());
    }
    let (status, ..) = well.ask(&call(EXCHANGE, args(client, 0, 0, 9), b"fine"));
    assert_eq!(status, 0);
}

#[test]
fn a_call_that_is_made_again_is_answered_as_before() {
    let machine = Machine::new();
    let mut emulator = Emulator::of(&machine);
    let client = emulator.open();
    let mut host = UnixStream::from(arrival(&machine.mediator).socket);
    host.write_all(b"answer").expect("sent");
    let first = emulator.ask(&call(EXCHANGE, args(client, 0, 0, 100), b"asked"));
    assert_eq!((first.0, first.1[0], &first.2[..]), (0, 5, &b"answer"[..]));
    assert_eq!(emulator.ask(&call(EXCHANGE, args(client, 0, 0, 100), b"asked")), first);
    // Of data that were taken in part, the rest is new.
    let more = emulator.ask(&call(EXCHANGE, args(client, 2, 3, 100), b"ked again"));
    assert_eq!((more.1[0], &more.2[..]), (11, &b"wer"[..]));
    let mut came = [0; 11];
    host.read_exact(&mut came).expect("it came");
    assert_eq!(&came, b"asked again");
    // Less room than there is to say: the rest comes later.
    let part = emulator.ask(&call(EXCHANGE, args(client, 11, 3, 2), &[]));
    assert_eq!(part.2, b"we");
}

#[test]
fn the_hosts_end_is_told_after_its_last_bytes() {
    let machine = Machine::new();
    let mut emulator = Emulator::of(&machine);
    let client = emulator.open();
    let mut host = UnixStream::from(arrival(&machine.mediator).socket);
    host.write_all(b"bye").expect("sent");
    drop(host);
    let mut received = Vec::new();
    loop {
        let asked = args(client, 0, received.len() as u64, 2);
        let (status, results, data) = emulator.ask(&call(EXCHANGE, asked, b"lost"));
        assert_eq!((status, results[0]), (0, 0), "nobody takes it");
        received.extend(data);
        if results[1] == 1 {
            break;
        }
    }
    assert_eq!(received, b"bye");
}

#[test]
fn positions_that_cannot_be_end_the_client() {
    for (sent, received) in [(1, 0), (u64::MAX, 0), (0, 1), (0, u64::MAX)] {
        let machine = Machine::new();
        let mut emulator = Emulator::of(&machine);
        let client = emulator.open();
        let host = Socket::from(arrival(&machine.mediator).socket);
        let (status, ..) = emulator.ask(&call(EXCHANGE, args(client, sent, received, 9), b"x"));
        assert_eq!(status, 1, "{sent} {received}");
        assert_eq!(host.read(&mut [0], None).expect("it ends"), 0);
        let (status, ..) = emulator.ask(&call(EXCHANGE, args(client, 0, 0, 9), b"x"));
        assert_eq!(status, 400);
    }
}

#[test]
fn clients_that_are_not_there_and_calls_that_are_none_are_refused() {
    let machine = Machine::new();
    let mut emulator = Emulator::of(&machine);
    let client = emulator.open();
    for (id, args, data, expected) in [
        (OPEN, args(1, 0, 0, 2), &[][..], 1),
        (EXCHANGE, args(client ^ 1, 0, 0, 9), b"x", 400),
        (EXCHANGE, args(0, 0, 0, 9), b"x", 400),
        (CLOSE, args(client ^ 1, 0, 0, 0), &[], 400),
        (EXCHANGE, args(client, 0, 0, 9), &[1; (16 << 10) + 1], 1),
        (0x5647_5004, args(client, 0, 0, 9), &[], 801),
        (0x32, args(client, 0, 0, 9), &[1; 100_000], 801),
        (CLOSE, args(client, 0, 0, 0), &[], 0),
        (CLOSE, args(client, 0, 0, 0), &[], 400),
    ] {
        assert_eq!(emulator.ask(&call(id, args, data)).0, expected, "{id:#x} {args:?}");
    }
    // Fewer arguments than ours have.
    let mut few = call(EXCHANGE, args(client, 0, 0, 9), &[]);
    few[40] = 7;
    assert_eq!(emulator.ask(&few).0, 1);
}

/// The host process may be slow to take clients, and must not be flooded by one machine.
#[test]
fn more_clients_than_wait_to_be_taken_are_refused() {
    let machine = Machine::new();
    let mut emulator = Emulator::of(&machine);
    for _ in 0..16 {
        emulator.open();
    }
    let open = call(OPEN, args(1, 0, 0, 1), &[]);
    assert_eq!(emulator.ask(&open).0, 304);
    arrival(&machine.mediator);
    emulator.open();
    assert_eq!(emulator.ask(&open).0, 304);
}

/// Answers that nobody reads are not kept without end: such an emulator is not heard.
#[test]
fn an_emulator_that_only_asks_stops_no_other() {
    let machine = Machine::new();
    let floods = Emulator::of(&machine);
    floods.0.set_write_timeout(Some(Duration::from_millis(100))).expect("a limit");
    let ping = message(3, &[]).repeat(10_000);
    while (&floods.0).write_all(&ping).is_ok() {}
    let mut well = Emulator::of(&machine);
    let client = well.open();
    assert_eq!(well.ask(&call(EXCHANGE, args(client, 0, 0, 9), b"fine")).0, 0);
}
