//! `vgpu-install report`: one JSON document with all that a bug report needs, and without what is
//! nobody's business ([`crate::mask`]).
//!
//! What cannot be gathered is in the document as the error that kept it out: a report is made most
//! often where something does not work.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{Action, Answer};
use crate::cli;
use crate::discover;
use crate::doctor;
use crate::error::{Error, Result};
use crate::facts::Manager;
use crate::host::Host;
use crate::journal::Journal;
use crate::mask::Mask;
use crate::plan::plan;
use crate::state;
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

/// Gathers the document, masked, with the number of places that were replaced.
#[must_use]
pub fn compose(host: &dyn Host, options: &cli::Options) -> (Value, usize) {
    let facts = discover::facts_beside(host, options.driver_root.as_deref()).map(|mut facts| {
        discover::ask_owners(host, &mut facts);
        facts
    });
    let mut document = json!({
        "schema_version": SCHEMA_VERSION,
        "program_version": env!("CARGO_PKG_VERSION"),
        "time": host.now(),
        "running": host.is_running(),
        "scope": part(Ok(options.policy().scope)),
        "preload": part(preload(host)),
        "guest_toml": part(lines(host, "/etc/vgpu/guest.toml")),
        "findings": part(doctor::findings(host, options)),
        "generations": part(state::generations(host)),
        "journal": part(Journal::interrupted(host).map(|found| found.map(|one| one.records))),
    });
    let planned = facts.as_ref().ok().map(|facts| plan(facts, &options.policy()));
    document["plan"] = part(planned.transpose().map(|plan| {
        plan.map(|plan| {
            let actions: Vec<Action> = plan.steps.iter().map(Action::doing).collect();
            json!({ "actions": actions, "warnings": plan.warnings })
        })
    }));
    let mut units: Vec<(&str, &Manager)> = vec![(RECOVER, &Manager::System)];
    if let Ok(facts) = &facts {
        units.extend(facts.units.iter().map(|unit| (unit.name.as_str(), &unit.manager)));
        units.extend(facts.guest_unit.as_deref().map(|unit| (unit, &Manager::System)));
    }
    let log = |(unit, manager): (&str, &Manager)| {
        let of = manager.user().map_or(String::new(), |user| format!(" of user {user}"));
        (format!("{unit}{of}"), log(host, unit, manager))
    };
    document["logs"] = units.into_iter().map(log).collect();
    document["facts"] = part(facts);
    // The mask knows the names of machines and people before it reads anything.
    let mut mask = Mask::new(&machines(host), &people(host));
    mask.document(&mut document);
    (document, mask.count())
}

/// A part of the document, or the error that kept it out.
fn part<T: Serialize>(gathered: Result<T>) -> Value {
    let kept_out = |what: String| json!({ "error": what });
    match gathered.map(serde_json::to_value) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => kept_out(error.to_string()),
        Err(error) => {
            let failure = crate::answer::Failure::from(&error);
            kept_out(
                std::iter::once(failure.what).chain(failure.because).collect::<Vec<_>>().join(": "),
            )
        }
    }
}

fn log(host: &dyn Host, unit: &str, manager: &Manager) -> Value {
    part(unit_log::since_start(host, unit, manager).map(|lines| match lines {
        Ok(lines) => json!(lines),
        Err(why) => json!({ "missing": why }),
    }))
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
