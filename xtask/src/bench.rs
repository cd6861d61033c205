//! `cargo xtask bench`: measures the release build, and prints a table and a JSON document.

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::{process, setup, stage, test};

/// Builds what is shipped and measures it so often; the method stands in docs/benchmarks.md.
pub(crate) fn run(
    paths: &Paths,
    runs: NonZeroU8,
    files: [(&str, Option<PathBuf>); 2],
) -> Result<(), Error> {
    // What only a virtual machine needs, no figure does.
    let groups = setup::Group::ALL.iter().filter(|group| !matches!(group, setup::Group::Vm));
    setup::run(paths, &groups.copied().collect::<Vec<_>>())?;
    stage::run(paths, stage::Profile::Release)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&paths.root);
    cargo.args(["run", "--quiet", "--package", "vgpu-tests", "--bin", "bench", "--"]);
    cargo.args(["--runs", &runs.to_string()]);
    for (option, file) in files {
        if let Some(file) = file {
            cargo.arg(option).arg(std::path::absolute(&file).unwrap_or(file));
        }
    }
    test::environment(paths, &mut cargo);
    process::run("measuring", &mut cargo)
}
