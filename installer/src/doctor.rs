//! The doctor: says what keeps an Ollama from its GPU, with the evidence and the one remedy.
//!
//! Each check looks from the service's point of view and changes nothing; a check that must start
//! a program starts it as a child of its own and says so in its evidence. What a check may not
//! read is skipped, with the right that it needs, and what it does not know is shown as it is.
//! The catalogue is the tables of the modules below; [`rows`] says which known failure is found
//! by which check. Only `--fix` changes something, and only by the commands that people have, too.

mod api;
mod children;
mod fix;
mod host;
mod loader;
mod ollama;
mod package;
pub mod rows;
mod scene;
mod service;
mod system;
mod transport;

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::cli;
use crate::error::{Error, Result};
use crate::host::Host;
pub use crate::verify::Verdict;

pub use fix::Fix;
pub use scene::Scene;

/// Groups of checks to which it does not matter whose a file is.
const OWNERLESS: [&str; 3] = ["transport.", "host.", "api."];
/// Exit code if a check failed.
const FAILED: u8 = 1;

/// One check of the catalogue.
pub struct Check {
    /// Its name: group, dot, noun.
    pub id: &'static str,
    /// What it establishes, as a noun phrase for lists.
    pub establishes: &'static str,
    /// The known failures that it can name ([`rows::ROWS`]).
    pub rows: &'static [&'static str],
    /// Looks, and answers what it saw. Nothing at all means that all is well.
    pub run: fn(&Scene<'_>) -> Result<Vec<Finding>>,
}

/// What one check saw of one thing.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// The known failures that this is.
    pub rows: Vec<&'static str>,
    /// What was seen: paths with device and inode, names, build ids, values, log lines.
    pub evidence: Vec<String>,
    /// What that means, in one sentence; for a skipped check, the right or thing that it needs.
    pub cause: String,
    /// The one command or act that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What `--fix` would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Finding {
    fn new(verdict: Verdict, rows: &[&'static str], cause: impl Into<String>) -> Self {
        let (rows, cause) = (rows.to_vec(), cause.into());
        Self { check: "", verdict, rows, evidence: vec![], cause, remedy: None, fix: None }
    }

    /// Something is as it must be.
    pub fn ok(cause: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, &[], cause)
    }

    /// Something that a person should know, and that does not keep the GPU away.
    pub fn warn(rows: &[&'static str], cause: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, rows, cause)
    }

    /// Something that keeps the GPU away, or that will.
    pub fn fail(rows: &[&'static str], cause: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, rows, cause)
    }

    /// Something that could not be looked at, and what looking needs.
    pub fn skipped(needs: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, &[], needs)
    }

    /// Adds a line of evidence.
    #[must_use]
    pub fn saw(mut self, line: impl Into<String>) -> Self {
        self.evidence.push(line.into());
        self
    }

    /// Adds lines of evidence.
    #[must_use]
    pub fn saw_all(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }

    /// Names the remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Names the remedy that `--fix` can take by itself.
    #[must_use]
    pub fn mended_by(mut self, fix: Fix) -> Self {
        self.remedy = Some(fix.command());
        self.fix = Some(fix);
        self
    }
}

/// Lists the catalogue, group by group.
pub fn catalogue() -> impl Iterator<Item = &'static Check> {
    let groups = [
        system::CHECKS,
        loader::CHECKS,
        service::CHECKS,
        ollama::CHECKS,
        transport::CHECKS,
        host::CHECKS,
        api::CHECKS,
        package::CHECKS,
    ];
    groups.into_iter().flatten()
}

