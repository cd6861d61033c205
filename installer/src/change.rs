//! Taking one step on the file system, and taking it back.
//!
//! What we displace is kept in its own directory under a hidden name, so it comes back as the
//! same inode: content, links, attributes and times. The inverse looks before it acts, does
//! nothing twice, and leaves alone what is no longer ours.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::Change;
use crate::object::{Content, Object, Stamp};
use crate::shadow::Ground;
use crate::step::Step;

/// What became of an inverse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// The path is as it was before the change.
    Done,
    /// Others changed the path since; it was left alone.
    Kept {
        /// What was seen, with the place of what we had displaced.
        why: String,
        /// True if `--force` could still put the old state back.
        restorable: bool,
    },
}

/// How a step was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// The time of its directory afterwards.
    pub parent_after: Stamp,
    /// True if two names could not be exchanged there, and the original got a second name first.
    pub two_names: bool,
}

/// The hidden name beside a path for what is not yet, or no longer, at the path. It matches
/// neither `lib*.so*` nor `*.conf`, so no loader, ldconfig or systemd takes it.
#[must_use]
pub fn hidden(path: &Path, generation: u64, index: u32) -> PathBuf {
    path.with_file_name(format!(".vgpu-{generation}-{index}"))
}

/// Looks at a step's path and directory, and gives the change that is about to happen.
///
/// # Errors
/// [`Error::Changed`] if something else lies there than the plan was made for, or anything under
/// the hidden name: it may be an original, and undoing would take it for ours.
pub fn prepare(
    host: &dyn Host,
    generation: u64,
    step: &Step,
    index: u32,
) -> Result<Option<Change>> {
    let Some(path) = step.path() else { return Ok(None) };
    let aside = hidden(path, generation, index);
    let taken = host.inspect(&aside)?;
    if !taken.is_absent() {
        let (expected, found) = (Object::Absent.describe(), taken.describe());
        return Err(Error::Changed { path: aside.into(), expected, found });
    }
    let before = host.inspect(path)?;
    let expected = step.before();
    if before != expected {
        return Err(Error::Changed {
            path: path.clone(),
            expected: expected.describe(),
            found: before.describe(),
        });
    }
    let parent_mtime = mtime(host, parent(path))?.unwrap_or_default();
    let step = step.clone();
    Ok(Some(Change { generation, index, step, before, parent_mtime, parent_after: None }))
}

/// Takes a step. Whatever happens, [`undo`] can be called afterwards.
///
/// # Errors
/// [`Error::Io`] if the machine refuses; [`Error::Changed`] if somebody else was faster.
pub fn take(host: &dyn Host, change: &Change) -> Result<Taken> {
    let Some(path) = change.step.path() else { return Ok(Taken::default()) };
    let mut two_names = false;
    let aside = hidden(path, change.generation, change.index);
    match &change.step {
        Step::MakeDir { mode, .. } => {
            host.make_dir(path, *mode)?;
            host.sync_dir(path)?;
        }
        Step::WriteFile { mode, text, .. } => {
            host.make_file(&aside, text.as_bytes(), *mode)?;
            host.move_new(&aside, path)?;
        }
        Step::MakeLink { target, .. } => host.make_link(path, target)?,
        Step::Replace { content, .. } => {
            match content {
                Content::File { mode, text } => host.make_file(&aside, text.as_bytes(), *mode)?,
                Content::Link { target } => host.make_link(&aside, target)?,
            }
            if host.exchange(&aside, path)? {
                // What came aside must be what was looked at: the look and the exchange are two.
                still(host, &aside, change, || {
                    host.exchange(&aside, path)?;
                    host.unlink(&aside)
                })?;
            } else {
                replace_by_two_names(host, path, &aside, change)?;
                two_names = true;
            }
        }
        Step::RemoveFile { .. } => {
            host.move_new(path, &aside)?;
            // As above: what came aside must be what was looked at.
            still(host, &aside, change, || host.move_new(&aside, path))?;
        }
        Step::DaemonReload { .. } | Step::Ldconfig | Step::Restart { .. } => {}
    }
    host.sync_dir(parent(path))?;
    let parent_after = mtime(host, parent(path))?.unwrap_or_default();
    Ok(Taken { parent_after, two_names })
}

