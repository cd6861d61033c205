//! What only a socket in the file system does: addresses, access, listening, connecting.

#![forbid(unsafe_code)]

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use vgpu_link::tls::Files;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role};
use vgpu_link::{Access, LinkError, Listener, Uri, connect};

const ACCESS: Access = Access { mode: 0o600, group: None };

fn hello() -> Hello {
    Hello { role: Role::Observer, pid: 1, exe: Text::cut("test") }
}

fn try_connect(path: &Path, limit_ms: u64) -> LinkError {
    match connect(
        &Uri::Unix(path.into()),
        &Files::default(),
        &hello(),
        Duration::from_millis(limit_ms),
    ) {
        Ok(_) => panic!("nobody answers at {}", path.display()),
        Err(error) => error,
    }
}

#[test]
fn connecting_where_nobody_listens_fails_at_once_with_a_hint() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = try_connect(&directory.path().join("none.sock"), 1000);
    assert!(matches!(error, LinkError::Connect { .. }), "{error}");
    assert!(error.is_retryable() && error.hint().is_some());
}

#[test]
fn a_socket_that_cannot_be_asked_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("datagrams.sock");
    let other = std::os::unix::net::UnixDatagram::bind(&path).expect("a new socket");
    let error = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect_err("somebody else's");
    assert!(matches!(error, LinkError::Listen { .. }), "{error}");
    let sender = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    sender.send_to(b"x", &path).expect("it is still there");
    assert_eq!(other.recv(&mut [0; 9]).expect("it came"), 1);
}

#[test]
fn connecting_to_a_full_queue_ends_at_the_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("full.sock");
    let _listener = UnixListener::bind(&path).expect("a listener that accepts nobody");
    let mut waiting = Vec::new();
    let began = Instant::now();
    // The queue holds 128 on every Linux that std asks for; the limit of the last one counts.
    loop {
        let address = rustix::net::SocketAddrUnix::new(&path).expect("a short path");
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .expect("a socket");
        match rustix::net::connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                break;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the queue has an end");
    }
    assert!(matches!(try_connect(&path, 30), LinkError::TimedOut));
}

#[test]
fn nobody_listens_at_a_pci_device() {
    let uri = "pci:auto".parse::<Uri>().expect("a right URI");
    let listening = Listener::bind(&uri, ACCESS).expect_err("it is a device");
    assert!(matches!(listening, LinkError::NotBuilt { .. }), "{listening}");
}

#[test]
fn a_listener_gives_its_socket_the_asked_mode_and_removes_it_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vgpud.sock");
    let listener = Listener::bind(&Uri::Unix(path.clone()), Access { mode: 0o620, group: None })
        .expect("bound");
    let made = std::fs::symlink_metadata(&path).expect("it is there");
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o7777, 0o620);
    assert!(listener.accept().expect("no error").is_none());
    drop(listener);
    assert_eq!(std::fs::read_dir(&directory).expect("readable").count(), 0);
}

#[test]
fn a_socket_that_somebody_answers_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vgpud.sock");
    let first = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect("bound");
    let error = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect_err("it is taken");
    assert!(matches!(error, LinkError::InUse { .. }), "{error}");
    assert!(first.accept().expect("no error").is_some(), "the look was a connection");
    assert!(path.exists());
}

#[test]
fn a_socket_that_nobody_answers_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vgpud.sock");
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "std leaves the file of a dead listener");
    let listener = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect("replaced");
    assert!(listener.accept().expect("no error").is_none());
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vgpud.sock");
    std::fs::write(&path, "precious").expect("written");
    let error = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect_err("a file is there");
    assert!(matches!(error, LinkError::Listen { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
    assert_eq!(std::fs::read_dir(&directory).expect("readable").count(), 1);
}

#[test]
fn a_listener_leaves_a_later_socket_in_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vgpud.sock");
    let first = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect("bound");
    std::fs::remove_file(&path).expect("removed");
    let _second = Listener::bind(&Uri::Unix(path.clone()), ACCESS).expect("bound again");
    drop(first);
    assert!(path.exists());
}