/// Runs the chosen checks, and with `--fix` mends what can be mended safely and looks again.
///
/// # Errors
/// [`Error::Usage`] for a name that is no check; otherwise whatever kept the facts from being
/// gathered. What a single check cannot look at is a finding.
pub fn run(
    host: &dyn Host,
    options: &cli::Options,
    asked: &cli::Doctor,
    answer: &mut Answer,
) -> Result<u8> {
    let chosen = chosen(&asked.checks)?;
    if asked.list {
        let line = |check: &&Check| format!("  {:<22} {}", check.id, check.establishes);
        answer.lines.extend(chosen.iter().map(line));
        return Ok(0);
    }
    let mut findings = examined(host, options, &chosen)?;
    if asked.fix {
        let fixes: Vec<Fix> = findings.iter().filter_map(|finding| finding.fix.clone()).collect();
        if fix::take_all(host, options, fixes, answer)? {
            findings = examined(host, options, &chosen)?;
        }
    }
    // Whoever may not read the generations is told so by the checks of packages.
    let generations = crate::state::generations(host).unwrap_or_default();
    answer.generation = generations.last().map_or(0, |last| last.generation);
    answer.lines.extend(text(&findings, asked.all));
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    answer.findings = findings;
    Ok(if failed || !answer.errors.is_empty() { FAILED } else { 0 })
}

/// What every check sees.
///
/// # Errors
/// Whatever kept the facts from being gathered.
pub fn findings(host: &dyn Host, options: &cli::Options) -> Result<Vec<Finding>> {
    examined(host, options, &catalogue().collect::<Vec<_>>())
}

/// The checks that names or groups choose; all of them if nothing is named.
fn chosen(names: &[String]) -> Result<Vec<&'static Check>> {
    let is_meant = |check: &Check, name: &str| {
        check.id == name || check.id.split_once('.').is_some_and(|(group, _)| group == name)
    };
    for name in names {
        if !catalogue().any(|check| is_meant(check, name)) {
            let what = format!("{name} is no check and no group: see vgpu-install doctor --list");
            return Err(Error::Usage { what });
        }
    }
    let meant = |check: &&Check| names.iter().any(|name| is_meant(check, name));
    Ok(catalogue().filter(|check| names.is_empty() || meant(check)).collect())
}

