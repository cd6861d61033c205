//! What an operator asks of a daemon that runs: reload, drain, and what systemd is told.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vgpu_link::LinkError;
use vgpu_link::wire::control::{Reason, Refusal};

use crate::process::{LIMIT, Vgpud, client_of};

/// A daemon that was configured by a file, and the file.
struct Configured {
    daemon: Vgpud,
    file: PathBuf,
}

impl Configured {
    /// Starts a daemon by a file with these lines beside the address and the device.
    fn start(lines: &str) -> Self {
        Self::start_with(lines, |_, _| {})
    }

    fn start_with(lines: &str, prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("host.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
        command.arg("--config").arg(&file);
        prepare(&mut command, directory.path());
        write(&file, directory.path(), &["vgpud.sock"], lines);
        Self { daemon: Vgpud::spawn(command, directory), file }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.daemon.directory.path().join(name)
    }

    /// Writes another configuration and asks for it to be read.
    fn reload(&self, sockets: &[&str], lines: &str) {
        write(&self.file, self.daemon.directory.path(), sockets, lines);
        self.daemon.signal("HUP");
    }
}

fn write(file: &Path, directory: &Path, sockets: &[&str], lines: &str) {
    let listen: Vec<String> =
        sockets.iter().map(|name| format!("unix:{}", directory.join(name).display())).collect();
    let text = format!("device = \"sim\"\nlisten = {listen:?}\n{lines}\n");
    std::fs::write(file, text).expect("written");
}

fn is_stopping(error: &LinkError) -> bool {
    matches!(error, LinkError::Goodbye { reason: Reason::Stopping, .. })
}

#[test]
fn a_reload_changes_addresses_and_limits_and_drops_no_client() {
    let host = Configured::start("clients_max = 1");
    let mut first = host.daemon.client();
    host.reload(&["vgpud.sock", "other.sock"], "clients_max = 2\nsim_gpus = 2\nmode = \"0600\"");
    let line = host.daemon.wait_for(&["vgpud: listening", "other.sock"]);
    assert!(line.ends_with("/other.sock"), "{line}");
    host.daemon.wait_for(&["vgpud: reloaded restart_for=device,mode"]);
    let mut second = client_of(&host.place("other.sock")).expect("a new address, and room");
    assert_eq!(second.snapshot().devices.len(), 1, "devices are for the next start");
    let refused = host.daemon.try_client().map(drop).expect_err("a third client");
    assert!(matches!(refused, LinkError::Refused { refusal: Refusal::Full, .. }), "{refused}");
    host.reload(&["vgpud.sock"], "clients_max = 1");
    host.daemon.wait_for(&["vgpud: closed", "other.sock"]);
    assert_eq!(host.daemon.wait_for(&["vgpud: reloaded"]), "vgpud: reloaded");
    assert!(!host.place("other.sock").exists() && host.place("vgpud.sock").exists());
    first.snapshot();
    second.snapshot();
}

#[test]
fn a_reload_replaces_waiting_workers_that_were_told_otherwise() {
    let host = Configured::start("");
    let images = format!("images = {:?}", host.place("images"));
    // The key of TLS is a file that workers are kept from.
    let key = format!("{images}\n[tls]\nkey = {:?}", host.place("host.key"));
    for lines in [&images, &format!("{images}\npinned_mib = 64"), &key] {
        let idle = host.daemon.idle_worker();
        host.reload(&["vgpud.sock"], lines);
        host.daemon.wait_for(&["vgpud: reloaded"]);
        host.daemon.wait_for(&["vgpud: idle-worker-replaced", &format!("worker={idle}")]);
        host.daemon.client().snapshot();
        host.daemon.wait_for(&["vgpud: gone"]);
    }
    assert!(host.place("images").exists(), "a new worker opens the new one");
}

#[test]
fn a_wrong_new_configuration_is_refused_whole() {
    let host = Configured::start("clients_max = 1");
    let mut first = host.daemon.client();
    for (sockets, lines, part) in [
        (&["vgpud.sock", "other.sock"][..], "clients_max = 0", "clients_max"),
        (&["vgpud.sock", "other.sock"], "clients = 2", "unknown field"),
        (&["vgpud.sock", "none/other.sock"], "clients_max = 2", "other.sock"),
    ] {
        host.reload(sockets, lines);
        let line = host.daemon.wait_for(&["vgpud: not-reloaded", "because=", "try="]);
        assert!(line.contains(part), "{line}");
        assert!(!host.place("other.sock").exists());
        let refused = host.daemon.try_client().map(drop).expect_err("a second client");
        assert!(matches!(refused, LinkError::Refused { refusal: Refusal::Full, .. }), "{refused}");
        first.snapshot();
    }
}

#[test]
fn a_daemon_that_drains_keeps_its_clients_takes_no_more_and_ends_with_the_last() {
    let mut daemon = Vgpud::start(&[]);
    let (mut first, second) = (daemon.client(), daemon.client());
    daemon.signal("USR1");
    daemon.wait_for(&["vgpud: draining clients=2"]);
    let late = daemon.try_client().map(drop).expect_err("no more clients");
    assert!(is_stopping(&late) && late.is_retryable(), "{late}");
    drop(second);
    daemon.wait_for(&["vgpud: gone"]);
    first.snapshot();
    drop(first);
    assert!(daemon.ended().success());
    assert!(!daemon.socket().exists());
}

#[test]
fn clients_have_drain_seconds_when_the_daemon_is_stopped() {
    let mut daemon = Vgpud::start(&["--drain-seconds", "1"]);
    let mut client = daemon.client();
    daemon.signal("TERM");
    daemon.wait_for(&["vgpud: draining clients=1"]);
    let error = client.ended();
    assert!(is_stopping(&error), "{error}");
    assert!(daemon.ended().success());
}

#[test]
fn asked_a_second_time_the_daemon_ends_at_once() {
    let mut daemon = Vgpud::start(&["--drain-seconds", "3600"]);
    let mut client = daemon.client();
    daemon.signal("TERM");
    daemon.wait_for(&["vgpud: draining clients=1"]);
    client.snapshot();
    daemon.signal("TERM");
    let error = client.ended();
    assert!(is_stopping(&error), "{error}");
    assert!(daemon.ended().success());
}

/// A stop while a driver takes its seconds to open was a failed start, and a reload was forgotten.
#[test]
fn what_is_asked_while_the_devices_open_is_done() {
    for signal in ["TERM", "HUP"] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("host.toml");
        write(&file, directory.path(), &["vgpud.sock"], "clients_max = 2");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
        command.arg("--config").arg(&file);
        let mut daemon = Vgpud::launch(command, directory);
        // The next that it does is to start a worker and to wait for it.
        daemon.wait_for(&["vgpud: listening"]);
        daemon.signal(signal);
        if signal == "HUP" {
            daemon.wait_for(&["vgpud: reloaded"]);
            daemon.signal("TERM");
        }
        assert!(daemon.ended().success(), "{signal}");
    }
}

