//! `vgpu-install report`: one JSON document with all that a bug report needs, and without what is
//! nobody's business ([`crate::mask`]).
//!
//! What cannot be gathered is in the document as the error that kept it out: a report is made most
//! often where something does not work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::answer::{Action, Answer, Failure};
use crate::cli;
use crate::discover;
use crate::doctor;
use crate::error::{Error, Result};
use crate::facts::{Facts, Manager};
use crate::host::Host;
use crate::journal::{Journal, Record};
use crate::mask::Mask;
use crate::plan::{Plan, Scope, Warning, plan};
use crate::state::{self, Manifest};
use crate::unit_log;

/// The version of the document's form.
const SCHEMA_VERSION: u32 = 1;
/// First number of the accounts that people have (login.defs(5), UID_MIN), and the one above the
/// last.
const PEOPLE: std::ops::Range<u32> = 1000..65534;
/// Our unit that mends an interrupted run.
const RECOVER: &str = "vgpu-install-recover.service";

/// Makes the report and puts it into a new file that only its owner can read.
///
/// # Errors
/// [`Error::Io`] if the file exists or cannot be written.
pub fn run(
    host: &dyn Host,
    options: &cli::Options,
    asked: &cli::Report,
    answer: &mut Answer,
) -> Result<u8> {
    // The file is the caller's, not the root's.
    let machine = crate::host::real::Real::open(Path::new("/"))?;
    let usual = || PathBuf::from(format!("vgpu-report-{}.json", host.now()));
    let output = asked.output.clone().unwrap_or_else(usual);
    let path = std::path::absolute(&output).map_err(|e| Error::io("writing", &output, e))?;
    let (document, replaced) = compose(host, options);
    let text = format!("{document:#}\n");
    machine.make_file(&path, text.as_bytes(), 0o600)?;
    answer.lines.extend([
        format!("{} holds facts, plan, findings, generations, journal and", path.display()),
        format!("the units' logs since their last start; {replaced} secrets, addresses and names"),
        "were replaced in it. Read it before you attach it: a log can say anything.".into(),
    ]);
    Ok(0)
}

/// The report, as it is before it is masked: masking replaces parts of texts, and nothing else.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Document {
    /// The version of this form.
    schema_version: u32,
    /// The version of the program that made it.
    program_version: &'static str,
    /// Seconds since 1970.
    time: u64,
    /// True if this is the running machine, and not a root elsewhere.
    running: bool,
    /// The scope that was asked for.
    scope: Scope,
    /// The entries of `/etc/ld.so.preload`.
    preload: Part<Vec<String>>,
    /// The lines of `/etc/vgpu/guest.toml`.
    guest_toml: Part<Vec<String>>,
    /// What the doctor found.
    findings: Part<Vec<doctor::Finding>>,
    /// The generations in force, oldest first.
    generations: Part<Vec<Manifest>>,
    /// The records of a run that did not end; null if there is none.
    journal: Part<Option<Vec<Record>>>,
    /// What an apply would do now; null where there are no facts to plan from.
    plan: Option<Part<Planned>>,
    /// The lines of each unit since its last start.
    logs: BTreeMap<String, Part<Log>>,
    /// What `scan` finds.
    facts: Part<Facts>,
}

/// A part of the report, or the error that kept it out.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
enum Part<T> {
    /// It was gathered.
    Gathered(T),
    /// It could not be gathered.
    Missing {
        /// Why.
        error: String,
    },
}

impl<T> From<Result<T>> for Part<T> {
    fn from(gathered: Result<T>) -> Self {
        gathered.map_or_else(
            |error| {
                let Failure { what, because, .. } = Failure::from(&error);
                let error: Vec<String> = std::iter::once(what).chain(because).collect();
                Self::Missing { error: error.join(": ") }
            },
            Self::Gathered,
        )
    }
}

/// What an apply would do.
#[derive(Debug, JsonSchema, Serialize)]
struct Planned {
    /// The steps.
    actions: Vec<Action>,
    /// What a person should know.
    warnings: Vec<Warning>,
}

/// What a unit wrote.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
enum Log {
    /// Its lines.
    Lines(Vec<String>),
    /// It has none.
    None {
        /// Why.
        missing: String,
    },
}

