use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Error, Finished, Result, bounded, error::at, run};

/// Longest time for PID 1 to reach its target: measured 0.3 s on 2 cores, and machines are shared.
const BOOT: Duration = Duration::from_secs(60);

/// Longest time for an orderly stop; what is still there afterwards is killed.
const STOP: Duration = Duration::from_secs(20);

/// Shows a directory of this machine inside the container.
#[derive(Debug)]
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
    leader: String,
    directory: TempDir,
}

impl Container {
    /// Unpacks `tarball` below `parent`, lets `furnish` change the files, and boots.
    ///
    /// # Errors
    /// `NotRoot` without the rights, `Boot` if systemd was not ready in a minute; `furnish`'s own.
    pub fn boot(
        parent: &Path,
        tarball: &Path,
        binds: &[Bind],
        furnish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
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
        start(directory, binds)
    }

    /// Is the container's root directory, seen from here.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Runs a program inside, as root, with a plain environment, to its end.
    pub fn run(&self, words: &[&str], limit: Duration) -> Result<Finished> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader, "--all", "--", "/usr/bin/env", "-i"]);
        command.args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(["LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]).args(words);
        let mut done = run(&mut command, limit)?;
        done.command = words.join(" ");
        Ok(done)
    }

    /// Runs a program inside that has to succeed within a minute; answers its standard output.
    pub fn sh(&self, script: &str) -> Result<String> {
        let mut done = self.run(&["/bin/sh", "-ec", script], Duration::from_secs(60))?;
        done.command = script.to_owned();
        done.success()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The supervisor ends when its PID 1 does. At worst it is killed, which ends the process
        // namespace with everything in it.
        let asked = self.run(&["systemctl", "poweroff"], STOP);
        let limit = if asked.is_ok() { STOP } else { Duration::ZERO };
        if let Err(error) = bounded::wait(&mut self.supervisor, limit) {
            eprintln!("stopping the container: {error}");
        }
    }
}

/// Starts systemd-nspawn over the root and waits until PID 1 says READY.
fn start(directory: TempDir, binds: &[Bind]) -> Result<Container> {
    let path = directory.path();
    let notify = path.join("notify");
    let socket = UnixDatagram::bind(&notify).map_err(at("listening on", &notify))?;
    let log = path.join("console.log");
    let console = File::create(&log).map_err(at("creating", &log))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().replace('.', "");
    // If this program is killed, the container stops: SIGTERM makes its supervisor power it off,
    // where SIGKILL would leave its PID 1 behind.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "systemd-nspawn"]);
    command.args(["--boot", "--quiet", "--register=no", "--keep-unit", "--private-network"]);
    command.args(["--console=pipe", "--notify-ready=yes", "--directory"]).arg(path.join("root"));
    command.args(["--machine", &name, "--hostname=guest"]);
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
    let mut container = Container { supervisor, leader: String::new(), directory };
    match await_ready(&socket) {
        Ok(leader) => {
            container.leader = leader;
            Ok(container)
        }
        Err(source) => {
            let log = fs::read_to_string(&log).unwrap_or_default();
            Err(Error::Boot { limit: BOOT, log, source })
        }
    }
}

/// Reads the supervisor's notifications up to READY=1; answers the number of the leader process.
fn await_ready(socket: &UnixDatagram) -> io::Result<String> {
    let deadline = Instant::now() + BOOT;
    let mut leader = None;
    let mut message = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = socket.recv(&mut message)?;
        for line in String::from_utf8_lossy(&message[..length]).lines() {
            match (line.strip_prefix("X_NSPAWN_LEADER_PID="), &leader) {
                (Some(number), _) => leader = Some(number.to_owned()),
                (None, Some(leader)) if line == "READY=1" => return Ok(leader.clone()),
                _ => {}
            }
        }
    }
}
