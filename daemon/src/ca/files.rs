//! Writes certificates and keys: all of them or none, each with its mode from the first byte on.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::DaemonError;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its owner.
    Key = 0o600,
    /// Everybody.
    Public = 0o644,
}

/// A file to be written.
#[derive(Debug)]
pub(super) struct File {
    pub path: PathBuf,
    pub text: String,
    pub mode: Mode,
}

/// Writes files into a directory, which is made for its owner alone if it is not there.
///
/// # Errors
/// [`DaemonError::Exists`] if one is there, unless `force` says to replace it; nothing is written
/// then.
pub(super) fn write(directory: &Path, files: &[File], force: bool) -> Result<(), DaemonError> {
    if let Some(there) = files.iter().find(|file| !force && file.path.exists()) {
        return Err(DaemonError::Exists { path: there.path.clone() });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DaemonError::File { verb: "writing", path, source }
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
    let mut ready = Vec::new();
    for file in files {
        let mut new = file.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        prepare(&new, file).map_err(failed(&new))?;
        ready.push(new);
    }
    for (new, file) in ready.iter().zip(files) {
        std::fs::rename(new, &file.path).map_err(failed(&file.path))?;
    }
    Ok(())
}

fn prepare(path: &Path, file: &File) -> io::Result<()> {
    // Left by one that was interrupted; its mode would stay.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut new = options.write(true).create_new(true).mode(file.mode as u32).open(path)?;
    new.write_all(file.text.as_bytes())?;
    new.sync_all()
}
