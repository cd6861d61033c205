//! `cargo xtask demo`: the main job end to end, shown and not only tested.

use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::setup::Group::{Headers, Release, System};
use crate::{deb, process, setup, stage, test};

/// Fetches and builds what the story needs, then tells it on the screen.
pub(crate) fn run(paths: &Paths) -> Result<(), Error> {
    // Said before minutes of building, not after them.
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NoContainer);
    }
    println!("1. What has to be fetched");
    setup::run(paths, &[Headers, Release, System])?;
    println!("\n2. The libraries, the installer and the host, for glibc 2.28");
    stage::run(paths, stage::Profile::Release)?;
    println!("\n3. The deb");
    deb::run(paths)?;
    println!("\n4. The story");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&paths.root);
    cargo.args(["run", "--quiet", "--package", "vgpu-tests", "--bin", "demo"]);
    test::environment(paths, &mut cargo);
    process::run("showing the main job", &mut cargo)
}
