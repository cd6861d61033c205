//! `cargo xtask regen`: makes the committed generated files anew.

use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::process::run as run_program;
use crate::setup;

/// Fetches the public headers and runs the generator over them.
pub(crate) fn run(paths: &Paths) -> Result<(), Error> {
    setup::run(paths, &[setup::Group::Headers])?;
    run_program(
        "regenerating",
        Command::new("cargo")
            .current_dir(&paths.root)
            .args(["run", "--quiet", "--package", "vgpu-codegen", "--", "--headers"])
            .arg(paths.headers()),
    )
}
