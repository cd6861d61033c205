//! Places in directories that systemd made for us (systemd.exec(5), RuntimeDirectory= and
//! CacheDirectory=).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::absolute;
use crate::error::DaemonError;

/// Where the operator is answered: the named socket, else the one in the runtime directory; without
/// that, nowhere.
///
/// # Errors
/// [`DaemonError::File`] if the path is none.
pub(super) fn status(named: Option<&Path>) -> Result<Option<PathBuf>, DaemonError> {
    match named {
        Some(named) => absolute(named).map(Some),
        None => Ok(made("RUNTIME_DIRECTORY", "status.sock")),
    }
}

/// The images' place in the cache directory.
pub(super) fn images() -> Option<PathBuf> {
    made("CACHE_DIRECTORY", "images")
}

fn made(variable: &str, name: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable)?;
    // Several are separated by colons; ours is the first.
    let first = given.as_encoded_bytes().split(|byte| *byte == b':').next()?;
    Some(Path::new(OsStr::from_bytes(first)).join(name))
}