/// A socket at which a daemon tells what systemd would hear.
fn notified(command: &mut Command, directory: &Path) -> UnixDatagram {
    let place = directory.join("notify.sock");
    let told = UnixDatagram::bind(&place).expect("bound");
    told.set_read_timeout(Some(LIMIT)).expect("a limit");
    command.env("NOTIFY_SOCKET", place);
    told
}

/// Waits for a message with this line, and returns all its lines.
fn hear(told: &UnixDatagram, line: &str) -> Vec<String> {
    loop {
        let mut buffer = [0; 512];
        let count = told.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..count]);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.iter().any(|said| said == line) {
            return lines;
        }
    }
}

#[test]
fn systemd_hears_of_reloads_clients_and_the_turning_of_the_loop() {
    let mut told = None;
    let mut host = Configured::start_with("drain_seconds = 60", |command, directory| {
        // Half of it is 50 ms.
        command.env("WATCHDOG_USEC", "100000");
        told = Some(notified(command, directory));
    });
    let told = told.expect("prepared");
    hear(&told, "READY=1");
    (0..3).for_each(|_| drop(hear(&told, "WATCHDOG=1")));
    let client = host.daemon.client();
    hear(&told, "STATUS=1 of 64 clients, 1 GPU(s)");
    host.reload(&["vgpud.sock"], "drain_seconds = 60\nclients_max = 2");
    let reloading = hear(&told, "RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    assert_eq!(hear(&told, "READY=1"), ["READY=1", "STATUS=1 of 2 clients, 1 GPU(s)"]);
    host.daemon.signal("TERM");
    assert_eq!(hear(&told, "STOPPING=1"), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=64000000"]);
    hear(&told, "WATCHDOG=1");
    drop(client);
    assert!(host.daemon.ended().success());
}

/// Prepares a daemon that is handed a socket as systemd does it (sd_listen_fds(3)).
pub fn handed(socket: OwnedFd) -> Command {
    let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_vgpud")]).stdin(Stdio::from(socket));
    command
}

/// Named in host.toml and handed over by a socket unit: it is the same socket.
#[test]
fn an_address_that_systemd_listens_at_is_not_bound_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("vgpud.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    let mut command = handed(listener.into());
    let address = format!("unix:{}", socket.display());
    command.args([
        "--device",
        "sim",
        "--listen",
        &address,
        "--listen",
        &(address.clone() + ".other"),
    ]);
    let daemon = Vgpud::spawn(command, directory);
    daemon.client().snapshot();
    client_of(&daemon.directory.path().join("vgpud.sock.other")).expect("welcome").snapshot();
}

#[test]
fn what_systemd_hands_over_and_nobody_can_come_by_is_named_with_the_remedy() {
    let datagrams = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("bound");
    let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    for socket in [OwnedFd::from(datagrams), OwnedFd::from(one)] {
        let told = handed(socket).args(["--device", "sim"]).output().expect("it ends");
        let words = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(1), "{words}");
        assert!(words.contains("file descriptor 3 of systemd"), "{words}");
        assert!(words.contains("try:     In the socket unit, use ListenStream="), "{words}");
    }
}
