//! A network that is cut, calls that take longer than any time-out, and a thousand clients.
//!
//! The networks are namespaces of their own, which need root.

use std::collections::HashSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use vgpu_link::tls::Files;
use vgpu_link::wire::control::opcode;
use vgpu_link::wire::{Header, Kind, Payload as _, Request as _, cuda};
use vgpu_link::{Bulk, HostPort, LinkError, Uri};

use crate::cable::{self, Cable};
use crate::life::{endless, hold, keep_busy, launch};
use crate::network::{issue, secure};
use crate::process::{Client, Vgpud, kill, pid_in};

const MIB: u64 = 1 << 20;

/// By when both sides know of a cut (docs/host.md): 10 seconds of silence, and 2 until who waits
/// looks; the rest is for a loaded machine.
const CUT_LIMIT: Duration = Duration::from_secs(20);

/// Longer than a peer may be silent.
const LONG: Duration = Duration::from_secs(12);

/// A host and a guest, each in its network.
struct Pair {
    daemon: Vgpud,
    at: Uri,
    files: Files,
    cable: Cable,
}

impl Pair {
    fn start(name: &str) -> Self {
        let cable = Cable::new(name);
        let directory = tempfile::tempdir().expect("a directory");
        let (ca, config) = secure(directory.path(), &cable::HOST.to_string(), "", "");
        let files = issue(&ca, "guest", "--tenant", "team");
        let at = Uri::Tls(HostPort { host: IpAddr::V4(cable::HOST).to_string(), port: 6475 });
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
        command.args(["--device", "sim", "--listen", &at.to_string(), "--config"]).arg(config);
        let daemon = cable.in_host(|| Vgpud::spawn(command, directory));
        Self { daemon, at, files, cable }
    }

    fn client(&self) -> Client {
        let (at, files) = (&self.at, &self.files);
        self.cable.in_guest(|| Client::at(at, files)).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Waits for the answer to something that was asked, for so long.
fn wait(client: &mut Client, limit: Duration) -> Result<Header, LinkError> {
    client.link.wait_until(Some(Instant::now() + limit));
    client.link.receive(&mut Vec::new(), Bulk::Into(&mut []))
}

/// Asks for the end of all work, and does not wait for the answer.
fn ask_for_the_end(client: &mut Client) {
    let mut header = Header::new(Kind::Call, cuda::CtxSynchronize::OPCODE);
    header.context = client.context;
    let payload = cuda::CtxSynchronize.to_payload();
    client.link.send(&header, &payload, &[]).expect("the worker reads");
}

#[test]
fn a_call_lasts_longer_than_a_peer_may_be_silent_while_the_network_is_whole() {
    let pair = Pair::start("long");
    let mut client = pair.client();
    hold(&mut client, MIB);
    keep_busy(&mut client);
    ask_for_the_end(&mut client);
    let error = wait(&mut client, LONG).expect_err("the kernel does not end");
    assert!(matches!(error, LinkError::TimedOut), "it was not our own limit: {error}");
    // The connection is whole: the host still hears when the client goes.
    drop(client);
    pair.daemon.wait_for(&["vgpud: gone", "freed=1048576"]);
}

#[test]
fn a_cut_network_ends_the_call_of_the_guest_and_the_worker_of_the_host_in_time() {
    let pair = Pair::start("cut");
    let mut client = pair.client();
    hold(&mut client, MIB);
    keep_busy(&mut client);
    ask_for_the_end(&mut client);
    let cut = Instant::now();
    pair.cable.plug(false);
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            // As a guest waits: without a limit of its own, so what ends it is the link.
            client.link.wait_until(None);
            let ended = client.link.receive(&mut Vec::new(), Bulk::Into(&mut []));
            (ended.expect_err("the network is cut"), cut.elapsed())
        });
        pair.daemon.wait_for(&["vgpud: gone", "freed=1048576"]);
        let host = cut.elapsed();
        let (error, guest) = guest.join().expect("it ended");
        assert!(guest < CUT_LIMIT && host < CUT_LIMIT, "after {guest:?}, {host:?}: {error}");
    });
}

/// An answer that nobody acknowledges silences keepalive, and the thread that would look for itself
/// is in a kernel: the worker once stayed for the quarter of an hour for which TCP sends again.
#[test]
fn a_cut_network_is_noticed_while_an_answer_is_under_way_and_a_kernel_runs() {
    let pair = Pair::start("answer");
    let mut client = pair.client();
    let worker = pid_in(&pair.daemon.wait_for(&["vgpud: client"]), "worker=");
    hold(&mut client, MIB);
    let kernel = endless(&mut client);
    // What is asked now is answered when the cable is cut.
    kill(worker, "STOP");
    let snapshot = Header::new(Kind::Call, opcode::SNAPSHOT);
    client.link.send(&snapshot, &[], &[]).expect("there is room");
    launch(&mut client, kernel);
    ask_for_the_end(&mut client);
    pair.cable.plug(false);
    let cut = Instant::now();
    kill(worker, "CONT");
    pair.daemon.wait_for(&["vgpud: gone", "freed=1048576", "signal: 9"]);
    assert!(cut.elapsed() < CUT_LIMIT, "after {:?}", cut.elapsed());
}

/// What the host process holds: descriptors, children, and its own memory in KiB.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    children: HashSet<u32>,
    kib: u64,
}

impl Held {
    fn by(daemon: &Vgpud) -> Self {
        let pid = daemon.pid();
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
        let status = read("status");
        let own = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux 4.5");
        let children = read(&format!("task/{pid}/children"));
        Self {
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count(),
            children: children.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect(),
            kib: own.split_whitespace().nth(1).expect("a number").parse().expect("a number"),
        }
    }
}

/// Clients of an ordinary run; `VGPU_CLIENTS` asks for more.
const CLIENTS: usize = 150;

#[test]
fn clients_that_came_and_went_leave_neither_descriptors_nor_processes_nor_memory() {
    let asked = std::env::var("VGPU_CLIENTS").ok();
    let clients = asked.map_or(CLIENTS, |number| number.parse().expect("a number"));
    let daemon = Vgpud::start(&[]);
    let serve = |count: usize| {
        for _ in 0..count {
            let mut client = daemon.client();
            hold(&mut client, MIB);
            drop(client);
            daemon.wait_for(&["vgpud: gone", "freed=1048576"]);
        }
        // One who is served after them: the host has done with all before.
        daemon.client().snapshot();
        daemon.wait_for(&["vgpud: gone"]);
    };
    serve(20);
    let before = Held::by(&daemon);
    serve(clients);
    let after = Held::by(&daemon);
    assert!(after.descriptors <= before.descriptors + 2, "{before:?} {after:?}");
    assert!(after.children.len() <= before.children.len() + 1, "{before:?} {after:?}");
    assert!(after.kib < before.kib + 2048, "{before:?} {after:?}");
    for child in after.children {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(!stat.contains(") Z "), "{stat}");
    }
}
