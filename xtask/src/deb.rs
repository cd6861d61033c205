//! `cargo xtask deb`: packs the release stage into debs with cargo-deb.
//!
//! What goes in is what the stage holds; the rest (control fields, maintainer scripts) stands in
//! `[package.metadata.deb]` of the package's crate and in packaging/deb.

use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::process::run as call;
use crate::stage::Profile;

/// The crates that describe a deb.
const CRATES: [&str; 2] = ["vgpu-install", "vgpud"];

/// Packs every deb into target/deb, over those of an earlier run. `setup` brought cargo-deb.
pub(crate) fn run(paths: &Paths) -> Result<(), Error> {
    let program = paths.cargo_deb().join("bin/cargo-deb");
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
