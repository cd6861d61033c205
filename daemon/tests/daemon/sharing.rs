//! Memory that a client shares with its worker: how much, whose, and what is refused.

use std::os::unix::net::UnixStream;

use vgpu_link::Area;
use vgpu_link::wire::cuda;

use crate::guests::{self, Plain, server_with};
use crate::process::{Client, Vgpud};
use crate::qemu::Qemu;

const INVALID_VALUE: u16 = 1;
const ALREADY: u16 = 712;

const PAGE: u64 = 4 << 10;

/// A host, and where its clients come from.
enum Host {
    /// From this machine.
    Unix(Vgpud),
    /// From a virtual machine with ivshmem-plain.
    Plain(Plain),
    /// From one with ivshmem-doorbell.
    Rung(Vgpud, Qemu),
}

impl Host {
    /// One of each, whose clients share so many MiB at most.
    fn each(pinned_mib: u64) -> [Self; 3] {
        const BYTES: u64 = 256 << 20;
        let pinned = format!("pinned_mib = {pinned_mib}");
        let plain = Plain::start_with(&["one"], &pinned, BYTES, "slots = 2");
        let (daemon, [one, _]) = server_with(&pinned, "mib = 256\nslots = 2");
        let connection = UnixStream::connect(&one).expect("the host listens");
        let qemu = Qemu::start(connection, 2, BYTES);
        let pinned_mib = pinned_mib.to_string();
        let unix = Vgpud::start(&["--pinned-mib", &pinned_mib]);
        [Self::Unix(unix), Self::Plain(plain), Self::Rung(daemon, qemu)]
    }

    fn daemon(&self) -> &Vgpud {
        match self {
            Self::Unix(daemon) | Self::Plain(Plain { daemon, .. }) | Self::Rung(daemon, _) => {
                daemon
            }
        }
    }

    fn client(&self) -> Client {
        match self {
            Self::Unix(daemon) => daemon.client(),
            Self::Plain(plain) => guests::client(&plain.guests[0]),
            Self::Rung(_, qemu) => guests::client(&qemu.guest),
        }
    }
}

fn sharing(host: &Host) -> (Client, Area) {
    let mut client = host.client();
    client.context = client.call(&cuda::DevicePrimaryCtxRetain { dev: 0 }).expect("a device").pctx;
    let area = client.link.area().expect("memory that both see");
    (client, area)
}

fn end(kind: u32, address: u64) -> cuda::NodeCopyEnd {
    cuda::NodeCopyEnd { kind, address, x_bytes: 0, y: 0, z: 0, level: 0, pitch: 0, height: 0 }
}

fn to_device(at: u64, offset: u64, width_bytes: u64) -> cuda::NodeCopy {
    cuda::NodeCopy { from: end(1, offset), to: end(2, at), width_bytes, height: 1, depth: 1 }
}

fn from_device(offset: u64, at: u64, width_bytes: u64) -> cuda::NodeCopy {
    cuda::NodeCopy { from: end(2, at), to: end(1, offset), width_bytes, height: 1, depth: 1 }
}

#[test]
fn what_a_client_pins_is_copied_from_and_to_where_it_lies() {
    Host::each(64).iter().for_each(copies_go_where_it_lies);
}

fn copies_go_where_it_lies(host: &Host) {
    const BYTES: u64 = 64 << 20;
    let (mut client, area) = sharing(host);
    client.call(&cuda::SpanPin { offset: 0, bytes: BYTES }).expect("in the area");
    let at = client.call(&cuda::MemAllocV2 { bytesize: BYTES }).expect("room").dptr;
    let mut sent = vec![0; BYTES as usize];
    fastrand::Rng::with_seed(5).fill(&mut sent);
    area.copy_in(0, &sent).expect("in the area");
    client.call(&cuda::SpanCopy { copy: to_device(at, 0, BYTES) }).expect("pinned");
    area.copy_in(0, &vec![0; BYTES as usize]).expect("in the area");
    let copy = from_device(0, at, BYTES);
    client.post_with(&cuda::SpanCopyAsync { copy, stream: 0 }, &[]);
    client.call(&cuda::StreamSynchronize { stream: 0 }).expect("it is done");
    let mut got = vec![0; BYTES as usize];
    area.copy_out(0, &mut got).expect("in the area");
    assert!(got == sent);
}

/// Each has memory of its own, and names of it mean nothing to the other's worker.
#[test]
fn a_client_reaches_no_memory_of_another_by_any_span() {
    Host::each(1).iter().for_each(nothing_is_reached);
}

fn nothing_is_reached(host: &Host) {
    let ((mut one, ones), (mut two, twos)) = (sharing(host), sharing(host));
    assert_eq!(ones.bytes(), 1 << 20);
    one.call(&cuda::SpanPin { offset: 0, bytes: PAGE }).expect("in the area");
    ones.copy_in(0, &[7; 64]).expect("in the area");
    let at = two.call(&cuda::MemAllocV2 { bytesize: PAGE }).expect("room").dptr;
    let stolen = two.call(&cuda::SpanCopy { copy: to_device(at, 0, 64) });
    assert_eq!(stolen, Err(INVALID_VALUE), "it has pinned nothing");
    two.call(&cuda::SpanPin { offset: 0, bytes: PAGE }).expect("its own");
    two.call(&cuda::SpanCopy { copy: to_device(at, 0, 64) }).expect("its own");
    two.call(&cuda::SpanCopy { copy: from_device(8, at, 8) }).expect("its own");
    let mut seen = [1; 64];
    twos.copy_out(0, &mut seen).expect("in the area");
    assert_eq!(seen, [0; 64], "nothing of the other's");
    ones.copy_out(0, &mut seen).expect("in the area");
    assert_eq!(seen, [7; 64], "nothing was written there");
}

