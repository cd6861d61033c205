//! `cargo xtask demo`: the main job end to end, shown and not only tested.

use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::{process, setup, stage, test};

/// Runs the system test's scenario with its output on the screen.
pub(crate) fn run(paths: &Paths) -> Result<(), Error> {
    setup::run(paths, setup::Group::ALL)?;
    stage::run(paths, stage::Profile::Release)?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&paths.root)
        .args(["test", "--quiet", "--package", "vgpu-tests", "--test", "system", "--", "demo"])
        .args(["--exact", "--nocapture"]);
    test::environment(paths, &mut cargo);
    process::run("showing the main job", &mut cargo)
}