/// Puts what lies aside into place where two names cannot be exchanged: the original gets a second
/// name first, so that at every instant one of the two lies at the path.
fn replace_by_two_names(host: &dyn Host, path: &Path, aside: &Path, change: &Change) -> Result<()> {
    let fresh = fresh(aside);
    host.move_new(aside, &fresh)?;
    host.second_name(path, aside)?;
    // The second name is on the disk before the first one goes.
    host.sync_dir(parent(path))?;
    still(host, aside, change, || {
        host.unlink(aside)?;
        host.unlink(&fresh)
    })?;
    host.move_over(&fresh, path)
}

/// Demands that what came aside is what the change was prepared for; else takes that back.
fn still(
    host: &dyn Host,
    aside: &Path,
    change: &Change,
    back: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let found = host.inspect(aside)?;
    if found == change.before {
        return Ok(());
    }
    back()?;
    Err(Error::Changed {
        path: change.step.path().cloned().unwrap_or_default(),
        expected: change.before.describe(),
        found: found.describe(),
    })
}

/// A third name, for what is ours while the original has two.
fn fresh(aside: &Path) -> PathBuf {
    let mut name = aside.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    aside.with_file_name(name)
}

/// Refuses steps on what is marked as never to be changed, before anything is begun.
///
/// # Errors
/// [`Error::Immutable`] if a path or its directory is so marked.
pub fn refuse_immutable<'a>(host: &dyn Host, steps: impl Iterator<Item = &'a Step>) -> Result<()> {
    for path in steps.filter_map(Step::path) {
        for place in [path.as_ref(), parent(path)] {
            if host.is_immutable(place)? {
                return Err(Error::Immutable { path: place.into() });
            }
        }
    }
    Ok(())
}

/// True if nobody else changed the step's directory since the step.
///
/// # Errors
/// [`Error::Io`] if it cannot be looked at.
pub fn parent_is_as_left(host: &dyn Host, change: &Change) -> Result<bool> {
    let Some(path) = change.step.path() else { return Ok(false) };
    Ok(change.parent_after.is_some() && mtime(host, parent(path))? == change.parent_after)
}

/// Takes a step back, if what it made is still there; may be called again after a crash.
///
/// # Errors
/// [`Error::Io`] if the machine refuses.
pub fn undo(
    ground: &(impl Ground + ?Sized),
    change: &Change,
    restore_mtime: bool,
    force: bool,
) -> Result<Undo> {
    let Some(path) = change.step.path() else { return Ok(Undo::Done) };
    if mtime(ground, parent(path))?.is_none() {
        // The whole directory is gone, and our change with it.
        return Ok(match change.before {
            Object::Absent => Undo::Done,
            _ => superseded(parent(path)),
        });
    }
    let aside = hidden(path, change.generation, change.index);
    let outcome = match &change.step {
        Step::MakeDir { .. } => undo_dir(ground, path)?,
        Step::RemoveFile { .. } => undo_removal(ground, path, &aside, &change.before, force)?,
        Step::Replace { content, .. } => {
            undo_replace(ground, path, &aside, &change.before, content, force)?
        }
        step => {
            discard(ground, &aside)?;
            match step.content() {
                Some(content) => undo_new(ground, path, &content, force)?,
                None => Undo::Done,
            }
        }
    };
    if restore_mtime {
        ground.restore_mtime(parent(path), change.parent_mtime)?;
    }
    ground.sync_dir(parent(path))?;
    Ok(outcome)
}

fn undo_dir(ground: &(impl Ground + ?Sized), path: &Path) -> Result<Undo> {
    match ground.inspect(path)? {
        Object::Absent => Ok(Undo::Done),
        Object::Dir { .. } if ground.list(path)?.is_empty() => {
            ground.remove_dir(path)?;
            Ok(Undo::Done)
        }
        _ => {
            let why = format!("{} holds other files by now", path.display());
            Ok(Undo::Kept { why, restorable: true })
        }
    }
}

fn undo_new(
    ground: &(impl Ground + ?Sized),
    path: &Path,
    content: &Content,
    force: bool,
) -> Result<Undo> {
    let there = ground.inspect(path)?;
    if there.is_absent() {
        return Ok(Undo::Done);
    }
    let removable = matches!(there, Object::File { .. } | Object::Link { .. });
    if there.holds(content) || (force && removable) {
        ground.unlink(path)?;
        return Ok(Undo::Done);
    }
    let why = format!("{} was changed since", path.display());
    Ok(Undo::Kept { why, restorable: removable })
}

