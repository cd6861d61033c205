//! Going back: the inverses of generations, newest first, as a transaction of its own.

use crate::change::{self, Undo};
use crate::drift;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::{Change, Journal, Record};
use crate::service;
use crate::state::{self, Manifest};
use crate::step::Step;

/// What a rollback did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolledBack {
    /// The generations that were taken back.
    pub generations: Vec<u64>,
    /// What others changed since and was left.
    pub left: Vec<String>,
    /// The changes that this is about, each by its generation and index.
    pub left_changes: Vec<(u64, u32)>,
    /// Steps of the service manager that have no meaning here.
    pub skipped: Vec<Step>,
    /// Services that did not start again.
    pub failed: Vec<String>,
}

/// What a rollback would undo, newest first.
///
/// # Errors
/// [`Error::NoGeneration`] if `to` is not one that exists.
pub fn pending(host: &dyn Host, to: u64) -> Result<Vec<Manifest>> {
    let generations = state::generations(host)?;
    if to != 0 && !generations.iter().any(|manifest| manifest.generation == to) {
        let there = generations.iter().map(|manifest| manifest.generation).collect();
        return Err(Error::NoGeneration { wanted: to, there });
    }
    above(host, to)
}

/// The generations above `to`, newest first.
fn above(host: &dyn Host, to: u64) -> Result<Vec<Manifest>> {
    let mut generations = state::generations(host)?;
    generations.retain(|manifest| manifest.generation > to);
    generations.reverse();
    Ok(generations)
}

/// Rolls back to generation `to`; 0 is the state before the first.
///
/// # Errors
/// [`Error::UndoFailed`] if an inverse failed: `recover` goes on from there.
pub fn rollback(host: &dyn Host, to: u64, force: bool, no_restart: bool) -> Result<RolledBack> {
    let pending = pending(host, to)?;
    if pending.is_empty() {
        return Ok(RolledBack::default());
    }
    let changes = pending.iter().flat_map(|manifest| &manifest.changes);
    change::refuse_immutable(host, changes.map(|change| &change.step))?;
    let first = Record::Rollback { to, force, no_restart };
    let mut journal = Journal::begin_or_close(host, first)?;
    resume(host, &mut journal).map_err(|source| {
        let first = Box::new(Error::Interrupted { what: "the rollback" });
        Error::UndoFailed { first, source: Box::new(source) }
    })
}

/// Goes on with a rollback from its journal; may be called again after a crash.
///
/// # Errors
/// [`Error::Io`] if an inverse fails.
pub fn resume(host: &dyn Host, journal: &mut Journal<'_>) -> Result<RolledBack> {
    let Some(Record::Rollback { to, force, no_restart }) = journal.records.first().cloned() else {
        state::close(host, None)?;
        return Ok(RolledBack::default());
    };
    let mut done = RolledBack::default();
    let commit = journal.records.iter().find_map(|record| match record {
        Record::Commit { kept, parent_times } => Some((kept.clone(), *parent_times)),
        _ => None,
    });
    let (kept, parent_times) = match commit {
        Some(commit) => commit,
        None => {
            let pending = above(host, to)?;
            done.generations = pending.iter().map(|manifest| manifest.generation).collect();
            let kept = inverses(host, journal, &pending, force, &mut done.left)?;
            services(host, journal, &pending, no_restart, &mut done)?;
            let parent_times = state::generations(host)?.first().and_then(|m| m.parent_times);
            journal.append(Record::Commit { kept: kept.clone(), parent_times })?;
            (kept, parent_times)
        }
    };
    done.left_changes.extend(journal.records.iter().filter_map(|record| match record {
        Record::Left { generation, index, .. } => Some((*generation, *index)),
        _ => None,
    }));
    state::forget(host, to, &kept)?;
    state::close(host, parent_times)?;
    Ok(done)
}

/// Takes every inverse that was not taken yet, newest first; answers which were not to be had, and
/// could be.
fn inverses(
    host: &dyn Host,
    journal: &mut Journal<'_>,
    pending: &[Manifest],
    force: bool,
    left: &mut Vec<String>,
) -> Result<Vec<(u64, u32)>> {
    let order: Vec<&Change> =
        pending.iter().flat_map(|manifest| manifest.changes.iter().rev()).collect();
    // Each began when the one before it had ended, and none may be taken twice: by now an older
    // generation's inverse may have put something else at the same path.
    let begun = order.iter().rposition(|change| known(journal, change).is_some()).unwrap_or(0);
    let ended = journal.records.iter().any(|record| matches!(record, Record::Service { .. }));
    let first = if ended { order.len() } else { begun };
    for change in &order[first..] {
        let (generation, index) = (change.generation, change.index);
        // Decided once and written down: after a crash the directory's time says nothing more.
        let restore_mtime = match known(journal, change) {
            Some(restore_mtime) => restore_mtime,
            None => {
                let restore_mtime = change::parent_is_as_left(host, change)?;
                journal.append(Record::Undo { generation, index, restore_mtime })?;
                restore_mtime
            }
        };
        if let Undo::Kept { why, restorable } = change::undo(host, change, restore_mtime, force)? {
            journal.append(Record::Left { generation, index, why, restorable })?;
        }
    }
    let mut kept = Vec::new();
    for record in &journal.records {
        let Record::Left { generation, index, why, restorable } = record else { continue };
        let change = (*generation, *index);
        if *restorable && !kept.contains(&change) {
            kept.push(change);
        }
        if !left.contains(why) {
            left.push(why.clone());
        }
    }
    Ok(kept)
}

/// Whether a step's inverse was begun, and then whether it restores its directory's time.
fn known(journal: &Journal<'_>, change: &Change) -> Option<bool> {
    journal.records.iter().find_map(|record| match record {
        Record::Undo { generation, index, restore_mtime } => {
            ((*generation, *index) == (change.generation, change.index)).then_some(*restore_mtime)
        }
        _ => None,
    })
}

/// Repeats each program's step of the undone generations once.
fn services(
    host: &dyn Host,
    journal: &mut Journal<'_>,
    undone: &[Manifest],
    no_restart: bool,
    done: &mut RolledBack,
) -> Result<()> {
    // Of a generation that was made with --no-restart, and ran since after all.
    let owed = if no_restart { Vec::new() } else { drift::owed(host, undone)? };
    let mut steps: Vec<&Step> = Vec::new();
    for step in undone.iter().flat_map(|manifest| &manifest.services).chain(&owed) {
        let wanted = !(no_restart && matches!(step, Step::Restart { .. }));
        if wanted && !steps.contains(&step) {
            steps.push(step);
        }
    }
    // What a service is started from comes before its start, whatever generation asked for it.
    steps.sort_by_key(|step| step.order());
    for step in steps {
        journal.append(Record::Service { step: step.clone() })?;
        match service::take(host, step) {
            Ok(true) => {}
            Ok(false) => done.skipped.push(step.clone()),
            // The files are back; a service that fails for its own reasons keeps nothing up.
            Err(error) => done.failed.push(error.to_string()),
        }
    }
    Ok(())
}
