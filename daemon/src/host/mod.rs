//! The host process: listens, hands each connection to a worker, keeps the ledger.
//!
//! One thread, one loop, nothing that waits for a client: the handshake is the worker's, so a
//! client that says nothing holds up its own worker only.

mod admission;
mod closing;
mod devices;
mod ending;
mod figures;
mod gauge;
mod hearing;
mod ledger;
mod lines;
mod machines;
pub(crate) mod metrics;
mod network;
mod opening;
mod pace;
mod reload;
mod signals;
mod sockets;
mod strangers;
mod supervisor;
mod tenants;
mod workers;

use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use vgpu_link::wire::control::SnapshotReply;

use crate::cli::Arguments;
use crate::config::{Config, tenant};
use crate::counts::Counts;
use crate::device::Source;
use crate::error::DaemonError;
use crate::figures::Totals;
use crate::{log, recording};
use closing::Closing;
pub(crate) use closing::gather;
use ending::Drain;
use ledger::Ledger;
use lines::Lines;
#[cfg(fuzzing)]
pub use machines::fuzzing::Room;
use machines::{Machines, Turn};
use metrics::{Answering, Door};
use opening::Opening;
#[cfg(test)]
pub(crate) use pace::Pace;
use signals::{Asked, Signals};
use sockets::Sockets;
use strangers::Strangers;
use supervisor::Supervisor;
use tenants::Tenants;
use workers::{Worker, Workers};

/// How long the host rests from accepting and from starting workers after one of them failed: what
/// is missing, such as file descriptors, is mended by the end of other clients only.
const REST: Duration = Duration::from_millis(100);

/// Runs until SIGTERM or SIGINT, or after SIGUSR1 until the last client is gone. `arguments` is
/// what a reload reads the configuration by.
///
/// # Errors
/// [`DaemonError`] if it cannot listen or cannot go on.
pub(crate) fn run(config: Config, arguments: Arguments) -> Result<(), DaemonError> {
    // Workers run as the same user. Where the kernel has no landlock, this keeps one that was taken
    // over from our memory (PR_SET_DUMPABLE); a worker has a setting of its own when it is started.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(DaemonError::system("keeping other processes out"))?;
    let signals = Signals::watch()?;
    raise_descriptors();
    if let Some(file) = &config.record {
        recording::begin(file)?;
    }
    let metrics = config.metrics.map(Door::metrics).transpose()?;
    let status = config.status.as_deref().map(Door::status).transpose()?;
    let answering = [metrics, status].map(|door| door.map(Answering::start).transpose());
    let [metrics, status] = answering;
    let tenants = Tenants::new(config.tenants.clone())?;
    let mut host = Host {
        sockets: Sockets::open(&config)?,
        machines: Machines::open(&config.machines)?,
        signals,
        supervisor: Supervisor::find(),
        workers: Workers::new(epoch(), &config),
        ledger: Ledger::new(tenants.limits()),
        tenants,
        found: None,
        metrics: metrics?,
        status: status?,
        totals: Totals::default(),
        counts: Vec::new(),
        began: Instant::now(),
        sessions: 0,
        lines: Lines::default(),
        failed: 0,
        rest_until: None,
        drain: None,
        closing: Closing::default(),
        strangers: Strangers::default(),
        gauged: Instant::now(),
        config,
        arguments,
    };
    let Opening::Done { reload } = host.open_devices()? else {
        host.stop();
        return Ok(());
    };
    tenant::check_gpus(&host.config.file, &host.config.tenants, host.ledger.devices())?;
    let device = host.config.device.clone();
    log::event("ready", &[("device", &device.name()), ("gpus", &host.ledger.devices())]);
    // Whoever is told may read the log.
    let status = host.status();
    host.supervisor.ready(status);
    if reload {
        host.reload();
    }
    let served = host.serve();
    let failed = host.stop();
    match device {
        Source::Replay { .. } if failed > 0 => {
            served.and(Err(DaemonError::Replayed { clients: failed }))
        }
        _ => served,
    }
}

/// Lets the host have as many descriptors as the system gives it: a client takes two, and the bells
/// of a virtual machine take one for each of its slots. Without, it refuses clients sooner.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err() {
        log::event("few-descriptors", &[("limit", &limit.current.unwrap_or(u64::MAX))]);
    }
}

/// Makes a number that differs between two starts: nanoseconds since 1970.
fn epoch() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

/// What the host process holds.
#[derive(Debug)]
struct Host {
    config: Config,
    /// What a reload reads the configuration by.
    arguments: Arguments,
    sockets: Sockets,
    machines: Machines,
    signals: Signals,
    supervisor: Supervisor,
    workers: Workers,
    ledger: Ledger,
    /// The devices, once the first worker has found them.
    found: Option<SnapshotReply>,
    /// Answers Prometheus.
    metrics: Option<Answering>,
    /// Answers the operator.
    status: Option<Answering>,
    totals: Totals,
    /// What workers have reported, by tenant.
    counts: Vec<Counts>,
    began: Instant,
    tenants: Tenants,
    /// Connections so far.
    sessions: u64,
    /// Which of them are in the log.
    lines: Lines,
    /// Workers that served a client and ended badly.
    failed: usize,
    /// Set while the host rests.
    rest_until: Option<Instant>,
    /// Set once no more clients are taken.
    drain: Option<Drain>,
    /// Connections that are to be closed.
    closing: Closing,
    /// Clients of the network that nobody knows yet.
    strangers: Strangers,
    /// When the memory of workers was measured last.
    gauged: Instant,
}