fn undo_replace(
    ground: &(impl Ground + ?Sized),
    path: &Path,
    aside: &Path,
    before: &Object,
    content: &Content,
    force: bool,
) -> Result<Undo> {
    let fresh = fresh(aside);
    if is_ours(ground, &fresh, before, content)? {
        discard(ground, &fresh)?;
    }
    let there = ground.inspect(path)?;
    if there == *before {
        // Not exchanged yet, or exchanged back: what lies aside is ours, perhaps half written, or
        // a second name of the original.
        return Ok(if is_ours(ground, aside, before, content)? {
            discard(ground, aside)?;
            Undo::Done
        } else {
            let why = format!("{} is not ours", aside.display());
            Undo::Kept { why, restorable: false }
        });
    }
    let has_backup = ground.inspect(aside)? == *before;
    let ours = there.holds(content);
    if has_backup && there.is_absent() && force {
        ground.move_new(aside, path)?;
        return Ok(Undo::Done);
    }
    let replaceable = matches!(there, Object::File { .. } | Object::Link { .. });
    if has_backup && replaceable && (ours || force) {
        // One step, in which the name is never missing.
        ground.move_over(aside, path)?;
        return Ok(Undo::Done);
    }
    if has_backup {
        let (path, aside) = (path.display(), aside.display());
        let why = format!("{path} was changed since; the original is {aside}");
        return Ok(Undo::Kept { why, restorable: true });
    }
    if ours {
        // Without the original, a link of ours in its place still leads to a working library.
        let why = format!("the original of {} is gone; ours stays in its place", path.display());
        return Ok(Undo::Kept { why, restorable: true });
    }
    Ok(superseded(path))
}

/// True if nothing lies under a hidden name, or what we put there: whole, cut short by a crash, or
/// not written at all where the power went.
fn is_ours(
    ground: &(impl Ground + ?Sized),
    aside: &Path,
    before: &Object,
    content: &Content,
) -> Result<bool> {
    let there = ground.inspect(aside)?;
    if there.is_absent() || there.holds(content) || there == *before {
        return Ok(true);
    }
    let (Object::File { bytes, .. }, Content::File { text, .. }) = (&there, content) else {
        return Ok(false);
    };
    let written = if *bytes > text.len() as u64 { None } else { ground.read(aside, *bytes)? };
    Ok(written.is_some_and(|written| {
        written.iter().zip(text.as_bytes()).all(|(found, ours)| found == ours || *found == 0)
    }))
}

fn undo_removal(
    ground: &(impl Ground + ?Sized),
    path: &Path,
    aside: &Path,
    before: &Object,
    force: bool,
) -> Result<Undo> {
    let there = ground.inspect(path)?;
    if there == *before {
        discard(ground, aside)?;
        return Ok(Undo::Done);
    }
    if ground.inspect(aside)? != *before {
        return Ok(superseded(path));
    }
    if there.is_absent() {
        ground.move_new(aside, path)?;
        return Ok(Undo::Done);
    }
    if force && matches!(there, Object::File { .. } | Object::Link { .. }) {
        ground.move_over(aside, path)?;
        return Ok(Undo::Done);
    }
    let (path, aside) = (path.display(), aside.display());
    let why = format!("{path} was made anew since; the original is {aside}");
    Ok(Undo::Kept { why, restorable: true })
}

fn superseded(path: &Path) -> Undo {
    let why = format!("{} was replaced by others since; nothing to put back", path.display());
    Undo::Kept { why, restorable: false }
}

/// Removes something of ours under its hidden name, if it is there.
fn discard(ground: &(impl Ground + ?Sized), aside: &Path) -> Result<()> {
    if ground.inspect(aside)?.is_absent() {
        return Ok(());
    }
    ground.unlink(aside)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The time of a directory, links on the way followed; none if it is gone.
///
/// # Errors
/// [`Error::Io`] if it cannot be looked at.
pub fn mtime(ground: &(impl Ground + ?Sized), dir: &Path) -> Result<Option<Stamp>> {
    let Some(real) = ground.canonical(dir)? else { return Ok(None) };
    Ok(ground.inspect(&real)?.meta().map(|meta| meta.mtime))
}
