//! What the installer remembers: `/var/lib/vgpu`, made by the first apply, gone after the last
//! rollback.
//!
//! The directory's own coming and going changes the time of `/var/lib`, and no record can outlive
//! the removal of the directory that holds the records. So the time to restore is kept for these
//! few instants in an extended attribute of `/var/lib` itself, which does not change its time.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::journal::{self, Change, ParentTimes};
use crate::object::{Content, Object, Stamp};
use crate::plan::Scope;
use crate::step::Step;

/// The state directory.
pub const DIR: &str = "/var/lib/vgpu";
const PARENT: &str = "/var/lib";
const GENERATIONS: &str = "/var/lib/vgpu/gen";
const CURRENT: &str = "/var/lib/vgpu/current";
const CURRENT_NEW: &str = "/var/lib/vgpu/.current";
const MANIFEST: &str = "manifest.json";
const MANIFEST_NEW: &str = ".manifest.json";
/// A journal that `recover --force` gave up.
const DAMAGED: &str = "/var/lib/vgpu/journal.damaged";
const MARK: &str = "user.vgpu.mtime";
/// Longest manifest that is read: 64 MiB; one of a few steps has some kilobytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// The version of a manifest's form; another one is refused.
pub const MANIFEST_VERSION: u32 = 3;

/// What one generation changed, with all that undoing it needs.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub schema_version: u32,
    /// The generation's number, from 1.
    pub generation: u64,
    /// When it was made: seconds since 1970.
    pub time: u64,
    /// The version of the program that made it.
    pub program_version: String,
    /// How far it reaches.
    pub scope: Scope,
    /// The other scopes of the generations that were joined into it, in the order in which they
    /// came.
    pub joined_scopes: Vec<Scope>,
    /// The changes, in the order in which they were made.
    pub changes: Vec<Change>,
    /// The steps of the service manager that followed.
    pub services: Vec<Step>,
    /// Set in the generation that made the state directory.
    pub parent_times: Option<ParentTimes>,
}

impl Manifest {
    /// Lists every scope that it stands for, in the order in which they came.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.joined_scopes.iter().copied().chain([self.scope])
    }
}

/// Lists the scopes in force, each once, in the order in which they came.
#[must_use]
pub fn scopes(generations: &[Manifest]) -> Vec<Scope> {
    generations.iter().flat_map(Manifest::scopes).fold(Vec::new(), |mut scopes, scope| {
        scopes.extend((!scopes.contains(&scope)).then_some(scope));
        scopes
    })
}

/// Makes sure that there is a place for the state directory.
///
/// # Errors
/// [`Error::Unsupported`] if there is no `/var/lib`.
pub fn require_parent(host: &dyn Host) -> Result<()> {
    parent_mtime(host).map(drop)
}

/// Makes the state directory if it is not there.
///
/// # Errors
/// [`Error::Unsupported`] if there is no `/var/lib`, [`Error::Io`] if it cannot be made.
pub fn open(host: &dyn Host) -> Result<Option<ParentTimes>> {
    if matches!(host.inspect(Path::new(DIR))?, Object::Dir { .. }) {
        return Ok(None);
    }
    let before = parent_mtime(host)?;
    let text = format!("{}.{}", before.seconds, before.nanoseconds);
    if host.mark(Path::new(PARENT), MARK, text.as_bytes())? {
        host.sync_dir(Path::new(PARENT))?;
    }
    host.make_dir(Path::new(DIR), 0o700)?;
    host.sync_dir(Path::new(PARENT))?;
    Ok(Some(ParentTimes { before, after: parent_mtime(host)? }))
}

/// Removes the journal, and the state directory with it if no generation is left.
///
/// # Errors
/// [`Error::Io`] if something cannot be removed; calling it again goes on.
pub fn close(host: &dyn Host, times: Option<ParentTimes>) -> Result<()> {
    if generations(host)?.is_empty() {
        let mut restore = None;
        // A mark that is there is from the beginning of this very transaction.
        if mark(host)?.is_none()
            && let Some(times) = times
        {
            let now = parent_mtime(host)?;
            let wanted = if now == times.after { times.before } else { now };
            let text = format!("{}.{}", wanted.seconds, wanted.nanoseconds);
            if host.mark(Path::new(PARENT), MARK, text.as_bytes())? {
                host.sync_dir(Path::new(PARENT))?;
            }
            restore = Some(wanted);
        }
        for path in [CURRENT_NEW, CURRENT] {
            discard(host, Path::new(path))?;
        }
        remove_dir(host, Path::new(GENERATIONS))?;
        discard(host, Path::new(journal::PATH))?;
        return vanish(host, restore);
    }
    if mark(host)?.is_some() {
        host.unmark(Path::new(PARENT), MARK)?;
        // A mark that came back with the power would look like an interrupted run.
        host.sync_dir(Path::new(PARENT))?;
    }
    discard(host, Path::new(journal::PATH))?;
    // All is done by now. Should this fail and the power go, the journal is back and `recover`
    // finds its commit record.
    let _ = host.sync_dir(Path::new(DIR));
    Ok(())
}

