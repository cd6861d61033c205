//! A host daemon for one test: started from the stage, on a socket of its own, ended with it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::Stage;
use crate::system::{Error, Result, at, wait};

/// A daemon on a busy two-core machine needs well under a second; the rest is patience.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How long the daemon may take to end its workers when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How long an event that is due may take to appear in the log.
const LOG_LIMIT: Duration = Duration::from_secs(20);

/// Chooses what a test's host is: unset, the simulated device; `chain`, a host whose "genuine
/// driver" is a copy of our own libraries, over a second host with the simulated device.
const SUBJECT: &str = "VGPU_SUBJECT";

/// A running `vgpud`. Dropping it ends it.
#[derive(Debug)]
pub struct Vgpud {
    child: Child,
    directory: tempfile::TempDir,
    /// In a chain: the host that this one's driver asks, and the directory of that driver.
    below: Option<(Box<Vgpud>, tempfile::TempDir)>,
}

/// What a chain's hosts, and the "genuine driver" between them, are like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain<'a> {
    /// Further arguments of both hosts.
    pub arguments: &'a [&'a str],
    /// Further arguments of the host that has the driver.
    pub above: &'a [&'a str],
    /// Functions that the driver does not have.
    pub without: &'a [&'a str],
    /// Whether the log tells, for each client, how often each function of the driver was called.
    pub counts: bool,
}

impl Vgpud {
    /// Starts the stage's daemon and waits until it says `READY=1` (`sd_notify(3)`), which it does
    /// once its socket accepts connections.
    ///
    /// # Errors
    /// If it does not start, ends early or is not ready in time; with what it logged.
    pub fn start(stage: &Stage) -> Result<Self> {
        Self::start_with(stage, &[])
    }

    /// Starts it with further arguments.
    ///
    /// # Errors
    /// As [`Vgpud::start`].
    pub fn start_with(stage: &Stage, arguments: &[&str]) -> Result<Self> {
        match std::env::var(SUBJECT).as_deref() {
            Ok("chain") => Self::chain(stage, arguments),
            _ => Self::simulated(stage, arguments),
        }
    }

    /// Starts a host with the simulated device.
    ///
    /// # Errors
    /// As [`Vgpud::start`].
    pub fn simulated(stage: &Stage, arguments: &[&str]) -> Result<Self> {
        Self::launch(stage, &[&["--device", "sim"], arguments].concat(), None)
    }

    /// Starts a host that serves a "genuine driver": our libraries without their mark, in the
    /// host's own directory, over a second host with the simulated device. So every C function
    /// that the host calls is called, and answered by something that checks its arguments.
    ///
    /// # Errors
    /// As [`Vgpud::start`].
    pub fn chain(stage: &Stage, arguments: &[&str]) -> Result<Self> {
        Self::chain_with(stage, &Chain { arguments, ..Chain::default() })
    }

    /// Starts such a host over a driver that is told more of.
    ///
    /// # Errors
    /// As [`Vgpud::start`]; if the driver has no such function to lack.
    pub fn chain_with(stage: &Stage, chain: &Chain<'_>) -> Result<Self> {
        let below = Self::simulated(stage, chain.arguments)?;
        let driver = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
        for soname in ["libcuda.so.1", "libnvidia-ml.so.1", "libcublas.so.12", "libcublas.so.13"] {
            unmarked(&stage.library(soname), &driver.path().join(soname))?;
        }
        for name in chain.without {
            hide(&driver.path().join("libcuda.so.1"), name)?;
        }
        let path = driver.path().to_string_lossy();
        let above = ["--device", "nvidia", "--driver-dir", &path, "--cublas-dir", &path];
        // This driver's GPU is behind a socket.
        let above = [&above, &["--driver-connects"][..], chain.above].concat();
        let (link, stats) = (below.link(), ("VGPU_STATS", "1"));
        let environment = [Some(("VGPU_LINK", &*link)), chain.counts.then_some(stats)];
        let environment: Vec<_> = environment.into_iter().flatten().collect();
        let mut host = Self::launch_in(stage, &[&above, chain.arguments].concat(), &environment)?;
        host.below = Some((Box::new(below), driver));
        Ok(host)
    }

    /// Starts the daemon with these arguments, on a socket of its own.
    ///
    /// # Errors
    /// As [`Vgpud::start`].
    pub fn launch(stage: &Stage, arguments: &[&str], link: Option<&str>) -> Result<Self> {
        let link = link.map(|link| ("VGPU_LINK", link));
        Self::launch_in(stage, arguments, link.as_slice())
    }

    fn launch_in(stage: &Stage, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
        let notify = directory.path().join("notify.sock");
        let ready = UnixDatagram::bind(&notify).map_err(at("binding", &notify))?;
        let log = directory.path().join("log");
        let file = File::create(&log).map_err(at("creating", &log))?;
        let output = file.try_clone().map_err(at("opening", &log))?;
        let program = stage.vgpud();
        let mut command = Command::new(&program);
        let child = command
            .arg("--listen")
            .arg(format!("unix:{}", directory.path().join("vgpud.sock").display()))
            .args(arguments)
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("VGPU_STATS")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(file)
            .spawn()
            .map_err(at("starting", program))?;
        let mut daemon = Self { child, directory, below: None };
        daemon.wait_until_ready(&ready)?;
        Ok(daemon)
    }

