//! Finds Ollama's units and merges them as systemd does, without asking systemd.
//!
//! systemd.unit(5), "Unit File Load Path", gives the directories and their order.

mod merged;
mod settings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::text;
use crate::error::Result;
use crate::facts::{Manager, Unit};
use crate::host::Host;
use crate::location::Location;
use crate::object::Object;
use crate::unit_file::{assignments, without_percent_pairs, words};
use merged::Merged;
pub use settings::is_yes;

/// The directories that systemd reads, strongest first.
const LOAD_PATH: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// The units that Ollama's install script and the distributions write.
const UNITS: [&str; 1] = ["ollama.service"];
/// The directory of the units that an administrator, or this installer, adds to.
const ADMIN_DIR: &str = "/etc/systemd/system";
/// The name of our drop-in, the same in every place.
pub const DROP_IN: &str = "50-vgpu.conf";

/// Finds every unit of Ollama.
pub fn all(host: &dyn Host) -> Result<Vec<Unit>> {
    let mut units = Vec::new();
    for name in UNITS {
        if let Some(fragment) = fragment(host, name)? {
            units.push(unit(host, name, fragment)?);
        }
    }
    Ok(units)
}

/// Finds the unit file that systemd takes for a name.
///
/// # Errors
/// [`crate::Error::Io`] where a directory cannot be looked at.
pub fn fragment(host: &dyn Host, name: &str) -> Result<Option<PathBuf>> {
    for dir in LOAD_PATH {
        let path = Path::new(dir).join(name);
        if !host.inspect(&path)?.is_absent() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn unit(host: &dyn Host, name: &str, fragment: PathBuf) -> Result<Unit> {
    let drop_ins = drop_ins(host, name)?;
    let dir = Path::new(ADMIN_DIR).join(format!("{name}.d"));
    let ours = dir.join(DROP_IN);
    let mut merged = Merged::default();
    let mut later = false;
    for path in std::iter::once(&fragment).chain(drop_ins.values()) {
        later |= path.file_name().is_some_and(|file| later_than_ours(file, path, &fragment));
        if *path == ours {
            continue;
        }
        for assignment in assignments(&text(host, path)?) {
            merged.take(host, assignment, path, later)?;
        }
    }
    let masked = match host.inspect(&fragment)? {
        Object::Link { target, .. } => target.as_ref() == Path::new("/dev/null"),
        Object::File { bytes, .. } => bytes == 0,
        _ => false,
    };
    Ok(Unit {
        name: name.into(),
        manager: Manager::System,
        fragment: fragment.into(),
        drop_ins: drop_ins.into_values().map(Location::from).collect(),
        masked,
        executable: merged.executable.map(Location::new),
        program: None,
        user: merged.user,
        group: merged.group,
        supplementary_groups: merged.supplementary_groups,
        environment: merged.environment.into_values().collect(),
        outranking: merged.outranking,
        environment_files: merged.environment_files,
        settings: merged.settings,
        missing_dirs: missing_dirs(host, &dir)?,
        drop_in: host.inspect(&ours)?,
        link: link(&text(host, &ours)?),
        drop_in_path: ours.into(),
    })
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

fn later_than_ours(file: &std::ffi::OsStr, path: &Path, fragment: &Path) -> bool {
    path != fragment && file > std::ffi::OsStr::new(DROP_IN)
}

/// Lists drop-ins by file name; of one name the strongest directory wins, and the unit's own
/// directory is stronger than the one for all services.
fn drop_ins(host: &dyn Host, name: &str) -> Result<BTreeMap<OsString, PathBuf>> {
    let mut found = BTreeMap::new();
    for suffix in [format!("{name}.d"), "service.d".into()] {
        for dir in LOAD_PATH {
            let dir = Path::new(dir).join(&suffix);
            for file in host.list(&dir)? {
                if Path::new(&file).extension().is_some_and(|extension| extension == "conf") {
                    let path = dir.join(&file);
                    found.entry(file).or_insert(path);
                }
            }
        }
    }
    Ok(found)
}
