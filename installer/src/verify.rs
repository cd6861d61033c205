//! Does what is installed work, seen from the service? Two views: what ld.so would do, computed
//! for any root, and what a process of the service's user really sees, on the machine itself.

mod live;
mod model;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::facts::{Bundle, Facts, Layout, Ollama, Unit};
use crate::host::Host;
use crate::plan::{Scope, Warning};
use crate::unit_file::{assignments, has_specifier, without_percent_pairs, words};

/// The outcome of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is as it must be.
    Ok,
    /// Something a person should know.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be looked at; the text says why.
    Skipped,
}

impl Verdict {
    /// The verdict as a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Its outcome.
    pub verdict: Verdict,
    /// What was seen.
    pub what: String,
}

/// All checks, with what a person should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks in order.
    pub checks: Vec<Check>,
    /// Warnings with their remedy.
    pub warnings: Vec<Warning>,
}

impl Report {
    fn add(&mut self, name: &'static str, verdict: Verdict, what: impl Into<String>) {
        self.checks.push(Check { name, verdict, what: what.into() });
    }

    /// The first check that failed, as an error.
    ///
    /// # Errors
    /// [`Error::Verification`] if a check failed.
    pub fn error(&self) -> Result<()> {
        match self.checks.iter().find(|check| check.verdict == Verdict::Fail) {
            Some(check) => {
                Err(Error::Verification { check: check.name, because: check.what.clone() })
            }
            None => Ok(()),
        }
    }
}

/// One process of Ollama that loads a backend.
pub(crate) struct Child<'a> {
    /// Its Ollama.
    pub(crate) ollama: &'a Ollama,
    /// The directory of its backend.
    pub(crate) bundle: &'a Bundle,
    /// The unit that starts it, if one does.
    pub(crate) unit: Option<&'a Unit>,
    /// Name and value, as the process sees them.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Runs every check that this host allows.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at; a check that fails is in the report.
pub fn verify(host: &dyn Host, facts: &Facts, scope: Scope, require_gpu: bool) -> Result<Report> {
    let mut report = Report::default();
    files(facts, &mut report);
    let children = children(host, facts, scope)?;
    if children.is_empty() {
        let what = "no CUDA backend of a service was found, so none was tried";
        report.add("loader", Verdict::Skipped, what);
    }
    for child in children {
        model::check(host, facts, &child, &mut report)?;
        if host.is_running() {
            live::check(host, facts, &child, require_gpu, &mut report)?;
        }
    }
    if !host.is_running() {
        let what = "this is a foreign root: no process was started";
        report.add("probe", Verdict::Skipped, what);
    }
    Ok(report)
}

fn files(facts: &Facts, report: &mut Report) {
    let dir = &facts.shims.dir;
    for shim in &facts.shims.libraries {
        if shim.soname.as_deref() != Some(&shim.name) {
            let named = shim.soname.as_deref().unwrap_or("nothing");
            let what = format!("{dir}/{} calls itself {named}", shim.name);
            report.add("files", Verdict::Fail, what);
        }
    }
    if report.checks.is_empty() {
        let what = format!("{} libraries in {dir}", facts.shims.libraries.len());
        report.add("files", Verdict::Ok, what);
    }
}

/// Lists the processes that would load a backend: each of a unit's Ollama, or each of any.
pub(crate) fn children<'a>(
    host: &dyn Host,
    facts: &'a Facts,
    scope: Scope,
) -> Result<Vec<Child<'a>>> {
    let mut found = Vec::new();
    for ollama in &facts.ollamas {
        let unit = unit_of(host, facts, ollama)?;
        if unit.is_none() && scope == Scope::Service {
            continue;
        }
        for bundle in &ollama.bundles {
            let served = bundle.cuda_major.is_some_and(|major| major == 12 || major == 13);
            if served {
                let environment = environment(host, unit, ollama, bundle)?;
                found.push(Child { ollama, bundle, unit, environment });
            }
        }
    }
    Ok(found)
}

fn unit_of<'a>(host: &dyn Host, facts: &'a Facts, ollama: &Ollama) -> Result<Option<&'a Unit>> {
    for unit in facts.units.iter().filter(|unit| !unit.masked) {
        if let Some(program) = &unit.executable
            && host.canonical(program)?.as_deref() == Some(ollama.executable.as_ref())
        {
            return Ok(Some(unit));
        }
    }
    Ok(None)
}

/// The environment of a child: the unit's with our drop-in, and Ollama's own rule for
/// `LD_LIBRARY_PATH`: its directories first, then what was there.
fn environment(
    host: &dyn Host,
    unit: Option<&Unit>,
    ollama: &Ollama,
    bundle: &Bundle,
) -> Result<Vec<(OsString, OsString)>> {
    let mut variables: Vec<(OsString, OsString)> =
        vec![("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin".into())];
    let mut put = |name: &str, value: &str| {
        // A specifier needs systemd to become a value. In lists, ours come first and have none:
        // what the unit had is left out, entry by entry.
        let mut entries = value.split(':').filter(|entry| !has_specifier(entry)).peekable();
        let is_list = name.starts_with("LD_") && entries.peek().is_some();
        if is_list || !has_specifier(value) {
            let whole = entries.collect::<Vec<_>>().join(":");
            variables.retain(|(known, _)| known != name);
            variables.push((name.into(), without_percent_pairs(&whole).into()));
        }
    };
    if let Some(unit) = unit {
        for variable in &unit.environment {
            put(&variable.name, &variable.value);
        }
        let ours = crate::discover::text(host, &unit.drop_in_path)?;
        for line in assignments(&ours).iter().filter(|line| line.key == "Environment") {
            for word in words(&line.value) {
                if let Some((name, value)) = word.split_once('=') {
                    put(name, value);
                }
            }
        }
    }
    let old = variables.iter().position(|(name, _)| name == "LD_LIBRARY_PATH");
    let old = old.map(|index| variables.remove(index).1);
    let mut path = ollama.library_dir.as_os_str().to_owned();
    let own = (ollama.layout == Layout::Directories).then(|| bundle.dir.as_os_str().to_owned());
    for further in own.into_iter().chain(old) {
        path.push(":");
        path.push(further);
    }
    variables.push(("LD_LIBRARY_PATH".into(), path));
    Ok(variables)
}

fn value<'a>(child: &'a Child<'_>, name: &str) -> &'a OsStr {
    let known = child.environment.iter().find(|(known, _)| known == name);
    known.map_or(OsStr::new(""), |(_, value)| value)
}

/// True if two paths are one file, as ld.so compares them.
fn same_file(host: &dyn Host, a: &Path, b: &Path) -> Result<bool> {
    let identity = |path| Ok(host.open(path)?.map(|opened| opened.identity));
    let first: Option<(u64, u64)> = identity(a)?;
    Ok(first.is_some() && first == identity(b)?)
}