fn examined(
    host: &dyn Host,
    options: &cli::Options,
    chosen: &[&'static Check],
) -> Result<Vec<Finding>> {
    let mut facts = crate::discover::facts_beside(host, options.driver_root.as_deref())?;
    // Starting the package managers takes longer than these checks do, and none of them shows one.
    let shows_owners =
        |check: &&'static Check| !OWNERLESS.iter().any(|group| check.id.starts_with(group));
    if chosen.iter().any(shows_owners) {
        crate::discover::ask_owners(host, &mut facts);
    }
    let scene = Scene::new(host, &facts, options);
    Ok(chosen.iter().flat_map(|check| outcome(check, &scene)).collect())
}

/// What a check answers, each finding with the check's name; a check that could not look says so.
fn outcome(check: &Check, scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = (check.run)(scene).unwrap_or_else(|error| vec![unreadable(&error)]);
    if findings.is_empty() {
        findings.push(Finding::ok(check.establishes));
    }
    for finding in &mut findings {
        if let Some(Fix::Apply { scopes }) = &mut finding.fix {
            *scopes = scene.in_force().ok().flatten().map(|all| all.scopes).unwrap_or_default();
            finding.remedy = finding.fix.as_ref().map(Fix::command);
        }
        debug_assert!(finding.rows.iter().all(|row| check.rows.contains(row)), "{}", check.id);
        finding.check = check.id;
    }
    findings
}

/// An error of a check as a finding: which right it needs, or what the machine answered.
fn unreadable(error: &Error) -> Finding {
    let refused = matches!(error, Error::Io { source, .. }
        if source.kind() == std::io::ErrorKind::PermissionDenied);
    let mut evidence = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        evidence.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    let needs = if refused { "needs root" } else { "the machine did not answer" };
    Finding::skipped(needs).saw(evidence)
}

/// The findings as lines for a person: what is not well in full, what is well as a count, and what
/// was skipped for one and the same reason together.
fn text(findings: &[Finding], all: bool) -> Vec<String> {
    let same = |one: &Finding, other: &Finding| {
        one.verdict == Verdict::Skipped
            && one.verdict == other.verdict
            && (&one.cause, &one.evidence) == (&other.cause, &other.evidence)
    };
    let mut lines = Vec::new();
    for (index, finding) in findings.iter().enumerate() {
        let is_told = findings[..index].iter().any(|earlier| same(earlier, finding));
        if is_told || (finding.verdict == Verdict::Ok && !all) {
            continue;
        }
        let rows = match finding.rows.join(" ") {
            rows if rows.is_empty() => rows,
            rows => format!(" ({rows})"),
        };
        lines.push(format!("  {:<8} {}{rows}", finding.verdict.word(), finding.check));
        let others = findings[index + 1..].iter().filter(|other| same(finding, other));
        let others: Vec<&str> = others.map(|other| other.check).collect();
        lines.extend(others.chunks(4).map(|some| format!("           {}", some.join(" "))));
        lines.push(format!("           {}", finding.cause));
        lines.extend(finding.evidence.iter().map(|line| format!("    saw:   {line}")));
        lines.extend(finding.remedy.iter().map(|remedy| format!("    try:   {remedy}")));
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    lines.push(format!(
        "{} fine, {} to know, {} failed, {} skipped",
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail),
        count(Verdict::Skipped)
    ));
    lines
}

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod ollama_tests;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::host::memory::Memory;

    /// Runs one check on a machine that is described as text.
    pub(super) fn examine(check: &str, machine: &str) -> Vec<Finding> {
        examine_host(check, &Memory::described(machine))
    }

    /// Runs one check on a machine.
    pub(super) fn examine_host(check: &str, machine: &dyn Host) -> Vec<Finding> {
        let check = catalogue().find(|known| known.id == check).unwrap();
        let line = cli::Line::parse_from(["vgpu-install", "doctor"]);
        examined(machine, &line.options, &[check]).unwrap()
    }

    /// Each finding as its verdict and its rows.
    pub(super) fn verdicts(findings: &[Finding]) -> Vec<String> {
        let words = findings.iter().map(|finding| {
            let rows = finding.rows.iter().copied();
            std::iter::once(finding.verdict.word()).chain(rows).collect::<Vec<_>>().join(" ")
        });
        words.collect()
    }

    #[test]
    fn names_and_groups_choose_checks_and_a_wrong_one_is_refused() {
        let ids = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            chosen(&names).map(|all| all.iter().map(|check| check.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["system.preload"]).unwrap(), ["system.preload"]);
        assert!(ids(&["system"]).unwrap().iter().all(|id| id.starts_with("system.")));
        assert_eq!(ids(&[]).unwrap().len(), catalogue().count());
        assert!(matches!(ids(&["sys"]), Err(Error::Usage { .. })));
    }

    #[test]
    fn a_check_that_is_refused_says_that_it_needs_root() {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = Error::io("reading", Path::new("/x"), refused);
        let found = unreadable(&error);
        assert_eq!((found.verdict, found.cause.as_str()), (Verdict::Skipped, "needs root"));
        assert_eq!(found.evidence, ["reading /x: permission denied"]);
    }

    #[test]
    fn a_person_reads_what_is_wrong_in_full_and_the_rest_as_a_count() {
        let mut bad = Finding::fail(&["F33"], "it is wrong").saw("this").remedy("do that");
        bad.check = "system.preload";
        let lines = text(&[bad, Finding::ok("fine")], false);
        assert_eq!(
            lines,
            [
                "  fail     system.preload (F33)",
                "           it is wrong",
                "    saw:   this",
                "    try:   do that",
                "1 fine, 0 to know, 1 failed, 0 skipped",
            ]
        );
    }

    #[test]
    fn what_was_skipped_for_one_reason_is_told_once() {
        let mut skipped = [Finding::skipped("needs x"), Finding::skipped("needs y")];
        skipped[0].check = "api.memory";
        skipped[1].check = "api.graph";
        let mut third = skipped[0].clone();
        third.check = "api.blas";
        let lines = text(&[skipped[0].clone(), skipped[1].clone(), third], false);
        let told = ["  skipped  api.memory", "           api.blas", "           needs x"];
        assert_eq!(lines[..3], told);
        assert_eq!(lines[3..5], ["  skipped  api.graph", "           needs y"]);
        assert_eq!(lines[5], "0 fine, 0 to know, 0 failed, 3 skipped");
    }
}
