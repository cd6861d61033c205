//! Ollama's own discovery without its server, for each directory of backends: since 0.30 three
//! children, since 0.12.4 a runner that is asked over HTTP.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Seen, ended, place, user};
use crate::error::Result;
use crate::facts::Ollama;
use crate::host::{Host, Outcome, Program, User};
use crate::probe::runner::{self, RunnerSeen};
use crate::verify::Child;

/// Ollama's own limit for each of its children that look for GPUs.
const DEADLINE: Duration = Duration::from_secs(30);
/// Ollama's limit for `gpu-discover`: a child beyond it is given up.
const DISCOVER_MAX: Duration = Duration::from_secs(15);
/// How long asking a runner may take: its own limit, and its start and end.
const RUNNER_DEADLINE: Duration = Duration::from_secs(45);
/// The first Ollama that looks for GPUs in children.
const RUNNER_SINCE: [u64; 3] = [0, 12, 4];
/// The first Ollama with a `llama-server`.
const SERVER_SINCE: [u64; 3] = [0, 30, 0];

/// What Ollama's own children said about one directory of backends.
pub(in crate::doctor) struct Listing {
    /// The directory.
    pub(in crate::doctor) dir: String,
    /// Devices: `CUDA0: NAME (N MiB, M MiB free)`.
    pub(in crate::doctor) devices: Vec<String>,
    /// The same for the first device by itself, as Ollama asks again to drop what does not start.
    pub(in crate::doctor) confirmed: Vec<String>,
    /// Each child with its name, how long it took, and whether it ended well.
    pub(in crate::doctor) children: Vec<(&'static str, Duration, bool)>,
    /// How long Ollama waits for the slowest of them.
    pub(in crate::doctor) limit: Duration,
    /// What else they said, each line with who said it.
    pub(in crate::doctor) told: Vec<String>,
}

/// Asks the children of one directory.
pub(super) fn of(host: &dyn Host, child: &Child<'_>) -> Result<Seen<Listing>> {
    let seen = |found, said| Seen {
        place: place(child.unit, Some((child.ollama, child.bundle))),
        unit: child.unit.cloned(),
        found,
        said,
    };
    let library_dir = &child.ollama.library_dir;
    let server = library_dir.join("llama-server");
    let has_server = host.open(&server)?.is_some();
    let lacking = if has_server { None } else { without_runner(child.ollama) };
    if let Some(needs) = lacking {
        return Ok(seen(Err(needs), String::new()));
    }
    let user = match user(host, Some(child))? {
        Ok(user) => user,
        Err(needs) => return Ok(seen(Err(needs), String::new())),
    };
    let asked = Asked { host, user, environment: environment(child) };
    let (found, said) =
        if has_server { by_server(&asked, child, &server)? } else { by_runner(&asked, child)? };
    Ok(seen(found, said))
}

/// Why an Ollama without a `llama-server` cannot be asked; none if its runner can be.
fn without_runner(ollama: &Ollama) -> Option<String> {
    let (program, dir) = (&ollama.executable, &ollama.library_dir);
    match (ollama.is_since(RUNNER_SINCE), ollama.is_since(SERVER_SINCE)) {
        (None, _) | (_, None) => Some(format!(
            "needs the version of {program}, which it does not tell: before 0.12.4 Ollama looks \
             for GPUs inside of its server"
        )),
        (Some(false), _) => Some(format!(
            "needs Ollama 0.12.4 or later: {program} looks for GPUs inside of its server"
        )),
        (_, Some(true)) => Some(format!("needs {dir}/llama-server, which this Ollama starts")),
        (Some(true), Some(false)) => None,
    }
}

/// What a look gave, or what it needs, and what was said meanwhile.
type Looked = (std::result::Result<Listing, String>, String);

/// Since 0.30.
fn by_server(asked: &Asked<'_>, child: &Child<'_>, server: &Path) -> Result<Looked> {
    let flags = || ["--list-devices", "--offline", "--verbose"].map(OsString::from).into();
    let listed = asked.run(server, flags(), &[])?;
    let again = asked.run(server, flags(), &alone("0"))?;
    let dirs = [&child.ollama.library_dir, &child.bundle.dir];
    let mut arguments = vec![OsString::from("gpu-discover")];
    arguments.extend(dirs.iter().flat_map(|dir| ["--lib-dir".into(), dir.as_os_str().into()]));
    let discovered = asked.run(&child.ollama.executable, arguments, &[])?;
    let row =
        |name, (outcome, took): &(Outcome, Duration)| (name, *took, outcome.status == Some(0));
    let printed = String::from_utf8_lossy(&discovered.0.stdout).trim().to_owned();
    let found = Listing {
        dir: child.bundle.dir.to_string(),
        devices: devices(&listed.0),
        confirmed: devices(&again.0),
        children: vec![
            row("llama-server --list-devices", &listed),
            row("the same for the first device", &again),
            row("ollama gpu-discover", &discovered),
        ],
        limit: DISCOVER_MAX,
        told: if printed.is_empty() { vec![] } else { vec![format!("gpu-discover: {printed}")] },
    };
    let said = [&listed, &again, &discovered].map(|(outcome, _)| outcome.stderr.as_slice());
    Ok((Ok(found), String::from_utf8_lossy(&said.concat()).into_owned()))
}

/// Since 0.12.4: a runner for all devices, then one for the first by itself.
fn by_runner(asked: &Asked<'_>, child: &Child<'_>) -> Result<Looked> {
    let program = &child.ollama.executable;
    let (first, mut said) = asked.runner(program, &[])?;
    let first = match first {
        Ok(first) => first,
        Err(needs) => return Ok((Err(needs), said)),
    };
    let cuda = |seen: &RunnerSeen| -> Vec<runner::Device> {
        let is_cuda = |device: &&runner::Device| device.backend.eq_ignore_ascii_case("cuda");
        seen.devices.iter().filter(is_cuda).cloned().collect()
    };
    let row = |name, seen: &RunnerSeen| {
        (name, Duration::from_millis(seen.took_ms), seen.trouble.is_none())
    };
    let found = cuda(&first);
    let mut listing = Listing {
        dir: child.bundle.dir.to_string(),
        devices: found.iter().map(words).collect(),
        confirmed: Vec::new(),
        children: vec![row("ollama runner", &first)],
        limit: runner::LIMIT,
        told: first.trouble.iter().map(|trouble| format!("runner: {trouble}")).collect(),
    };
    if let Some(device) = found.first() {
        let (again, more) = asked.runner(program, &alone(&device.id))?;
        said.push_str(&more);
        let again = match again {
            Ok(again) => again,
            Err(needs) => return Ok((Err(needs), said)),
        };
        listing.confirmed = cuda(&again).iter().map(words).collect();
        listing.children.push(row("the same for the first device", &again));
        listing.told.extend(again.trouble.iter().map(|trouble| format!("runner: {trouble}")));
    }
    Ok((Ok(listing), said))
}

/// A device in the words of `llama-server --list-devices`.
fn words(device: &runner::Device) -> String {
    let (total, free) = (device.total_memory >> 20, device.free_memory >> 20);
    format!("{}: {} ({total} MiB, {free} MiB free)", device.name, device.description)
}

/// The variables by which Ollama asks for one device alone, to drop what does not start.
fn alone(id: &str) -> [(&str, &str); 2] {
    [("CUDA_VISIBLE_DEVICES", id), ("GGML_CUDA_INIT", "1")]
}

/// The environment of Ollama's children while it looks, with every word that they have.
fn environment(child: &Child<'_>) -> Vec<(OsString, OsString)> {
    let mut environment = child.environment.clone();
    let own = ["GGML_BACKEND_PATH", "OLLAMA_LIBRARY_PATH", "OLLAMA_DEBUG"];
    environment.retain(|(name, _)| !own.iter().any(|one| name == one));
    // The first is what llama-server reads, the second the runner before it.
    let backend = child.bundle.dir.join("libggml-cuda.so");
    environment.push(("GGML_BACKEND_PATH".into(), backend.into()));
    let mut dirs = child.ollama.library_dir.as_os_str().to_owned();
    dirs.push(":");
    dirs.push(child.bundle.dir.as_os_str());
    environment.push(("OLLAMA_LIBRARY_PATH".into(), dirs));
    environment.push(("OLLAMA_DEBUG".into(), "2".into()));
    environment.push(("VGPU_STATS".into(), "1".into()));
    environment
}

struct Asked<'a> {
    host: &'a dyn Host,
    user: Option<User>,
    environment: Vec<(OsString, OsString)>,
}

