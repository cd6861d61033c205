//! What each link costs: latency, many clients at once, a client that does nothing, the way back
//! after the host was started again.

#[path = "../../../transport/link/tests/made/machine.rs"]
mod machine;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use serde_json::{Value, json};
use vgpu_link::handshake;
use vgpu_link::tls::Files;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role};

use self::machine::Machine;
use super::{LIMIT, memory, parse};
use crate::client::{Way, over};
use crate::system::{Error, Result, at};
use crate::{Stage, Vgpud, run};

/// Clients that call at once.
const CROWDS: [usize; 3] = [1, 8, 64];

const LOAD_SECONDS: &str = "2";

/// How long a client that does nothing is watched.
const IDLE: Duration = Duration::from_secs(3);

/// Starts of the host that are timed.
const STARTS: usize = 7;

/// Clients that are killed, one after the other.
const KILLED: usize = 9;

/// Memory of the machine: room for 64 clients that pin 32 MiB. What nobody writes costs nothing.
const MACHINE_BYTES: u64 = 4 << 30;

/// What a guest finds that this machine has not.
enum Around {
    Nothing,
    /// Directories of an overlay over `/etc`, with `vgpu/guest.toml` in it.
    Etc([PathBuf; 2]),
    /// A PCI device.
    Device(Machine),
}

/// One link to a host, and what a guest needs for it.
struct Subject<'a> {
    stage: &'a Stage,
    name: &'static str,
    uri: String,
    around: Around,
    files: Files,
}

/// Measures every link that this machine can have with itself.
pub(super) fn measure(stage: &Stage) -> Result<Value> {
    let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
    let (host, config) = certificates(stage, directory.path())?;
    let (_memory, machine) = machine(&config)?;
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let tls = format!("tls:127.0.0.1:{}", port.map_err(at("binding", "a port"))?.port());
    let arguments = ["--config", &config.to_string_lossy(), "--listen", &tls];
    let arguments = [&arguments[..], &["--clients-max", "200"]].concat();
    let daemon = Vgpud::simulated(stage, &arguments)?;
    let subject = |name, uri, around, files| Subject { stage, name, uri, around, files };
    let none = Files::default;
    let subjects = [
        subject("unix", daemon.link(), Around::Nothing, none()),
        subject("tls", tls.clone(), Around::Etc(host.1), host.0),
        subject("pci, without a doorbell", "pci:auto".into(), Around::Device(machine), none()),
    ];
    let mut links = Vec::new();
    for subject in &subjects {
        super::note(&format!("the link {}", subject.name));
        let mut latency = subject.command(&["latency"]);
        let mut figures = parse("link-client", &run(&mut latency, LIMIT)?.success()?)?;
        figures["link"] = subject.name.into();
        figures["crowds"] =
            CROWDS.iter().map(|&clients| subject.crowd(clients)).collect::<Result<_>>()?;
        figures["idle"] = subject.idle(&daemon)?;
        figures["gone_after_kill"] = subject.gone(&daemon)?;
        links.push(figures);
    }
    drop(daemon);
    for (subject, figures) in subjects.iter().zip(&mut links) {
        let starts = (0..STARTS).map(|_| subject.start(&arguments)).collect::<Result<Vec<_>>>()?;
        figures["welcome_after_start_ms"] = super::median_ms(starts).into();
    }
    Ok(Value::Array(links))
}

