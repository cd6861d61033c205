//! What clients do wrong, and that nobody beside them notices.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use vgpu_link::wire::control::{Goodbye, Hello, Reason, Refusal, Refused, Role, Snapshot, opcode};
use vgpu_link::wire::cuda;
use vgpu_link::wire::header::{BULK_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX, VERSION};
use vgpu_link::wire::{Header, Kind, Payload, Request, Text};

use crate::process::{Client, Vgpud};

/// Encodes a frame without asking whether it is a right one.
fn frame(kind: Kind, opcode: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { payload_bytes: payload.len() as u32, ..Header::new(kind, opcode) };
    [&header.to_bytes()[..], payload].concat()
}

fn hello() -> Vec<u8> {
    let hello = Hello { role: Role::Guest, pid: 1, exe: Text::cut("bad client") };
    frame(Kind::Call, opcode::HELLO, &hello.to_payload())
}

/// Reads all that the daemon has to say until it closes.
fn last_words(raw: &mut UnixStream) -> Vec<(u32, Vec<u8>)> {
    let mut bytes = Vec::new();
    // A reset after the last words is the end as well: we had sent more than was read.
    if let Err(error) = raw.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((header, more)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let header = Header::from_bytes(header).expect("the daemon writes right frames");
        let (payload, more) = more.split_at(header.payload_bytes as usize);
        frames.push((header.opcode, payload.to_vec()));
        rest = more;
    }
    assert!(rest.is_empty(), "the daemon ends with a whole frame");
    frames
}

/// Sends bytes, then expects a goodbye of this reason, and that a healthy client goes on.
fn check_goodbye(daemon: &Vgpud, healthy: &mut Client, bytes: &[u8], reason: Reason) {
    let mut raw = daemon.raw();
    raw.write_all(bytes).expect("the daemon reads");
    raw.shutdown(std::net::Shutdown::Write).expect("open");
    let words = last_words(&mut raw);
    let Some((opcode::GOODBYE, payload)) = words.last() else {
        panic!("no goodbye for {bytes:02x?}: {words:02x?}");
    };
    let goodbye = Goodbye::from_payload(payload).expect("a right Goodbye");
    assert_eq!(goodbye.reason, reason, "{}", goodbye.text);
    assert!(!goodbye.text.as_str().is_empty());
    healthy.snapshot();
}

/// The journal takes so many lines of a service and drops the rest, whoever they tell of.
#[test]
fn who_comes_over_and_over_does_not_fill_the_log() {
    let daemon = Vgpud::start(&["--clients-max", "1"]);
    let served = daemon.client();
    (0..600).for_each(|_| drop(daemon.raw()));
    daemon.wait_for(&["vgpud: held-back", "peer=\"uid:", "connects too often"]);
    drop(served);
    daemon.wait_for(&["vgpud: lost-lines count="]);
    daemon.wait_for(&["vgpud: gone session=1 "]);
}

#[test]
fn garbage_ends_its_own_connection_with_a_reason() {
    let daemon = Vgpud::start(&[]);
    let mut healthy = daemon.client();
    check_goodbye(&daemon, &mut healthy, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", {
        Reason::Oversized
    });
    let mut wrong_kind = Header::new(Kind::Call, opcode::HELLO).to_bytes();
    wrong_kind[30] = 9;
    check_goodbye(&daemon, &mut healthy, &wrong_kind, Reason::Malformed);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let mut bytes = vec![0; random.usize(HEADER_BYTES..300)];
        random.fill(&mut bytes);
        let mut raw = daemon.raw();
        // The daemon may have left before all is written.
        let _ = raw.write_all(&bytes);
        let _ = raw.shutdown(std::net::Shutdown::Write);
        assert!(!last_words(&mut raw).is_empty(), "{bytes:02x?}");
        healthy.snapshot();
    }
}

#[test]
fn garbage_after_the_handshake_ends_its_own_connection_with_a_reason() {
    let daemon = Vgpud::start(&[]);
    let mut healthy = daemon.client();
    let after_hello = |bytes: &[u8]| [&hello(), bytes].concat();
    for (bytes, reason) in [
        (frame(Kind::Call, opcode::SNAPSHOT, b"x"), Reason::Malformed),
        (frame(Kind::Call, cuda::MemAllocV2::OPCODE, b"short"), Reason::Malformed),
        (frame(Kind::Post, cuda::MemFreeV2::OPCODE, &[0; 9]), Reason::Malformed),
        (frame(Kind::Reply, opcode::SNAPSHOT, b""), Reason::Unexpected),
        (frame(Kind::Post, opcode::SNAPSHOT, b""), Reason::Unexpected),
        (frame(Kind::Call, 0, b""), Reason::Unexpected),
        (frame(Kind::Call, opcode::HELLO, b""), Reason::Unexpected),
    ] {
        check_goodbye(&daemon, &mut healthy, &after_hello(&bytes), reason);
    }
}

