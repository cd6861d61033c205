//! The commands: each gathers, decides and answers; what it does to a machine goes by a [`Host`].

use std::path::Path;

use crate::answer::{Answer, Generation};
use crate::apply;
use crate::cli::{Line, Options, Verb};
use crate::difference;
use crate::discover;
use crate::drift;
use crate::error::{Error, Result};
use crate::facts::{Facts, SCHEMA_VERSION};
use crate::gc;
use crate::host::Host;
use crate::plan::{Plan, Policy, Scope, Warning, plan};
use crate::recover;
use crate::refresh;
use crate::rollback;
use crate::service;
use crate::state::{self, Manifest};
use crate::step::Step;
use crate::verify::{self, Report};

/// Longest facts file that is read: 64 MiB.
const FACTS_BYTES_MAX: u64 = 64 << 20;
/// Exit code of a rollback that left something which others changed.
pub const DRIFT: u8 = 3;

/// Runs a command and gives its answer with its exit code.
///
/// # Errors
/// Whatever kept the command from doing what was asked.
pub fn run(host: &dyn Host, line: &Line, answer: &mut Answer) -> Result<u8> {
    let options = &line.options;
    if let Some(to) = line.rollback {
        return rollback::run(host, to, options, answer);
    }
    match line.verb.as_ref().unwrap_or(&Verb::Apply) {
        Verb::Apply => applying(host, options, answer),
        Verb::Scan | Verb::Probe(_) | Verb::Examine(_) => {
            Err(Error::Usage { what: "scan and probe answer in their own form".into() })
        }
        Verb::Plan => planning(host, options, answer),
        Verb::Verify => verifying(host, options, answer),
        Verb::Status => status(host, options, answer),
        Verb::History => {
            history(host, answer)?;
            if answer.generations.is_empty() {
                answer.lines.push("no generation is in force".into());
            }
            Ok(0)
        }
        Verb::Report(asked) => crate::report::run(host, options, asked, answer),
        Verb::Doctor(asked) => crate::doctor::run(host, options, asked, answer),
        Verb::Explain(asked) => crate::explain::run(host, asked, answer),
        Verb::Recover => recover::run(host, options, answer),
        Verb::Gc { keep } => collecting(host, options, *keep, answer),
        Verb::Refresh => refresh::run(host, options, answer),
    }
}

/// The name of a command line's command.
#[must_use]
pub fn name(line: &Line) -> &'static str {
    if line.rollback.is_some() {
        return "rollback";
    }
    match line.verb {
        None | Some(Verb::Apply) => "apply",
        Some(Verb::Scan) => "scan",
        Some(Verb::Plan) => "plan",
        Some(Verb::Verify) => "verify",
        Some(Verb::Status) => "status",
        Some(Verb::Explain(_)) => "explain",
        Some(Verb::History) => "history",
        Some(Verb::Recover) => "recover",
        Some(Verb::Report(_)) => "report",
        Some(Verb::Doctor(_)) => "doctor",
        Some(Verb::Gc { .. }) => "gc",
        Some(Verb::Refresh) => "refresh",
        Some(Verb::Probe(_)) => "probe",
        Some(Verb::Examine(_)) => "examine",
    }
}

pub(crate) fn applying(host: &dyn Host, options: &Options, answer: &mut Answer) -> Result<u8> {
    if options.check {
        refuse_interrupted(host)?;
        answer.checked_only = true;
        return planning(host, options, answer);
    }
    let _guard = host.lock(options.lock_wait())?;
    refuse_interrupted(host)?;
    let policy = options.policy();
    let plan = plan(&gathered(host, options)?, &policy)?;
    *answer = std::mem::take(answer).planned(&plan);
    if options.diff {
        difference::of_plan(host, &plan, answer)?;
    }
    answer.generation = newest(host)?;
    if plan.is_empty() {
        answer.lines.push(nothing_to_do(&plan, answer.generation));
        return Ok(0);
    }
    let mut judge = Judge { host, options, scope: plan.scope, report: Report::default() };
    let applied = apply::apply(host, &plan, &mut judge);
    answer.checks = judge.report.checks;
    answer.warnings.extend(judge.report.warnings);
    answer.changed = applied.is_ok();
    let applied = applied?;
    answer.generation = applied.generation;
    answer.left_out(&applied.skipped);
    answer.warnings.extend(skipped(host, &applied.skipped));
    let hint =
        "run restorecon on the paths above, and look for \"avc: denied\" in the kernel's log";
    let unlabelled = applied.unlabelled.as_ref();
    answer.warnings.extend(unlabelled.map(|what| Warning::new("label", what, hint)));
    let two_names = applied.two_names.iter().map(|path| {
        let what = format!("the file system of {path} cannot exchange two names");
        let hint = "nothing; the original got a second name before ours took its place";
        Warning::new("two_names", what, hint)
    });
    answer.warnings.extend(two_names);
    answer.warnings.extend(gc::bound(host));
    answer.lines.push(format!(
        "generation {} is in force; vgpu-install --rollback takes it back",
        applied.generation
    ));
    Ok(changed_code(options))
}