/// Makes a CA, certificates and both configurations; returns what a guest has, and the host's file.
fn certificates(stage: &Stage, directory: &Path) -> Result<((Files, [PathBuf; 2]), PathBuf)> {
    let ca = directory.join("ca");
    let make = |arguments: &[&str]| {
        let mut vgpud = Command::new(stage.vgpud());
        vgpud.arg("ca").args(arguments).arg("--directory").arg(&ca);
        run(&mut vgpud, LIMIT)?.success()
    };
    make(&["init"])?;
    make(&["issue", "--host", "127.0.0.1"])?;
    make(&["issue", "--tenant", "bench"])?;
    let issued = |side: &str, name: &str| {
        let out = ca.join("issued").join(format!("{side}-{name}"));
        let file = |name: String| out.join(name);
        Files {
            ca: file("ca.pem".into()),
            certificate: file(format!("{side}.pem")),
            key: file(format!("{side}.key")),
        }
    };
    let write = |path: &Path, text: String| fs::write(path, text).map_err(at("writing", path));
    let Files { ca: clients, certificate, key } = issued("host", "127.0.0.1");
    let config = directory.join("host.toml");
    let text =
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nclients_ca = {clients:?}\n");
    write(&config, text)?;
    let overlay = [directory.join("etc"), directory.join("work")];
    for path in [&overlay[0].join("vgpu"), &overlay[1]] {
        fs::create_dir_all(path).map_err(at("creating", path))?;
    }
    let files = issued("guest", "bench");
    let Files { ca, certificate, key } = &files;
    let text = format!("[tls]\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\n");
    write(&overlay[0].join("vgpu/guest.toml"), text)?;
    Ok(((files, overlay), config))
}

/// Makes a machine whose memory is a file, and adds it to the host's configuration.
fn machine(config: &Path) -> Result<(tempfile::TempDir, Machine)> {
    let shared = "/dev/shm";
    let directory = tempfile::tempdir_in(shared).map_err(at("creating", shared))?;
    let memory = directory.path().join("machine");
    let made = fs::File::create(&memory).and_then(|file| file.set_len(MACHINE_BYTES));
    made.map_err(at("creating", &memory))?;
    let text = fs::read_to_string(config).map_err(at("reading", config))?;
    let text = format!("{text}[[machine]]\nname = \"bench\"\nmemory = {memory:?}\n");
    fs::write(config, text).map_err(at("writing", config))?;
    Ok((directory, Machine::new(&memory, MACHINE_BYTES)))
}