/// Removes the empty state directory and restores its parent's time: the marked one, or on a file
/// system without attributes the one that the transaction knows.
fn vanish(host: &dyn Host, known: Option<Stamp>) -> Result<()> {
    let parent = Path::new(PARENT);
    let restore = mark(host)?.or(known);
    if restore.is_none() && host.inspect(Path::new(DIR))?.is_absent() {
        // Nothing was made: a read-only file system must not be asked for anything more.
        return Ok(());
    }
    remove_dir(host, Path::new(DIR))?;
    if let Some(restore) = restore {
        host.restore_mtime(parent, restore)?;
    }
    host.sync_dir(parent)?;
    host.unmark(parent, MARK)?;
    host.sync_dir(parent)
}

/// True if an earlier run was stopped where no journal says so: while the state directory came
/// or went.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at.
pub fn is_half_made(host: &dyn Host) -> Result<bool> {
    if !matches!(host.inspect(Path::new(PARENT))?, Object::Dir { .. }) {
        return Ok(false);
    }
    let there = matches!(host.inspect(Path::new(DIR))?, Object::Dir { .. });
    Ok(mark(host)?.is_some() || (there && host.list(Path::new(DIR))?.is_empty()))
}

/// Ends what [`is_half_made`] found.
///
/// # Errors
/// [`Error::Io`] if something cannot be removed; calling it again goes on.
pub fn mend(host: &dyn Host) -> Result<()> {
    if generations(host)?.is_empty() {
        return vanish(host, None);
    }
    host.unmark(Path::new(PARENT), MARK)
}

/// Lists the generations, oldest first.
///
/// # Errors
/// [`Error::Record`] if a manifest cannot be understood.
pub fn generations(host: &dyn Host) -> Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for number in numbers(host)? {
        let path = manifest_path(number);
        let Some(text) = host.read(&path, MANIFEST_BYTES_MAX)? else { continue };
        let wrong = |what: String| Error::Record { path: path.clone().into(), what };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if manifest.schema_version != MANIFEST_VERSION || manifest.generation != number {
            return Err(wrong("it is of another version or number".into()));
        }
        found.push(manifest);
    }
    Ok(found)
}

/// The newest generation if `current` does not lead to it yet: what it changed never counted.
///
/// # Errors
/// As [`generations`].
pub fn uncommitted(host: &dyn Host) -> Result<Option<Manifest>> {
    let current = match host.inspect(Path::new(CURRENT))? {
        Object::Link { target, .. } => {
            target.file_name().and_then(|name| name.to_str()?.parse().ok())
        }
        _ => None,
    };
    let newest = generations(host)?.pop();
    Ok(newest.filter(|newest| newest.generation > current.unwrap_or(0)))
}

fn numbers(host: &dyn Host) -> Result<Vec<u64>> {
    let names = host.list(Path::new(GENERATIONS))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes a generation's manifest; may be called again after a crash.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn record(host: &dyn Host, manifest: &Manifest) -> Result<()> {
    let dir = generation_dir(manifest.generation);
    for path in [Path::new(GENERATIONS), &dir] {
        if host.inspect(path)?.is_absent() {
            host.make_dir(path, 0o700)?;
        }
    }
    write_manifest(host, manifest)?;
    host.sync_dir(Path::new(GENERATIONS))?;
    host.sync_dir(Path::new(DIR))
}

fn write_manifest(host: &dyn Host, manifest: &Manifest) -> Result<()> {
    let path = manifest_path(manifest.generation);
    let new = path.with_file_name(MANIFEST_NEW);
    let wrong = |error: serde_json::Error| Error::Record {
        path: path.clone().into(),
        what: error.to_string(),
    };
    let text = serde_json::to_vec_pretty(manifest).map_err(wrong)?;
    if !host.inspect(&new)?.is_absent() {
        host.unlink(&new)?;
    }
    host.make_file(&new, &text, 0o600)?;
    host.move_over(&new, &path)?;
    host.sync_dir(&generation_dir(manifest.generation))
}

/// Points `current` at a generation; may be called again after a crash.
///
/// # Errors
/// [`Error::Io`] if the link cannot be made.
pub fn point(host: &dyn Host, generation: u64) -> Result<()> {
    let target = PathBuf::from(format!("gen/{generation}"));
    if host.inspect(Path::new(CURRENT))?.holds(&Content::Link { target: target.clone().into() }) {
        return Ok(());
    }
    discard(host, Path::new(CURRENT_NEW))?;
    host.make_link(Path::new(CURRENT_NEW), &target)?;
    host.move_over(Path::new(CURRENT_NEW), Path::new(CURRENT))?;
    host.sync_dir(Path::new(DIR))
}

