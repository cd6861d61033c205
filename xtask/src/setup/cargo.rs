//! Programs that are compiled from cargo's registry, once.

use std::process::Command;

use super::needs::{Group, Needs, wants};
use super::{is_current, stamp};
use crate::error::Error;
use crate::paths::{Paths, remove};
use crate::process::run;

/// Compiles what is missing; lightly optimised, which takes 40 s on 2 cores and not minutes.
pub(super) fn install(paths: &Paths, needs: &Needs, groups: &[Group]) -> Result<(), Error> {
    for entry in needs.cargo.iter().filter(|entry| wants(&entry.groups, groups)) {
        let directory = paths.cache.join(&entry.into);
        let recipe = format!("{} {}", entry.name, entry.version);
        if is_current(&directory, &recipe) {
            continue;
        }
        println!("With cargo into {}:", directory.display());
        println!("  {} {}: {}", entry.name, entry.version, entry.why);
        remove(&directory)?;
        run(
            "compiling a program",
            Command::new("cargo")
                .args(["install", "--locked", "--version", &entry.version, &entry.name, "--root"])
                .arg(&directory)
                .env("CARGO_TARGET_DIR", directory.join("build"))
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        )?;
        // What it was compiled from is many times larger than the program.
        remove(&directory.join("build"))?;
        stamp(&directory, &recipe)?;
    }
    Ok(())
}
