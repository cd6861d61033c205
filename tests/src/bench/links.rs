//! What each link costs: latency, many clients at once, a client that does nothing, the way back
//! after the host was started again.

mod client;
#[path = "../../../transport/link/tests/device/mod.rs"]
#[allow(dead_code, reason = "the tests of the device itself look into it")]
mod device;
#[path = "../../../transport/link/tests/made/machine.rs"]
mod machine;
#[path = "../../../transport/link/tests/made/qemu.rs"]
#[allow(dead_code, reason = "the tests of the daemon look into it")]
mod qemu;
mod subject;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use vgpu_link::handshake;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role};

use self::client::Client;
use self::subject::{Laid, Subject};
use super::{LIMIT, median_ms, memory, note, parse};
use crate::system::{Error, Result, at};
use crate::{Stage, Vgpud, run};

/// Clients that call at once.
const CROWDS: [usize; 3] = [1, 8, 64];

const LOAD_SECONDS: &str = "2";

/// How long a client that does nothing is watched.
const IDLE: Duration = Duration::from_secs(3);

/// Starts of the host that are timed, of each kind.
const STARTS: usize = 7;

/// Clients that are killed, one after the other: fewer, but three, where each takes long to be
/// noticed.
const KILLED: usize = 9;
const KILLING: Duration = Duration::from_secs(4);

/// How long new processes may find no host that has said that it listens.
const RETURN_LIMIT: Duration = Duration::from_secs(30);

/// Measures every link that this machine can have with itself; of the others says why not.
pub(super) fn measure(stage: &Stage) -> Result<Value> {
    let links = subject::LINKS.iter().map(|(name, lay)| match lay(stage, name)? {
        Laid::Ready(mut subject) => {
            note(&format!("the link {name}"));
            subject.measure()
        }
        Laid::Missing { why } => {
            note(&format!("no link {name}: {why}"));
            Ok(json!({ "link": name, "not_measured": why }))
        }
    });
    links.collect::<Result<_>>().map(Value::Array)
}

