//! Control messages: golden bytes, round trips, and decoding of whatever a hostile peer may send.

#![forbid(unsafe_code)]

use std::fmt::Debug;

use vgpu_wire::control::*;
use vgpu_wire::header::{HEADER_BYTES, VERSION};
use vgpu_wire::limits::{EXE_BYTES_MAX, PROCESSES_MAX};
use vgpu_wire::{Header, Kind, Malformed, Payload, Text};

fn device() -> DeviceFacts {
    DeviceFacts {
        name: Text::cut("Test GPU"),
        uuid: *b"0123456789abcdef",
        pci_domain: 1,
        pci_bus: 2,
        pci_device: 3,
        pci_device_id: 0x2330_10de,
        pci_subsystem_id: 0x16c1_10de,
        total_memory: 80 << 30,
        minor_number: 4,
        serial: Text::cut("S"),
        vbios_version: Text::cut("V"),
        attributes: vec![(1, 1024), (75, 9), (76, -1)],
    }
}

fn snapshot() -> SnapshotReply {
    SnapshotReply {
        driver_version: 13000,
        nvml_driver_version: Text::cut("999.1"),
        nvml_version: Text::cut("13.999.1"),
        capabilities: Capabilities::MEMORY,
        devices: vec![device(), DeviceFacts { attributes: vec![], ..device() }],
    }
}

fn state() -> DeviceStateReply {
    let clocks = Clocks { graphics_mhz: 1, sm_mhz: 2, memory_mhz: 3, video_mhz: 4 };
    DeviceStateReply {
        memory_total: 100,
        memory_free: 70,
        memory_used: 30,
        gpu_utilisation: 5,
        memory_utilisation: 6,
        temperature_c: Some(31),
        power_mw: Some(70_000),
        power_limit_mw: Some(700_000),
        fan_percent: None,
        performance_state: 0,
        clocks,
        clocks_max: Clocks { graphics_mhz: 9, ..clocks },
        processes: vec![Process { pid: 7, bytes: 30, name: Text::cut("ollama") }],
    }
}

fn hello() -> Hello {
    Hello { role: Role::Guest, pid: 0x0102_0304, exe: Text::cut("ollama") }
}

fn check_round_trip<T: Payload + PartialEq + Debug>(message: T) {
    let payload = message.to_payload();
    assert_eq!(T::from_payload(&payload), Ok(message));
    for cut in 0..payload.len() {
        let Malformed { offset, .. } = T::from_payload(&payload[..cut]).expect_err("cut short");
        assert!(offset <= cut, "offset {offset} of a payload of {cut} bytes");
    }
    let mut longer = payload.clone();
    longer.push(0);
    let error = T::from_payload(&longer).expect_err("one byte too many");
    assert_eq!((error.offset, error.expected), (payload.len(), "the end of the message"));
}

fn collected() -> Collected {
    let delivery = |ticket, bytes| Delivery { ticket, bytes };
    Collected { deliveries: vec![delivery(258, 3), delivery(7, 0)], has_more: true }
}

#[test]
fn every_message_is_read_as_written_and_refused_at_every_cut() {
    check_round_trip(hello());
    check_round_trip(Collect);
    check_round_trip(NextFunction { done: 6 });
    check_round_trip(DueFunction { ticket: 7, status: 0 });
    check_round_trip(collected());
    check_round_trip(Collected { deliveries: vec![], has_more: false });
    check_round_trip(Hello { role: Role::Observer, ..hello() });
    check_round_trip(Welcome { host_version: Text::cut("0.1"), epoch: 1, session: 2 });
    for refusal in
        [Refusal::Version, Refusal::Full, Refusal::Malformed, Refusal::NoDevice, Refusal::Stranger]
    {
        check_round_trip(Refused { version: 9, refusal, text: Text::cut("é") });
    }
    for reason in [
        Reason::Done,
        Reason::Stopping,
        Reason::Malformed,
        Reason::Oversized,
        Reason::Unexpected,
        Reason::Failed,
    ] {
        check_round_trip(Goodbye { reason, text: Text::cut("why") });
    }
    check_round_trip(Snapshot);
    check_round_trip(snapshot());
    check_round_trip(DeviceState { device: 3 });
    check_round_trip(state());
}

