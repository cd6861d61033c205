//! `cargo xtask setup`: installs what `xtask/needs.toml` lists, and says what and why first.
//!
//! Debian packages only where a program is missing, and only as root; everything else goes below
//! target/cache. A finished part leaves a stamp with what it was made from, so a second run touches
//! neither the network nor the disk.

mod apt;
mod cargo;
mod needs;
mod npm;
mod pip;

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::paths::Paths;
pub(crate) use needs::Group;

/// Installs what the named groups need; all groups when none is named.
pub(crate) fn run(paths: &Paths, groups: &[Group]) -> Result<(), Error> {
    let groups = if groups.is_empty() { Group::ALL } else { groups };
    let needs = needs::read()?;
    std::fs::create_dir_all(&paths.cache).map_err(|source| Error::File {
        verb: "creating",
        path: paths.cache.clone(),
        source,
    })?;
    apt::install(&needs, groups)?;
    pip::install(paths, &needs, groups)?;
    npm::install(paths, &needs, groups)?;
    cargo::install(paths, &needs, groups)
}

/// Says whether the stamp in `directory` shows that it was made from exactly `recipe`.
fn is_current(directory: &Path, recipe: &str) -> bool {
    std::fs::read_to_string(directory.join(STAMP)).is_ok_and(|found| found == digest(recipe))
}

/// Marks `directory` as completely made from `recipe`.
fn stamp(directory: &Path, recipe: &str) -> Result<(), Error> {
    let path = directory.join(STAMP);
    std::fs::write(&path, digest(recipe)).map_err(|source| Error::File {
        verb: "writing",
        path,
        source,
    })
}

/// The stamp's name: written last, so that a torn installation has none.
const STAMP: &str = ".vgpu-complete";

fn digest(recipe: &str) -> String {
    Sha256::digest(recipe).iter().map(|byte| format!("{byte:02x}")).collect()
}
