//! Places in directories that systemd made for us (systemd.exec(5), RuntimeDirectory= and
//! CacheDirectory=).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::absolute;
use crate::error::DaemonError;

/// Where the operator is answered: the named socket, else the one in the last runtime directory, as
/// the first is the clients' and may be lent to containers; without any, nowhere.
///
/// # Errors
/// [`DaemonError::File`] if the path is none.
pub(super) fn status(named: Option<&Path>) -> Result<Option<PathBuf>, DaemonError> {
    match named {
        Some(named) => absolute(named).map(Some),
        None => Ok(directories("RUNTIME_DIRECTORY").pop().map(|last| last.join("status.sock"))),
    }
}

/// The images' place in the cache directory.
pub(super) fn images() -> Option<PathBuf> {
    directories("CACHE_DIRECTORY").first().map(|first| first.join("images"))
}

/// The directories that a variable lists, separated by colons; none if it is not there.
fn directories(variable: &str) -> Vec<PathBuf> {
    let given = std::env::var_os(variable).unwrap_or_default();
    let all = given.as_encoded_bytes().split(|byte| *byte == b':');
    let all = all.filter(|directory| !directory.is_empty());
    all.map(|directory| Path::new(OsStr::from_bytes(directory)).to_owned()).collect()
}
