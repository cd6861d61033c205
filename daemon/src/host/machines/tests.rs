use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use rustix::event::{Timespec, poll};
use vgpu_link::pci::ivshmem::{FIRST_BELL, Keeper};

use super::making::Making;
use super::*;
use crate::config::machine::kept;

/// Bounds every wait of these tests.
const LIMIT: Duration = Duration::from_secs(20);

const BYTES: u64 = 4 << 20;

/// A machine whose memory is being made for this QEMU until the sender says so.
fn machine(directory: &Path, qemu: UnixStream) -> (Known, PathBuf, Sender<()>) {
    let socket = directory.join("one.sock");
    let device = Device::Doorbell { socket: socket.clone(), bytes: BYTES };
    let (name, path) = ("one".to_owned(), kept(&socket));
    let machine = Machine { name, device, silence: LIMIT, slots: 2, user: None };
    let server = Some(Server::bind(&socket, gate(&machine)).expect("it listens"));
    let (go, went) = channel();
    let making = Making::start(move || {
        went.recv_timeout(LIMIT).map_err(std::io::Error::other)?;
        Keeper::make_at(&path, BYTES, Some(FIRST_BELL), 2)
    });
    let coming = Some(Coming { qemu: qemu.into(), making: making.expect("a thread") });
    (Known { coming, ..Known::new(machine, server, None) }, socket, go)
}

/// Lets the memory be made, and waits for what wakes the loop then.
fn make(known: &Known, go: &Sender<()>) {
    go.send(()).expect("it waits");
    let limit = Timespec::try_from(LIMIT).expect("short");
    let woken = poll(&mut known.watched(), Some(&limit)).expect("it polls");
    assert!(woken > 0, "nothing wakes the loop");
}

/// Says how much a QEMU was told.
fn told(qemu: &UnixStream) -> usize {
    qemu.set_nonblocking(true).expect("a socket");
    std::io::Read::read(&mut &*qemu, &mut [0; 64]).unwrap_or(0)
}

/// The system once looked for a machine's memory in the loop, and nobody else was served meanwhile.
#[test]
fn a_qemu_gets_its_memory_when_it_is_made_and_nobody_waits_for_that() {
    let directory = tempfile::tempdir().expect("a directory");
    let (qemu, ours) = UnixStream::pair().expect("sockets");
    let (mut known, socket, go) = machine(directory.path(), ours);
    // Nothing is there yet, and the next one is another machine.
    let second = UnixStream::connect(&socket).expect("it listens");
    known.turn(0, Instant::now());
    assert!(known.shared.is_none() && told(&qemu) == 0);
    known.left.clear();
    assert!(shared::hung_up(&second.into()), "one memory, one machine");
    make(&known, &go);
    known.turn(0, Instant::now());
    assert!(known.shared.is_some() && told(&qemu) > 0);
}

#[test]
fn memory_made_for_a_qemu_that_went_is_the_next_ones_or_nobodys() {
    for comes_another in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let (qemu, ours) = UnixStream::pair().expect("sockets");
        let (mut known, socket, go) = machine(directory.path(), ours);
        drop(qemu);
        let next = comes_another.then(|| UnixStream::connect(&socket).expect("it listens"));
        known.turn(0, Instant::now());
        make(&known, &go);
        known.turn(0, Instant::now());
        assert_eq!(known.shared.is_some(), comes_another);
        assert_eq!(next.is_some_and(|next| told(&next) > 0), comes_another);
        assert_eq!(kept(&socket).exists(), comes_another, "nobody has it");
    }
}

/// A machine rang while nobody listened, and its client waited for the next look of its own: up to
/// a quarter of a second.
#[test]
fn a_memory_that_is_not_listened_to_is_soon_looked_at() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_qemu, ours) = UnixStream::pair().expect("sockets");
    let (mut known, _, go) = machine(directory.path(), ours);
    make(&known, &go);
    let listens = |known: &Known| known.shared.as_ref().is_some_and(|it| it.bell().is_some());
    let limit = Instant::now() + LIMIT;
    loop {
        let now = Instant::now();
        known.turn(0, now);
        let soon = known.due <= now + DEAF;
        if !soon {
            return assert!(listens(&known), "it rests while nobody listens");
        }
        assert!(now < limit, "it never listens");
    }
}
