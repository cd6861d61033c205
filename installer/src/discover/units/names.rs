//! Which units have to do with Ollama, and which file each is read from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::discover::readable;
use crate::error::Result;
use crate::host::Host;
use crate::object::Object;

/// How much of a unit file is searched for Ollama's name: 64 KiB, a hundred times a long one.
const SEARCHED_BYTES: u64 = 64 << 10;
/// Most files that are looked into; a large desktop has five hundred.
const FILES_MAX: usize = 4096;
/// Most links from one name to the next, as in systemd.
const HOPS_MAX: usize = 8;
const NAME: &[u8] = b"ollama";

/// A unit as the load path has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its main name.
    pub(super) name: String,
    /// Its other names, sorted.
    pub(super) aliases: Vec<String>,
    /// The file that is read.
    pub(super) fragment: PathBuf,
    /// True if that is nothing, on purpose.
    pub(super) masked: bool,
}

/// Finds every unit that names Ollama, in its own name or its text.
pub(super) fn all(host: &dyn Host, dirs: &[PathBuf]) -> Result<Vec<Found>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for name in candidates(host, dirs)? {
        let Some(unit) = one(host, dirs, &name)? else { continue };
        let known = found.entry(unit.name.clone()).or_insert_with(|| unit.clone());
        if name != known.name && !known.aliases.contains(&name) {
            known.aliases.push(name);
        }
    }
    Ok(found.into_values().collect())
}

fn candidates(host: &dyn Host, dirs: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    let mut wants = Vec::new();
    for dir in dirs {
        for name in readable(host.list(dir))?.unwrap_or_default() {
            let Ok(name) = name.into_string() else { continue };
            if let Some((unit, "d" | "wants" | "requires" | "upholds")) = name.rsplit_once('.') {
                wants.push((dir.join(&name), unit.to_owned()));
            }
            if !name.ends_with(".service") || seen.len() >= FILES_MAX || !seen.insert(name.clone())
            {
                continue;
            }
            if has_name(name.as_bytes()) || mentions(host, &dir.join(&name))? {
                wanted.insert(name);
            }
        }
    }
    let templates: Vec<String> =
        wanted.iter().filter(|name| name.contains("@.")).cloned().collect();
    if !templates.is_empty() {
        let mut instances = BTreeSet::new();
        for (dir, unit) in wants {
            instances.insert(unit);
            if dir.extension().is_some_and(|end| end != "d") {
                let names = readable(host.list(&dir))?.unwrap_or_default();
                instances.extend(names.into_iter().filter_map(|name| name.into_string().ok()));
            }
        }
        instances
            .retain(|name| template_of(name).is_some_and(|template| templates.contains(&template)));
        // The template itself stands for instances that nobody named yet.
        wanted.retain(|name| {
            !name.contains("@.")
                || !instances.iter().any(|one| template_of(one).as_ref() == Some(name))
        });
        wanted.extend(instances);
    }
    Ok(wanted)
}

fn mentions(host: &dyn Host, path: &Path) -> Result<bool> {
    let Some(opened) = readable(host.open(path))?.flatten() else { return Ok(false) };
    let bytes = usize::try_from(opened.bytes.min(SEARCHED_BYTES)).unwrap_or(0);
    Ok(opened.source.read_at(0, bytes).is_some_and(|text| has_name(&text)))
}

fn has_name(text: &[u8]) -> bool {
    text.windows(NAME.len()).any(|window| window == NAME)
}

/// Finds what systemd reads for one name: the first in the load path, links between names and
/// from a template followed.
pub(super) fn one(host: &dyn Host, dirs: &[PathBuf], name: &str) -> Result<Option<Found>> {
    let mut wanted = name.to_owned();
    for _ in 0..HOPS_MAX {
        let mut entry = lookup(host, dirs, &wanted)?;
        if entry.is_none()
            && let Some(template) = template_of(&wanted)
        {
            entry = lookup(host, dirs, &template)?;
        }
        let Some((path, object)) = entry else { return Ok(None) };
        let found = |fragment: PathBuf, masked| Found {
            name: wanted.clone(),
            aliases: Vec::new(),
            fragment,
            masked,
        };
        let target = match object {
            Object::Link { target, .. } => target,
            Object::File { bytes, .. } => return Ok(Some(found(path, bytes == 0))),
            _ => return Ok(None),
        };
        if target.as_ref() == Path::new("/dev/null") {
            return Ok(Some(found(path, true)));
        }
        let target = path.parent().unwrap_or(Path::new("/")).join(&target);
        match within(host, dirs, &target)? {
            // A name of the load path is another name of that unit.
            Some(next) if next != wanted => {
                wanted = match (template_of(&wanted), next.contains("@.")) {
                    // An instance of a template that is another template's other name.
                    (Some(_), true) => next.replacen("@.", &instance_part(&wanted), 1),
                    _ => next,
                };
            }
            _ => {
                // A unit file that lies elsewhere, linked to here.
                let Some(fragment) = host.canonical(&target)? else { return Ok(None) };
                return Ok(Some(found(fragment, false)));
            }
        }
    }
    Ok(None)
}

/// The name of a path that lies directly in the load path.
fn within(host: &dyn Host, dirs: &[PathBuf], path: &Path) -> Result<Option<String>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let Some(parent) = readable(host.canonical(parent))?.flatten() else { return Ok(None) };
    for dir in dirs {
        if *dir == parent || readable(host.canonical(dir))?.flatten().as_ref() == Some(&parent) {
            return Ok(name.to_str().map(str::to_owned));
        }
    }
    Ok(None)
}

fn lookup(host: &dyn Host, dirs: &[PathBuf], name: &str) -> Result<Option<(PathBuf, Object)>> {
    for dir in dirs {
        let path = dir.join(name);
        let object = readable(host.inspect(&path))?.unwrap_or_default();
        if matches!(object, Object::File { .. } | Object::Link { .. }) {
            return Ok(Some((path, object)));
        }
    }
    Ok(None)
}

/// `a@.service` of `a@b.service`.
pub(super) fn template_of(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// `@b.` of `a@b.service`.
fn instance_part(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let instance = stem.split_once('@').map_or("", |(_, instance)| instance);
    format!("@{instance}.")
}
