//! Does what is installed work, seen from the service? Two views: what ld.so would do, computed
//! for any root, and what a process of the service's user really sees, on the machine itself.

mod cache;
mod child;
mod journal;
mod live;
mod model;
mod running;

pub(crate) use child::{Child, children};
pub use journal::started;
pub use running::running;

use std::ffi::OsStr;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drift;
use crate::error::{Error, Result};
use crate::facts::{Facts, SHIMS};
use crate::host::Host;
use crate::plan::{Scope, Warning};
use crate::state::Manifest;

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
    /// What keeps a backend from loading, with our libraries or without, is its owner's to mend:
    /// it is told, and no reason to undo anything.
    fn broken(&mut self, backend: &Path, error: &str) {
        let what = format!("{} cannot be loaded, with us or without: {error}", backend.display());
        self.add("backend", Verdict::Warn, what.clone());
        let hint = "install Ollama anew: this backend is not whole, or needs a newer system";
        self.warnings.push(Warning::new("backend", what, hint));
    }

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

/// Runs every check of some scopes that this host allows.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at; a check that fails is in the report.
pub fn verify(
    host: &dyn Host,
    facts: &Facts,
    scopes: &[Scope],
    require_gpu: bool,
) -> Result<Report> {
    let mut report = Report::default();
    files(facts, &mut report);
    if scopes.contains(&Scope::System) {
        cache::check(host, facts, &mut report)?;
    }
    unserved(facts, &mut report);
    for child in children(host, facts, Scope::Bundle)? {
        if let Some(why) = unreached(&child, scopes) {
            report.add("loader", Verdict::Skipped, format!("{}: {why}", child.bundle.dir));
            continue;
        }
        model::check(host, facts, &child, &mut report)?;
        if host.is_running() {
            live::check(host, facts, &child, require_gpu, &mut report)?;
        }
    }
    if !host.is_running() {
        let what = "this is a foreign root: no process was started";
        report.add("probe", Verdict::Skipped, what);
    }
    if require_gpu && !report.checks.iter().any(|check| check.name == "gpu") {
        let what = "no process looked for a GPU, and --require-gpu asks for one";
        report.add("gpu", Verdict::Fail, what);
    }
    Ok(report)
}

/// Names each Ollama that loads nothing of ours in any scope.
fn unserved(facts: &Facts, report: &mut Report) {
    if facts.ollamas.is_empty() {
        report.add("loader", Verdict::Skipped, "no Ollama was found, so none was tried");
    }
    for ollama in &facts.ollamas {
        if !ollama.bundles.iter().any(child::is_served) {
            let what = format!("{} has no backend for CUDA 12 or 13", ollama.executable);
            report.add("loader", Verdict::Skipped, what);
        }
    }
    for confined in &facts.confined {
        let what = format!("the Ollama in {} is not ours to change", confined.describe());
        report.add("loader", Verdict::Skipped, what);
    }
}

/// Why none of these scopes reaches a child: a drop-in reaches what its unit starts, and links
/// reach what lies in directories that are nobody else's to keep.
fn unreached(child: &Child<'_>, scopes: &[Scope]) -> Option<&'static str> {
    let has = |scope| scopes.contains(&scope);
    let is_sealed = child.ollama.source.is_sealed();
    let by_drop_in = child.unit.is_some() && (has(Scope::Service) || has(Scope::System));
    let by_links = !is_sealed && (has(Scope::Bundle) || has(Scope::System));
    match (by_drop_in || by_links, is_sealed) {
        (true, _) => None,
        (false, true) => {
            Some("another program keeps these files; vgpu-install scan says what helps")
        }
        (false, false) => Some("no unit starts it, so --scope bundle is what reaches it"),
    }
}

/// Says whether the paths of all generations in force are as these left them. A change of others
/// is a warning: the other checks say whether it matters.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at.
pub fn drift(host: &dyn Host, generations: &[Manifest], report: &mut Report) -> Result<()> {
    let changed = drift::changed(host, generations)?;
    for what in &changed {
        report.add("drift", Verdict::Warn, what.clone());
        let hint = "vgpu-install makes it anew; vgpu-install --rollback ends all of it";
        report.warnings.push(Warning::new("drift", format!("changed by others: {what}"), hint));
    }
    if let (true, Some(newest)) = (changed.is_empty(), generations.last()) {
        let what = match generations.len() {
            1 => format!("every path is as generation {} left it", newest.generation),
            count => format!("every path is as the {count} generations in force left it"),
        };
        report.add("drift", Verdict::Ok, what);
    }
    Ok(())
}

fn files(facts: &Facts, report: &mut Report) {
    let dir = &facts.shims.dir;
    let is_there = |name: &&str| facts.shims.libraries.iter().any(|shim| shim.name == **name);
    for name in SHIMS.iter().filter(|name| !is_there(name)) {
        report.add("files", Verdict::Fail, format!("{dir}/{name} is not there"));
    }
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
