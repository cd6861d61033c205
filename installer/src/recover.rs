//! After a crash: undoes what was not committed, finishes what was.

use std::collections::BTreeSet;

use crate::answer::{Answer, Failure};
use crate::apply;
use crate::cli::Options;
use crate::commands::{DRIFT, changed_code, newest};
use crate::error::{Error, Result};
use crate::gc;
use crate::host::Host;
use crate::journal::{self, Journal, Record};
use crate::plan::Scope;
use crate::rollback;
use crate::state::{self, Manifest};

/// What recovering did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing had been interrupted.
    Nothing,
    /// An apply was undone; these paths were changed by others meanwhile and left.
    Undone(Vec<String>),
    /// An apply had been committed and was finished.
    Finished,
    /// A rollback was carried to its end; these paths were changed by others and left.
    RolledBack(Vec<String>),
    /// A collection was carried to its end.
    Collected,
    /// The journal is damaged and does not say everything: what it says was undone, this is left.
    Unknown {
        /// Where the damage begins.
        at: u64,
        /// What was left, and every hidden file that may be an original.
        left: Vec<String>,
        /// True if the journal was given up and no longer stands in the way.
        given_up: bool,
    },
}

/// Says what was interrupted; none if nothing was.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at.
pub fn interrupted(host: &dyn Host) -> Result<Option<&'static str>> {
    if !host.inspect(journal::PATH.as_ref())?.is_absent() {
        return Ok(Some("its journal is still there"));
    }
    Ok(state::is_half_made(host)?.then_some("the state directory is half made"))
}

/// Runs the command `recover`.
///
/// # Errors
/// As [`recover`].
pub fn run(host: &dyn Host, options: &Options, answer: &mut Answer) -> Result<u8> {
    if options.check {
        let found = interrupted(host)?;
        answer.checked_only = true;
        answer.changed = found.is_some();
        answer.lines.push(match found {
            Some(what) => format!("would recover: an earlier run was interrupted ({what})"),
            None => "nothing to recover".into(),
        });
        return Ok(if found.is_some() { changed_code(options) } else { 0 });
    }
    let _guard = host.lock(options.lock_wait())?;
    let recovered = match recover(host, options.force) {
        // A journal of another version is another program's to follow.
        Err(error @ Error::Record { .. }) => return Err(error),
        Err(source) if interrupted(host)?.is_some() => {
            let first = Box::new(Error::Interrupted { what: "the recovery" });
            return Err(Error::UndoFailed { first, source: Box::new(source) });
        }
        other => other?,
    };
    answer.changed = recovered != Recovered::Nothing;
    answer.generation = newest(host)?;
    let mut error = None;
    let (line, left) = match recovered {
        Recovered::Nothing => ("nothing to recover", Vec::new()),
        Recovered::Undone(left) => ("the interrupted apply was undone", left),
        Recovered::Finished => ("the interrupted apply had been committed and is whole", vec![]),
        Recovered::RolledBack(left) => ("the interrupted rollback was carried to its end", left),
        Recovered::Collected => ("the interrupted collection was carried to its end", vec![]),
        Recovered::Unknown { left, given_up: true, .. } => {
            ("the journal was given up and is kept as /var/lib/vgpu/journal.damaged", left)
        }
        Recovered::Unknown { at, left, given_up: false } => {
            error = Some(Error::JournalDamaged { path: journal::PATH.into(), at });
            ("the journal stays: more may have been done than it says", left)
        }
    };
    answer.lines.push(line.into());
    answer.left = left;
    if let Some(error) = error {
        answer.errors.push(Failure::from(&error));
        return Ok(error.exit_code());
    }
    if !answer.left.is_empty() {
        return Ok(DRIFT);
    }
    Ok(if answer.changed { changed_code(options) } else { 0 })
}

