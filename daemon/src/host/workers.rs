//! The worker processes: started ahead of need, one for each client, gone with it.

use std::ffi::OsStr;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::admission::Visitor;
use crate::cli::WorkerOptions;
use crate::config::Config;
use crate::counts::Counts;
use crate::desk::{Desk, Tell};
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
}

impl Worker {
    fn start(epoch: u64, config: &Config) -> Result<Self, DaemonError> {
        let record = config.record.as_deref();
        let (desk, theirs) = Desk::pair()?;
        let process = Command::new("/proc/self/exe")
            .arg("worker")
            .args(["--epoch", &epoch.to_string()])
            .args(WorkerOptions::arguments(&config.device))
            .args(WorkerOptions::images_arguments(&config.images))
            .args(["--pinned-bytes", &config.pinned_bytes.to_string()])
            .args(config.metrics.map(|_| "--counts"))
            .args(WorkerOptions::hide_arguments(&config.own_files()))
            .args(
                record.map(|file| [OsStr::new("--record"), file.as_os_str()]).into_iter().flatten(),
            )
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // These are between systemd and the host process.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .spawn()
            .map_err(|source| DaemonError::System { verb: "starting a worker", source })?;
        let (peer, since, counts) = (String::new(), Instant::now(), Counts::default());
        Ok(Self { desk, session: None, peer, since, counts, process })
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

    fn await_end(&self) {
        let pid = Pid::from_child(&self.process);
        // Where the system has no pidfd to give, the worker is ended at once.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&END_LIMIT));
    }

    /// Ends what is left of the process and collects it; returns how it ended, and whether well.
    pub fn end(mut self) -> (String, bool) {
        // It closed its end of the desk, so it is ending, and how tells whether it did well.
        self.await_end();
        // A worker that does not end is no longer of use; one that ended ignores this.
        let _ = self.process.kill();
        match self.process.wait() {
            Ok(status) => (status.to_string(), status.success()),
            Err(error) => (error.to_string(), false),
        }
    }
}

/// How long a worker that closed its end may take to end by itself: 1 second.
const END_LIMIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// All workers.
#[derive(Debug)]
pub(crate) struct Workers {
    epoch: u64,
    config: Config,
    all: Vec<Worker>,
}

impl Workers {
    /// Prepares to start workers; starts none yet.
    pub fn new(epoch: u64, config: &Config) -> Self {
        Self { epoch, config: config.clone(), all: Vec::new() }
    }

    fn start(&mut self) -> Result<(), DaemonError> {
        self.all.push(Worker::start(self.epoch, &self.config)?);
        Ok(())
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
            )
        };
        let outdated = told(&self.config) != told(config);
        self.config = config.clone();
        if outdated {
            let waiting = self.all.extract_if(.., |worker| worker.session.is_none());
            let waiting: Vec<Worker> = waiting.collect();
            waiting.iter().for_each(Worker::ask_to_stop);
            waiting.into_iter().for_each(|worker| drop(worker.end()));
        }
    }

    /// All workers, waiting or serving.
    pub fn all(&self) -> &[Worker] {
        &self.all
    }

    /// Says whether no more clients are to be served.
    pub fn is_full(&self) -> bool {
        self.serving() >= self.config.clients_max
    }

    /// Counts the workers that serve a client.
    pub fn serving(&self) -> usize {
        self.all.iter().filter(|worker| worker.session.is_some()).count()
    }

    /// Starts workers until enough are waiting.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system starts no more processes.
    pub fn refill(&mut self) -> Result<(), DaemonError> {
        let waiting = self.all.len() - self.serving();
        let room = self.config.clients_max.saturating_sub(self.serving());
        let target = self.config.device.workers_ahead().min(room);
        for _ in waiting..target {
            self.start()?;
        }
        Ok(())
    }

    /// Hands a connection to a waiting worker, or to a new one; returns its process id.
    ///
    /// # Errors
    /// [`DaemonError`] if no worker could be had; the connection is closed then.
    pub fn hand_over(&mut self, visitor: &Visitor, session: u64) -> Result<u32, DaemonError> {
        if self.serving() == self.all.len() {
            self.start()?;
        }
        let worker = self
            .all
            .iter_mut()
            .find(|worker| worker.session.is_none())
            .expect("one was started just above if none was waiting");
        let handed: Vec<BorrowedFd<'_>> =
            iter::once(&visitor.line).chain(&visitor.handed).map(AsFd::as_fd).collect();
        let way = visitor.way.clone();
        worker.desk.hand_over(&Tell::Serve { session, way }, &handed)?;
        worker.session = Some(session);
        (worker.peer, worker.since) = (visitor.peer.to_string(), Instant::now());
        Ok(worker.pid())
    }

    /// Adds what a worker reports.
    pub fn count(&mut self, pid: u32, counts: &Counts) {
        if let Some(worker) = self.all.iter_mut().find(|worker| worker.pid() == pid) {
            worker.counts.add(counts);
        }
    }

    /// Takes a worker out of the list.
    pub fn take(&mut self, pid: u32) -> Option<Worker> {
        let at = self.all.iter().position(|worker| worker.pid() == pid)?;
        Some(self.all.swap_remove(at))
    }
}
