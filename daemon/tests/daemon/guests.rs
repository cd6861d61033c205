//! Daemons that serve virtual machines by shared memory, and their guests as the host sees them.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use vgpu_link::{LinkError, pci};

use crate::machine::Machine;
use crate::process::{Client, LIMIT, Vgpud, command};

/// Memory of a machine.
pub const BYTES: u64 = 4 << 20;

/// A daemon with one machine or two, whose memory is files.
pub struct Plain {
    pub daemon: Vgpud,
    pub guests: Vec<Machine>,
}

/// Makes the memory files of machines; returns what `host.toml` says of them.
fn prepare(directory: &Path, names: &[&str], bytes: u64, keys: &str) -> (String, Vec<Machine>) {
    let mut text = String::new();
    let mut guests = Vec::new();
    for name in names {
        let memory = directory.join(name);
        let file = std::fs::File::create(&memory).expect("a file");
        file.set_len(bytes).expect("room");
        let memory_key = format!("memory = {memory:?}");
        text += &format!("[[machine]]\nname = \"{name}\"\n{memory_key}\n{keys}\n");
        guests.push(Machine::new(&memory, bytes));
    }
    (text, guests)
}

impl Plain {
    pub fn start(names: &[&str], further: &str) -> Self {
        Self::start_with(names, further, BYTES, "")
    }

    /// Starts one whose machines have memory of so many bytes, and these keys besides.
    pub fn start_with(names: &[&str], further: &str, bytes: u64, keys: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (machines, guests) = prepare(directory.path(), names, bytes, keys);
        let file = directory.path().join("host.toml");
        let text = format!("device = \"sim\"\n{further}\n{machines}");
        std::fs::write(&file, text).expect("written");
        let daemon = Vgpud::launch(command(directory.path(), &file), directory);
        for name in names {
            daemon.wait_for(&["vgpud: machine ", &format!("machine={name}")]);
        }
        Self { daemon, guests }
    }
}

/// Connects as a process of a machine does.
pub fn try_client(guest: &Machine) -> Result<Client, LinkError> {
    pci::connect(guest.sysfs(), None, Instant::now() + LIMIT).and_then(Client::over)
}

/// The same, and is served.
pub fn client(guest: &Machine) -> Client {
    try_client(guest).unwrap_or_else(|error| panic!("{error}"))
}

/// A QEMU as far as the host sees it, and its guest's device.
pub struct Qemu {
    /// Its end is QEMU's.
    _connection: UnixStream,
    pub memory: OwnedFd,
    pub guest: Machine,
    stop: Arc<AtomicBool>,
}

impl Qemu {
    /// Connects and takes what the host gives of a memory of [`BYTES`], all bells included.
    pub fn start(socket: &Path) -> Self {
        Self::start_with(socket, SLOTS, BYTES)
    }

    /// The same of a memory of so many slots and bytes.
    pub fn start_with(socket: &Path, slots: usize, bytes: u64) -> Self {
        Self::over(UnixStream::connect(socket).expect("the host listens"), slots, bytes)
    }

    /// The same over a connection that is there.
    pub fn over(connection: UnixStream, slots: usize, bytes: u64) -> Self {
        connection.set_read_timeout(Some(LIMIT)).expect("a limit");
        assert_eq!(hear(&connection).0, 0, "the version");
        assert_eq!(hear(&connection).0, 0, "its own number");
        let (minus_one, memory) = hear(&connection);
        assert_eq!(minus_one, -1);
        let memory = memory.expect("the memory comes along");
        let bells: Vec<(i64, OwnedFd)> = (0..=slots)
            .map(|_| hear(&connection))
            .map(|(number, bell)| (number, bell.expect("a bell comes along")))
            .collect();
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_fd().as_raw_fd());
        let guest = Machine::new(Path::new(&path), bytes);
        let stop = Arc::<AtomicBool>::default();
        let registers = guest.sysfs().join("bus/pci/devices/0000:00:05.0/resource0");
        let registers = std::fs::File::options().read(true).write(true).open(registers);
        let registers = registers.expect("it is there");
        let stopped = Arc::clone(&stop);
        // What the device does with a store to its doorbell.
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut value = [0; 4];
                rustix::io::pread(&registers, &mut value[..], DOORBELL).expect("it is ours");
                let number = i64::from(u32::from_le_bytes(value) >> 16);
                if number == 0 {
                    std::thread::yield_now();
                    continue;
                }
                rustix::io::pwrite(&registers, &[0; 4], DOORBELL).expect("it is ours");
                let rung = bells.iter().find(|(known, _)| *known == number);
                let (_, bell) = rung.expect("the guest rings whom the host named");
                rustix::io::write(bell, &1_u64.to_ne_bytes()).expect("an eventfd");
            }
        });
        Self { _connection: connection, memory, guest, stop }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads one message of the ivshmem server.
fn hear(connection: &UnixStream) -> (i64, Option<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(connection, &mut parts, &mut control, flags).expect("the host speaks");
    assert_eq!(received.bytes, 8);
    let along = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut came) => came.next(),
        _ => None,
    });
    (i64::from_le_bytes(bytes), along)
}

/// Starts a daemon that two QEMUs may connect to.
pub fn server() -> (Vgpud, [PathBuf; 2]) {
    server_with("", "mib = 4")
}

/// The same, with these lines in its file and these keys of both machines.
pub fn server_with(further: &str, keys: &str) -> (Vgpud, [PathBuf; 2]) {
    let directory = tempfile::tempdir().expect("a directory");
    let sockets = ["one", "two"].map(|name| directory.path().join(format!("{name}.sock")));
    let mut text = format!("device = \"sim\"\n{further}\n");
    for (name, socket) in ["one", "two"].iter().zip(&sockets) {
        text += &format!("[[machine]]\nname = \"{name}\"\nivshmem = {socket:?}\n{keys}\n");
    }
    let file = directory.path().join("host.toml");
    std::fs::write(&file, text).expect("written");
    (Vgpud::spawn(command(directory.path(), &file), directory), sockets)
}

/// Slots of a memory of [`BYTES`].
pub const SLOTS: usize = 30;

/// Where the device's doorbell lies in the page of its registers.
const DOORBELL: u64 = 0x10c;