/// What woke the loop.
#[derive(Debug, Default)]
struct Ready {
    asked: Vec<Asked>,
    accept: bool,
    /// Whether a machine's QEMU came or went, or its guest rang.
    machines: bool,
    /// Whether somebody wants figures: Prometheus, the operator.
    asks: [bool; 2],
    /// Process ids of workers that said something or ended.
    workers: Vec<u32>,
}

impl Host {
    fn serve(&mut self) -> Result<(), DaemonError> {
        loop {
            let ready = self.wait()?;
            for asked in ready.asked {
                match asked {
                    Asked::Stop => self.wind_down(),
                    Asked::Drain if self.drain.is_none() => self.begin_to_drain(None),
                    Asked::Reload if self.drain.is_none() => self.reload(),
                    // It ends anyway.
                    Asked::Drain | Asked::Reload => {}
                }
            }
            for pid in ready.workers {
                self.hear(pid);
            }
            self.collect();
            self.gauge();
            self.sockets.look();
            if ready.asks.contains(&true) {
                self.answer(ready.asks);
            }
            if self.is_drained() {
                return Ok(());
            }
            if ready.accept {
                self.accept();
            }
            if self.rest_until.is_none() {
                let Turn { came, left, lacks } = self.machines.turn(ready.machines);
                left.into_iter().for_each(|connection| self.closing.close(connection));
                if lacks {
                    self.rest();
                }
                for visitor in came {
                    self.take_on(visitor);
                }
            }
            self.closing.turn();
            if self.rest_until.is_none()
                && self.drain.is_none()
                && let Err(error) = self.workers.refill()
            {
                // Those that are served are not disturbed.
                log::event("no-worker", &[("because", &log::chain(&error))]);
                self.rest();
            }
            let status = self.status();
            self.supervisor.turn(status);
        }
    }

    /// Says in one line what the host is doing, as `systemctl status` shows it.
    fn status(&self) -> String {
        let (clients, gpus) = (self.workers.serving(), self.ledger.devices());
        match self.drain {
            Some(_) => format!("stopping after the last of {clients} client(s)"),
            None => format!("{clients} of {} clients, {gpus} GPU(s)", self.config.clients_max),
        }
    }

    /// Waits for signals, clients and workers.
    fn wait(&mut self) -> Result<Ready, DaemonError> {
        self.rest_until = self.rest_until.filter(|&until| until > Instant::now());
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let rest = self.rest_until.map(left);
        let drain = self.drain.and_then(|drain| drain.until).map(left);
        let full = self.full_of_strangers();
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let sockets = if rest.is_none() { self.sockets.all() } else { &[] };
        let sockets = sockets.iter().filter(|socket| full.is_none() || !socket.is_network());
        watched.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        let first_worker = watched.len();
        let (pids, workers) = self.workers.watched();
        watched.extend(workers);
        let answering = [&self.metrics, &self.status];
        let answerers = watched.len();
        let asked = answering.into_iter().flatten();
        watched.extend(asked.map(|answering| PollFd::new(answering, PollFlags::IN)));
        let first_machine = watched.len();
        let rests = rest.is_some();
        watched.extend(if rests { Vec::new() } else { self.machines.watched() });
        let machines = self.machines.due().filter(|_| !rests).map(left);
        let (gauge, ending) = (self.gauge_due().map(left), self.workers.due().map(left));
        let certificate = self.sockets.due().map(left);
        let (full, closing) = (full.map(left), self.closing.due().map(left));
        let limit = [rest, drain, machines, gauge, ending, certificate, full, closing];
        let limit = limit.into_iter().chain([self.supervisor.due()]).flatten().min();
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut watched, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(DaemonError::system("waiting for clients")(errno)),
        }
        let woken = |watched: &PollFd<'_>| !watched.revents().is_empty();
        let mut asks = watched[answerers..first_machine].iter().map(woken);
        let asks = answering.map(|one| one.is_some() && asks.next() == Some(true));
        let machines = watched[first_machine..].iter().any(woken);
        let said = watched[first_worker..answerers].iter().zip(pids);
        let workers = said.filter(|(fd, _)| woken(fd)).map(|(_, pid)| pid).collect();
        let accept = watched[1..first_worker].iter().any(woken);
        let signal = woken(&watched[0]);
        let asked = if signal { self.signals.take() } else { Vec::new() };
        Ok(Ready { asked, accept, machines, asks, workers })
    }

    /// Accepts one client of each socket; the loop comes back for more.
    fn accept(&mut self) {
        let mut accepted = Vec::new();
        let full = self.full_of_strangers().is_some();
        for socket in self.sockets.all().iter().filter(|socket| !(full && socket.is_network())) {
            match socket.listener().accept() {
                Ok(client) => accepted.extend(client),
                Err(error) => {
                    log::event("cannot-accept", &[("because", &log::chain(&error))]);
                    self.rest_until = Some(Instant::now() + REST);
                }
            }
        }
        for client in accepted {
            self.take_on_arrival(client);
        }
    }

    /// Says until when nobody is accepted who comes by the network; `None` if somebody is.
    fn full_of_strangers(&mut self) -> Option<Instant> {
        let workers = &self.workers;
        let serves = |session| workers.all().iter().any(|worker| worker.session == Some(session));
        self.strangers.full_until(Instant::now(), serves)
    }

    fn rest(&mut self) {
        self.rest_until = Some(Instant::now() + REST);
    }
}
