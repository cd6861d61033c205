//! Going back: the inverses of generations, newest first, as a transaction of its own.

use crate::answer::{Action, Answer};
use crate::change::{self, Undo};
use crate::cli::Options;
use crate::commands::{self, DRIFT, changed_code, newest};
use crate::difference;
use crate::drift;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::{Change, Journal, Record};
use crate::plan::Warning;
use crate::service;
use crate::shadow::Shadow;
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

/// Runs the command: back to generation `to`.
///
/// # Errors
/// As [`rollback`].
pub fn run(host: &dyn Host, to: u64, options: &Options, answer: &mut Answer) -> Result<u8> {
    let _guard = if options.check { None } else { Some(host.lock(options.lock_wait())?) };
    commands::refuse_interrupted(host)?;
    let pending = pending(host, to)?;
    answer.checked_only = options.check;
    answer.generation = newest(host)?;
    if pending.is_empty() {
        answer.lines.push(match to {
            0 => "nothing to do: no generation is in force".into(),
            _ => format!("nothing to do: generation {to} is in force"),
        });
        return Ok(0);
    }
    let mut actions = Vec::new();
    for change in order(&pending) {
        let diff = if options.diff { difference::of_undo(host, change)? } else { None };
        let action = Action { diff, ..Action::undoing(&change.step, change.generation) };
        actions.push((Some((change.generation, change.index)), action));
    }
    let steps = steps(host, &pending, options.no_restart)?;
    actions.extend(steps.iter().map(|step| (None, Action::undoing(step, to))));
    let done = match options.check {
        true => {
            let skipped = steps.iter().filter(|step| service::leaves_out(host, step)).cloned();
            let skipped = skipped.collect();
            RolledBack { skipped, ..foresee(host, &pending, options.force)? }
        }
        false => rollback(host, to, options.force, options.no_restart)?,
    };
    // What is left is not done.
    actions.retain(|(change, _)| change.is_none_or(|change| !done.left_changes.contains(&change)));
    answer.actions = actions.into_iter().map(|(_, action)| action).collect();
    answer.changed = answer.actions.iter().any(|action| action.path.is_some());
    answer.generation = newest(host)?;
    answer.left_out(&done.skipped);
    answer.warnings.extend(commands::skipped(host, &done.skipped));
    let restart = "look at it with systemctl status; the files are back";
    answer.warnings.extend(done.failed.iter().map(|what| Warning::new("service", what, restart)));
    answer.left = done.left;
    if !options.check {
        answer.lines.push(match (answer.left.is_empty(), answer.generation) {
            (false, _) => "all else is back; --rollback --force puts back what can be".into(),
            (true, 0) => "the system is as it was before the first change".into(),
            (true, generation) => format!("generation {generation} is in force"),
        });
    }
    Ok(if answer.left.is_empty() { changed_code(options) } else { DRIFT })
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
    refuse_immutable(host, &pending)?;
    let first = Record::Rollback { to, force, no_restart };
    let mut journal = Journal::begin_or_close(host, first)?;
    resume(host, &mut journal).map_err(|source| {
        let first = Box::new(Error::Interrupted { what: "the rollback" });
        Error::UndoFailed { first, source: Box::new(source) }
    })
}

/// Says what [`rollback`] would leave, by taking every inverse on a shadow of the machine.
///
/// # Errors
/// As [`rollback`] before it begins.
pub fn foresee(host: &dyn Host, pending: &[Manifest], force: bool) -> Result<RolledBack> {
    refuse_immutable(host, pending)?;
    let shadow = Shadow::of(host);
    let generations = pending.iter().map(|manifest| manifest.generation).collect();
    let mut seen = RolledBack { generations, ..RolledBack::default() };
    for change in order(pending) {
        if let Undo::Kept { why, .. } = change::undo(&shadow, change, false, force)? {
            seen.left_changes.push((change.generation, change.index));
            if !seen.left.contains(&why) {
                seen.left.push(why);
            }
        }
    }
    Ok(seen)
}

fn refuse_immutable(host: &dyn Host, pending: &[Manifest]) -> Result<()> {
    change::refuse_immutable(host, order(pending).into_iter().map(|change| &change.step))
}

/// The changes of some generations in the order in which they are taken back.
fn order(pending: &[Manifest]) -> Vec<&Change> {
    pending.iter().flat_map(|manifest| manifest.changes.iter().rev()).collect()
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
    let order = order(pending);
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

/// The programs' steps of some generations, each once.
fn steps(host: &dyn Host, undone: &[Manifest], no_restart: bool) -> Result<Vec<Step>> {
    // Of a generation that was made with --no-restart, and ran since after all.
    let owed = if no_restart { Vec::new() } else { drift::owed(host, undone)? };
    let mut steps: Vec<Step> = Vec::new();
    for step in undone.iter().flat_map(|manifest| &manifest.services).chain(&owed) {
        let wanted = !(no_restart && matches!(step, Step::Restart { .. }));
        if wanted && !steps.contains(step) {
            steps.push(step.clone());
        }
    }
    // What a service is started from comes before its start, whatever generation asked for it.
    steps.sort_by_key(Step::order);
    Ok(steps)
}

/// Repeats each program's step of the undone generations once.
fn services(
    host: &dyn Host,
    journal: &mut Journal<'_>,
    undone: &[Manifest],
    no_restart: bool,
    done: &mut RolledBack,
) -> Result<()> {
    for step in steps(host, undone, no_restart)? {
        journal.append(Record::Service { step: step.clone() })?;
        match service::take(host, &step) {
            Ok(true) => {}
            Ok(false) => done.skipped.push(step),
            // The files are back; a service that fails for its own reasons keeps nothing up.
            Err(error) => done.failed.push(error.to_string()),
        }
    }
    Ok(())
}