/// Forgets every generation above `to`, except for the changes that are `kept`.
///
/// # Errors
/// [`Error::Io`] if something cannot be removed; calling it again goes on.
pub fn forget(host: &dyn Host, to: u64, kept: &[(u64, u32)]) -> Result<()> {
    for mut manifest in generations(host)?.into_iter().rev() {
        let number = manifest.generation;
        if number <= to {
            continue;
        }
        manifest.changes.retain(|change| kept.contains(&(change.generation, change.index)));
        if manifest.changes.is_empty() {
            host.unlink(&manifest_path(number))?;
        } else {
            write_manifest(host, &manifest)?;
        }
    }
    let left: Vec<u64> = generations(host)?.iter().map(|left| left.generation).collect();
    if let Some(newest) = left.last() {
        point(host, *newest)?;
    }
    for number in numbers(host)?.into_iter().filter(|number| !left.contains(number)) {
        let dir = generation_dir(number);
        for name in host.list(&dir)? {
            host.unlink(&dir.join(name))?;
        }
        host.remove_dir(&dir)?;
    }
    // Before the journal goes: a generation that came back with the power would count again.
    if !host.inspect(Path::new(GENERATIONS))?.is_absent() {
        host.sync_dir(Path::new(GENERATIONS))?;
    }
    Ok(())
}

/// Forgets every generation before `first`: it stands for them all.
///
/// # Errors
/// [`Error::Io`] if something cannot be removed; calling it again goes on.
pub fn forget_before(host: &dyn Host, first: u64) -> Result<()> {
    for number in numbers(host)?.into_iter().filter(|number| *number < first) {
        let dir = generation_dir(number);
        // The manifest goes first: without it, what is left is a leftover and no generation.
        for name in [MANIFEST, MANIFEST_NEW] {
            discard(host, &dir.join(name))?;
        }
        remove_dir(host, &dir)?;
    }
    host.sync_dir(Path::new(GENERATIONS))
}

/// Lists what runs that were killed may have left beside the generations; `recover` made sure
/// that nothing depends on it.
///
/// # Errors
/// [`Error::Io`] if the state directory cannot be read.
pub fn leftovers(host: &dyn Host) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = [CURRENT_NEW, DAMAGED].map(PathBuf::from).to_vec();
    for number in numbers(host)? {
        let dir = generation_dir(number);
        found.push(dir.join(MANIFEST_NEW));
        if host.list(&dir)?.is_empty() {
            found.push(dir);
        }
    }
    let mut there = Vec::new();
    for path in found {
        if !host.inspect(&path)?.is_absent() {
            there.push(path);
        }
    }
    Ok(there)
}

/// Removes a file or an empty directory of the state, if it is there.
///
/// # Errors
/// [`Error::Io`] if the machine refuses.
pub fn discard(host: &dyn Host, path: &Path) -> Result<()> {
    match host.inspect(path)? {
        Object::Absent => Ok(()),
        Object::Dir { .. } => remove_dir(host, path),
        _ => host.unlink(path),
    }
}

/// Sets a journal aside that cannot be followed to its end.
///
/// # Errors
/// [`Error::Io`] if the machine refuses.
pub fn give_up_journal(host: &dyn Host) -> Result<()> {
    host.move_over(Path::new(journal::PATH), Path::new(DAMAGED))?;
    host.unmark(Path::new(PARENT), MARK)?;
    host.sync_dir(Path::new(PARENT))?;
    host.sync_dir(Path::new(DIR))
}

fn generation_dir(number: u64) -> PathBuf {
    Path::new(GENERATIONS).join(number.to_string())
}

fn manifest_path(number: u64) -> PathBuf {
    generation_dir(number).join(MANIFEST)
}

fn parent_mtime(host: &dyn Host) -> Result<Stamp> {
    match host.inspect(Path::new(PARENT))? {
        Object::Dir { meta } => Ok(meta.mtime),
        _ => Err(Error::Unsupported { what: format!("there is no directory {PARENT}") }),
    }
}

fn mark(host: &dyn Host) -> Result<Option<Stamp>> {
    let value = host.attribute(Path::new(PARENT), MARK)?;
    Ok(value.and_then(|text| {
        let (seconds, nanoseconds) = std::str::from_utf8(&text).ok()?.split_once('.')?;
        Some(Stamp { seconds: seconds.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? })
    }))
}

/// Removes a directory of ours, unless somebody else keeps something in it by now.
fn remove_dir(host: &dyn Host, path: &Path) -> Result<()> {
    if host.inspect(path)?.is_absent() || !host.list(path)?.is_empty() {
        return Ok(());
    }
    host.remove_dir(path)
}
