//! A daemon of a test's own, and its clients.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use vgpu_link::tls::Files;
use vgpu_link::wire::control::{
    DeviceState, DeviceStateReply, Hello, Role, Snapshot, SnapshotReply, Welcome,
};
use vgpu_link::wire::{Header, Kind, Payload, Request, Text};
use vgpu_link::{Bulk, Link, LinkError, SocketLink, Uri, connect, handshake};

/// Bounds every wait of these tests: far above what a loaded machine needs.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A running `vgpud`, ended with the test.
pub struct Vgpud {
    child: Child,
    log: Receiver<String>,
    /// Holds the socket.
    pub directory: tempfile::TempDir,
}

/// The daemon with a configuration file, at a socket of its own in a directory.
pub fn command(directory: &Path, file: &Path) -> Command {
    let socket = format!("unix:{}", directory.join("vgpud.sock").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.arg("--config").arg(file).args(["--listen", &socket]);
    command
}

impl Vgpud {
    /// Starts a daemon with a simulated device at a socket of its own.
    pub fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
        command.args(["--device", "sim", "--listen", &socket]).args(arguments);
        Self::spawn(command, directory)
    }

    /// Starts a prepared command and waits until the daemon is ready.
    pub fn spawn(command: Command, directory: tempfile::TempDir) -> Self {
        let daemon = Self::launch(command, directory);
        daemon.wait_for(&["vgpud: ready"]);
        daemon
    }

    /// Starts a prepared command.
    pub fn launch(mut command: Command, directory: tempfile::TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("vgpud starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("{line}");
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, log, directory }
    }

    /// Waits for a line of the log that holds all of `parts`.
    pub fn wait_for(&self, parts: &[&str]) -> String {
        let limit = Instant::now() + LIMIT;
        loop {
            let line = self
                .log
                .recv_timeout(limit.saturating_duration_since(Instant::now()))
                .unwrap_or_else(|error| panic!("no line with {parts:?}: {error}"));
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("vgpud.sock")
    }

    /// Connects as a guest does.
    pub fn try_client(&self) -> Result<Client, LinkError> {
        client_of(&self.socket())
    }

    /// Finds a worker that waits for a client, while no client is served.
    pub fn idle_worker(&self) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(path).expect("Linux");
        children.split_whitespace().last().expect("a worker").parse().expect("a process id")
    }

    pub fn client(&self) -> Client {
        self.try_client().expect("the daemon welcomes us")
    }

    /// Connects without a word.
    pub fn raw(&self) -> UnixStream {
        let raw = UnixStream::connect(self.socket()).expect("somebody listens");
        raw.set_read_timeout(Some(LIMIT)).expect("a limit");
        raw
    }

    /// Sends a signal by number or name, as kill(1) takes it.
    pub fn signal(&self, signal: &str) {
        kill(self.child.id(), signal);
    }

    /// Waits until the daemon ended.
    pub fn ended(&mut self) -> ExitStatus {
        let limit = Instant::now() + LIMIT;
        // The log ends with the last process that holds it: daemon and workers.
        while self.log.recv_timeout(limit.saturating_duration_since(Instant::now())).is_ok() {}
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Vgpud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects to a socket as a guest does.
pub fn client_of(socket: &Path) -> Result<Client, LinkError> {
    Client::at(&Uri::Unix(socket.into()), &Files::default())
}

fn hello() -> Hello {
    Hello { role: Role::Guest, pid: 4711, exe: Text::cut("test client") }
}

/// Introduces a client over a socket.
pub fn welcomed(link: SocketLink) -> Client {
    Client::over(Box::new(link)).expect("the daemon welcomes us")
}

/// Does something as a user: the system tells the daemon who the thread is that connects. Needs
/// root.
pub fn as_user<T: Send>(user: u32, work: impl FnOnce() -> T + Send) -> T {
    assert!(rustix::process::geteuid().is_root(), "connecting as several users needs root");
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let (gid, uid) = (Gid::from_raw(user), Uid::from_raw(user));
            set_thread_res_gid(gid, gid, gid).expect("root may");
            set_thread_res_uid(uid, uid, uid).expect("root may");
            work()
        });
        inside.join().expect("it ends")
    })
}

