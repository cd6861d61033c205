//! `cargo xtask gpu-kit` and `cargo xtask test-gpu`: the comparison on a machine with a GPU.
//!
//! Such a machine may have no network, no Rust and little time. The kit holds everything that the
//! comparison needs beside a driver, the CUDA toolkit and Python, in parts that are small enough
//! to be carried one by one: what is shipped, the test programs, Node.js and the published CUDA
//! backend. `test-gpu` in it puts the parts together and runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::paths::{Paths, remove};
use crate::setup::Group;
use crate::stage::{self, Profile};
use crate::{process, setup, test};

/// Largest part of the kit: 60 MiB, a little below what a transfer to a lent machine holds.
const PART: &str = "60m";

/// What the comparison takes from the checkout.
const FROM_REPOSITORY: [&str; 3] = ["tests/compliance", "tests/cu", "tests/clients/node"];

/// The npm packages that no step uses: the build for CUDA 12 has 70 MB.
const NOT_CARRIED: [&str; 2] = ["@fugood", "__pycache__"];

/// Makes the kit in target/gpu-kit.
pub(crate) fn kit(paths: &Paths) -> Result<(), Error> {
    setup::run(paths, &[Group::Clients, Group::Release])?;
    let stage = stage::run(paths, Profile::Release)?;
    let kit = paths.target.join("gpu-kit");
    remove(&kit)?;
    let tree = kit.join("tree");
    lay(&stage, &tree.join("stage"))?;
    lay(&paths.node(), &tree.join("bin/node"))?;
    lay(&paths.npm_clients().join("node_modules"), &tree.join("npm/node_modules"))?;
    for directory in FROM_REPOSITORY {
        lay(&paths.root.join(directory), &tree.join("repository").join(directory))?;
    }
    let mut tar = Command::new("tar");
    tar.current_dir(&kit).args(["--create", "--gzip", "--file", "kit.tar.gz"]);
    tar.args(["--sort=name", "--owner=0", "--group=0"]);
    tar.args(NOT_CARRIED.map(|name| format!("--exclude={name}")));
    process::run("packing the kit", tar.args(["--directory", "tree", "."]))?;
    remove(&tree)?;
    let mut split = Command::new("split");
    split.current_dir(&kit).args(["--numeric-suffixes=1", "--bytes", PART]);
    process::run("cutting the kit into parts", split.args(["kit.tar.gz", "part-"]))?;
    let mut sum = Command::new("sh");
    sum.current_dir(&kit).args(["-c", "rm kit.tar.gz && sha256sum part-*"]);
    write(&kit.join("sums"), &process::capture("summing the parts", &mut sum)?, 0o644)?;
    write(&kit.join("test-gpu"), include_bytes!("../gpu-kit.sh"), 0o755)?;
    println!("the kit is in {}; on the GPU machine run its test-gpu", kit.display());
    Ok(())
}

/// Runs the comparison here, on this machine's GPU, or rehearses it without one.
pub(crate) fn run(paths: &Paths, rehearsal: bool) -> Result<(), Error> {
    setup::run(paths, &[Group::Clients, Group::Release])?;
    if rehearsal {
        setup::run(paths, &[Group::Headers, Group::Compiler])?;
    }
    let stage = stage::run(paths, Profile::Release)?;
    let out = paths.target.join("gpu");
    let mut program = Command::new(stage.join("vgpu-tests/usr/lib/vgpu-tests/gpu-test"));
    program.arg("--repository").arg(&paths.root).arg("--out").arg(&out);
    if rehearsal {
        program.arg("--rehearsal");
        let libraries = paths.target.join("gpu-libraries");
        name_the_runtime(&stage, &libraries)?;
        program.arg("--nvcc").arg(paths.cache.join("nvcc/nvidia/cu13/bin/nvcc"));
        program.arg("--include").arg(paths.headers().join("nvidia/cu13/include"));
        program.env("LIBRARY_PATH", libraries);
    }
    test::environment(paths, &mut program);
    let compared = process::run("comparing native and ours", &mut program);
    println!("the report is {}", out.join("report.md").display());
    compared
}

/// Gives our runtime the name by which the compiler links: the published compiler comes without
/// the libraries that a toolkit has beside it.
fn name_the_runtime(stage: &Path, libraries: &Path) -> Result<(), Error> {
    let failed = |verb, path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::File { verb, path, source }
    };
    remove(libraries)?;
    fs::create_dir_all(libraries).map_err(failed("creating", libraries))?;
    let runtime = stage.join("vgpu-ollama/usr/lib/x86_64-linux-gnu/vgpu/libcudart.so.13");
    let link = libraries.join("libcudart.so");
    symlink(runtime, &link).map_err(failed("linking", &link))
}

/// Copies a file or directory to its place in the kit.
fn lay(from: &Path, to: &Path) -> Result<(), Error> {
    let directory = to.parent().unwrap_or(to);
    fs::create_dir_all(directory).map_err(|source| Error::File {
        verb: "creating",
        path: directory.to_path_buf(),
        source,
    })?;
    let mut copy = Command::new("cp");
    process::run("laying out the kit", copy.arg("--archive").arg(from).arg(to))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|source| Error::File { verb: "writing", path: path.to_path_buf(), source })
}