    /// The link that clients are given in `VGPU_LINK`.
    pub fn link(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("vgpud.sock")
    }

    /// What it wrote so far, on both streams.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        let own = String::from_utf8_lossy(&bytes).into_owned();
        match &self.below {
            Some((below, _)) => format!("{own}\nthe host below:\n{}", below.log()),
            None => own,
        }
    }

    /// Waits until it has logged an event so many times, and returns the log.
    ///
    /// # Errors
    /// If it does not in time; with what it logged.
    pub fn logged(&self, event: &str, times: usize) -> Result<String> {
        let path = self.directory.path().join("log");
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let watch = watch.map_err(io::Error::from).map_err(at("watching", &path))?;
        let watched = inotify::add_watch(&watch, &path, WatchFlags::MODIFY);
        watched.map_err(io::Error::from).map_err(at("watching", &path))?;
        let deadline = Instant::now() + LOG_LIMIT;
        let begin = format!("vgpud: {event}");
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(&begin);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        loop {
            let log = self.log();
            if log.lines().filter(is_it).count() >= times {
                return Ok(log);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("{times} × {begin}");
                return Err(Error::Missing { what, place: "its log".into(), output: log });
            }
            let left = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(at("watching", &path)(error.into())),
            }
            // What changed is read from the log itself.
            while rustix::io::read(&watch, &mut [0; 4096]).is_ok_and(|read| read > 0) {}
        }
    }

    /// Ends it, with all that serve a client, and returns what it wrote to the end.
    pub fn end(mut self) -> String {
        self.stop();
        let below = self.below.take();
        format!(
            "{}\nthe host below:\n{}",
            self.log(),
            below.map_or_else(String::new, |(it, _)| it.end())
        )
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Asked first, so that it can end its workers; `wait` kills what does not listen. There is
        // nobody to tell if even that fails, and the test's own outcome matters more.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let _ = wait(&mut self.child, END_LIMIT);
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the datagram in short turns, so that a daemon that died is told from a slow one.
    fn wait_until_ready(&mut self, ready: &UnixDatagram) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let turn = Duration::from_millis(100);
        ready.set_read_timeout(Some(turn)).map_err(at("waiting on", "the notify socket"))?;
        let mut message = [0; 512];
        loop {
            match ready.recv(&mut message) {
                Ok(length) if message[..length].split(|byte| *byte == b'\n').any(is_ready) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(at("waiting on", "the notify socket")(error)),
            }
            let ended = self.child.try_wait().map_err(at("waiting for", "vgpud"))?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(Error::Missing {
                    what: "READY=1".into(),
                    place: match ended {
                        Some(status) => format!("vgpud, which ended with {status}"),
                        None => format!("vgpud within {READY_LIMIT:?}"),
                    },
                    output: self.log(),
                });
            }
        }
    }
}

/// Copies one of our libraries without its mark (`shims/guest/src/mark.rs`): an ELF note whose
/// owner is `vgpu`, and `none` in the copy.
///
/// # Errors
/// If a file cannot be read or written, or holds no mark.
pub fn unmarked(library: &Path, copy: &Path) -> Result<()> {
    let mut bytes = std::fs::read(library).map_err(at("reading", library))?;
    // Lengths of the owner and of the content, type, owner.
    let mark = b"\x05\0\0\0\0\0\0\0\x01\0\0\0vgpu\0";
    let found = bytes.windows(mark.len()).position(|window| window == mark);
    let Some(start) = found else {
        let place = library.display().to_string();
        return Err(Error::Missing { what: "our mark".into(), place, output: String::new() });
    };
    bytes[start + 12..start + 16].copy_from_slice(b"none");
    std::fs::write(copy, bytes).map_err(at("writing", copy))
}

/// Takes a function from a library: its name, which the loader compares, becomes another.
fn hide(library: &Path, name: &str) -> Result<()> {
    let mut bytes = std::fs::read(library).map_err(at("reading", library))?;
    let entry = format!("\0{name}\0");
    let found = bytes.windows(entry.len()).position(|window| window == entry.as_bytes());
    let Some(start) = found else {
        let place = library.display().to_string();
        return Err(Error::Missing { what: name.into(), place, output: String::new() });
    };
    bytes[start + 1] = b'-';
    std::fs::write(library, bytes).map_err(at("writing", library))
}

fn is_ready(line: &[u8]) -> bool {
    line == b"READY=1"
}

impl Drop for Vgpud {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_ends_with_the_value_that_stands_for_it() {
        let host = Vgpud::start(&Stage::dev()).expect("the staged vgpud starts");
        let pid = Pid::from_raw(i32::try_from(host.pid()).expect("a process id"));
        let pid = pid.expect("a process id is not 0");
        assert!(host.socket().exists(), "ready means that clients can connect");
        rustix::process::test_kill_process(pid).expect("it runs");
        let socket = host.socket();
        drop(host);
        rustix::process::test_kill_process(pid).expect_err("it was ended and reaped");
        assert!(!socket.exists());
    }

    #[test]
    fn a_daemon_that_does_not_start_is_told_with_what_it_said() {
        let refused = Vgpud::start_with(&Stage::dev(), &["--no-such-option"]);
        match refused {
            Err(Error::Missing { output, .. }) => {
                assert!(output.contains("--no-such-option"), "{output}");
            }
            other => panic!("{other:?}"),
        }
    }
}
