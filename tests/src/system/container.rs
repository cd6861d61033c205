use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Error, Finished, Machine, Result, bounded, error::at, group::Group, run};

/// Longest time for PID 1 to reach its target: measured 0.3 s on 2 cores, and machines are shared.
const BOOT: Duration = Duration::from_secs(60);

/// Longest time for an orderly stop; what is still there afterwards is killed.
const STOP: Duration = Duration::from_secs(20);

/// The console of the container, beside its root.
const LOG: &str = "console.log";

/// Shows a directory of this machine inside the container.
#[derive(Clone, Debug)]
pub struct Bind {
    /// Where it is here.
    pub here: PathBuf,
    /// Where the container sees it.
    pub there: PathBuf,
}

/// Is a booted Debian with systemd as PID 1, in a directory that goes away with it.
///
/// It has its own process, mount and network namespaces and no network; users have the same
/// numbers inside and outside.
#[derive(Debug)]
pub struct Container {
    supervisor: Child,
    /// The number of PID 1 as this machine counts, in digits; empty until it is known.
    leader: String,
    binds: Vec<Bind>,
    group: Group,
    directory: TempDir,
}

impl Container {
    /// Unpacks `tarball` below `parent`, lets `furnish` change the files, and boots.
    ///
    /// # Errors
    /// `Boot` if systemd was not ready in a minute; `furnish`'s own.
    pub fn boot(
        parent: &Path,
        tarball: &Path,
        binds: Vec<Bind>,
        furnish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        fs::create_dir_all(parent).map_err(at("creating", parent))?;
        let directory = tempfile::Builder::new()
            .prefix("container-")
            .tempdir_in(parent)
            .map_err(at("making a directory in", parent))?;
        let root = directory.path().join("root");
        fs::create_dir(&root).map_err(at("creating", &root))?;
        let mut unpack = Command::new("tar");
        unpack.args(["--extract", "--xattrs", "--xattrs-include=*", "--file"]);
        unpack.arg(tarball).arg("--directory").arg(&root);
        run(&mut unpack, Duration::from_secs(300))?.success()?;
        furnish(&root)?;
        let group = Group::new(&format!("vgpu-{}", name(directory.path())))?;
        let (supervisor, ready) = start(directory.path(), &group, &binds)?;
        let mut container = Self { supervisor, leader: String::new(), binds, group, directory };
        container.await_ready(&ready)?;
        Ok(container)
    }

    /// Stops the container in order and boots it again from the same disk.
    ///
    /// # Errors
    /// As [`Container::boot`].
    pub fn reboot(&mut self) -> Result<()> {
        self.stop();
        self.leader.clear();
        let (supervisor, ready) = start(self.directory.path(), &self.group, &self.binds)?;
        self.supervisor = supervisor;
        self.await_ready(&ready)
    }

    /// Ends PID 1 and every process with it, as a power cut does, and boots from the same disk.
    /// Unlike a power cut it loses nothing that was written and not yet synced.
    ///
    /// # Errors
    /// As [`Container::boot`].
    pub fn cut(&mut self) -> Result<()> {
        signal(&self.leader, Signal::KILL);
        bounded::wait(&mut self.supervisor, STOP).map_err(at("waiting for", "systemd-nspawn"))?;
        self.leader.clear();
        let (supervisor, ready) = start(self.directory.path(), &self.group, &self.binds)?;
        self.supervisor = supervisor;
        self.await_ready(&ready)
    }

    /// Is the container's root directory, seen from here.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Runs a program inside that a program of this machine, such as strace, starts and watches.
    pub fn run_under(&self, watcher: &[&str], words: &[&str], limit: Duration) -> Result<Finished> {
        let enter = ["nsenter", "--target", &self.leader, "--all", "--", "/usr/bin/env", "-i"];
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let whole =
            [watcher, &enter, &[path, "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"], words];
        let whole = whole.concat();
        let mut command = Command::new(whole[0]);
        command.args(&whole[1..]);
        let mut done = run(&mut command, limit)?;
        done.command = words.join(" ");
        Ok(done)
    }
}

impl Machine for Container {
    fn run(&self, words: &[&str], limit: Duration) -> Result<Finished> {
        self.run_under(&[], words, limit)
    }
}

impl Container {
    fn stop(&mut self) {
        if self.leader.is_empty() || self.run(&["systemctl", "poweroff"], STOP).is_err() {
            // Its supervisor understands this as a request to power it off.
            signal(&self.supervisor.id().to_string(), Signal::TERM);
        }
        match bounded::wait(&mut self.supervisor, STOP) {
            Ok(Some(_)) => {}
            // The end of PID 1 ends every process of the container. Its supervisor, which would
            // have given the number free, was alive until now.
            Ok(None) => signal(&self.leader, Signal::KILL),
            Err(error) => eprintln!("stopping the container: {error}"),
        }
    }

    fn await_ready(&mut self, ready: &UnixDatagram) -> Result<()> {
        await_ready(ready, &mut self.leader).map_err(|source| {
            let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
            Error::Boot { limit: BOOT, log, source }
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.stop();
    }
}

fn signal(number: &str, signal: Signal) {
    if let Some(pid) = number.parse().ok().and_then(Pid::from_raw) {
        // A process that is gone already is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// Is what a machine may be called whose files are in this directory.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().replace('.', "")
}

/// Starts systemd-nspawn over the root below `path`; answers where it says when PID 1 is ready.
fn start(path: &Path, group: &Group, binds: &[Bind]) -> Result<(Child, UnixDatagram)> {
    let notify = path.join("notify");
    // Of an earlier boot.
    let _ = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify).map_err(at("listening on", &notify))?;
    let log = path.join(LOG);
    let console = File::create(&log).map_err(at("creating", &log))?;
    // If this program is killed, the container stops: SIGTERM makes its supervisor power it off,
    // where SIGKILL would leave its PID 1 behind.
    let mut command = Command::new("sh");
    command.args(["-ec", "echo $$ > \"$0\"; exec \"$@\""]).arg(group.members());
    command.args(["setpriv", "--pdeathsig", "TERM", "systemd-nspawn"]);
    command.args(["--boot", "--quiet", "--register=no", "--keep-unit", "--private-network"]);
    command.args(["--console=pipe", "--notify-ready=yes", "--directory"]).arg(path.join("root"));
    command.args(["--machine", &name(path), "--hostname=guest"]);
    // Without this call systemd inside cannot give a unit's device rules to the kernel, and says
    // nothing: every device policy would be as good as none.
    command.arg("--system-call-filter=bpf");
    for Bind { here, there } in binds {
        command.arg(format!("--bind={}:{}", here.display(), there.display()));
    }
    let supervisor = command
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::null())
        .stdout(console.try_clone().map_err(at("opening", &log))?)
        .stderr(console)
        .spawn()
        .map_err(|source| Error::Start { program: "systemd-nspawn".to_owned(), source })?;
    Ok((supervisor, socket))
}

/// Reads the supervisor's notifications up to READY=1, and the number of PID 1 among them.
fn await_ready(socket: &UnixDatagram, leader: &mut String) -> io::Result<()> {
    let deadline = Instant::now() + BOOT;
    let mut message = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = socket.recv(&mut message)?;
        for line in String::from_utf8_lossy(&message[..length]).lines() {
            if let Some(number) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                number.clone_into(leader);
            } else if line == "READY=1" && !leader.is_empty() {
                return Ok(());
            }
        }
    }
}
