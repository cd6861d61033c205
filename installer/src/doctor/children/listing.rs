//! Ollama's own discovery without its server: the recipe of 0.30 and later, three children for each
//! directory of backends.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Seen, place, user};
use crate::error::Result;
use crate::host::{Host, Outcome, Program, User};
use crate::verify::Child;

/// Ollama's own limit for each of its children that look for GPUs.
const DEADLINE: Duration = Duration::from_secs(30);

/// What Ollama's own children said about one directory of backends.
pub(in crate::doctor) struct Listing {
    /// The directory.
    pub(in crate::doctor) dir: String,
    /// Devices, as `llama-server --list-devices` prints them.
    pub(in crate::doctor) devices: Vec<String>,
    /// The same for the first device by itself, as Ollama asks again to drop what does not start.
    pub(in crate::doctor) confirmed: Vec<String>,
    /// Each child with its name, how long it took, and whether it ended well.
    pub(in crate::doctor) children: Vec<(&'static str, Duration, bool)>,
    /// What `gpu-discover` printed.
    pub(in crate::doctor) discovered: String,
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
    if host.open(&server)?.is_none() {
        let needs = format!(
            "needs Ollama 0.30 or later: {library_dir} has no llama-server, and an older Ollama \
             looks for GPUs inside of its server"
        );
        return Ok(seen(Err(needs), String::new()));
    }
    let user = match user(host, Some(child))? {
        Ok(user) => user,
        Err(needs) => return Ok(seen(Err(needs), String::new())),
    };
    let asked = Asked { host, user, environment: environment(child) };
    let flags = || ["--list-devices", "--offline", "--verbose"].map(OsString::from).into();
    let listed = asked.run(&server, flags(), &[])?;
    let alone = [("CUDA_VISIBLE_DEVICES", "0"), ("GGML_CUDA_INIT", "1")];
    let again = asked.run(&server, flags(), &alone)?;
    let dirs = [library_dir, &child.bundle.dir];
    let mut arguments = vec![OsString::from("gpu-discover")];
    arguments.extend(dirs.iter().flat_map(|dir| ["--lib-dir".into(), dir.as_os_str().into()]));
    let discovered = asked.run(&child.ollama.executable, arguments, &[])?;
    let row =
        |name, (outcome, took): &(Outcome, Duration)| (name, *took, outcome.status == Some(0));
    let found = Listing {
        dir: child.bundle.dir.to_string(),
        devices: devices(&listed.0),
        confirmed: devices(&again.0),
        children: vec![
            row("llama-server --list-devices", &listed),
            row("the same for the first device", &again),
            row("ollama gpu-discover", &discovered),
        ],
        discovered: String::from_utf8_lossy(&discovered.0.stdout).trim().to_owned(),
    };
    let said = [&listed, &again, &discovered].map(|(outcome, _)| outcome.stderr.as_slice());
    Ok(seen(Ok(found), String::from_utf8_lossy(&said.concat()).into_owned()))
}

/// The environment of Ollama's children while it looks, with every word that they have.
fn environment(child: &Child<'_>) -> Vec<(OsString, OsString)> {
    let mut environment = child.environment.clone();
    environment.retain(|(name, _)| name != "GGML_BACKEND_PATH" && name != "OLLAMA_DEBUG");
    let backend = child.bundle.dir.join("libggml-cuda.so");
    environment.push(("GGML_BACKEND_PATH".into(), backend.into()));
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
    fn run(
        &self,
        path: &Path,
        arguments: Vec<OsString>,
        more: &[(&str, &str)],
    ) -> Result<(Outcome, Duration)> {
        let mut environment = self.environment.clone();
        environment.retain(|(known, _)| !more.iter().any(|(name, _)| known == name));
        environment.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
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