/// Verifies a transaction before it counts, and keeps what was seen.
struct Judge<'a> {
    host: &'a dyn Host,
    options: &'a Options,
    scope: Scope,
    report: Report,
}

impl apply::Verify for Judge<'_> {
    fn in_place(&mut self) -> Result<()> {
        let facts = discover::facts(self.host)?;
        self.report = verify::verify(self.host, &facts, &[self.scope], self.options.require_gpu)?;
        self.report.error()
    }

    fn restarted(&mut self, services: &[Step]) -> Result<()> {
        verify::started(self.host, services, &mut self.report)?;
        self.report.error()
    }
}

fn nothing_to_do(plan: &Plan, generation: u64) -> String {
    match (plan.warnings.is_empty(), generation) {
        (_, 1..) => format!("nothing to do: generation {generation} is in force"),
        (true, 0) => "nothing to do".into(),
        (false, 0) => "nothing was changed; the warnings say why".into(),
    }
}

fn planning(host: &dyn Host, options: &Options, answer: &mut Answer) -> Result<u8> {
    let facts = match &options.facts {
        None => gathered(host, options)?,
        Some(path) => read_facts(path)?,
    };
    let plan = plan(&facts, &options.policy())?;
    *answer = std::mem::take(answer).planned(&plan);
    // Of a plan it is told what it is made of; of a check, what an apply would do here.
    if options.check {
        let steps = plan.steps.iter().filter(|step| service::leaves_out(host, step));
        let left_out: Vec<Step> = steps.cloned().collect();
        answer.left_out(&left_out);
        answer.warnings.extend(skipped(host, &left_out));
    }
    if options.diff && options.facts.is_none() {
        difference::of_plan(host, &plan, answer)?;
    }
    answer.checked_only = true;
    answer.generation = if options.facts.is_some() { 0 } else { newest(host)? };
    if plan.is_empty() {
        answer.lines.push(nothing_to_do(&plan, answer.generation));
    }
    Ok(if answer.changed { changed_code(options) } else { 0 })
}

/// What plans are made from: the machine's facts, with the driver root that was named.
fn gathered(host: &dyn Host, options: &Options) -> Result<Facts> {
    discover::facts_beside(host, options.driver_root.as_deref())
}

/// What facts of every version say of themselves.
#[derive(serde::Deserialize)]
struct Version {
    schema_version: u32,
}

