//! How the daemon starts, ends, and loses workers.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use vgpu_link::tls::Files;
use vgpu_link::wire::control::Reason;
use vgpu_link::wire::cuda::{self, Dim3, Image, KernelLaunch};
use vgpu_link::{LinkError, socket_link};

use crate::process::{Client, LIMIT, Vgpud, kill, pid_in, welcomed};

const MIB: u64 = 1 << 20;

/// Runs a daemon that is expected to fail at once.
fn fails(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_vgpud")).args(arguments).output().expect("it runs");
    assert!(stdout.is_empty());
    (status.code().expect("no signal"), String::from_utf8(stderr).expect("UTF-8"))
}

/// Makes the client hold some memory.
pub fn hold(client: &mut Client, bytes: u64) {
    let retain = cuda::DevicePrimaryCtxRetain { dev: 0 };
    client.context = client.call(&retain).expect("a device").pctx;
    client.call(&cuda::MemAllocV2 { bytesize: bytes }).expect("room");
}

#[test]
fn the_memory_of_a_client_that_went_is_free_again() {
    let daemon = Vgpud::start(&[]);
    let (mut observer, mut holder) = (daemon.client(), daemon.client());
    hold(&mut holder, 64 * MIB);
    let state = observer.state(0);
    assert_eq!(state.memory_used, 64 * MIB);
    let process = &state.processes[0];
    assert_eq!((process.pid, process.bytes), (4711, 64 * MIB));
    assert_eq!(process.name.as_str(), "test client");
    let gone = Instant::now();
    drop(holder);
    daemon.wait_for(&["vgpud: gone", "freed=67108864"]);
    assert_eq!(observer.state(0).memory_used, 0);
    eprintln!("the memory was free after {:?}", gone.elapsed());
}

/// Ollama ends its discovery children with SIGKILL and counts on their memory at once.
#[test]
fn the_memory_of_a_client_killed_with_sigkill_is_free_again() {
    let daemon = Vgpud::start(&[]);
    let mut observer = daemon.client();
    let socket = daemon.raw();
    let mut holder = welcomed(socket_link(socket.try_clone().expect("a descriptor").into()));
    hold(&mut holder, 64 * MIB);
    // From here on the connection is that of another process, which never looks at it.
    let mut killed = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(OwnedFd::from(socket)))
        .spawn()
        .expect("every system has cat");
    drop(holder);
    assert_eq!(observer.state(0).memory_used, 64 * MIB);
    kill(killed.id(), "KILL");
    let began = Instant::now();
    daemon.wait_for(&["vgpud: gone", "freed=67108864"]);
    assert_eq!(observer.state(0).memory_used, 0);
    eprintln!("the memory was free after {:?}", began.elapsed());
    killed.wait().expect("it is our child");
}

/// A worker that dies while it waits for a client is replaced.
#[test]
fn an_idle_worker_that_dies_is_replaced() {
    let daemon = Vgpud::start(&[]);
    let idle = daemon.idle_worker();
    kill(idle, "KILL");
    daemon.wait_for(&["vgpud: idle-worker-gone", &format!("worker={idle}")]);
    let mut clients: Vec<Client> = (0..3).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.snapshot()));
}

#[test]
fn a_killed_worker_frees_its_memory_and_disturbs_nobody() {
    let daemon = Vgpud::start(&[]);
    let mut observer = daemon.client();
    daemon.wait_for(&["vgpud: client"]);
    let mut holder = daemon.client();
    let worker = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
    hold(&mut holder, 64 * MIB);
    kill(worker, "KILL");
    assert!(matches!(holder.ended(), LinkError::Closed));
    daemon.wait_for(&["vgpud: gone", "freed=67108864", "signal: 9"]);
    assert_eq!(observer.state(0).memory_used, 0);
}

#[test]
fn a_worker_asked_to_stop_says_goodbye_to_its_client() {
    let daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    let worker = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
    kill(worker, "TERM");
    let error = client.ended();
    assert!(matches!(error, LinkError::Goodbye { reason: Reason::Stopping, .. }), "{error}");
    daemon.client().snapshot();
}

