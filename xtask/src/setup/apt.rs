//! Debian packages, only where what they are wanted for is missing.

use std::process::Command;

use super::needs::{Apt, Group, Needs, wants};
use crate::error::Error;
use crate::process::{run, succeeds};

/// Installs the missing packages as root, or says which command root has to run.
pub(super) fn install(needs: &Needs, groups: &[Group]) -> Result<(), Error> {
    let missing: Vec<&Apt> = needs
        .apt
        .iter()
        .filter(|entry| wants(&entry.groups, groups) && !succeeds(&entry.check))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Debian packages to install:");
    for entry in &missing {
        println!("  {}: {}", entry.package, entry.why);
    }
    let packages = missing.iter().map(|entry| entry.package.as_str()).collect::<Vec<_>>();
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot { packages: packages.join(" ") });
    }
    // Lists are refreshed only now: a machine that has everything never touches the network.
    run("refreshing the package lists", Command::new("apt-get").args(["update", "--quiet"]))?;
    run(
        "installing Debian packages",
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}
