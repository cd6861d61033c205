//! Finds the Ollamas that live in containers, snaps and sandboxes, from the files that these keep.
//!
//! No program is asked: the files are there below any root, and while a daemon is stopped.

mod containers;

use std::path::{Path, PathBuf};

use super::units::Account;
use super::{TEXT_BYTES_MAX, readable, text};
use crate::error::Result;
use crate::facts::{Confined, Guest, Source};
use crate::host::Host;

/// Where snaps are mounted: Debian's place, and that of systems without `/snap`.
const SNAPS: [&str; 2] = ["/snap", "/var/lib/snapd/snap"];
/// Where Flatpak keeps applications: the system's, and each user's below home.
const FLATPAK: &str = "/var/lib/flatpak/app";
const FLATPAK_HOME: &str = ".local/share/flatpak/app";
/// The applications that are known to bring an Ollama along.
const FLATPAK_APPS: [&str; 1] = ["com.jeffser.Alpaca"];

/// Finds all of them.
pub(super) fn all(
    host: &dyn Host,
    accounts: &[Account],
    shims: &Path,
    guest: &Guest,
) -> Result<Vec<Confined>> {
    let mut found = snaps(host)?;
    found.extend(flatpaks(host, accounts)?);
    found.extend(containers::all(host, accounts, shims, guest)?);
    found.truncate(containers::FOUND_MAX);
    Ok(found)
}

fn snaps(host: &dyn Host) -> Result<Vec<Confined>> {
    let mut found = Vec::new();
    let mut path = None;
    for dir in SNAPS {
        path = path.or(readable(host.canonical(&Path::new(dir).join("ollama/current")))?.flatten());
    }
    if path.is_none() {
        // Below a foreign root nothing is mounted: the image itself tells.
        let dir = Path::new("/var/lib/snapd/snaps");
        let mut names = readable(host.list(dir))?.unwrap_or_default();
        names.retain(|name| {
            name.to_str().is_some_and(|name| name.starts_with("ollama_") && name.ends_with(".snap"))
        });
        path = names.pop().map(|name| dir.join(name));
    }
    if let Some(path) = path {
        let yaml = text(host, &path.join("meta/snap.yaml"))?;
        let version = yaml.lines().find_map(|line| line.strip_prefix("version:"));
        found.push(Confined {
            source: Source::Snap,
            name: "ollama".into(),
            version: version.map(|text| text.trim().trim_matches(['\'', '"']).to_owned()),
            advice: "a snap sees neither our libraries nor LD_PRELOAD: run `snap remove ollama`, \
                     install Ollama with its own script, then run vgpu-install"
                .into(),
            ..confined(path)
        });
    }
    Ok(found)
}

fn flatpaks(host: &dyn Host, accounts: &[Account]) -> Result<Vec<Confined>> {
    let mut dirs = vec![PathBuf::from(FLATPAK)];
    dirs.extend(accounts.iter().map(|account| account.home.join(FLATPAK_HOME)));
    let mut found = Vec::new();
    for dir in dirs {
        for app in FLATPAK_APPS {
            let path = dir.join(app);
            if readable(host.canonical(&path))?.flatten().is_some() {
                found.push(Confined {
                    source: Source::Flatpak,
                    name: app.into(),
                    advice: "the sandbox hides the host's libraries: install Ollama on the system \
                             itself, run vgpu-install, and add http://127.0.0.1:11434 as a remote \
                             instance in the application's settings"
                        .into(),
                    ..confined(path)
                });
            }
        }
    }
    Ok(found)
}

fn confined(path: PathBuf) -> Confined {
    Confined {
        source: Source::Docker,
        name: String::new(),
        path: path.into(),
        image: None,
        version: None,
        running: None,
        wants_nvidia: false,
        advice: String::new(),
    }
}

/// Reads a JSON file; none if it is missing, not readable for us, or no JSON.
fn json(host: &dyn Host, path: &Path) -> Result<Option<serde_json::Value>> {
    let bytes = match host.read(path, TEXT_BYTES_MAX) {
        Err(crate::Error::TooLong { .. }) => None,
        other => readable(other)?.flatten(),
    };
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