#[test]
fn a_signal_ends_the_daemon_its_workers_and_its_socket() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Vgpud::start(&[]);
        let mut clients: Vec<Client> = (0..3).map(|_| daemon.client()).collect();
        daemon.signal(signal);
        for client in &mut clients {
            let error = client.ended();
            let stopping = matches!(error, LinkError::Goodbye { reason: Reason::Stopping, .. });
            assert!(stopping && error.is_retryable(), "{error}");
        }
        // The log ends with the last process that holds it, so this waits for the workers too.
        assert!(daemon.ended().success());
        assert!(!daemon.socket().exists());
    }
}

#[test]
fn workers_end_with_a_killed_daemon() {
    let mut daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    daemon.signal("KILL");
    let error = client.ended();
    assert!(matches!(error, LinkError::Goodbye { reason: Reason::Stopping, .. }), "{error}");
    assert!(!daemon.ended().success());
}

#[test]
fn a_second_daemon_leaves_the_socket_of_the_first_alone() {
    let first = Vgpud::start(&[]);
    let address = format!("unix:{}", first.socket().display());
    let (code, stderr) = fails(&["--device", "sim", "--listen", &address]);
    assert_eq!(code, 1);
    assert!(stderr.contains("another program answers there"), "{stderr}");
    assert!(stderr.contains("try:"), "{stderr}");
    first.client().snapshot();
}

#[test]
fn a_daemon_takes_the_place_of_a_killed_one() {
    let mut first = Vgpud::start(&[]);
    let address = format!("unix:{}", first.socket().display());
    first.signal("KILL");
    first.ended();
    assert!(first.socket().exists(), "it could not remove its socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.args(["--device", "sim", "--listen", &address, "--mode", "0600"]);
    let second = Vgpud::spawn(command, tempfile::tempdir().expect("a directory"));
    first.client().snapshot();
    let mode = std::fs::metadata(first.socket()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(second);
}

#[test]
fn a_daemon_serves_every_socket_it_was_given() {
    let directory = tempfile::tempdir().expect("a directory");
    let other = directory.path().join("other.sock");
    let daemon = Vgpud::start(&["--listen", &format!("unix:{}", other.display())]);
    daemon.client().snapshot();
    let hello = vgpu_link::wire::control::Hello {
        role: vgpu_link::wire::control::Role::Observer,
        pid: 1,
        exe: vgpu_link::wire::Text::default(),
    };
    vgpu_link::connect(&vgpu_link::Uri::Unix(other), &Files::default(), &hello, LIMIT)
        .expect("welcome");
}

#[test]
fn what_cannot_be_served_is_said_with_a_remedy() {
    for (arguments, code, parts) in [
        (
            &["--device", "nvidia", "--driver-dir", "/none"][..],
            1,
            &["/none/libcuda.so.1", "driver_dir", "--device sim"][..],
        ),
        (&["--device", "voodoo"], 1, &["no device called", "try:"]),
        (&["--device", "sim", "--record", "/none/x"], 1, &["/none/x", "because:", "try:"]),
        (&["--config", "/nonexistent.toml"], 1, &["/nonexistent.toml", "because:", "try:"]),
        (&["--device", "sim", "--listen", "udp:1"], 1, &["udp:1", "try:"]),
        (&["--device", "sim", "--listen", "unix:/nonexistent/s"], 1, &["/nonexistent/s", "try:"]),
        (&["--device", "sim", "--unknown"], 64, &["--unknown"]),
        (&["surplus"], 64, &["surplus"]),
        (&["worker", "--epoch", "1", "--sim-gpus", "1"], 1, &["not the host process's socket"]),
    ] {
        let (actual, stderr) = fails(arguments);
        assert_eq!(actual, code, "{arguments:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        }
    }
}

/// systemd hands over descriptor 3, names the process it is for, and waits for a datagram
/// (sd_listen_fds(3), sd_notify(3)).
#[test]
fn a_socket_of_systemd_is_served_and_readiness_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = UnixListener::bind(directory.path().join("vgpud.sock")).expect("bound");
    let notify = directory.path().join("notify.sock");
    let told = UnixDatagram::bind(&notify).expect("bound");
    told.set_read_timeout(Some(LIMIT)).expect("a limit");
    let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --device sim";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_vgpud")])
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let mut daemon = Vgpud::spawn(command, directory);
    let mut buffer = [0; 64];
    let count = told.recv(&mut buffer).expect("it told us");
    assert_eq!(&buffer[..count], b"READY=1\nSTATUS=0 of 64 clients, 1 GPU(s)\n");
    daemon.client().snapshot();
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    let mut heard = || {
        let count = told.recv(&mut buffer).expect("it told us");
        buffer[..count].to_vec()
    };
    // Before it, how many clients there were.
    while heard() != b"STOPPING=1\n" {}
    assert!(daemon.socket().exists(), "systemd's socket stays systemd's");
}

