//! Environments in which an unmodified client finds our libraries.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Output};

use crate::Stage;
use crate::stage::LIBRARIES;

/// By which of ld.so's mechanisms a client gets our libraries. Both are tested everywhere: a
/// preloaded library hides names that are missing from a searched one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `LD_LIBRARY_PATH` names the private directory.
    SearchPath,
    /// `LD_PRELOAD` names every library by its absolute path.
    Preload,
}

impl Way {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::SearchPath, Self::Preload];
}

/// What else might reach a client from the environment of the person who runs the tests.
const FOREIGN: [&str; 11] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDA_PATH",
    "GGML_BACKEND_PATH",
    "PYTHONPATH",
    "NODE_PATH",
    "VGPU_LINK",
    "VGPU_LOG",
    "VGPU_STATS",
];

/// A command that does not inherit anything about CUDA or about us.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command
}

/// A command that finds our libraries in one way and the host by `link`.
pub fn over(stage: &Stage, way: Way, link: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = clean(program);
    command.env("VGPU_LINK", link);
    match way {
        Way::SearchPath => command.env("LD_LIBRARY_PATH", stage.libraries()),
        Way::Preload => {
            let paths: Vec<OsString> =
                LIBRARIES.iter().map(|name| stage.library(name).into_os_string()).collect();
            command.env("LD_PRELOAD", paths.join(OsStr::new(":")))
        }
    };
    command
}

/// Fails the test, with what the program and its host said, unless the program ended well.
///
/// # Panics
/// If it did not.
#[track_caller]
pub fn assert_passed(what: &str, output: &Output, host_log: &str) {
    let (status, text) = (output.status, String::from_utf8_lossy(&output.stderr));
    assert!(status.success(), "{what}: {status}\n{text}\nthe host says:\n{host_log}");
}