impl Subject<'_> {
    fn measure(&mut self) -> Result<Value> {
        let daemon = self.start()?;
        self.attach()?;
        let bytes = self.copied_bytes.to_string();
        let mut latency = self.command(0, &["latency", &bytes]);
        let mut figures = parse("link-client", &run(&mut latency, LIMIT)?.success()?)?;
        figures["link"] = self.name.into();
        let crowds = CROWDS.iter().map(|&clients| {
            settle(&daemon)?;
            self.crowd(clients)
        });
        figures["crowds"] = crowds.collect::<Result<_>>()?;
        figures["idle"] = self.idle(&daemon)?;
        figures["gone_after_kill"] = self.gone(&daemon)?;
        let there = (0..STARTS).map(|_| Ok(self.first(|| Ok(None))?.0));
        let there = median_ms(there.collect::<Result<_>>()?);
        drop(daemon);
        let starts = (0..STARTS).map(|_| self.welcome()).collect::<Result<_>>()?;
        figures["welcome_after_start_ms"] = median_ms(starts).into();
        let returns = (0..STARTS).map(|_| self.first(|| self.start().map(Some)));
        let (times, processes): (Vec<_>, Vec<_>) =
            returns.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        figures["first_copy"] = json!({
            "host_there_ms": there,
            "most_ms": most_ms(&times),
            "after_return_ms": median_ms(times),
            "processes_most": processes.into_iter().max(),
        });
        Ok(figures)
    }

    /// Lets so many clients call as fast as they can.
    fn crowd(&self, clients: usize) -> Result<Value> {
        let mut crowd = (0..clients)
            .map(|seat| Client::start(self, seat, &["load", LOAD_SECONDS]))
            .collect::<Result<Vec<_>>>()?;
        for client in &mut crowd {
            client.input(b"\n")?;
        }
        let mut rates = Vec::new();
        for client in &mut crowd {
            let said = parse("link-client", &client.line()?)?;
            rates.push(said["calls_per_second"].as_f64().unwrap_or(f64::NAN));
        }
        let all: f64 = rates.iter().sum();
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(json!({
            "clients": clients,
            "calls_per_second": all,
            // 1 where each had the same.
            "least_to_mean": least * clients as f64 / all,
        }))
    }

    /// Watches a client that has a context and does nothing, and its worker.
    fn idle(&self, daemon: &Vgpud) -> Result<Value> {
        settle(daemon)?;
        let mut client = Client::start(self, 0, &["idle"])?;
        let used = |client: &Client| {
            // Those that wait for a client use nothing.
            let workers = memory::children(daemon.pid())?.into_iter().map(processor_time);
            let workers = workers.sum::<Result<u64>>()?;
            let client = processor_time(client.pid())?;
            Ok::<_, Error>([client, workers, processor_time(daemon.pid())?])
        };
        let start = used(&client)?;
        client.watch(IDLE)?;
        let end = used(&client)?;
        let share = |at: usize| (end[at] - start[at]) as f64 / IDLE.as_nanos() as f64;
        let kib = |pid| memory::private_kib(pid).map(Option::unwrap_or_default);
        let workers = memory::children(daemon.pid())?.into_iter().map(kib);
        let memory = json!({
            "guest_kib": kib(client.pid())?,
            // The others wait for a client.
            "worker_kib": workers.collect::<Result<Vec<_>>>()?.into_iter().max(),
            "host_kib": kib(daemon.pid())?,
        });
        client.input(b"")?;
        Ok(json!({ "guest": share(0), "worker": share(1), "host": share(2), "memory": memory }))
    }

    /// Kills clients, and times how long until the host has collected the worker of each.
    fn gone(&self, daemon: &Vgpud) -> Result<Value> {
        let (began, mut times) = (Instant::now(), Vec::new());
        while times.len() < KILLED && (times.len() < 3 || began.elapsed() < KILLING) {
            settle(daemon)?;
            let mut client = Client::start(self, 0, &["idle"])?;
            let workers = memory::children(daemon.pid())?;
            client.kill()?;
            let killed = Instant::now();
            // Those that wait for a client stay.
            self.one_ends(&workers, daemon)?;
            times.push(killed.elapsed());
        }
        Ok(json!({ "most_ms": most_ms(&times), "median_ms": median_ms(times) }))
    }

    /// Waits until one of these processes has ended and is collected.
    fn one_ends(&self, workers: &[u32], daemon: &Vgpud) -> Result<()> {
        let began = Instant::now();
        let open = |pid: &u32| {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        };
        let ends: Vec<_> = workers.iter().filter_map(open).collect();
        if ends.len() == workers.len() {
            let limit = Timespec { tv_sec: LIMIT.as_secs() as i64, tv_nsec: 0 };
            let mut watched: Vec<_> =
                ends.iter().map(|end| PollFd::new(end, PollFlags::IN)).collect();
            // What came of it the list of processes says.
            let _ = poll(&mut watched, Some(&limit));
        }
        while workers.iter().all(|worker| Path::new(&format!("/proc/{worker}")).exists()) {
            if began.elapsed() > LIMIT {
                let (what, place) = ("the end of a worker".into(), self.name.into());
                return Err(Error::Missing { what, place, output: daemon.log() });
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Says whether the host welcomes a client now.
    fn is_welcome(&self) -> bool {
        let hello = Hello { role: Role::Guest, pid: std::process::id(), exe: Text::cut("bench") };
        if let Some(sysfs) = self.around.sysfs(0) {
            let limit = Instant::now() + LIMIT;
            return vgpu_link::pci::connect(sysfs, None, limit)
                .and_then(|mut link| handshake::introduce(&mut *link, &hello, limit))
                .is_ok();
        }
        let uri = self.uri.parse().expect("a URI of ours");
        vgpu_link::connect(&uri, &self.files, &hello, LIMIT).is_ok()
    }

    /// Starts a host and times how long until it welcomes a client that keeps trying.
    fn welcome(&self) -> Result<Duration> {
        let began = Instant::now();
        let daemon = self.start()?;
        while began.elapsed() < LIMIT {
            if self.is_welcome() {
                return Ok(began.elapsed());
            }
        }
        let (what, place) = ("a welcome".into(), self.uri.clone());
        Err(Error::Missing { what, place, output: daemon.log() })
    }

    /// Times how long, from the moment that the host listens, until a process that has called
    /// nothing before has a context and has copied there and back. Where one fails the next one
    /// tries; returns how many it took.
    fn first(&self, host: impl FnOnce() -> Result<Option<Vgpud>>) -> Result<(Duration, usize)> {
        let start = || Client::start(self, 0, &["first"]);
        let mut client = start()?;
        let _daemon = host()?;
        let began = Instant::now();
        for processes in 1.. {
            client.input(b"\n")?;
            match client.line() {
                Ok(_) => return Ok((began.elapsed(), processes)),
                Err(error) if began.elapsed() > RETURN_LIMIT => return Err(error),
                Err(_) => client = start()?,
            }
        }
        unreachable!("it returns before it has counted to the end")
    }
}

/// Waits until all that every client had is given back: a machine's memory has no more slots than
/// clients come at once.
fn settle(daemon: &Vgpud) -> Result<()> {
    let log = daemon.log();
    let clients = log.lines().filter(|line| line.starts_with("vgpud: client ")).count();
    daemon.logged("gone", clients).map(drop)
}

fn most_ms(times: &[Duration]) -> f64 {
    times.iter().max().map_or(f64::NAN, |most| most.as_secs_f64() * 1e3)
}

/// Nanoseconds that a process has had a processor (`proc(5)`, schedstat of its threads).
fn processor_time(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&path).map_err(at("reading", &path))? {
        let path = task.map_err(at("reading", &path))?.path().join("schedstat");
        // A thread that has just ended uses nothing.
        let text = fs::read_to_string(&path).unwrap_or_default();
        sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}
