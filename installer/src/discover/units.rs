//! Finds every unit that starts Ollama and merges it as systemd does, without asking systemd.
//!
//! Files decide: what an administrator changed without a daemon-reload is seen here already, and
//! what only a running manager knows (`systemctl set-environment`) is not.

pub(super) mod command;
mod drop_ins;
pub mod environment_file;
mod manager;
mod merged;
mod names;
mod settings;
mod specifiers;

use std::path::{Path, PathBuf};

pub use manager::Account;
use manager::{Defaults, Realm};
use merged::Merged;
use names::Found;
pub use settings::is_yes;

use super::{TEXT_BYTES_MAX, readable, text};
use crate::error::Result;
use crate::facts::{Runs, Unit};
use crate::host::Host;
use crate::location::Location;
use crate::unit_file::{assignments, assignments_of, without_percent_pairs, words};

/// The name of our drop-in, the same in every place.
pub const DROP_IN: &str = "50-vgpu.conf";
/// Most users whose own units are looked for.
const USERS_MAX: usize = 64;

/// Finds every unit that starts Ollama, the system's first.
///
/// # Errors
/// [`crate::Error::Io`] where something that exists cannot be looked at.
pub fn all(host: &dyn Host) -> Result<Vec<Unit>> {
    let system = Realm::system();
    let mut units = units(host, &system, names::all(host, &system.dirs)?)?;
    let mut shared: Option<Vec<Found>> = None;
    for account in accounts(host)?.iter().take(USERS_MAX) {
        let realm = Realm::of(account);
        let common: Vec<PathBuf> =
            realm.dirs.iter().filter(|dir| !realm.is_own(dir)).cloned().collect();
        if shared.is_none() {
            shared = Some(names::all(host, &common)?);
        }
        let own: Vec<PathBuf> =
            realm.dirs.iter().filter(|dir| realm.is_own(dir)).cloned().collect();
        let mut found = Vec::new();
        let mut named: Vec<String> =
            names::all(host, &own)?.into_iter().map(|found| found.name).collect();
        for unit in shared.iter().flatten() {
            if is_wanted(host, &realm, &unit.name)? {
                named.push(unit.name.clone());
            }
        }
        named.sort();
        named.dedup();
        for name in named {
            found.extend(names::one(host, &realm.dirs, &name)?);
        }
        units.extend(self::units(host, &realm, found)?);
    }
    Ok(units)
}

/// Reads the accounts that may have units of their own: root and people.
///
/// # Errors
/// [`crate::Error::Io`] where the list exists and cannot be read.
pub fn accounts(host: &dyn Host) -> Result<Vec<Account>> {
    let mut found = Vec::new();
    for line in text(host, Path::new("/etc/passwd"))?.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, ..] = fields[..] else { continue };
        let Ok(uid) = uid.parse::<u32>() else { continue };
        let is_person = uid == 0 || (1000..65000).contains(&uid);
        if is_person && home.starts_with('/') && home.len() > 1 {
            found.push(Account { name: name.into(), uid, home: home.into() });
        }
    }
    Ok(found)
}

/// Finds the unit file that systemd takes for a name.
///
/// # Errors
/// [`crate::Error::Io`] where a directory cannot be looked at.
pub fn fragment(host: &dyn Host, name: &str) -> Result<Option<PathBuf>> {
    Ok(names::one(host, &Realm::system().dirs, name)?.map(|found| found.fragment))
}

/// True if a unit for everybody is started for this user, or has something of the user's own.
fn is_wanted(host: &dyn Host, realm: &Realm, name: &str) -> Result<bool> {
    for dir in &realm.dirs {
        if realm.is_own(dir)
            && readable(host.canonical(&dir.join(format!("{name}.d"))))?.flatten().is_some()
        {
            return Ok(true);
        }
        for target in ["default.target", "graphical-session.target"] {
            let link = dir.join(format!("{target}.wants")).join(name);
            if !readable(host.inspect(&link))?.unwrap_or_default().is_absent() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn units(host: &dyn Host, realm: &Realm, found: Vec<Found>) -> Result<Vec<Unit>> {
    let mut units = Vec::new();
    if found.is_empty() {
        return Ok(units);
    }
    let defaults = realm.defaults(host)?;
    for found in found {
        units.extend(unit(host, realm, &defaults, found)?);
    }
    Ok(units)
}

/// Merges one unit; none if it does not start Ollama.
fn unit(host: &dyn Host, realm: &Realm, defaults: &Defaults, found: Found) -> Result<Option<Unit>> {
    let Found { name, aliases, fragment, masked } = found;
    let dir = realm.admin_dir.join(format!("{name}.d"));
    let ours = dir.join(DROP_IN);
    let drop_ins = drop_ins::of(host, &realm.dirs, &name, &aliases)?;
    let mut merged = Merged::default();
    let mut later = false;
    for path in std::iter::once(&fragment).chain(&drop_ins) {
        let file = path.file_name().unwrap_or_default();
        later |= path != &fragment && file > std::ffi::OsStr::new(DROP_IN);
        if *path == ours || masked {
            continue;
        }
        let content = readable(host.read(path, TEXT_BYTES_MAX))?.flatten().unwrap_or_default();
        for assignment in assignments_of(&content) {
            merged.take(assignment, path, later);
        }
    }
    let whole = merged.whole(host, &name, &fragment, defaults, realm.account.as_ref())?;
    let command = whole.command;
    let by_name = name.starts_with("ollama.") || name.starts_with("ollama@");
    if !(by_name || command.serves && command.runs != Runs::Unknown) {
        return Ok(None);
    }
    Ok(Some(Unit {
        manager: realm.manager.clone(),
        fragment: fragment.into(),
        drop_ins: drop_ins.into_iter().map(Location::from).collect(),
        masked,
        aliases,
        runs: command.runs,
        through: command.through,
        executable: command.program.map(Location::new),
        program: None,
        user: merged.user,
        group: merged.group,
        supplementary_groups: merged.supplementary_groups,
        environment: whole.environment,
        outranking: whole.outranking,
        environment_files: whole.environment_files,
        settings: whole.settings,
        missing_dirs: missing_dirs(host, &dir)?,
        drop_in: host.inspect(&ours)?,
        link: link(&text(host, &ours)?),
        drop_in_path: ours.into(),
        name,
    }))
}

pub(super) fn missing_dirs(host: &dyn Host, dir: &Path) -> Result<Vec<Location>> {
    let mut missing = Vec::new();
    for dir in dir.ancestors() {
        if host.canonical(dir)?.is_some() {
            break;
        }
        missing.insert(0, dir.into());
    }
    Ok(missing)
}

/// The link that a drop-in's text names.
fn link(text: &str) -> Option<String> {
    let environment = assignments(text).into_iter().filter(|line| line.key == "Environment");
    let words = environment.flat_map(|line| words(&line.value));
    let mut links =
        words.filter_map(|word| word.strip_prefix("VGPU_LINK=").map(without_percent_pairs));
    links.next_back()
}
