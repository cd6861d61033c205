//! `cargo xtask deb`: packs the release stage into debs with cargo-deb.
//!
//! What goes in is what the stage holds; the rest (control fields, maintainer scripts) stands in
//! `[package.metadata.deb]` of the package's crate and in packaging/deb.

use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::process::{run as call, succeeds};
use crate::stage::Profile;

/// The crates that describe a deb.
const CRATES: [&str; 2] = ["vgpu-install", "vgpud"];

/// The pinned packer; its dependencies are pinned by the lock file that it is published with.
const CARGO_DEB: &str = "3.8.0";

/// Packs every deb into target/deb, over those of an earlier run.
pub(crate) fn run(paths: &Paths) -> Result<(), Error> {
    let program = paths.cargo_deb().join("bin/cargo-deb");
    install(paths, &program.to_string_lossy())?;
    meet(paths)?;
    for name in CRATES {
        let mut pack = Command::new(&program);
        pack.current_dir(&paths.root);
        pack.args(["--quiet", "--package", name, "--no-build", "--no-strip", "--deb-revision", ""]);
        pack.arg("--output").arg(paths.debs().join(""));
        call("packing a deb", &mut pack)?;
    }
    Ok(())
}

/// Compiles cargo-deb once; lightly optimised, which takes 40 s on 2 cores, not minutes.
fn install(paths: &Paths, program: &str) -> Result<(), Error> {
    let version = format!("test \"$('{program}' --version)\" = 'cargo-deb {CARGO_DEB}'");
    if succeeds(&["sh".into(), "-c".into(), version]) {
        return Ok(());
    }
    let root = paths.cargo_deb();
    println!("From crates.io into {}:", root.display());
    println!("  cargo-deb {CARGO_DEB}: packs the debs");
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked", "--quiet", "--root"]);
    cargo.arg(&root).env("CARGO_TARGET_DIR", root.join("build"));
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    call("compiling cargo-deb", &mut cargo)
}

/// Makes the stage appear at the place that the crates' metadata names, also where
/// `CARGO_TARGET_DIR` has moved it: cargo-deb takes no variables in paths.
fn meet(paths: &Paths) -> Result<(), Error> {
    let stage = Profile::Release.directory(paths);
    let named = paths.root.join("target/stage-release");
    if stage == named {
        return Ok(());
    }
    let file = |verb, path| move |source| Error::File { verb, path, source };
    match std::fs::remove_file(&named) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(file("removing", named)(source));
        }
        _ => {}
    }
    std::fs::create_dir_all(paths.root.join("target"))
        .and_then(|()| std::os::unix::fs::symlink(&stage, &named))
        .map_err(file("linking", named))
}
