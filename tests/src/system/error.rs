use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use thiserror::Error;

/// Is the result of everything in this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what the system test was doing when this machine or the container did not go along.
#[derive(Debug, Error)]
pub enum Error {
    /// A file of this machine, or below the container's root, could not be used.
    #[error("{verb} {path}")]
    File {
        /// What was being done, as a participle.
        verb: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program could not be started or waited for.
    #[error("running {program}")]
    Start {
        /// The program's name.
        program: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("{command} ended with {status}\n{output}")]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on both streams.
        output: String,
    },
    /// A program was still running at its deadline, and was ended.
    #[error("{command} was still running after {limit:?}\n{output}")]
    Late {
        /// The whole command line.
        command: String,
        /// The deadline.
        limit: Duration,
        /// What it had said until then.
        output: String,
    },
    /// The guest did not say that it is ready.
    #[error("waiting {limit:?} for the guest to be ready\n{log}")]
    Boot {
        /// The deadline.
        limit: Duration,
        /// The console of the guest.
        log: String,
        /// What the wait ended with.
        #[source]
        source: io::Error,
    },
    /// This machine's apt has no source for its own release.
    #[error("finding this machine's Debian or Ubuntu archive in its apt configuration")]
    NoArchive,
    /// This machine lacks the right to make namespaces.
    #[error("starting a container as an ordinary user")]
    NotRoot,
    /// Something that the story needs was not there.
    #[error("looking for {what} in {place}\n{output}")]
    Missing {
        /// What was looked for.
        what: String,
        /// Where.
        place: String,
        /// What was there instead.
        output: String,
    },
}

impl Error {
    /// Names the one thing to do about it, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoArchive => Some("run it on Debian or Ubuntu, with `deb` sources in apt"),
            Self::NotRoot => Some("run it as root: systemd-nspawn has to make namespaces"),
            _ => None,
        }
    }
}

/// Turns an I/O error into ours, with the verb and the path.
pub(crate) fn at(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { verb, path, source }
}
