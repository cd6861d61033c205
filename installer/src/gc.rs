//! Collecting what nobody needs: old generations become one, and hidden files of ours that no
//! generation names are removed.
//!
//! A rollback to the state before the first change stays possible, whatever is collected. Files
//! under a hidden name that may be somebody's original are named and left.

mod join;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::answer::{Action, Answer};
use crate::cli::Options;
use crate::discover;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::host::Host;
use crate::journal::{Journal, Obsolete, Record};
use crate::object::Object;
use crate::plan::Warning;
use crate::state::{self, Manifest};

/// How many generations are kept apart unless `--keep` says otherwise. Each is a run that changed
/// something: seven ways back beside the one to the start.
pub const KEPT: u64 = 8;

/// Why the content between two joined generations goes.
const BETWEEN: &str = "only going back to a generation that was joined would need it";
/// Why a link goes that no generation names.
const UNNAMED: &str = "it is a link of ours, and no generation names it";

/// What can be collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// The generations that become one, and that one; none if there are few enough.
    pub joined: Option<(Vec<u64>, Manifest)>,
    /// Hidden files of ours that nothing needs, each with the reason.
    pub obsolete: Vec<(Obsolete, &'static str)>,
    /// Each generation in force, with what becomes of it and why, for people.
    pub told: Vec<String>,
    /// What runs that were killed left in the state directory.
    pub leftovers: Vec<PathBuf>,
    /// Hidden files that may be somebody's.
    pub left: Vec<String>,
}

impl Collection {
    /// True if nothing is to be collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.joined.is_none() && self.obsolete.is_empty() && self.leftovers.is_empty()
    }
}

/// Runs the command `gc`.
///
/// # Errors
/// [`Error::Io`] if nothing was collected, [`Error::UndoFailed`] if `recover` has to go on.
pub fn run(host: &dyn Host, options: &Options, keep: u64, answer: &mut Answer) -> Result<u8> {
    let facts = discover::facts(host)?;
    let found = look(host, keep, &directories(&facts), &facts.shims.dir)?;
    answer.actions = found.actions();
    answer.changed = !found.is_empty();
    answer.checked_only = options.check;
    answer.left.clone_from(&found.left);
    if found.is_empty() {
        answer.lines.push("nothing to collect".into());
    } else if !options.check {
        collect(host, &found)?;
    }
    answer.lines.extend(found.told);
    answer.generation = state::generations(host)?.last().map_or(0, |last| last.generation);
    Ok(match (&answer.left[..], answer.changed && options.detailed_exitcode) {
        ([], true) => 2,
        ([], false) => 0,
        _ => 3,
    })
}

/// Joins the oldest generations if there are more than [`KEPT`] by now. What goes wrong is a
/// warning: the change that made them too many is whole.
pub fn bound(host: &dyn Host) -> Option<Warning> {
    let bounded = old_ones(host, KEPT).and_then(|found| collect(host, &found));
    let error = bounded.err()?;
    let hint = if error.exit_code() == 4 { "vgpu-install recover" } else { "vgpu-install gc" };
    let what = format!("the oldest generations were not joined: {error}");
    Some(Warning::new("gc", what, format!("run {hint}")))
}

/// The directories in which an installer of any version hides files: those of the drop-ins and of
/// the bundles.
pub fn directories(facts: &Facts) -> BTreeSet<PathBuf> {
    let bundles = facts.ollamas.iter().flat_map(|ollama| &ollama.bundles);
    let bundles = bundles.map(|bundle| bundle.dir.to_path_buf());
    let drop_ins = facts.units.iter().filter_map(|unit| unit.drop_in_path.parent());
    bundles.chain(drop_ins.map(Path::to_path_buf)).collect()
}

/// Finds what can be collected; changes nothing. At least one generation is kept.
///
/// # Errors
/// [`Error::Record`] or [`Error::Io`] if the state or a directory cannot be read.
pub fn look(
    host: &dyn Host,
    keep: u64,
    dirs: &BTreeSet<PathBuf>,
    shims: &Path,
) -> Result<Collection> {
    let mut found = old_ones(host, keep)?;
    found.leftovers = state::leftovers(host)?;
    let manifests = state::generations(host)?;
    let changes = || manifests.iter().flat_map(|one| &one.changes);
    let named: BTreeSet<PathBuf> = changes().filter_map(|change| change.aside()).collect();
    let mut dirs = dirs.clone();
    dirs.extend(changes().filter_map(|change| Some(change.step.path()?.parent()?.into())));
    for aside in hidden_files(host, &dirs)?.into_iter().filter(|aside| !named.contains(aside)) {
        let object = host.inspect(&aside)?;
        // Only a link to our libraries is surely nobody's original.
        if matches!(&object, Object::Link { target, .. } if target.starts_with(shims)) {
            found.obsolete.push((obsolete(host, &aside, object)?, UNNAMED));
        } else {
            let (aside, what) = (aside.display(), object.describe());
            found.left.push(format!(
                "{aside}, {what}: no generation names it and it may be an original; move it back \
                 or away"
            ));
        }
    }
    Ok(found)
}