/// A host that ran out of file descriptors must neither end, nor spin, nor forget those whom it
/// serves, and must be itself again when some of them left.
#[test]
fn a_host_out_of_file_descriptors_goes_on_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = format!("unix:{}", directory.path().join("vgpud.sock").display());
    let mut command = Command::new("sh");
    let script = "ulimit -n 16; exec \"$0\" --device sim --listen \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_vgpud"), &address]);
    let daemon = Vgpud::spawn(command, directory);
    // More than there are descriptors; the last ones are refused, or wait to be accepted.
    let sockets: Vec<UnixStream> = (0..16).map(|_| daemon.raw()).collect();
    daemon.wait_for(&["because", "Too many open files"]);
    drop(sockets);
    daemon.client().snapshot();
}

/// A fault in a driver must end one client, not the process that all of them hang on.
#[test]
fn the_host_process_maps_no_library_of_a_device() {
    let daemon = Vgpud::start(&[]);
    hold(&mut daemon.client(), MIB);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).expect("Linux");
    assert!(maps.contains("vgpud") && maps.contains("libc.so"), "{maps}");
    for library in ["libcuda", "libcublas", "libnvidia"] {
        assert!(!maps.contains(library), "{maps}");
    }
}

#[test]
fn a_recording_of_nobody_cannot_be_played_and_says_so_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("recording");
    std::fs::write(&file, "VGPUREC1").expect("written");
    let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
    let device = format!("replay={}", file.display());
    let (code, said) = fails(&["--device", &device, "--listen", &socket]);
    assert_eq!(code, 1);
    assert!(said.contains("tells of no devices") && said.contains("try:"), "{said}");
}

/// A client is killed while its kernel runs on and on: the worker cannot read that it is gone, and
/// once held the client's memory for as long as the kernel took, minutes on the simulated device.
#[test]
fn a_client_that_goes_while_its_kernel_runs_takes_its_worker_with_it() {
    let daemon = Vgpud::start(&[]);
    let (mut observer, mut holder) = (daemon.client(), daemon.client());
    hold(&mut holder, 64 * MIB);
    keep_busy(&mut holder);
    drop(holder);
    daemon.wait_for(&["vgpud: gone", "freed=67108864", "signal: 9"]);
    assert_eq!(observer.state(0).memory_used, 0);
}

/// Starts a kernel that does not end.
pub fn keep_busy(client: &mut Client) {
    let kernel = endless(client);
    launch(client, kernel);
}

/// Starts a kernel without arguments.
pub fn launch(client: &mut Client, kernel: u64) {
    let launch = KernelLaunch {
        function: kernel,
        grid: Dim3 { x: 1, y: 1, z: 1 },
        block: Dim3 { x: 1, y: 1, z: 1 },
        shared_bytes: 0,
        attributes: Vec::new(),
        arguments: Vec::new(),
    };
    client.post_with(&cuda::LaunchKernel { stream: 0, launch }, &[]);
}

/// Loads a kernel that does not end, and returns its handle.
pub fn endless(client: &mut Client) -> u64 {
    const PTX: &[u8] = b".version 8.0\n.target sm_80\n.address_size 64\n\
        .visible .entry endless() { $again: bra $again; }\0";
    let image = Image { hash: *blake3::hash(PTX).as_bytes(), bytes: PTX.len() as u64 };
    let load = cuda::ModuleLoad { image: image.clone(), options: Vec::new() };
    client.post_with(&cuda::ImagePart { image, offset: 0 }, PTX);
    let module = client.call(&load).expect("it is there").module;
    let name = b"endless".to_vec();
    client.call(&cuda::ModuleGetFunction { module, name }).expect("a kernel").function
}