/// The facts file is the caller's, not the root's: it is read from the machine's own root.
fn read_facts(path: &Path) -> Result<Facts> {
    let machine = crate::host::real::Real::open(Path::new("/"))?;
    let absolute = std::path::absolute(path).map_err(|e| Error::io("reading", path, e))?;
    let text = machine.read(&absolute, FACTS_BYTES_MAX)?.ok_or_else(|| {
        let because = "it is not there, or is no regular file";
        Error::io("reading", path, std::io::Error::new(std::io::ErrorKind::NotFound, because))
    })?;
    let wrong = |what| Error::Record { path: path.into(), what };
    let Version { schema_version: version } = serde_json::from_slice(&text)
        .map_err(|error| wrong(format!("it holds no facts: {error}")))?;
    if version != SCHEMA_VERSION {
        return Err(wrong(format!(
            "facts of version {version}, and this program reads {SCHEMA_VERSION}"
        )));
    }
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

fn collecting(host: &dyn Host, options: &Options, keep: u64, answer: &mut Answer) -> Result<u8> {
    let _guard = if options.check { None } else { Some(host.lock(options.lock_wait())?) };
    refuse_interrupted(host)?;
    gc::run(host, options, keep, answer)
}

pub(crate) fn verifying(host: &dyn Host, options: &Options, answer: &mut Answer) -> Result<u8> {
    let facts = discover::facts(host)?;
    let generations = state::generations(host)?;
    let scopes = scopes(&generations, options);
    let mut report = verify::verify(host, &facts, &scopes, options.require_gpu)?;
    verify::drift(host, &generations, &mut report)?;
    verify::running(host, &generations, &mut report)?;
    answer.generation = newest(host)?;
    answer.checks.clone_from(&report.checks);
    answer.warnings.extend(report.warnings.iter().cloned());
    report.error().map(|()| 0)
}

/// The scope that was named, else every one in force, else the usual one.
fn scopes(generations: &[Manifest], options: &Options) -> Vec<Scope> {
    let in_force = state::scopes(generations);
    if options.scope.is_some() || in_force.is_empty() {
        return vec![options.policy().scope];
    }
    in_force
}

fn status(host: &dyn Host, options: &Options, answer: &mut Answer) -> Result<u8> {
    history(host, answer)?;
    refuse_interrupted(host)?;
    let generations = state::generations(host)?;
    answer.left = drift::changed(host, &generations)?;
    let mut report = Report::default();
    verify::running(host, &generations, &mut report)?;
    answer.checks = report.checks;
    answer.warnings.extend(report.warnings);
    // What a plan would be refused for is said after what is in force.
    let planned = gathered(host, options).and_then(|facts| plans(&facts, &generations, options));
    let generation = answer.generation;
    answer.lines.push(match &planned {
        _ if generation == 0 => "no generation is in force".into(),
        Ok(plans) if plans.iter().all(Plan::is_empty) => {
            format!("generation {generation} is in force and in place")
        }
        Ok(_) => format!("generation {generation} is in force; vgpu-install would change it"),
        Err(_) => format!("generation {generation} is in force; vgpu-install would be refused"),
    });
    for warning in planned?.into_iter().flat_map(|plan| plan.warnings) {
        if !answer.warnings.contains(&warning) {
            answer.warnings.push(warning);
        }
    }
    Ok(if answer.left.is_empty() { 0 } else { DRIFT })
}

/// What is still to be done in each scope in force, or in the one that would be taken.
fn plans(facts: &Facts, generations: &[Manifest], options: &Options) -> Result<Vec<Plan>> {
    let of = |scope| {
        let may_choose = generations.is_empty() && options.scope.is_none();
        plan(facts, &Policy { scope, may_choose, ..options.policy() })
    };
    scopes(generations, options).into_iter().map(of).collect()
}

fn history(host: &dyn Host, answer: &mut Answer) -> Result<()> {
    let generations = state::generations(host)?;
    answer.generation = generations.last().map_or(0, |last| last.generation);
    answer.generations = generations
        .iter()
        .map(|manifest| Generation {
            generation: manifest.generation,
            time: manifest.time,
            program_version: manifest.program_version.clone(),
            scope: manifest.scope,
            joined_scopes: manifest.joined_scopes.clone(),
            paths: manifest.changes.iter().filter_map(|c| c.step.path().cloned()).collect(),
        })
        .collect();
    Ok(())
}

/// The generation in force; 0 if there is none.
///
/// # Errors
/// [`Error::Record`] if a manifest cannot be understood.
pub fn newest(host: &dyn Host) -> Result<u64> {
    Ok(state::generations(host)?.last().map_or(0, |last| last.generation))
}

pub(crate) fn refuse_interrupted(host: &dyn Host) -> Result<()> {
    match recover::interrupted(host)? {
        Some(what) => Err(Error::RecoveryNeeded { what }),
        None => Ok(()),
    }
}

pub(crate) fn skipped(host: &dyn Host, steps: &[Step]) -> Vec<Warning> {
    let here = if host.is_running() { "systemd is not running" } else { "this is a foreign root" };
    let mut found = Vec::new();
    if steps.contains(&Step::Ldconfig) {
        let what = format!("{here}; left out: ldconfig, so its cache does not know our line");
        let hint = "run ldconfig -X inside of that root before it is used";
        found.push(Warning::new("ldconfig", what, hint));
    }
    let others: Vec<String> = steps
        .iter()
        .filter(|step| **step != Step::Ldconfig)
        .map(|step| format!("\"{}\"", step.doing()))
        .collect();
    if !others.is_empty() {
        let what = format!("{here}; left out: {}", others.join(", "));
        let hint = "nothing now; the change works when the service starts";
        found.push(Warning::new("services", what, hint));
    }
    found
}

/// The exit code of a run that changed something.
#[must_use]
pub fn changed_code(options: &Options) -> u8 {
    if options.detailed_exitcode { 2 } else { 0 }
}