/// The generations that are too many, joined, and what that makes obsolete.
fn old_ones(host: &dyn Host, keep: u64) -> Result<Collection> {
    let manifests = state::generations(host)?;
    let mut found = Collection::default();
    let kept = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    if let Some(old) = manifests.len().checked_sub(kept).filter(|old| *old > 0)
        && let Some(joined) = join::join(&manifests[..=old])
    {
        for (aside, content) in joined.obsolete {
            let object = host.inspect(&aside)?;
            if object.holds(&content) {
                found.obsolete.push((obsolete(host, &aside, object)?, BETWEEN));
            }
        }
        let from = manifests[..=old].iter().map(|one| one.generation).collect();
        found.joined = Some((from, joined.manifest));
    }
    found.told = told(&manifests, kept, found.joined.is_some());
    Ok(found)
}

/// What becomes of each generation, and why.
fn told(manifests: &[Manifest], kept: usize, is_joined: bool) -> Vec<String> {
    let older = if is_joined { manifests.len().saturating_sub(kept) } else { 0 };
    let into = manifests.get(older).map_or(0, |one| one.generation);
    let one = |(at, manifest): (usize, &Manifest)| {
        let number = manifest.generation;
        let why = match at {
            at if at < older => format!("joined into {into}: it is older than the newest {kept}"),
            at if at == older && older > 0 => "kept: it stands for those before it, too".into(),
            _ => format!("kept: it is one of the newest {kept}"),
        };
        format!("generation {number} is {why}")
    };
    manifests.iter().enumerate().map(one).collect()
}

fn obsolete(host: &dyn Host, aside: &Path, object: Object) -> Result<Obsolete> {
    let parent = aside.parent().unwrap_or(Path::new("/"));
    let parent_mtime = crate::change::mtime(host, parent)?.unwrap_or_default();
    Ok(Obsolete { aside: aside.into(), object, parent_mtime })
}

/// Lists the installer's hidden names in some directories.
///
/// # Errors
/// [`Error::Io`] if one of them cannot be read.
pub fn hidden_files(host: &dyn Host, dirs: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in dirs {
        let names = host.list(dir)?;
        found.extend(names.iter().filter(|name| is_hidden(name)).map(|name| dir.join(name)));
    }
    Ok(found)
}

fn is_hidden(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(".vgpu-"));
    let numbers = numbers.and_then(|numbers| numbers.split_once('-'));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    numbers.is_some_and(|(generation, index)| number(generation) && number(index))
}

/// Collects, as a transaction: killed at any point, `recover` carries it to its end.
///
/// # Errors
/// [`Error::Io`] if nothing was begun; [`Error::UndoFailed`] if it was.
pub fn collect(host: &dyn Host, found: &Collection) -> Result<()> {
    for leftover in &found.leftovers {
        state::discard(host, leftover)?;
    }
    let manifest = match &found.joined {
        Some((_, manifest)) => manifest.clone(),
        None => match (state::generations(host)?.into_iter().next(), found.obsolete.is_empty()) {
            (Some(oldest), false) => oldest,
            // Without a generation there is no place for a journal, and nothing to go back to.
            (None, _) => return found.obsolete.iter().try_for_each(|(one, _)| drop_one(host, one)),
            (_, true) => return Ok(()),
        },
    };
    let obsolete = found.obsolete.iter().map(|(one, _)| one.clone()).collect();
    let first = Record::Collect { manifest: Box::new(manifest), obsolete };
    let mut journal = Journal::begin_or_close(host, first)?;
    resume(host, &mut journal).map_err(|source| {
        let first = Box::new(Error::Interrupted { what: "the collection" });
        Error::UndoFailed { first, source: Box::new(source) }
    })
}

/// Goes on with a collection from its journal; may be called again after a crash.
///
/// # Errors
/// [`Error::Io`] if the machine refuses.
pub fn resume(host: &dyn Host, journal: &mut Journal<'_>) -> Result<()> {
    if let Some(Record::Collect { manifest, obsolete }) = journal.records.first() {
        // First the one that stands for all: from here on the older ones say nothing more.
        state::record(host, manifest)?;
        for one in obsolete {
            drop_one(host, one)?;
        }
        state::forget_before(host, manifest.generation)?;
    }
    state::close(host, None)
}

fn drop_one(host: &dyn Host, one: &Obsolete) -> Result<()> {
    let parent = one.aside.parent().unwrap_or(Path::new("/"));
    let there = host.inspect(&one.aside)?;
    if there == one.object {
        host.unlink(&one.aside)?;
    }
    if there == one.object || there.is_absent() && !host.inspect(parent)?.is_absent() {
        host.restore_mtime(parent, one.parent_mtime)?;
        host.sync_dir(parent)?;
    }
    Ok(())
}

impl Collection {
    /// What is done, as actions.
    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some((from, manifest)) = &self.joined {
            let numbers: Vec<String> = from.iter().map(u64::to_string).collect();
            actions.push(Action::told(
                "join",
                format!("join the generations {} into one", numbers.join(", ")),
                format!(
                    "older ones are only needed together: --rollback leads to {} and newer, and to \
                     the start",
                    manifest.generation
                ),
            ));
        }
        for (one, why) in &self.obsolete {
            let sentence = format!("remove {}", one.aside);
            let action = Action::told("remove", sentence, (*why).into());
            let before = one.object.describe();
            actions.push(Action { path: Some(one.aside.clone()), before, ..action });
        }
        for path in &self.leftovers {
            let sentence = format!("remove {}", path.display());
            let why = match path.extension() {
                Some(end) if end == "damaged" => "recover --force gave this journal up",
                _ => "a run that was killed left it",
            };
            let action = Action::told("remove", sentence, why.into());
            actions.push(Action { path: Some(path.clone().into()), ..action });
        }
        actions
    }
}