/// Undoes or finishes an interrupted transaction; may be called again, also after a crash of its
/// own. `give_up` sets a journal aside that is too damaged to be followed.
///
/// # Errors
/// [`Error::Record`] if another version wrote the journal; [`Error::Io`] if the machine refuses.
pub fn recover(host: &dyn Host, give_up: bool) -> Result<Recovered> {
    let Some(mut journal) = Journal::interrupted(host)? else {
        if !state::is_half_made(host)? {
            return Ok(Recovered::Nothing);
        }
        state::mend(host)?;
        return Ok(Recovered::Undone(Vec::new()));
    };
    let is_complete = complete(host, &mut journal)?;
    let committed = journal.records.iter().any(|record| matches!(record, Record::Commit { .. }));
    match journal.records.first() {
        Some(Record::Rollback { .. }) => {
            let done = rollback::resume(host, &mut journal)?;
            Ok(Recovered::RolledBack(done.left))
        }
        Some(Record::Collect { .. }) => {
            gc::resume(host, &mut journal)?;
            Ok(Recovered::Collected)
        }
        Some(Record::Apply { .. }) if committed => {
            apply::finish(host, &journal)?;
            Ok(Recovered::Finished)
        }
        _ if is_complete => apply::abandon(host, &journal).map(Recovered::Undone),
        _ => unknown(host, &journal, give_up),
    }
}

/// Makes up for a first record that is lost, from what follows it. Answers whether the journal
/// then says everything that may have been done.
fn complete(host: &dyn Host, journal: &mut Journal<'_>) -> Result<bool> {
    // The first record names every step, so nothing after it can hide one.
    let begins = |record: &Record| {
        matches!(record, Record::Apply { .. } | Record::Rollback { .. } | Record::Collect { .. })
    };
    if journal.damage.is_empty() || journal.records.first().is_some_and(begins) {
        return Ok(true);
    }
    let undone = journal.records.iter().filter_map(|record| match record {
        Record::Undo { generation, .. } => Some(*generation),
        _ => None,
    });
    if let Some(oldest) = undone.min() {
        // It went back to the one before, or further; what is left of that can be asked for again.
        let first = Record::Rollback { to: oldest - 1, force: false, no_restart: false };
        journal.records.insert(0, first);
        return Ok(true);
    }
    if let Some(manifest) = state::uncommitted(host)? {
        journal.records = records_of(manifest);
        (journal.damage, journal.is_torn) = (Vec::new(), false);
        return Ok(true);
    }
    let changes = journal.changes();
    let Some(generation) = changes.first().map(|change| change.generation) else {
        return Ok(false);
    };
    let first = Record::Apply {
        generation,
        scope: Scope::default(),
        time: 0,
        parent_times: None,
        steps: Vec::new(),
    };
    journal.records.insert(0, first);
    // Nothing else is missing: every intent is there.
    Ok(journal.damage.len() == 1 && !journal.is_torn)
}

/// The records of an apply that had written its manifest and nothing after it.
fn records_of(manifest: Manifest) -> Vec<Record> {
    let Manifest { generation, scope, time, changes, services, parent_times, .. } = manifest;
    let steps = Vec::new();
    let mut records = vec![Record::Apply { generation, scope, time, parent_times, steps }];
    records.extend(changes.into_iter().map(|change| Record::Intent { change }));
    records.extend(services.into_iter().map(|step| Record::Service { step }));
    records
}

/// Undoes what a damaged journal says, and names what may be left.
fn unknown(host: &dyn Host, journal: &Journal<'_>, give_up: bool) -> Result<Recovered> {
    let mut left = apply::take_back(host, journal)?;
    let mut dirs: BTreeSet<_> = journal
        .changes()
        .iter()
        .filter_map(|change| Some(change.step.path()?.parent()?.to_path_buf()))
        .collect();
    // Facts help to look around; a machine that cannot be understood is looked at no further.
    if let Ok(facts) = crate::discover::facts(host) {
        dirs.extend(gc::directories(&facts));
    }
    let manifests = state::generations(host)?;
    let named: BTreeSet<_> = manifests
        .iter()
        .flat_map(|manifest| &manifest.changes)
        .filter_map(journal::Change::aside)
        .collect();
    for aside in gc::hidden_files(host, &dirs)?.iter().filter(|aside| !named.contains(*aside)) {
        let what = host.inspect(aside)?.describe();
        left.push(format!("{}, {what}: it may be an original", aside.display()));
    }
    if give_up {
        state::give_up_journal(host)?;
    }
    let at = journal.damage.first().copied().unwrap_or(0);
    Ok(Recovered::Unknown { at, left, given_up: give_up })
}
