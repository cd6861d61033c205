//! PyPI packages, each set in its own directory below target/cache.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use super::needs::{Group, Needs, Pypi, wants};
use super::{is_current, stamp};
use crate::error::Error;
use crate::paths::{Paths, remove};
use crate::process::{capture, run};

/// Installs what is missing. A directory is a whole: one changed entry makes it anew.
pub(super) fn install(paths: &Paths, needs: &Needs, groups: &[Group]) -> Result<(), Error> {
    let mut sets: BTreeMap<&str, Vec<&Pypi>> = BTreeMap::new();
    for entry in needs.pypi.iter().filter(|entry| wants(&entry.groups, groups)) {
        sets.entry(&entry.into).or_default().push(entry);
    }
    for (into, entries) in sets {
        let directory = paths.cache.join(into);
        let recipe = recipe(into, &entries)?;
        if is_current(&directory, &recipe) {
            continue;
        }
        println!("From PyPI into {}:", directory.display());
        for entry in &entries {
            println!("  {} {}: {}", entry.name, entry.version, entry.why);
        }
        remove(&directory)?;
        let requirements = paths.cache.join(format!("{into}.requirements.txt"));
        std::fs::write(&requirements, &recipe).map_err(|source| Error::File {
            verb: "writing",
            path: requirements.clone(),
            source,
        })?;
        run(
            "installing from PyPI",
            Command::new("python3")
                // We are not touching root's own Python, which is what pip would warn about.
                .env("PIP_ROOT_USER_ACTION", "ignore")
                .args(["-m", "pip", "install", "--require-hashes", "--no-deps"])
                .args(["--only-binary", ":all:", "--no-compile", "--target"])
                .arg(&directory)
                .arg("--requirement")
                .arg(&requirements),
        )?;
        stamp(&directory, &recipe)?;
    }
    Ok(())
}

/// The requirements file; for packages built per Python version it names that version, so that
/// another python3 makes the directory anew.
fn recipe(into: &str, entries: &[&Pypi]) -> Result<String, Error> {
    let mut text = String::from("# Written by cargo xtask setup from xtask/needs.toml.\n");
    if into == "python" {
        let _ = writeln!(text, "# Python {}", python_version()?);
    }
    for entry in entries {
        let _ = write!(text, "{}=={}", entry.name, entry.version);
        for sha256 in &entry.sha256 {
            let _ = write!(text, " --hash=sha256:{sha256}");
        }
        text.push('\n');
    }
    Ok(text)
}

fn python_version() -> Result<String, Error> {
    // cuda-bindings 13.5 has wheels from Python 3.11 on.
    const OLDEST: (u32, u32) = (3, 11);
    let program = "import sys; print('%d.%d' % sys.version_info[:2])";
    let printed = capture("asking python3", Command::new("python3").args(["-c", program]))?;
    let found = String::from_utf8_lossy(&printed).trim().to_owned();
    let numbers = found
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    if numbers.is_some_and(|numbers| numbers >= OLDEST) {
        Ok(found)
    } else {
        Err(Error::OldPython { found })
    }
}
