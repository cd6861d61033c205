//! What became of the paths that we manage, and of the services that depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::Result;
use crate::facts::Manager;
use crate::host::Host;
use crate::location::Location;
use crate::object::Object;
use crate::state::Manifest;
use crate::step::Step;
use crate::systemd;

/// The directory of the drop-ins for the system's own units.
const UNITS: &str = "/etc/systemd/system";
/// The directory of the drop-ins for the units of all users.
const USER_UNITS: &str = "/etc/systemd/user";

/// Says which paths are no longer as the generations in force left them.
///
/// # Errors
/// [`crate::Error::Io`] if the machine cannot be looked at.
pub fn changed(host: &dyn Host, generations: &[Manifest]) -> Result<Vec<String>> {
    let mut newest: BTreeMap<&Location, &Step> = BTreeMap::new();
    for change in generations.iter().flat_map(|manifest| &manifest.changes) {
        if let Some(path) = change.step.path() {
            newest.insert(path, &change.step);
        }
    }
    let mut found = Vec::new();
    for (path, step) in newest {
        let there = host.inspect(path)?;
        let content = step.content();
        let (held, expected) = match (&content, step) {
            (Some(content), _) => (there.holds(content), content.describe()),
            (None, Step::MakeDir { .. }) => {
                (matches!(there, Object::Dir { .. }), "a directory".into())
            }
            (None, _) => (there.is_absent(), Object::Absent.describe()),
        };
        if !held {
            let there = there.describe();
            found.push(format!("{path}: {there}, where ours was: {expected}"));
        }
    }
    Ok(found)
}

/// The unit that a change is a drop-in for, and whether it is one of users.
fn unit_of(path: &Path) -> Option<(&str, bool)> {
    let dir = path.parent()?;
    let is_ours = path.file_name().is_some_and(|name| name == crate::discover::units::DROP_IN);
    let name = dir.file_name()?.to_str()?.strip_suffix(".d").filter(|_| is_ours)?;
    match dir.parent()? {
        units if units == Path::new(UNITS) => Some((name, false)),
        units if units == Path::new(USER_UNITS) => Some((name, true)),
        _ => None,
    }
}

/// A unit whose drop-in generations made or changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    /// Its name.
    pub unit: String,
    /// The user whose unit it is; none for the system's own.
    pub user: Option<String>,
}

impl Served {
    /// Whose unit it is.
    #[must_use]
    pub fn manager(&self) -> Manager {
        self.user.clone().map_or(Manager::System, Manager::User)
    }
}

/// Lists the units whose drop-in one generation made or changed. The users are those whose systemd
/// it told to read its units again.
fn served(manifest: &Manifest) -> BTreeSet<Served> {
    let mut found = BTreeSet::new();
    let paths = manifest.changes.iter().filter_map(|change| change.step.path());
    for (unit, is_of_users) in paths.filter_map(|path| unit_of(path)) {
        let mut add = |user| found.insert(Served { unit: unit.into(), user });
        if !is_of_users {
            add(None);
            continue;
        }
        for step in &manifest.services {
            if let Step::DaemonReload { user: Some(user) } = step {
                add(Some(user.clone()));
            }
        }
    }
    found
}

/// Lists the units whose drop-in some generations made or changed, each with the time of the
/// newest change.
#[must_use]
pub fn units(generations: &[Manifest]) -> BTreeMap<Served, u64> {
    let mut found = BTreeMap::new();
    for manifest in generations {
        for unit in served(manifest) {
            let time = found.entry(unit).or_insert(manifest.time);
            *time = manifest.time.max(*time);
        }
    }
    found
}

/// Lists the restarts that going back from these generations owes although none of them restarted
/// the unit: it was started since, and so with our variables.
///
/// # Errors
/// [`crate::Error::Io`] if systemd cannot be asked.
pub fn owed(host: &dyn Host, undone: &[Manifest]) -> Result<Vec<Step>> {
    let mut owed = Vec::new();
    for unit in units(undone).into_keys() {
        let step = Step::Restart { unit: unit.unit.clone(), user: unit.user.clone() };
        if undone.iter().any(|manifest| manifest.services.contains(&step)) {
            continue;
        }
        let of_unit = |manifest: &&Manifest| served(manifest).contains(&unit);
        let oldest = undone.iter().filter(of_unit).map(|manifest| manifest.time).min();
        let started = systemd::started(host, &unit.unit, &unit.manager())?;
        if started.ok().flatten().zip(oldest).is_some_and(|(at, since)| at >= since) {
            owed.push(step);
        }
    }
    Ok(owed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_of_ours_tells_its_unit() {
        let of = |path: &'static str| unit_of(Path::new(path));
        let ours = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
        assert_eq!(of(ours), Some(("ollama.service", false)));
        let users = "/etc/systemd/user/ollama.service.d/50-vgpu.conf";
        assert_eq!(of(users), Some(("ollama.service", true)));
        assert_eq!(of("/etc/systemd/system/ollama.service.d/60-x.conf"), None);
        assert_eq!(of("/usr/lib/systemd/user/ollama.service.d/50-vgpu.conf"), None);
        assert_eq!(of("/etc/ld.so.conf.d/00-vgpu.conf"), None);
    }
}
