//! The npm clients, exactly as tests/clients/node/package-lock.json pins them.

use std::process::Command;

use super::needs::{Group, Needs, wants};
use super::{is_current, stamp};
use crate::error::Error;
use crate::paths::{Paths, remove};
use crate::process::run;

/// Installs the clients without their install scripts and without optional platform packages.
pub(super) fn install(paths: &Paths, needs: &Needs, groups: &[Group]) -> Result<(), Error> {
    let wanted: Vec<_> = needs.npm.iter().filter(|entry| wants(&entry.groups, groups)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let source = paths.root.join("tests/clients/node");
    let read = |name: &str| {
        let path = source.join(name);
        std::fs::read_to_string(&path).map_err(|source| Error::File {
            verb: "reading",
            path,
            source,
        })
    };
    let (package, lock) = (read("package.json")?, read("package-lock.json")?);
    let recipe = format!("{package}{lock}");
    let directory = paths.npm_clients();
    if is_current(&directory, &recipe) {
        return Ok(());
    }
    println!("From the npm registry into {} (about 285 MB to fetch):", directory.display());
    for entry in &wanted {
        println!("  {} {}: {}", entry.name, entry.version, entry.why);
    }
    remove(&directory)?;
    for (name, text) in [("package.json", &package), ("package-lock.json", &lock)] {
        let path = directory.join(name);
        std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| Error::File { verb: "writing", path, source })?;
    }
    // `install` and not `ci`: the lock leaves out what registries lack for other platforms, which
    // `ci` takes for a broken lock. What is in the lock is held to its version and sha512 by both.
    run(
        "installing from the npm registry",
        Command::new(paths.node())
            .arg(paths.npm())
            .args(["install", "--no-save", "--ignore-scripts", "--omit=optional"])
            .args(["--no-audit", "--no-fund", "--no-update-notifier"])
            .current_dir(&directory),
    )?;
    stamp(&directory, &recipe)
}
