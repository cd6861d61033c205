//! `cargo xtask fuzz`: the longer tier of the tests that live on chance.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::paths::Paths;
use crate::process;
use crate::setup::{self, Group};

/// Random trees for each thread, for each second that was asked for: about as long as they take.
const TREES_PER_SECOND: u64 = 60;

/// Games of a hostile peer against the ring, for each second.
const GAMES_PER_SECOND: u64 = 10_000;

/// Runs each reader for that long, then as many random trees as fit, from a seed of this moment,
/// then hostile games against the ring.
///
/// # Errors
/// [`Error`] if something failed; what the test prints names the seed.
pub(crate) fn run(paths: &Paths, seconds: u64) -> Result<(), Error> {
    setup::run(paths, &[Group::Loaders])?;
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let trees = format!("{first},{}", TREES_PER_SECOND.saturating_mul(seconds));
    let games = GAMES_PER_SECOND.saturating_mul(seconds).to_string();
    for (package, test, variable, value) in [
        ("vgpu-loader", "hostile", "VGPU_FUZZ_SECONDS", seconds.to_string()),
        ("vgpu-loader", "random", "VGPU_CASES", trees),
        ("vgpu-ring", "hostile", "VGPU_RING_GAMES", games),
    ] {
        println!("{variable}={value}");
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root).args(["test", "--package", package, "--test", test]);
        process::run("fuzzing", cargo.env(variable, value))?;
    }
    Ok(())
}
