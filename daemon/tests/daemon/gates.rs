//! Who may take a virtual machine's place at its socket.
//!
//! These tests connect as several users, so they need root.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use vgpu_link::{Access, Gate, LinkError, Listener, Uri};

use crate::guests::{BYTES, SLOTS, client, qemu, server_with};
use crate::process::{LIMIT, Vgpud, as_user, command};
use crate::qemu::Qemu;

/// Users that no system has, and a group.
const QEMU: u32 = 71_001;
pub const MALLORY: u32 = 71_003;
const TRENT: u32 = 71_004;
const GROUP: u32 = 71_005;

/// Lets every user reach the sockets in a directory.
pub fn open(directory: &Path) {
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, everybody).expect("it is ours");
}

/// Connects as a user.
pub fn connect(user: u32, socket: &Path) -> UnixStream {
    let connection = as_user(user, || UnixStream::connect(socket)).expect("everybody reaches it");
    connection.set_read_timeout(Some(LIMIT)).expect("a limit");
    connection
}

/// Says whether a connection ends before the host says anything.
fn is_refused(mut connection: UnixStream) -> bool {
    connection.read(&mut [0; 8]).expect("the end, or the version") == 0
}

#[test]
fn no_other_user_takes_the_place_of_a_machine_and_each_is_told_of_once() {
    let (daemon, [one, _]) = server_with("", "mib = 4");
    open(daemon.directory.path());
    for user in [MALLORY, MALLORY, TRENT] {
        assert!(is_refused(connect(user, &one)), "user {user} got the memory");
    }
    for user in [MALLORY, TRENT] {
        let line = daemon.wait_for(&["vgpud: machine-refused", "machine=one"]);
        assert!(line.contains(&format!("uid={user}")), "{line}");
        assert!(line.contains(&format!("user = {user} in its [[machine]]")), "{line}");
    }
    // Who runs the daemon comes as before.
    assert!(client(&qemu(&one).guest).state(0).memory_total > 0);
}

#[test]
fn the_user_of_a_machine_gets_its_memory_and_nobody_else_does() {
    let (daemon, [one, _]) = server_with("", &format!("mib = 4\nuser = {QEMU}"));
    open(daemon.directory.path());
    assert!(is_refused(connect(MALLORY, &one)));
    daemon.wait_for(&["vgpud: machine-refused", "machine=one", &format!("uid={MALLORY}")]);
    let qemu = Qemu::start(connect(QEMU, &one), SLOTS, BYTES);
    assert!(client(&qemu.guest).state(0).memory_total > 0);
    let memory = std::fs::metadata(one.with_extension("sock.memory")).expect("it lies there");
    assert_eq!(memory.permissions().mode() & 0o777, 0o600, "nor by the file");
}

/// Anybody may make a file in /dev/shm.
#[test]
fn a_memory_file_of_another_user_is_a_machine_only_if_that_is_its_user() {
    for is_named in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, memory) = (directory.path().join("host.toml"), directory.path().join("one"));
        std::fs::File::create(&memory).expect("a file").set_len(BYTES).expect("room");
        std::os::unix::fs::chown(&memory, Some(QEMU), None).expect("root may");
        let user = if is_named { format!("user = {QEMU}") } else { String::new() };
        let text =
            format!("device = \"sim\"\n[[machine]]\nname = \"one\"\nmemory = {memory:?}\n{user}\n");
        std::fs::write(&file, text).expect("written");
        let daemon = Vgpud::spawn(command(directory.path(), &file), directory);
        if is_named {
            daemon.wait_for(&["vgpud: machine ", "machine=one"]);
            continue;
        }
        let remedy = format!("user = {QEMU} in its [[machine]]");
        daemon.wait_for(&["vgpud: no-memory", "machine=one", "another user's", &remedy]);
        std::os::unix::fs::chown(&memory, Some(0), None).expect("root may");
        daemon.wait_for(&["vgpud: machine ", "machine=one"]);
    }
}

#[test]
fn no_other_user_takes_the_place_of_the_original_devices_emulator() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path());
    let (file, socket) = (directory.path().join("host.toml"), directory.path().join("one.sock"));
    let text = format!(
        "device = \"sim\"\n[[machine]]\nname = \"one\"\nstub = {socket:?}\nuser = {QEMU}\n"
    );
    std::fs::write(&file, text).expect("written");
    let daemon = Vgpud::spawn(command(directory.path(), &file), directory);
    let mut emulator = connect(QEMU, &socket);
    assert!(is_refused(connect(MALLORY, &socket)));
    daemon.wait_for(&["vgpud: machine-refused", "machine=one", &format!("uid={MALLORY}")]);
    emulator.set_nonblocking(true).expect("a socket");
    let waits = emulator.read(&mut [0]).expect_err("it is still heard");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
}

/// The workers of a service are its user as well, and each has a client that may take it over.
#[test]
fn a_machine_that_names_a_user_is_closed_to_other_processes_of_the_hosts_own() {
    let admits = |named: Option<u32>| {
        as_user(MALLORY, || {
            let (ours, _theirs) = UnixStream::pair().expect("a pair, both of this user");
            Gate::new(named, |_| ()).admits(&ours)
        })
    };
    assert!(!admits(Some(QEMU)));
    assert!(admits(Some(MALLORY)) && admits(None), "a daemon that somebody runs by hand");
}

/// A service that was told `group = "libvirt-qemu"` once heard that its directory was missing.
#[test]
fn a_group_that_the_socket_cannot_be_given_to_is_named_with_its_own_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).expect("it is ours");
    let at = Uri::Unix(directory.path().join("vgpud.sock"));
    let access = Access { mode: 0o660, group: Some(GROUP) };
    let error = as_user(QEMU, || Listener::bind(&at, access).expect_err("it is no member"));
    assert!(matches!(error, LinkError::Group { group: GROUP, .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("a member of the group")), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("it is ours").count(), 0, "left behind");
}
