//! The worker processes: started ahead of need, one for each client, gone with it.

use std::ffi::OsStr;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::admission::Visitor;
use crate::cli::WorkerOptions;
use crate::config::Config;
use crate::counts::Counts;
use crate::desk::{Desk, Tell, Way};
use crate::error::DaemonError;

/// One worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Our end of the socket between us.
    pub desk: Desk,
    /// Number of the connection that it serves; `None` while it waits for one.
    pub session: Option<u64>,
    /// Who is at the other end of that.
    pub peer: String,
    /// Since when.
    pub since: Instant,
    /// What it has reported.
    pub counts: Counts,
    process: Child,
    /// Set once it has to end.
    ending: Option<Ending>,
    /// The connection of its client until that has introduced itself: before, nobody knows whether
    /// the worker still has it, and the last to have it must not be this process (`closing`).
    pub held: Option<OwnedFd>,
    /// Whether its client came by the network and has not introduced itself.
    pub is_strangers: bool,
}

/// A worker that has to end. What its client held is held until it has: a process that dies still
/// has all of it.
#[derive(Debug)]
struct Ending {
    /// Readable when it has; `None` where the system gives none (Linux before 5.3).
    process: Option<OwnedFd>,
    /// When it is killed, or looked at again.
    due: Option<Instant>,
    /// Whether it does so because another one takes its place.
    is_replaced: bool,
}

/// A worker that ended.
#[derive(Debug)]
pub(crate) struct Gone {
    /// Process id.
    pub pid: u32,
    /// Number of the connection that it served.
    pub session: Option<u64>,
    /// How it ended, in words.
    pub ended: String,
    /// Whether it ended well.
    pub well: bool,
    /// Whether another one takes its place.
    pub is_replaced: bool,
    /// The connection of its client, if that never introduced itself.
    pub held: Option<OwnedFd>,
}

impl Worker {
    /// Starts one, and tells it what is known of the devices.
    fn start(
        epoch: u64,
        config: &Config,
        known: Option<BorrowedFd<'_>>,
    ) -> Result<Self, DaemonError> {
        let (desk, theirs) = Desk::pair()?;
        let process = command(epoch, config)
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| DaemonError::System { verb: "starting a worker", source })?;
        // Fails only if it is gone already, and is collected then.
        let _ = desk.send(&Tell::Known, known);
        let (peer, since, counts) = (String::new(), Instant::now(), Counts::default());
        Ok(Self {
            desk,
            session: None,
            peer,
            since,
            counts,
            process,
            ending: None,
            held: None,
            is_strangers: false,
        })
    }

    /// Process id, as the log names it.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks the worker to say goodbye to its client and to end.
    pub fn ask_to_stop(&self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // Fails only if it is gone already; `wait` has not been called, so no other process
            // can have its id.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends the worker at once, whatever it is doing; it is collected as one that ended by itself.
    pub fn cut(&self) {
        // As in `ask_to_stop`.
        let _ = kill_process(Pid::from_child(&self.process), Signal::KILL);
    }

    /// Says whether a client can be handed to it.
    fn is_waiting(&self) -> bool {
        self.session.is_none() && self.ending.is_none()
    }

    /// Its process id, and what is readable when there is something to hear of it.
    fn watched(&self) -> Option<(u32, PollFd<'_>)> {
        let fd = match &self.ending {
            None => self.desk.as_fd(),
            Some(ending) => ending.process.as_ref()?.as_fd(),
        };
        Some((self.pid(), PollFd::from_borrowed_fd(fd, PollFlags::IN)))
    }

    /// Says whether it has to end, and is heard no more.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Hears it no more, and gives it so long to end by itself.
    pub fn expect_end(&mut self, limit: Duration) {
        if self.ending.is_some() {
            return;
        }
        let process = pidfd_open(Pid::from_child(&self.process), PidfdFlags::empty()).ok();
        // Where nothing tells that it has ended, it is not waited for.
        let limit = if process.is_some() { limit } else { Duration::ZERO };
        let due = Some(Instant::now() + limit);
        self.ending = Some(Ending { process, due, is_replaced: false });
    }

    /// Collects it if it has ended, and kills it if its time is over; never waits for it.
    fn collect(&mut self, now: Instant) -> Option<Gone> {
        let ending = self.ending.as_mut()?;
        if ending.due.is_some_and(|due| due <= now) {
            // One that ended ignores this.
            let _ = self.process.kill();
            ending.due = ending.process.is_none().then(|| now + LOOK);
        }
        let (ended, well) = match self.process.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => (status.to_string(), status.success()),
            Err(error) => (error.to_string(), false),
        };
        let (is_replaced, held) = (ending.is_replaced, self.held.take());
        Some(Gone { pid: self.pid(), session: self.session, ended, well, is_replaced, held })
    }
}

