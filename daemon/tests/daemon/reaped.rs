//! A program that is killed, over each link: its worker is collected within a second, and all that
//! it held is given back. (`cargo xtask bench` measures how soon; vsock is tried in the machine of
//! `cargo xtask test vm`.)

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vgpu_link::pci::original;
use vgpu_link::tls::Files;
use vgpu_link::{Uri, pci, socket_link};

use crate::device::{Polled, show};
use crate::guests::{Plain, qemu, server};
use crate::life::hold;
use crate::network::Network;
use crate::original::Pair;
use crate::process::{Client, LIMIT, Vgpud, pid_in};

/// Names what a program is connected by that a test starts of itself.
const WAY: &str = "VGPU_TEST_REAPED";

/// A second is the promise; the rest is for a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

/// How a program of the guest reaches its host.
#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    Ring(PathBuf),
    Tls(Uri, Files),
    /// The device that is shown there.
    Pci(PathBuf),
}

impl Way {
    fn told(&self) -> Vec<PathBuf> {
        match self {
            Self::Socket(path) => vec!["socket".into(), path.clone()],
            Self::Ring(path) => vec!["ring".into(), path.clone()],
            Self::Pci(sysfs) => vec!["pci".into(), sysfs.clone()],
            Self::Tls(uri, files) => {
                let Files { ca, certificate, key } = files.clone();
                vec!["tls".into(), uri.to_string().into(), ca, certificate, key]
            }
        }
    }

    fn parse(told: &[PathBuf]) -> Self {
        match (told[0].to_str(), &told[1..]) {
            (Some("socket"), [path]) => Self::Socket(path.clone()),
            (Some("ring"), [path]) => Self::Ring(path.clone()),
            (Some("pci"), [sysfs]) => Self::Pci(sysfs.clone()),
            (Some("tls"), [uri, ca, certificate, key]) => {
                let uri = uri.to_str().expect("UTF-8").parse().expect("a URI");
                let (ca, certificate, key) = (ca.clone(), certificate.clone(), key.clone());
                Self::Tls(uri, Files { ca, certificate, key })
            }
            _ => panic!("{told:?}"),
        }
    }

    fn client(&self) -> Client {
        let client = match self {
            Self::Socket(path) => {
                let socket = std::os::unix::net::UnixStream::connect(path).expect("it listens");
                Client::over(Box::new(socket_link(socket.into())))
            }
            Self::Ring(path) => Client::at(&Uri::Unix(path.clone()), &Files::default()),
            Self::Tls(uri, files) => Client::at(uri, files),
            Self::Pci(sysfs) => {
                pci::connect(sysfs, None, Instant::now() + LIMIT).and_then(Client::over)
            }
        };
        client.unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Starts a program that holds memory over this link, and waits until it does.
    fn program(&self) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("Linux"));
        let told: Vec<_> = self.told().iter().map(|part| part.display().to_string()).collect();
        command.args(["--exact", "reaped::a_program_that_is_to_be_killed", "--nocapture"]);
        command.env(WAY, told.join("|")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let connected = lines.map_while(Result::ok).any(|line| line.contains("connected"));
        assert!(connected, "it ended before");
        child
    }
}

/// What the tests below start and kill. By itself it finds nobody to connect to, and says nothing.
#[test]
fn a_program_that_is_to_be_killed() {
    let Ok(told) = std::env::var(WAY) else { return };
    let told: Vec<PathBuf> = told.split('|').map(PathBuf::from).collect();
    let mut client = Way::parse(&told).client();
    hold(&mut client, 1 << 20);
    println!("connected");
    // Until the test that started us kills us, or ends itself.
    let _ = std::io::stdin().lines().next();
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count()
}

/// Kills programs, the second one with another one alive beside it.
fn is_reaped(daemon: &Vgpud, way: &Way, soon: Duration) {
    // The first ones at a host open what stays open.
    drop(way.client());
    daemon.wait_for(&["vgpud: gone"]);
    let before = descriptors(daemon.pid());
    let mut beside = None;
    for _ in 0..2 {
        let mut program = way.program();
        let worker = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
        program.kill().expect("it is ours");
        let killed = Instant::now();
        let gone = daemon.wait_for(&["vgpud: gone", "freed=1048576"]);
        let took = killed.elapsed();
        assert_eq!(pid_in(&gone, "worker="), worker, "{way:?}");
        assert!(took < soon, "{way:?}: after {took:?}");
        eprintln!("{way:?}: collected after {took:?}");
        assert!(!Path::new(&format!("/proc/{worker}")).exists(), "{way:?}: it is collected");
        program.wait().expect("it was killed");
        if beside.is_none() {
            let limit = Instant::now() + LIMIT;
            while descriptors(daemon.pid()) != before {
                assert!(Instant::now() < limit, "{way:?}: descriptors are left");
                std::thread::yield_now();
            }
            beside = Some(way.client());
            daemon.wait_for(&["vgpud: client"]);
        }
    }
    let mut beside = beside.expect("it was made");
    assert_eq!(beside.state(0).memory_used, 0, "{way:?}");
}

#[test]
fn a_killed_program_is_soon_collected_over_sockets_and_shared_memory() {
    let daemon = Vgpud::start(&[]);
    is_reaped(&daemon, &Way::Socket(daemon.socket()), SOON);
    let daemon = Vgpud::start(&[]);
    is_reaped(&daemon, &Way::Ring(daemon.socket()), SOON);
}

#[test]
fn a_killed_program_is_soon_collected_over_the_network() {
    let network = Network::start(&[]);
    let files = network.guest("team-a");
    is_reaped(&network.daemon, &Way::Tls(network.at.clone(), files), SOON);
}

#[test]
fn a_killed_program_of_a_machine_is_soon_collected() {
    let Plain { daemon, guests } = Plain::start(&["one"], "");
    is_reaped(&daemon, &Way::Pci(guests[0].sysfs().into()), SOON);
    let (daemon, [one, _]) = server();
    let qemu = qemu(&one);
    is_reaped(&daemon, &Way::Pci(qemu.guest.sysfs().into()), SOON);
}

/// Nothing tells of a death behind the original device but silence.
#[test]
fn a_killed_program_behind_the_original_device_is_collected_after_its_silence() {
    let pair = Pair::start("");
    let sysfs = pair.daemon.directory.path();
    let _device = Polled::show(pair.model.clone(), &show(sysfs)).expect("shown");
    is_reaped(&pair.daemon, &Way::Pci(sysfs.into()), original::SILENCE * 3);
}
