//! Applying a plan as one transaction: all of it, or nothing.
//!
//! For each step: the intent with its inverse on the disk, the act on the disk, then done. The
//! generation counts once its manifest is written and `current` points at it; until the commit
//! record every crash is undone, after it every crash is finished.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::change::{self, Taken, Undo};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::{Change, Journal, Record};
use crate::location::Location;
use crate::object::Stamp;
use crate::plan::Plan;
use crate::service;
use crate::state::{self, Manifest};
use crate::step::Step;

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The generation that it made.
    pub generation: u64,
    /// Steps of the service manager that have no meaning here: a foreign root, or no systemd.
    pub skipped: Vec<Step>,
    /// Paths whose file system cannot exchange two names: the original got a second name first.
    pub two_names: Vec<Location>,
    /// Why what was made may not have the label that SELinux wants.
    pub unlabelled: Option<String>,
}

/// What judges a transaction before it counts; an error undoes everything.
pub trait Verify {
    /// Every file is in place, and no service was restarted yet.
    ///
    /// # Errors
    /// Whatever is not as it must be.
    fn in_place(&mut self) -> Result<()>;

    /// These services were started anew with the change.
    ///
    /// # Errors
    /// Whatever is not as it must be.
    fn restarted(&mut self, services: &[Step]) -> Result<()> {
        let _ = services;
        Ok(())
    }
}

impl<F: FnMut() -> Result<()>> Verify for F {
    fn in_place(&mut self) -> Result<()> {
        self()
    }
}

/// Applies a plan that is not empty.
///
/// # Errors
/// [`Error::Unsupported`] if there is no place for the state; [`Error::Undone`] if something failed
/// and was undone; [`Error::UndoFailed`] if undoing failed too, and `recover` has to go on.
pub fn apply(host: &dyn Host, plan: &Plan, verify: &mut dyn Verify) -> Result<Applied> {
    state::require_parent(host)?;
    change::refuse_immutable(host, plan.steps.iter())?;
    let generation = state::generations(host)?.last().map_or(0, |last| last.generation) + 1;
    let begun = state::open(host).and_then(|parent_times| {
        let (scope, time) = (plan.scope, host.now());
        let steps = plan.steps.clone();
        Journal::begin(host, Record::Apply { generation, scope, time, parent_times, steps })
    });
    let mut journal = match begun {
        Ok(journal) => journal,
        Err(first) => return Err(undone(first, state::close(host, None).map(|()| Vec::new()))),
    };
    match run(host, plan, generation, &mut journal, verify) {
        Ok(applied) => Ok(applied),
        Err(first) => {
            // A commit record may be on the disk although what followed failed. It goes first: a
            // crash on the way back must not find a transaction that claims to be whole.
            let outcome = journal.uncommit().and_then(|()| abandon(host, &journal));
            Err(undone(first, outcome))
        }
    }
}

fn undone(first: Error, outcome: Result<Vec<String>>) -> Error {
    match outcome {
        Ok(left) => Error::Undone { left, source: Box::new(first) },
        Err(source) => Error::UndoFailed { first: Box::new(first), source: Box::new(source) },
    }
}

fn run(
    host: &dyn Host,
    plan: &Plan,
    generation: u64,
    journal: &mut Journal<'_>,
    verify: &mut dyn Verify,
) -> Result<Applied> {
    let mut applied = Applied { generation, ..Applied::default() };
    let (mut verified, mut labelled) = (false, false);
    let mut restarted = Vec::new();
    // Deliberately one step at a time: the inverse of a step assumes that the next never began.
    for (index, step) in (0..).zip(&plan.steps) {
        stop_if_asked(host)?;
        if let Some(change) = change::prepare(host, generation, step, index)? {
            journal.append(Record::Intent { change: change.clone() })?;
            let Taken { parent_after, two_names } = change::take(host, &change)?;
            journal.append(Record::Done { index, parent_after, two_names })?;
            applied.two_names.extend(step.path().filter(|_| two_names).cloned());
            continue;
        }
        if !labelled {
            labelled = true;
            applied.unlabelled = label(host, plan);
        }
        if matches!(step, Step::Restart { .. }) && !verified {
            verify.in_place()?;
            verified = true;
        }
        journal.append(Record::Service { step: step.clone() })?;
        if !service::take(host, step)? {
            applied.skipped.push(step.clone());
        } else if matches!(step, Step::Restart { .. }) {
            restarted.push(step.clone());
        }
    }
    if !labelled {
        applied.unlabelled = label(host, plan);
    }
    if !verified {
        verify.in_place()?;
    }
    if !restarted.is_empty() {
        verify.restarted(&restarted)?;
    }
    stop_if_asked(host)?;
    // The manifest needs space on the disk, so it comes before the commit.
    record(host, journal)?;
    journal.append(Record::Commit { kept: Vec::new(), parent_times: None })?;
    finish(host, journal)?;
    Ok(applied)
}