#[test]
fn a_truncated_frame_ends_its_own_connection_with_a_reason() {
    let daemon = Vgpud::start(&[]);
    let mut healthy = daemon.client();
    let hello = hello();
    for cut in [1, HEADER_BYTES - 1, HEADER_BYTES, hello.len() - 1] {
        check_goodbye(&daemon, &mut healthy, &hello[..cut], Reason::Malformed);
        daemon.wait_for(&["vgpud: parted", "ended within a frame"]);
    }
    let truncated = [&hello[..], &frame(Kind::Call, cuda::MemAllocV2::OPCODE, &[0; 8])].concat();
    check_goodbye(&daemon, &mut healthy, &truncated[..truncated.len() - 1], Reason::Malformed);
}

#[test]
fn an_oversized_length_ends_its_own_connection_with_a_reason() {
    let daemon = Vgpud::start(&[]);
    let mut healthy = daemon.client();
    for (payload_bytes, bulk_bytes) in
        [(PAYLOAD_BYTES_MAX + 1, 0), (0, BULK_BYTES_MAX + 1), (u32::MAX as usize, 0)]
    {
        let header = Header {
            payload_bytes: payload_bytes as u32,
            bulk_bytes: bulk_bytes as u32,
            ..Header::new(Kind::Call, opcode::SNAPSHOT)
        };
        let bytes = header.to_bytes();
        check_goodbye(&daemon, &mut healthy, &bytes, Reason::Oversized);
        let after_hello = [&hello()[..], &bytes].concat();
        check_goodbye(&daemon, &mut healthy, &after_hello, Reason::Oversized);
    }
    daemon.wait_for(&["vgpud: parted", "more than 1048576"]);
}

#[test]
fn another_version_is_refused_and_told_ours() {
    let daemon = Vgpud::start(&[]);
    let mut healthy = daemon.client();
    let mut raw = daemon.raw();
    let mut bytes = hello();
    bytes[HEADER_BYTES + 4..HEADER_BYTES + 6].copy_from_slice(&99_u16.to_le_bytes());
    raw.write_all(&bytes).expect("the daemon reads");
    let words = last_words(&mut raw);
    let [(opcode::REFUSED, payload)] = &words[..] else { panic!("{words:02x?}") };
    let refused = Refused::from_payload(payload).expect("a right Refused");
    assert_eq!((refused.refusal, refused.version), (Refusal::Version, VERSION));
    assert!(refused.text.as_str().contains("version 99"), "{}", refused.text);
    daemon.wait_for(&["vgpud: parted", "version 99"]);
    healthy.snapshot();
}

/// A client that says nothing, or one byte, must hold up nobody, and is let go by itself.
#[test]
fn a_silent_client_is_let_go_and_holds_up_nobody() {
    let daemon = Vgpud::start(&[]);
    let mut silent: Vec<UnixStream> = (0..4).map(|_| daemon.raw()).collect();
    silent[0].write_all(&[0]).expect("the daemon reads");
    daemon.client().snapshot();
    for raw in &mut silent {
        let words = last_words(raw);
        let [(opcode::GOODBYE, payload)] = &words[..] else { panic!("{words:02x?}") };
        let goodbye = Goodbye::from_payload(payload).expect("a right Goodbye");
        assert!(goodbye.text.as_str().contains("in time"), "{}", goodbye.text);
    }
}

/// A client that sends and never reads fills its own socket and its own worker, nobody else's.
#[test]
fn a_client_that_never_reads_holds_up_nobody() {
    let mut daemon = Vgpud::start(&[]);
    let mut healthy = daemon.client();
    let raw = daemon.raw();
    raw.set_nonblocking(true).expect("a socket");
    (&raw).write_all(&hello()).expect("there is room");
    let snapshot = frame(Kind::Call, Snapshot::OPCODE, b"");
    // Until our own sending is held up as well: the worker waits for us to read.
    while (&raw).write(&snapshot).is_ok() {}
    healthy.snapshot();
    daemon.client().snapshot();
    daemon.signal("TERM");
    assert!(daemon.ended().success(), "it does not wait for ever for the one that never reads");
}

#[test]
fn an_unknown_driver_function_is_answered_and_the_connection_goes_on() {
    struct Unknown;
    impl Payload for Unknown {
        fn write(&self, _: &mut vgpu_link::wire::Writer<'_>) {}
        fn read(_: &mut vgpu_link::wire::Reader<'_>) -> Result<Self, vgpu_link::wire::Malformed> {
            Ok(Self)
        }
    }
    impl Request for Unknown {
        const OPCODE: u32 = 0xffff_0000;
        type Reply = ();
    }
    const NOT_SUPPORTED: u16 = 801;
    let daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    assert_eq!(client.call(&Unknown), Err(NOT_SUPPORTED));
    client.snapshot();
}
