//! What became of the paths that we manage, and of the services that depend on them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::host::Host;
use crate::location::Location;
use crate::object::Object;
use crate::service;
use crate::state::Manifest;
use crate::step::Step;

/// The directory of the drop-ins for the system's own units.
const UNITS: &str = "/etc/systemd/system";

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

/// The unit that a change is a drop-in for, of the system's own manager.
fn unit_of(path: &Path) -> Option<&str> {
    let dir = path.parent()?;
    let is_ours = path.file_name().is_some_and(|name| name == crate::discover::units::DROP_IN);
    let name = dir.file_name()?.to_str()?.strip_suffix(".d")?;
    (is_ours && dir.parent()? == Path::new(UNITS)).then_some(name)
}

/// The units whose drop-in some generations made or changed, each with the time of the newest.
fn units(generations: &[Manifest]) -> BTreeMap<&str, u64> {
    let mut found = BTreeMap::new();
    for manifest in generations {
        let paths = manifest.changes.iter().filter_map(|change| change.step.path());
        for unit in paths.filter_map(|path| unit_of(path)) {
            let time = found.entry(unit).or_insert(manifest.time);
            *time = manifest.time.max(*time);
        }
    }
    found
}

/// Lists the units that were started before the newest change of their drop-in, so that a restart
/// is pending.
///
/// # Errors
/// [`crate::Error::Io`] if systemd cannot be asked.
pub fn pending(host: &dyn Host, generations: &[Manifest]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (unit, time) in units(generations) {
        if service::started_at(host, unit)?.is_some_and(|started| started < time) {
            found.push(unit.to_owned());
        }
    }
    Ok(found)
}

/// Lists the restarts that going back from these generations owes although none of them restarted
/// the unit: it was started since, and so with our variables.
///
/// # Errors
/// [`crate::Error::Io`] if systemd cannot be asked.
pub fn owed(host: &dyn Host, undone: &[Manifest]) -> Result<Vec<Step>> {
    let mut owed = Vec::new();
    for unit in units(undone).into_keys() {
        let step = Step::Restart { unit: unit.into(), user: None };
        if undone.iter().any(|manifest| manifest.services.contains(&step)) {
            continue;
        }
        let of_unit = |manifest: &&Manifest| {
            let mut paths = manifest.changes.iter().filter_map(|change| change.step.path());
            paths.any(|path| unit_of(path) == Some(unit))
        };
        let oldest = undone.iter().filter(of_unit).map(|manifest| manifest.time).min();
        if service::started_at(host, unit)?.zip(oldest).is_some_and(|(at, since)| at >= since) {
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
        let of = |path: &str| unit_of(Path::new(path)).map(ToOwned::to_owned);
        let ours = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
        assert_eq!(of(ours).as_deref(), Some("ollama.service"));
        assert_eq!(of("/etc/systemd/system/ollama.service.d/60-x.conf"), None);
        assert_eq!(of("/etc/systemd/user/ollama.service.d/50-vgpu.conf"), None);
        assert_eq!(of("/etc/ld.so.conf.d/00-vgpu.conf"), None);
    }
}