/// A label that is wrong shows in the verification, or hinders nobody: it stops nothing here.
fn label(host: &dyn Host, plan: &Plan) -> Option<String> {
    service::relabel(host, &plan.steps).err().map(|error| error.to_string())
}

fn stop_if_asked(host: &dyn Host) -> Result<()> {
    if host.is_asked_to_stop() { Err(Error::Stopped) } else { Ok(()) }
}

fn record(host: &dyn Host, journal: &Journal<'_>) -> Result<()> {
    let Some(Record::Apply { generation, scope, time, parent_times, .. }) = journal.records.first()
    else {
        return Ok(());
    };
    state::record(
        host,
        &Manifest {
            schema_version: state::MANIFEST_VERSION,
            generation: *generation,
            time: *time,
            program_version: env!("CARGO_PKG_VERSION").into(),
            scope: *scope,
            joined_scopes: Vec::new(),
            changes: journal.changes(),
            services: journal.services(),
            parent_times: *parent_times,
        },
    )
}

/// Ends a committed apply; may be called again after a crash.
///
/// # Errors
/// [`Error::Io`] if the state cannot be written.
pub fn finish(host: &dyn Host, journal: &Journal<'_>) -> Result<()> {
    if let Some(Record::Apply { generation, .. }) = journal.records.first() {
        state::point(host, *generation)?;
    }
    state::close(host, None)
}

/// Undoes an apply that did not reach its commit record; may be called again after a crash.
/// Answers what others changed meanwhile and was left, and services that did not start again.
///
/// # Errors
/// [`Error::Io`] if something cannot be put back.
pub fn abandon(host: &dyn Host, journal: &Journal<'_>) -> Result<Vec<String>> {
    let Some(Record::Apply { generation, parent_times, .. }) = journal.records.first() else {
        state::close(host, None)?;
        return Ok(Vec::new());
    };
    let left = take_back(host, journal)?;
    state::forget(host, generation - 1, &[])?;
    state::close(host, *parent_times)?;
    Ok(left)
}

/// Takes back every change of an apply and lets the services follow; forgets nothing.
/// Answers what was left, as [`abandon`] does.
///
/// # Errors
/// [`Error::Io`] if something cannot be put back.
pub fn take_back(host: &dyn Host, journal: &Journal<'_>) -> Result<Vec<String>> {
    let mut changes = journal.changes();
    let known: BTreeSet<u32> = changes.iter().map(|change| change.index).collect();
    changes.extend(unread(journal).into_iter().filter(|change| !known.contains(&change.index)));
    changes.sort_by_key(|change| Reverse(change.index));
    let mut left = Vec::new();
    for change in &changes {
        let restore_mtime = known.contains(&change.index);
        if let Undo::Kept { why, .. } = change::undo(host, change, restore_mtime, false)? {
            left.push(why);
        }
    }
    for step in journal.services() {
        // A service that does not start is no reason to keep half of a change.
        left.extend(service::take(host, &step).err().map(|error| error.to_string()));
    }
    Ok(left)
}

/// The steps whose intents a damaged journal may have lost, as changes: the inverse of one that
/// never began finds nothing of ours. The times of their directories are not known.
fn unread(journal: &Journal<'_>) -> Vec<Change> {
    let Some(Record::Apply { generation, steps, .. }) = journal.records.first() else {
        return Vec::new();
    };
    if journal.damage.is_empty() && !journal.is_torn {
        return Vec::new();
    }
    let change = |(index, step): (u32, &Step)| Change {
        generation: *generation,
        index,
        before: step.before(),
        step: step.clone(),
        parent_mtime: Stamp::default(),
        parent_after: None,
    };
    (0..).zip(steps).filter(|(_, step)| step.path().is_some()).map(change).collect()
}
