//! Clients of a virtual machine with the original system's PCI device: `vgpud` in the place of its
//! mediator, and a model of the device.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use vgpu_link::pci::original::{self, Fault};
use vgpu_link::wire::control::Refusal;
use vgpu_link::{LinkError, StreamLink};

use crate::device::Model;
use crate::life::hold;
use crate::process::{Client, LIMIT, Vgpud, command};

/// A daemon in the place of a machine's mediator, and the machine.
pub struct Pair {
    pub daemon: Vgpud,
    pub model: Model,
}

/// A socket of the machine `one` in a directory, and the file that names it.
fn configure(directory: &Path, further: &str) -> (PathBuf, PathBuf) {
    let socket = directory.join("vgpu-mediator.sock");
    let text = format!(
        "device = \"sim\"\n{further}\n[[machine]]\nname = \"one\"\nstub = \"{}\"\n",
        socket.display()
    );
    let file = directory.join("host.toml");
    std::fs::write(&file, text).expect("written");
    (file, socket)
}

impl Pair {
    pub fn start(further: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, socket) = configure(directory.path(), further);
        let model = Model::new(socket);
        let daemon = Vgpud::spawn(command(directory.path(), &file), directory);
        Self { daemon, model }
    }

    fn try_client(&self) -> Result<Client, LinkError> {
        let file = |name| {
            let path = self.daemon.directory.path().join(name);
            std::fs::File::options().create(true).append(true).open(path).expect("a file")
        };
        let turns = [file("next"), file("turn")];
        let stream = original::over(self.model.clone(), turns, LIMIT);
        let stream = stream.map_err(|source| LinkError::Io { verb: "using the model", source })?;
        Client::over(Box::new(StreamLink::new(stream)))
    }

    fn client(&self) -> Client {
        self.try_client().unwrap_or_else(|error| panic!("{error}"))
    }
}

#[test]
fn clients_behind_the_device_are_served_side_by_side() {
    let pair = Pair::start("");
    let mut clients: Vec<Client> = (0..4).map(|_| pair.client()).collect();
    pair.daemon.wait_for(&["vgpud: client ", "peer=machine:one"]);
    for client in &mut clients {
        hold(client, 1 << 20);
        assert!(client.state(0).memory_used >= 1 << 20);
    }
    drop(clients);
    for _ in 0..4 {
        pair.daemon.wait_for(&["vgpud: gone", "freed=1048576", "exit status: 0"]);
    }
    assert_eq!(pair.client().state(0).memory_used, 0);
}

#[test]
fn the_machine_behind_the_device_is_of_the_tenant_that_names_it() {
    let pair = Pair::start("[[tenant]]\nname = \"a\"\nmachines = [\"one\"]\nclients = 1\n");
    let first = pair.client();
    pair.daemon.wait_for(&["vgpud: client ", "peer=machine:one", "tenant=a"]);
    let second = pair.try_client().err().expect("one client may be");
    assert!(matches!(second, LinkError::Refused { refusal: Refusal::Full, .. }), "{second}");
    drop(first);
    let other = Pair::start("[[tenant]]\nname = \"a\"\nmachines = [3]\n");
    let stranger = other.try_client().err().expect("of no tenant");
    let refused = matches!(stranger, LinkError::Refused { refusal: Refusal::Stranger, .. });
    assert!(refused, "{stranger}");
}

#[test]
fn the_next_daemon_serves_new_clients_behind_the_device() {
    let mut pair = Pair::start("");
    let mut client = pair.client();
    hold(&mut client, 1 << 20);
    pair.daemon.signal("KILL");
    pair.daemon.ended();
    assert!(matches!(client.ended(), LinkError::Closed));
    let away = pair.try_client().err().expect("nobody is there");
    let LinkError::Io { source, .. } = away else { panic!("{away}") };
    let fault = source.get_ref().and_then(|inner| inner.downcast_ref::<Fault>());
    assert_eq!(fault, Some(&Fault::MediatorAway));
    let directory = tempfile::tempdir().expect("a directory");
    let file = pair.daemon.directory.path().join("host.toml");
    let next = Vgpud::spawn(command(directory.path(), &file), directory);
    assert_eq!(pair.client().state(0).memory_used, 0);
    next.wait_for(&["vgpud: gone"]);
}

/// The emulator's socket is served by a thread of its own.
#[test]
fn an_emulator_that_sends_garbage_disturbs_no_other_client() {
    let pair = Pair::start("");
    let socket = pair.daemon.directory.path().join("vgpu-mediator.sock");
    let mut random = fastrand::Rng::with_seed(5);
    let mut flood = UnixStream::connect(&socket).expect("it listens");
    // A call of 8 MiB that never comes.
    let words = [0x5647_5055_u32, 0x10, 0, 0, 0, 88 + (8 << 20)];
    let header: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    flood.write_all(&header).expect("sent");
    for _ in 0..50 {
        let mut garbage = vec![0; random.usize(1..5000)];
        random.fill(&mut garbage);
        let mut emulator = UnixStream::connect(&socket).expect("it listens");
        // The host may have ended the connection by then.
        let _ = emulator.write_all(&garbage);
        let mut by_socket = pair.daemon.client();
        assert!(by_socket.state(0).memory_total > 0);
    }
    assert!(pair.client().state(0).memory_total > 0);
    flood.set_nonblocking(true).expect("a socket");
    let waits = flood.read(&mut [0]).expect_err("it is still heard");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
}