/// What starts a worker.
fn command(epoch: u64, config: &Config) -> Command {
    let record = config.record.as_deref();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("worker")
        .args(["--epoch", &epoch.to_string()])
        .args(WorkerOptions::arguments(&config.device))
        .args(WorkerOptions::images_arguments(&config.images))
        .args(config.driver_connects.then_some("--driver-connects"))
        .args(["--pinned-bytes", &config.pinned_bytes.to_string()])
        .args(config.metrics.map(|_| "--counts"))
        .args(WorkerOptions::hide_arguments(&config.own_files()))
        .args(record.map(|file| [OsStr::new("--record"), file.as_os_str()]).into_iter().flatten())
        .envs(config.keeps_tenants_apart().then_some(NO_CACHE))
        .stdout(Stdio::null())
        // These are between systemd and the host process.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES");
    command
}

/// Keeps NVIDIA's driver from running what the worker of another client compiled: all workers are
/// the same user, and write to the same cache (CUDA C++ Programming Guide, environment variables).
/// It reads this when it is initialised, before anybody knows whose client the worker will serve.
const NO_CACHE: (&str, &str) = ("CUDA_CACHE_DISABLE", "1");

/// How long a worker that closed its end, or that is replaced, may take to end by itself.
pub(super) const END_LIMIT: Duration = Duration::from_secs(1);

/// How often a killed worker is looked at whose end nothing tells.
const LOOK: Duration = Duration::from_millis(20);

/// All workers.
#[derive(Debug)]
pub(crate) struct Workers {
    epoch: u64,
    config: Config,
    /// The sheet of the devices, once a worker has found them.
    known: Option<OwnedFd>,
    all: Vec<Worker>,
}

impl Workers {
    /// Prepares to start workers; starts none yet.
    pub fn new(epoch: u64, config: &Config) -> Self {
        Self { epoch, config: config.clone(), known: None, all: Vec::new() }
    }

    /// Starts one more.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system starts no more processes.
    pub fn start(&mut self) -> Result<(), DaemonError> {
        let known = self.known.as_ref().map(AsFd::as_fd);
        self.all.push(Worker::start(self.epoch, &self.config, known)?);
        Ok(())
    }

    /// Tells those that start from here on what is known of the devices; with none, they ask.
    pub fn know(&mut self, sheet: Option<OwnedFd>) {
        self.known = sheet;
    }

    /// Starts workers by another configuration from here on. Those that wait for a client are
    /// replaced if they were started by one that differs in what they are told.
    pub fn configure(&mut self, config: &Config) {
        let told = |config: &Config| {
            (
                config.device.clone(),
                config.images.clone(),
                config.record.clone(),
                config.metrics.is_some(),
                config.pinned_bytes,
                config.driver_connects,
                config.own_files(),
                config.keeps_tenants_apart(),
            )
        };
        let outdated = told(&self.config) != told(config);
        self.config = config.clone();
        if outdated {
            for worker in self.all.iter_mut().filter(|worker| worker.is_waiting()) {
                worker.ask_to_stop();
                worker.expect_end(END_LIMIT);
                worker.ending.iter_mut().for_each(|ending| ending.is_replaced = true);
            }
        }
    }

    /// All workers, waiting, serving or ending.
    pub fn all(&self) -> &[Worker] {
        &self.all
    }

    /// What wakes the loop besides [`Workers::due`], and the process ids that go with it.
    pub fn watched(&self) -> (Vec<u32>, Vec<PollFd<'_>>) {
        self.all.iter().filter_map(Worker::watched).unzip()
    }

