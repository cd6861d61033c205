//! `cargo xtask test models`: what shared memory does in every order, not only in those that a
//! test run happens to meet.
//!
//! loom explores the models of `transport/ring`; it needs a build of its own, hence its own target
//! directory. Miri runs the tests of the same crate; it comes with nightly toolchains only, and
//! where rustup has none the summary says so.

use std::process::Command;

use crate::error::Error;
use crate::paths::Paths;
use crate::process;
use crate::test::Ran;

/// The toolchain that has Miri.
const NIGHTLY: &str = "nightly";

/// Runs the models, then Miri where it is or can be had; `filters` choose tests by their names.
pub(crate) fn run(paths: &Paths, filters: &[&String]) -> Result<Ran, Error> {
    let crate_of_the_ring = ["--package", "vgpu-ring", "--lib"];
    let mut models = Command::new("cargo");
    models.current_dir(&paths.root).arg("test").args(crate_of_the_ring);
    models.arg("--target-dir").arg(paths.root.join("target/loom"));
    // Said here for all of RUSTFLAGS: what the caller set is not for this build.
    models.env("RUSTFLAGS", "--cfg loom").args(["--", "models"]).args(filters);
    process::run("exploring the models", &mut models)?;
    if !miri_is_here() {
        return Ok(Ran::Without(
            "Miri, which needs a nightly toolchain of rustup \
             (rustup toolchain install nightly --component miri --component rust-src)",
        ));
    }
    let mut miri = Command::new("cargo");
    miri.current_dir(&paths.root).arg(format!("+{NIGHTLY}")).args(["miri", "test"]);
    miri.args(crate_of_the_ring).arg("--tests");
    miri.arg("--target-dir").arg(paths.root.join("target/miri")).arg("--").args(filters);
    process::run("running Miri", &mut miri)?;
    Ok(Ran::Whole)
}

/// Says whether Miri is installed, after a try to add it to a nightly toolchain that is there: no
/// toolchain is installed by a test run.
fn miri_is_here() -> bool {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    process::succeeds(&words(&format!("cargo +{NIGHTLY} miri --version")))
        || (process::succeeds(&words(&format!("cargo +{NIGHTLY} --version")))
            && process::succeeds(&words(&format!(
                "rustup component add --toolchain {NIGHTLY} miri rust-src"
            ))))
}
