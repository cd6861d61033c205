//! `cargo xtask stage`: builds what the packages ship and lays it out by target path.
//!
//! Packages, containers and tests take their files from here, never from target/debug, which cargo
//! puts on LD_LIBRARY_PATH and where no library has its SONAME as its name.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::Error;
use crate::paths::{Paths, remove};
use crate::process;

/// How the shipped files are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Plain cargo, unoptimised: what most tests run.
    Dev,
    /// Optimised, by cargo-zigbuild, needing no glibc newer than 2.28: what the packages ship.
    Release,
}

/// The program that writes the manual pages and completions, and its crate.
const PAGES: &str = "vgpu-pages";

/// The release builds' target, with the oldest glibc they may need (that of Ollama's own build).
const RELEASE_TARGET: &str = "x86_64-unknown-linux-gnu.2.28";

impl Profile {
    /// Where this profile's packages are laid out.
    pub(crate) fn directory(self, paths: &Paths) -> PathBuf {
        paths.target.join(match self {
            Self::Dev => "stage",
            Self::Release => "stage-release",
        })
    }

    fn artefacts(self, paths: &Paths) -> PathBuf {
        paths.target.join(match self {
            Self::Dev => "debug",
            Self::Release => "x86_64-unknown-linux-gnu/release",
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    entry: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    package: String,
    target: PathBuf,
    #[serde(flatten)]
    source: Source,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Source {
    Cargo {
        #[serde(rename = "crate")]
        from: String,
        artefact: String,
        #[serde(deserialize_with = "octal")]
        mode: u32,
    },
    File {
        file: PathBuf,
        #[serde(deserialize_with = "octal")]
        mode: u32,
    },
    Link {
        link: PathBuf,
    },
    Page {
        page: PathBuf,
    },
}

/// Reads permission bits as chmod(1) writes them.
fn octal<'de, D: serde::Deserializer<'de>>(text: D) -> Result<u32, D::Error> {
    let text = String::deserialize(text)?;
    u32::from_str_radix(&text, 8).map_err(serde::de::Error::custom)
}

fn manifest() -> Result<Manifest, Error> {
    toml::from_str(include_str!("../../packaging/manifest.toml"))
        .map_err(|source| Error::Description { file: "packaging/manifest.toml", source })
}

/// Builds and lays out every package; answers the directory that holds them.
///
/// The old layout is replaced as a whole at the end: a program that runs from it keeps its files.
pub(crate) fn run(paths: &Paths, profile: Profile) -> Result<PathBuf, Error> {
    let manifest = manifest()?;
    build(paths, profile, &manifest)?;
    write_pages(paths, &manifest)?;
    let stage = profile.directory(paths);
    let fresh = stage.with_extension("new");
    let old = stage.with_extension("old");
    for leftover in [&fresh, &old] {
        remove(leftover)?;
    }
    for entry in &manifest.entry {
        place(paths, profile, &fresh, entry)?;
    }
    if stage.exists() {
        rename(&stage, &old)?;
    }
    rename(&fresh, &stage)?;
    remove(&old)?;
    println!("staged {} files in {}", manifest.entry.len(), stage.display());
    Ok(stage)
}

/// The crates that the packages' programs and libraries come from.
fn crates(manifest: &Manifest) -> BTreeSet<&str> {
    let mut crates = BTreeSet::new();
    for entry in &manifest.entry {
        if let Source::Cargo { from, .. } = &entry.source {
            crates.insert(from.as_str());
        }
    }
    crates
}

fn build(paths: &Paths, profile: Profile, manifest: &Manifest) -> Result<(), Error> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&paths.root);
    match profile {
        Profile::Dev => cargo.arg("build"),
        Profile::Release => {
            let zig = paths.zig();
            let mut search = zig.join("bin").into_os_string();
            if let Some(path) = std::env::var_os("PATH") {
                search.push(":");
                search.push(path);
            }
            cargo
                .env("PATH", search)
                .env("CARGO_ZIGBUILD_ZIG_PATH", zig.join("ziglang/zig"))
                .env("CARGO_ZIGBUILD_CACHE_DIR", zig.join("wrappers"))
                .args(["zigbuild", "--release", "--target", RELEASE_TARGET])
        }
    };
    for name in crates(manifest) {
        cargo.args(["--package", name]);
    }
    process::run("building what is shipped", &mut cargo)
}

/// Writes the manual pages and completions, which are the same for every profile.
///
/// Their program is chosen together with the crates of the stage: alone, it would have them built
/// once more, with fewer features of what they depend on.
fn write_pages(paths: &Paths, manifest: &Manifest) -> Result<(), Error> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&paths.root).args(["build", "--quiet", "--bin", PAGES, "--package", PAGES]);
    for name in crates(manifest) {
        cargo.args(["--package", name]);
    }
    process::run("building what writes the pages", &mut cargo)?;
    let mut program = Command::new(Profile::Dev.artefacts(paths).join(PAGES));
    process::run("writing manual pages and completions", program.arg(pages(paths)))
}

fn pages(paths: &Paths) -> PathBuf {
    paths.target.join("pages")
}

fn place(paths: &Paths, profile: Profile, stage: &Path, entry: &Entry) -> Result<(), Error> {
    let target = stage.join(&entry.package).join(&entry.target);
    let directory = target.parent().unwrap_or(stage);
    std::fs::create_dir_all(directory).map_err(|source| Error::File {
        verb: "creating",
        path: directory.to_path_buf(),
        source,
    })?;
    match &entry.source {
        Source::Cargo { from, artefact, mode } => {
            let built = profile.artefacts(paths).join(artefact);
            if !built.exists() {
                return Err(Error::NoArtefact { artefact: artefact.clone(), from: from.clone() });
            }
            copy(&built, &target, *mode)
        }
        Source::File { file, mode } => copy(&paths.root.join(file), &target, *mode),
        Source::Page { page } => copy(&pages(paths).join(page), &target, 0o644),
        Source::Link { link } => symlink(link, &target).map_err(|source| Error::File {
            verb: "linking",
            path: target,
            source,
        }),
    }
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), Error> {
    std::fs::copy(from, to)
        .and_then(|_| std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)))
        .map_err(|source| Error::File { verb: "copying", path: from.to_path_buf(), source })
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|source| Error::File {
        verb: "renaming",
        path: from.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_shipped_files_have_one_place_and_none_leaves_its_package() {
        let manifest = manifest().expect("a valid manifest");
        let mut places = BTreeSet::new();
        for entry in &manifest.entry {
            assert!(entry.target.is_relative(), "{entry:?}");
            assert!(!entry.target.iter().any(|part| part == ".."), "{entry:?}");
            assert!(places.insert((&entry.package, &entry.target)), "{entry:?} is there twice");
        }
    }

    #[test]
    fn a_mode_that_is_no_octal_number_is_refused() {
        let text = "[[entry]]\npackage = 'p'\ntarget = 't'\nfile = 'f'\nmode = '0849'\n";
        toml::from_str::<Manifest>(text).expect_err("8 is no octal digit");
        toml::from_str::<Manifest>(&text.replace('8', "6").replace('9', "4")).expect("0644 is");
    }
}