/// Sends a signal to a process.
pub fn kill(pid: u32, signal: &str) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    let signal = match signal {
        "TERM" => rustix::process::Signal::TERM,
        "HUP" => rustix::process::Signal::HUP,
        "USR1" => rustix::process::Signal::USR1,
        "INT" => rustix::process::Signal::INT,
        "STOP" => rustix::process::Signal::STOP,
        "CONT" => rustix::process::Signal::CONT,
        "KILL" => rustix::process::Signal::KILL,
        other => panic!("signal {other}"),
    };
    rustix::process::kill_process(pid, signal).expect("it is there");
}

/// Finds a process id behind a key of the log.
pub fn pid_in(line: &str, key: &str) -> u32 {
    let at = line.find(key).expect("the key is there") + key.len();
    let digits: String = line[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a process id")
}

/// One connection that was welcomed.
pub struct Client {
    pub link: Box<dyn Link>,
    pub welcome: Welcome,
    /// Sent with every request, as the current context.
    pub context: u64,
    sequence: u32,
}

impl Client {
    /// Connects as a guest does, whose files for TLS are `files`.
    pub fn at(uri: &Uri, files: &Files) -> Result<Self, LinkError> {
        let (link, welcome) = connect(uri, files, &hello(), LIMIT)?;
        Ok(Self { link, welcome, context: 0, sequence: 0 })
    }

    /// Introduces a client over a link that is open.
    pub fn over(mut link: Box<dyn Link>) -> Result<Self, LinkError> {
        let welcome = handshake::introduce(&mut *link, &hello(), Instant::now() + LIMIT)?;
        link.settle()?;
        Ok(Self { link, welcome, context: 0, sequence: 0 })
    }

    fn header<R: Request>(&mut self, kind: Kind) -> Header {
        self.sequence = self.sequence.wrapping_add(1);
        Header { sequence: self.sequence, context: self.context, ..Header::new(kind, R::OPCODE) }
    }

    /// Calls and returns the reply or the status.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Reply, u16> {
        self.call_with(request, &[], &mut [])
    }

    /// The same with memory contents; `out` must be filled entirely by a call that was done.
    pub fn call_with<R: Request>(
        &mut self,
        request: &R,
        bulk: &[u8],
        out: &mut [u8],
    ) -> Result<R::Reply, u16> {
        let header = self.header::<R>(Kind::Call);
        self.link.send(&header, &request.to_payload(), bulk).expect("the worker reads");
        self.link.wait_until(Some(Instant::now() + LIMIT));
        let (mut payload, room) = (Vec::new(), out.len());
        let reply = self.link.receive(&mut payload, Bulk::Into(out)).expect("a reply");
        assert_eq!((reply.kind, reply.opcode), (Kind::Reply, R::OPCODE));
        assert_eq!(reply.sequence, header.sequence);
        if reply.status != 0 {
            assert_eq!((reply.payload_bytes, reply.bulk_bytes), (0, 0));
            return Err(reply.status);
        }
        assert_eq!(reply.bulk_bytes as usize, room);
        Ok(R::Reply::from_payload(&payload).expect("a right reply"))
    }

    pub fn post_with<R: Request>(&mut self, request: &R, bulk: &[u8]) {
        let header = self.header::<R>(Kind::Post);
        self.link.send(&header, &request.to_payload(), bulk).expect("the worker reads");
    }

    pub fn snapshot(&mut self) -> SnapshotReply {
        self.call(&Snapshot).expect("a snapshot")
    }

    pub fn state(&mut self, device: u32) -> DeviceStateReply {
        self.call(&DeviceState { device }).expect("a state")
    }

    /// Waits for the end of the connection.
    pub fn ended(&mut self) -> LinkError {
        self.link.wait_until(Some(Instant::now() + LIMIT));
        match self.link.receive(&mut Vec::new(), Bulk::Into(&mut [])) {
            Ok(header) => panic!("a frame came: {header:?}"),
            Err(error) => error,
        }
    }
}