impl Asked<'_> {
    /// Lets a runner be started and asked; in the inner error what that needs.
    fn runner(
        &self,
        ollama: &Path,
        more: &[(&str, &str)],
    ) -> Result<(std::result::Result<RunnerSeen, String>, String)> {
        let arguments = ["examine".into(), "runner".into(), "--program".into(), ollama.into()];
        let program = Program {
            path: "/".into(),
            arguments: arguments.into(),
            environment: self.with(more),
            deadline: RUNNER_DEADLINE,
        };
        let outcome = self.host.run_self(self.user.as_ref(), &program)?;
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        Ok(match serde_json::from_slice(&outcome.stdout) {
            Ok(seen) if outcome.status == Some(0) => (Ok(seen), said),
            _ => (Err(ended(&outcome, RUNNER_DEADLINE)), said),
        })
    }

    fn with(&self, more: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let mut environment = self.environment.clone();
        environment.retain(|(known, _)| !more.iter().any(|(name, _)| known == name));
        environment.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
        environment
    }

    fn run(
        &self,
        path: &Path,
        arguments: Vec<OsString>,
        more: &[(&str, &str)],
    ) -> Result<(Outcome, Duration)> {
        let environment = self.with(more);
        let program = Program { path: path.into(), arguments, environment, deadline: DEADLINE };
        let began = Instant::now();
        let outcome = self.host.run_as(self.user.as_ref(), &program)?;
        Ok((outcome, began.elapsed()))
    }
}

/// The lines that describe a device: `CUDA0: NAME (N MiB, M MiB free)`.
fn devices(listed: &Outcome) -> Vec<String> {
    let text = String::from_utf8_lossy(&listed.stdout);
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("CUDA") && line.ends_with(" MiB free)"))
        .map(str::to_owned)
        .collect()
}