fn check_hostile<T: Payload>(valid: &[u8]) {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for _ in 0..20_000 {
        let bytes = if random.bool() {
            let mut bytes = vec![0; random.usize(..200)];
            random.fill(&mut bytes);
            bytes
        } else {
            let mut bytes = valid.to_vec();
            for _ in 0..random.usize(1..4).min(bytes.len()) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            bytes
        };
        if let Err(Malformed { offset, .. }) = T::from_payload(&bytes) {
            assert!(offset <= bytes.len(), "offset {offset} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn random_and_damaged_bytes_are_malformed_and_never_a_panic() {
    check_hostile::<Hello>(&hello().to_payload());
    check_hostile::<Welcome>(&[0; 20]);
    check_hostile::<Refused>(&[1, 0, 1, 0, 0, 0, 0]);
    check_hostile::<Goodbye>(&[1, 0, 0, 0, 0]);
    check_hostile::<Snapshot>(&[]);
    check_hostile::<SnapshotReply>(&snapshot().to_payload());
    check_hostile::<NextFunction>(&[0; 8]);
    check_hostile::<DueFunction>(&[0; 12]);
    check_hostile::<Collected>(&collected().to_payload());
    check_hostile::<DeviceState>(&[0; 4]);
    check_hostile::<DeviceStateReply>(&state().to_payload());
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50_000 {
        let mut bytes = [0; HEADER_BYTES];
        random.fill(&mut bytes);
        bytes[random.usize(..8)..8].fill(0);
        if let Ok(header) = Header::from_bytes(&bytes) {
            assert_eq!(header.to_bytes(), bytes);
        }
    }
}

/// The page that describes the protocol to people.
const PAGE: &str = include_str!("../../../docs/protocol.md");

/// Compares with bytes in hexadecimal, which the page must show as well; blanks are ignored.
fn check_golden(bytes: &[u8], golden: &str) {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, bare(golden));
    assert!(bare(PAGE).contains(&hex), "docs/protocol.md does not show {golden}");
}

#[test]
fn the_bytes_of_the_handshake_are_those_of_the_protocol_page() {
    assert_eq!(VERSION, 1, "a new version needs new golden bytes here and in docs/protocol.md");
    check_golden(&hello().to_payload(), "56475055 0100 00 04030201 06000000 6f6c6c616d61");
    let welcome = Welcome { host_version: Text::cut("0.1.0"), epoch: 0x11, session: 0x22 };
    check_golden(&welcome.to_payload(), "05000000 302e312e30 1100000000000000 2200000000000000");
    let refused = Refused { version: 1, refusal: Refusal::Full, text: Text::cut("full") };
    check_golden(&refused.to_payload(), "0100 01 04000000 66756c6c");
    let goodbye = Goodbye { reason: Reason::Stopping, text: Text::cut("bye") };
    check_golden(&goodbye.to_payload(), "01 03000000 627965");
}

#[test]
fn the_bytes_of_snapshot_and_state_are_those_of_the_protocol_page() {
    check_golden(&Snapshot.to_payload(), "");
    let mut one = snapshot();
    one.devices.truncate(1);
    check_golden(
        &one.to_payload(),
        "c8320000 05000000 3939392e31 08000000 31332e3939392e31 0100000000000000 01000000
         08000000 5465737420475055 30313233343536373839616263646566 01000000 02 03
         de103023 de10c116 0000000014000000 04000000 01000000 53 01000000 56
         03000000 01000000 00040000 4b000000 09000000 4c000000 ffffffff",
    );
    check_golden(&DeviceState { device: 2 }.to_payload(), "02000000");
    let golden = "01 02000000 0201000000000000 03000000 0700000000000000 00000000";
    check_golden(&collected().to_payload(), golden);
    check_golden(&NextFunction { done: 258 }.to_payload(), "0201000000000000");
    check_golden(&DueFunction { ticket: 259, status: 0 }.to_payload(), "0301000000000000 00000000");
    check_golden(
        &state().to_payload(),
        "6400000000000000 4600000000000000 1e00000000000000 05000000 06000000
         01 1f000000 01 70110100 01 60ae0a00 00 00000000 00000000
         01000000 02000000 03000000 04000000 09000000 02000000 03000000 04000000
         01000000 07000000 1e00000000000000 06000000 6f6c6c616d61",
    );
}

#[test]
fn the_bytes_of_a_header_are_those_of_the_protocol_page() {
    let header = Header {
        sequence: 0x0a,
        context: 0x0b,
        thread: 0x0c,
        status: 0x0d,
        payload_bytes: 0x10,
        bulk_bytes: 0x20,
        ..Header::new(Kind::Reply, opcode::DEVICE_STATE)
    };
    let golden = "10000000 20000000 06000000 0a000000 0b00000000000000 0c000000 0d00 02 00";
    check_golden(&header.to_bytes(), golden);
    assert_eq!(Header::from_bytes(&header.to_bytes()), Ok(header));
}

#[test]
fn a_hello_of_another_version_still_tells_its_version() {
    let mut payload = hello().to_payload();
    payload[4..6].copy_from_slice(&77_u16.to_le_bytes());
    payload.truncate(6);
    assert_eq!(Hello::version(&payload), Ok(77));
    assert_eq!(Hello::from_payload(&payload).expect_err("not ours").offset, 4);
    assert_eq!(Hello::version(b"HTTP/1").expect_err("no magic").offset, 0);
    assert_eq!(Hello::version(b"VGPU\x01").expect_err("too short").offset, 4);
}

#[test]
fn a_text_or_list_above_its_limit_is_malformed_even_if_all_of_it_came() {
    let mut payload = Hello { exe: Text::default(), ..hello() }.to_payload();
    let at = payload.len() - 4;
    payload.truncate(at);
    payload.extend((EXE_BYTES_MAX as u32 + 1).to_le_bytes());
    payload.extend(vec![b'x'; EXE_BYTES_MAX + 1]);
    let error = Hello::from_payload(&payload).expect_err("too long");
    assert_eq!((error.offset, error.expected), (at, "a length within the field's limit"));

    let mut payload = DeviceStateReply { processes: Vec::new(), ..state() }.to_payload();
    let at = payload.len() - 4;
    payload.truncate(at);
    payload.extend((PROCESSES_MAX as u32 + 1).to_le_bytes());
    payload.extend(vec![0; 16 * (PROCESSES_MAX + 1)]);
    let error = DeviceStateReply::from_payload(&payload).expect_err("too many");
    assert_eq!((error.offset, error.expected), (at, "a count within the field's limit"));
}

#[test]
fn attributes_out_of_order_are_malformed() {
    let mut wrong = snapshot();
    wrong.devices[0].attributes.swap(0, 1);
    assert!(SnapshotReply::from_payload(&wrong.to_payload()).is_err());
    assert_eq!(device().attribute(75), Some(9));
    assert_eq!(device().attribute(74), None);
}