/// Gathers the document, masked, with the number of places that were replaced.
#[must_use]
pub fn compose(host: &dyn Host, options: &cli::Options) -> (Value, usize) {
    let document = gathered(host, options);
    #[expect(clippy::expect_used, reason = "every key of the document is a text")]
    let mut document = serde_json::to_value(document).expect("the document has a form in JSON");
    // The mask knows the names of machines and people before it reads anything.
    let mut mask = Mask::new(&machines(host), &people(host));
    mask.document(&mut document);
    (document, mask.count())
}

fn gathered(host: &dyn Host, options: &cli::Options) -> Document {
    let facts = discover::facts_beside(host, options.driver_root.as_deref()).map(|mut facts| {
        discover::ask_owners(host, &mut facts);
        facts
    });
    let plan = facts.as_ref().ok().map(|facts| {
        let plan = plan(facts, &options.policy());
        let planned = |plan: Plan| Planned {
            actions: plan.steps.iter().map(Action::doing).collect(),
            warnings: plan.warnings,
        };
        plan.map(planned).into()
    });
    let mut units: Vec<(&str, &Manager)> = vec![(RECOVER, &Manager::System)];
    if let Ok(facts) = &facts {
        units.extend(facts.units.iter().map(|unit| (unit.name.as_str(), &unit.manager)));
        units.extend(facts.guest_unit.as_deref().map(|unit| (unit, &Manager::System)));
    }
    let log = |(unit, manager): (&str, &Manager)| {
        let of = manager.user().map_or(String::new(), |user| format!(" of user {user}"));
        let lines = unit_log::since_start(host, unit, manager);
        let log = lines.map(|lines| match lines {
            Ok(lines) => Log::Lines(lines),
            Err(missing) => Log::None { missing },
        });
        (format!("{unit}{of}"), log.into())
    };
    Document {
        schema_version: SCHEMA_VERSION,
        program_version: env!("CARGO_PKG_VERSION"),
        time: host.now(),
        running: host.is_running(),
        scope: options.policy().scope,
        preload: preload(host).into(),
        guest_toml: lines(host, "/etc/vgpu/guest.toml").into(),
        findings: doctor::findings(host, options).into(),
        generations: state::generations(host).into(),
        journal: Journal::interrupted(host).map(|found| found.map(|one| one.records)).into(),
        plan,
        logs: units.into_iter().map(log).collect(),
        facts: facts.into(),
    }
}

fn lines(host: &dyn Host, path: &str) -> Result<Vec<String>> {
    Ok(discover::text(host, Path::new(path))?.lines().map(str::to_owned).collect())
}

/// The entries of `/etc/ld.so.preload`; text that is no path may be anything, a password too.
fn preload(host: &dyn Host) -> Result<Vec<String>> {
    let text = discover::text(host, Path::new("/etc/ld.so.preload"))?;
    let shown = |word: &str| match word.starts_with('/') {
        true => word.to_owned(),
        false => format!("<{} bytes that are no path>", word.len()),
    };
    Ok(text.split([' ', '\t', '\n', ':']).filter(|word| !word.is_empty()).map(shown).collect())
}

/// The names of this machine, and of those that it has in its own list.
fn machines(host: &dyn Host) -> Vec<String> {
    let text = |path: &str| discover::text(host, Path::new(path)).unwrap_or_default();
    let own = text("/etc/hostname");
    let mut names: Vec<String> = own.split_whitespace().map(str::to_owned).collect();
    for line in text("/etc/hosts").lines() {
        let entry = line.split('#').next().unwrap_or_default();
        names.extend(entry.split_whitespace().skip(1).map(str::to_owned));
    }
    names.retain(|name| !name.starts_with("ip6-") && !name.starts_with("localhost"));
    let short = |name: &String| name.split_once('.').map(|(short, _)| short.to_owned());
    names.extend(names.iter().filter_map(short).collect::<Vec<_>>());
    names
}

/// The accounts of people.
fn people(host: &dyn Host) -> Vec<String> {
    let accounts = discover::text(host, Path::new("/etc/passwd")).unwrap_or_default();
    let person = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let number: u32 = fields.nth(1)?.parse().ok()?;
        PEOPLE.contains(&number).then_some(name)
    };
    accounts.lines().filter_map(person).collect()
}
