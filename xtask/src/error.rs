//! What can go wrong in a task, with its remedy.

use std::error::Error as _;
use std::path::PathBuf;

/// A task that could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory could not be read, written or moved.
    #[error("{verb} {}", path.display())]
    File {
        /// What was being done, as a word that takes the path: "reading", "writing".
        verb: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("starting {program}")]
    Start {
        /// The program's name or path.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("{step}: {command} ended with {status}")]
    Failed {
        /// The step of the task, in words.
        step: String,
        /// The command line.
        command: String,
        /// The exit status, in the system's words.
        status: String,
    },
    /// One of our own description files is not valid.
    #[error("reading {file}")]
    Description {
        /// Path below the repository's root.
        file: &'static str,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// Debian packages are missing and this user may not install them.
    #[error("these Debian packages are missing, and only root may install them: {packages}")]
    NotRoot {
        /// The packages, separated by spaces.
        packages: String,
    },
    /// The container needs root.
    #[error("starting a container as an ordinary user")]
    NoContainer,
    /// Python is older than the oldest one a client has wheels for.
    #[error("python3 is {found}, and cuda-bindings has no wheel for anything before 3.11")]
    OldPython {
        /// What `python3` says of itself.
        found: String,
    },
    /// Several independent steps were run, and some of them failed.
    #[error("failed: {steps}")]
    Steps {
        /// The steps' names.
        steps: String,
    },
    /// All was to be run whole, and this machine lacks something for these parts.
    #[error("not run whole: {steps}")]
    InPart {
        /// The parts' names.
        steps: String,
    },
    /// A name on the command line of `test` is no part and stands in no source.
    #[error("looking for a part or a test named {name}: there is none")]
    NoTest {
        /// The name.
        name: String,
    },
    /// Cargo compiled a test and did not say where.
    #[error("asking cargo for the program of the test {name}")]
    NoProgram {
        /// The test's name.
        name: String,
    },
    /// The manifest names a file that the build did not make.
    #[error("the build made no {artefact}, which packaging/manifest.toml takes from {from}")]
    NoArtefact {
        /// File name below the build directory.
        artefact: String,
        /// The crate that should make it.
        from: String,
    },
}

impl Error {
    /// Says what to do about it, in one sentence, where something can be done.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot { packages } => Some(format!(
                "sudo apt-get install --no-install-recommends {packages}, then the same again"
            )),
            Self::NoContainer => {
                Some("run it as root: systemd-nspawn has to make namespaces".into())
            }
            Self::OldPython { .. } => Some(
                "use Debian 12, Ubuntu 24.04 or newer, or put a newer python3 first in PATH".into(),
            ),
            Self::Start { program, .. } => {
                Some(format!("install {program} and put it into PATH, then the same again"))
            }
            Self::NoArtefact { from, .. } => {
                Some(format!("compare the target's name in {from}'s Cargo.toml with the manifest"))
            }
            Self::NoTest { .. } => Some(
                "lint, unit, harness or a file of tests/tests is a part; else part of a test's name"
                    .into(),
            ),
            Self::Failed { .. } => Some("the lines above are the program's own".into()),
            Self::InPart { .. } => Some("the summary says what is missing".into()),
            Self::Steps { .. } => Some("cargo xtask test NAME runs one of them alone".into()),
            _ => None,
        }
    }
}

/// Prints an error as our programs do: what was done, because of what, and what to try.
pub(crate) fn report(error: &Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprintln!("  because: {inner}");
        cause = inner.source();
    }
    if let Some(hint) = error.hint() {
        eprintln!("  try:     {hint}");
    }
}