    /// Says how many clients are served if no more are to be. Strangers take no place from those
    /// who are known.
    pub fn full(&self) -> Option<usize> {
        let known = |worker: &&Worker| worker.session.is_some() && !worker.is_strangers;
        Some(self.all.iter().filter(known).count())
            .filter(|&known| known >= self.config.clients_max)
    }

    /// Counts the workers that serve a client, or that have not ended since.
    pub fn serving(&self) -> usize {
        self.all.iter().filter(|worker| worker.session.is_some()).count()
    }

    /// Counts the workers that wait for a client.
    pub fn waiting(&self) -> usize {
        self.all.iter().filter(|worker| worker.is_waiting()).count()
    }

    /// Starts workers until enough are waiting.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system starts no more processes.
    pub fn refill(&mut self) -> Result<(), DaemonError> {
        let waiting = self.waiting();
        let room = self.config.clients_max.saturating_sub(self.serving());
        let target = self.config.device.workers_ahead().min(room);
        for _ in waiting..target {
            self.start()?;
        }
        Ok(())
    }

    /// Hands a connection to a waiting worker, or to a new one; returns its process id. `is_told`
    /// says whether the connection is in the log.
    ///
    /// # Errors
    /// [`DaemonError`] if no worker could be had; the connection is closed then.
    pub fn hand_over(
        &mut self,
        visitor: &Visitor,
        session: u64,
        is_told: bool,
    ) -> Result<u32, DaemonError> {
        if self.waiting() == 0 {
            self.start()?;
        }
        let worker = self
            .all
            .iter_mut()
            .find(|worker| worker.is_waiting())
            .expect("one was started just above if none was waiting");
        let handed: Vec<BorrowedFd<'_>> =
            iter::once(&visitor.line).chain(&visitor.handed).map(AsFd::as_fd).collect();
        let way = visitor.way.clone();
        worker.desk.hand_over(&Tell::Serve { session, way, is_told }, &handed)?;
        worker.session = Some(session);
        worker.is_strangers = matches!(visitor.way, Way::Tls(_));
        (worker.peer, worker.since) = (visitor.peer.to_string(), Instant::now());
        Ok(worker.pid())
    }

    /// Keeps the connection that was handed to a worker.
    pub fn hold(&mut self, pid: u32, connection: OwnedFd) {
        if let Some(worker) = self.of(pid) {
            worker.held = Some(connection);
        }
    }

    /// Adds what a worker reports.
    pub fn count(&mut self, pid: u32, counts: &Counts) {
        if let Some(worker) = self.of(pid) {
            worker.counts.add(counts);
        }
    }

    /// The worker of a process id.
    pub fn of(&mut self, pid: u32) -> Option<&mut Worker> {
        self.all.iter_mut().find(|worker| worker.pid() == pid)
    }

    /// When a worker is to be collected, whether it tells of its end or not.
    pub fn due(&self) -> Option<Instant> {
        self.all.iter().filter_map(|worker| worker.ending.as_ref()?.due).min()
    }

    /// Ends all of them at once.
    pub fn end_all(&mut self) {
        for worker in &mut self.all {
            worker.expect_end(Duration::ZERO);
            worker.ending.iter_mut().for_each(|ending| ending.due = Some(Instant::now()));
        }
    }

    /// Takes out those that ended; kills those that should have.
    pub fn collect(&mut self) -> Vec<Gone> {
        let (now, mut gone) = (Instant::now(), Vec::new());
        self.all.retain_mut(|worker| match worker.collect(now) {
            None => true,
            Some(ended) => {
                gone.push(ended);
                false
            }
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;
    use crate::config::tenant::Tenant;

    /// One tenant's worker could leave a kernel in the cache that runs for all others.
    #[test]
    fn with_tenants_no_driver_keeps_what_it_compiled_for_others() {
        let line = ["vgpud", "--device", "sim", "--config", "/dev/null"];
        let arguments = Arguments::try_parse_from(line).expect("right usage");
        let mut config = Config::load(&arguments).expect("right");
        let told = |config: &Config| {
            let name = OsStr::new(NO_CACHE.0);
            command(1, config).get_envs().any(|env| env == (name, Some(OsStr::new("1"))))
        };
        assert!(!told(&config), "everybody is one tenant");
        config.tenants.push(Tenant::default());
        assert!(told(&config));
    }
}
