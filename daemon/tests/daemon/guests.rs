//! Daemons that serve virtual machines by shared memory, and their guests as the host sees them.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use vgpu_link::{LinkError, pci};

use crate::machine::Machine;
use crate::process::{Client, LIMIT, Vgpud, command};
use crate::qemu::Qemu;

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

/// Connects as a QEMU does, and takes a memory of [`BYTES`].
pub fn qemu(socket: &Path) -> Qemu {
    Qemu::start(UnixStream::connect(socket).expect("the host listens"), SLOTS, BYTES)
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