#[test]
fn spans_that_cannot_be_are_refused_and_the_client_goes_on() {
    Host::each(1).iter().for_each(impossible_spans_are_refused);
}

fn impossible_spans_are_refused(host: &Host) {
    let (mut client, area) = sharing(host);
    let at = client.call(&cuda::MemAllocV2 { bytesize: PAGE }).expect("room").dptr;
    client.call(&cuda::SpanPin { offset: PAGE, bytes: PAGE }).expect("in the area");
    for (offset, bytes, code) in [
        (0, 0, INVALID_VALUE),
        (1, PAGE, INVALID_VALUE),
        (area.bytes(), PAGE, INVALID_VALUE),
        (area.bytes() - PAGE, 2 * PAGE, INVALID_VALUE),
        (u64::MAX - PAGE + 1, PAGE, INVALID_VALUE),
        (0, u64::MAX - PAGE + 1, INVALID_VALUE),
        (0, area.bytes(), ALREADY),
    ] {
        let refused = client.call(&cuda::SpanPin { offset, bytes });
        assert_eq!(refused, Err(code), "{offset:#x} {bytes:#x}");
    }
    for (offset, bytes) in [(0, 1), (PAGE, PAGE + 1), (u64::MAX, 1), (PAGE, u64::MAX)] {
        for copy in [to_device(at, offset, bytes), from_device(offset, at, bytes)] {
            let refused = client.call(&cuda::SpanCopy { copy });
            assert_eq!(refused, Err(INVALID_VALUE), "{offset:#x} {bytes:#x}");
        }
    }
    client.call(&cuda::SpanUnpin { offset: PAGE, bytes: PAGE }).expect("it was pinned");
    client.post_with(&cuda::SpanCopyAsync { copy: to_device(at, PAGE, 1), stream: 0 }, &[]);
    let told = client.call(&cuda::StreamSynchronize { stream: 0 });
    assert_eq!(told, Err(INVALID_VALUE), "the post's error is told");
    client.call(&cuda::MemGetInfoV2).expect("it goes on");
}

/// A slot outlives its clients, and so does what they wrote there.
#[test]
fn a_client_that_gets_the_slot_of_another_pins_zeroes() {
    for host in Host::each(1) {
        for _ in 0..3 {
            let (mut client, area) = sharing(&host);
            client.call(&cuda::SpanPin { offset: 0, bytes: 2 * PAGE }).expect("in the area");
            let mut seen = vec![1; 2 * PAGE as usize];
            area.copy_out(0, &mut seen).expect("in the area");
            assert!(seen.iter().all(|byte| *byte == 0), "somebody else's bytes");
            area.copy_in(0, &vec![7; area.bytes() as usize]).expect("in the area");
            // Given back and taken again, it is new memory as well.
            if !matches!(host, Host::Unix(_)) {
                client.call(&cuda::SpanUnpin { offset: 0, bytes: 2 * PAGE }).expect("pinned");
                client.call(&cuda::SpanPin { offset: PAGE, bytes: PAGE }).expect("in the area");
                area.copy_out(0, &mut seen).expect("in the area");
                let (left, pinned) = seen.split_at(PAGE as usize);
                assert!(left.iter().all(|byte| *byte == 7) && pinned.iter().all(|byte| *byte == 0));
            }
            drop(client);
            host.daemon().wait_for(&["vgpud: gone", "exit status: 0"]);
        }
    }
}

/// What a hostile guest writes into the head of its slot is not what its worker goes by.
#[test]
fn a_guest_that_says_more_is_granted_pins_no_more() {
    for host in Host::each(1) {
        let memory: std::fs::File = match &host {
            Host::Unix(_) => continue,
            Host::Plain(plain) => {
                let path = plain.daemon.directory.path().join("one");
                std::fs::File::options().write(true).open(path).expect("a file")
            }
            Host::Rung(_, qemu) => qemu.memory.try_clone().expect("a descriptor").into(),
        };
        let (mut client, area) = sharing(&host);
        assert_eq!(area.bytes(), 1 << 20);
        // The length of the bulk area, in the head of the first slot's region (docs/pci.md).
        let place = 16384 + 24;
        let lie = (100_u64 << 20).to_le_bytes();
        std::os::unix::fs::FileExt::write_all_at(&memory, &lie, place).expect("it is ours");
        let pinned = client.call(&cuda::SpanPin { offset: 0, bytes: 2 << 20 });
        assert_eq!(pinned, Err(INVALID_VALUE));
        client.call(&cuda::SpanPin { offset: 0, bytes: 1 << 20 }).expect("in the area");
    }
}

#[test]
fn a_client_shares_as_much_as_is_configured_and_nothing_where_frames_are_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let record = directory.path().join("record");
    let record = ["--record", record.to_str().expect("UTF-8")];
    for (arguments, expected) in [
        (&[][..], Some(16 << 30)),
        (&["--pinned-mib", "3"], Some(3 << 20)),
        (&["--pinned-mib", "0"], None),
        (&record, None),
    ] {
        let daemon = Vgpud::start(arguments);
        let area = daemon.client().link.area().map(|area| area.bytes());
        assert_eq!(area, expected, "{arguments:?}");
    }
}