impl Subject<'_> {
    /// The client, in a machine whose `/etc` says what this link needs.
    fn command(&self, arguments: &[&str]) -> Command {
        let program = self.stage.test_program("link-client");
        let (mount, places) = match &self.around {
            Around::Nothing => {
                let mut command = over(self.stage, Way::SearchPath, &self.uri, program);
                command.args(arguments);
                return command;
            }
            Around::Etc([upper, work]) => {
                let overlay = "mount -t overlay overlay -o \
                               lowerdir=/etc,upperdir=\"$1\",workdir=\"$2\" /etc";
                (overlay, [upper.clone(), work.clone()])
            }
            Around::Device(machine) => {
                let bus = machine.sysfs().join("bus/pci");
                ("mount --bind \"$1\" \"$2\"", [bus, "/sys/bus/pci".into()])
            }
        };
        let mut command = over(self.stage, Way::SearchPath, &self.uri, "unshare");
        command.args(["--mount", "--map-root-user"].iter().take(match geteuid().is_root() {
            true => 1,
            false => 2,
        }));
        let script = format!("{mount} && shift 2 && exec \"$@\"");
        command.args(["sh", "-c", &script, "sh"]).args(places).arg(program).args(arguments);
        command
    }

    /// Starts a client and waits until it has a context.
    fn client(&self, arguments: &[&str]) -> Result<Client> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(at("starting", "link-client"))?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut client = Client { child, stdout };
        client.line()?;
        Ok(client)
    }

    /// Lets so many clients call as fast as they can.
    fn crowd(&self, clients: usize) -> Result<Value> {
        let mut crowd = (0..clients)
            .map(|_| self.client(&["load", LOAD_SECONDS]))
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
        let mut client = self.client(&["idle"])?;
        let used = |client: &Client| {
            // Those that wait for a client use nothing.
            let workers = memory::children(daemon.pid())?.into_iter().map(processor_time);
            let workers = workers.sum::<Result<u64>>()?;
            let client = processor_time(client.child.id())?;
            Ok::<_, Error>([client, workers, processor_time(daemon.pid())?])
        };
        let start = used(&client)?;
        client.watch(IDLE)?;
        let end = used(&client)?;
        let share = |at: usize| (end[at] - start[at]) as f64 / IDLE.as_nanos() as f64;
        let kib = |pid| memory::private_kib(pid).map(Option::unwrap_or_default);
        let workers = memory::children(daemon.pid())?.into_iter().map(kib);
        let memory = json!({
            "guest_kib": kib(client.child.id())?,
            // The others wait for a client.
            "worker_kib": workers.collect::<Result<Vec<_>>>()?.into_iter().max(),
            "host_kib": kib(daemon.pid())?,
        });
        client.input(b"")?;
        Ok(json!({ "guest": share(0), "worker": share(1), "host": share(2), "memory": memory }))
    }

    /// Kills clients, and times how long until the host has collected the worker of each.
    fn gone(&self, daemon: &Vgpud) -> Result<Value> {
        let mut times = Vec::new();
        for _ in 0..KILLED {
            let mut client = self.client(&["idle"])?;
            let workers = memory::children(daemon.pid())?;
            client.child.kill().map_err(at("ending", "link-client"))?;
            let killed = Instant::now();
            // Those that wait for a client stay.
            self.one_ends(&workers, daemon)?;
            times.push(killed.elapsed());
        }
        let most = times.iter().max().map_or(f64::NAN, |most| most.as_secs_f64() * 1e3);
        Ok(json!({ "median_ms": super::median_ms(times), "most_ms": most }))
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
    fn is_welcome(&self, daemon: &Vgpud) -> bool {
        let hello = Hello { role: Role::Guest, pid: std::process::id(), exe: Text::cut("bench") };
        let uri = match &self.around {
            Around::Device(machine) => {
                let limit = Instant::now() + LIMIT;
                return vgpu_link::pci::connect(machine.sysfs(), None, limit)
                    .and_then(|mut link| handshake::introduce(&mut *link, &hello, limit))
                    .is_ok();
            }
            Around::Etc(_) => self.uri.clone(),
            Around::Nothing => daemon.link(),
        };
        let uri = uri.parse().expect("a URI of ours");
        vgpu_link::connect(&uri, &self.files, &hello, LIMIT).is_ok()
    }

    /// Starts a host and times how long until it welcomes a client that keeps trying.
    fn start(&self, arguments: &[&str]) -> Result<Duration> {
        let began = Instant::now();
        let daemon = Vgpud::simulated(self.stage, arguments)?;
        while began.elapsed() < LIMIT {
            if self.is_welcome(&daemon) {
                return Ok(began.elapsed());
            }
        }
        Err(Error::Missing {
            what: "a welcome".into(),
            place: self.uri.clone(),
            output: daemon.log(),
        })
    }
}

/// A client that was started.
struct Client {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Client {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout.read_line(&mut line).map_err(at("reading from", "link-client"))?;
        }
        match line.is_empty() {
            false => Ok(line),
            true => Err(Error::Missing {
                what: "an answer".into(),
                place: "link-client".into(),
                output: format!("{:?}", self.child.wait()),
            }),
        }
    }

    /// Lets so much time pass, unless the client ends.
    fn watch(&self, time: Duration) -> Result<()> {
        let Some(stdout) = &self.stdout else { return Ok(()) };
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut [PollFd::new(stdout.get_ref(), PollFlags::IN)], Some(&time)) {
            Ok(0) => Ok(()),
            ended => Err(Error::Missing {
                what: "a client that waits".into(),
                place: "link-client".into(),
                output: format!("{ended:?}"),
            }),
        }
    }

    /// Writes to the client and ends its input.
    fn input(&mut self, bytes: &[u8]) -> Result<()> {
        let mut stdin = self.child.stdin.take();
        match &mut stdin {
            Some(stdin) => stdin.write_all(bytes).map_err(at("writing to", "link-client")),
            None => Ok(()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // One that fails has no more to say; the figures are there or their absence was told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
