//! Programs that write beside what they read get a private copy of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{OFlags, fstatvfs};
use rustix::io::Errno;

use super::{Real, children};
use crate::error::{Error, Result};
use crate::host::{Copied, CopyRun, Program};

/// Runs a program on copies; they go before this returns, however it returns.
pub(super) fn run(real: &Real, program: &Program, copied: &Copied<'_>) -> Result<CopyRun> {
    // Asked before, so that nothing is copied for a program that is not there.
    std::fs::metadata(&program.path)
        .map_err(|source| Error::io("looking for", &program.path, source))?;
    let parent = std::env::temp_dir();
    let dir = tempfile::Builder::new().prefix("vgpu-install-").tempdir_in(&parent);
    let dir = dir.map_err(|source| Error::io("making a directory in", &parent, source))?;
    copy(real, copied, dir.path())?;
    let mut arguments = vec![copied.option.into(), dir.path().into()];
    arguments.extend(program.arguments.iter().cloned());
    let outcome = children::run(&Program { arguments, ..program.clone() })?;
    let failed = |source: io::Error| Error::io("listing", dir.path(), source);
    let mut made = Vec::new();
    for entry in std::fs::read_dir(dir.path()).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let path = copied.dir.join(&name);
        if !copied.names.iter().any(|known| name == **known) || source(real, &path)?.is_none() {
            made.push(name);
        }
    }
    let path = dir.path().to_path_buf();
    dir.close().map_err(|source| Error::io("removing", &path, source))?;
    Ok(CopyRun { outcome, made })
}

/// Opens a file to copy; none if no regular file lies there.
fn source(real: &Real, path: &Path) -> Result<Option<File>> {
    let failed = |source: io::Error| Error::io("copying", path, source);
    // O_NONBLOCK: a pipe in a foreign root must not stop us.
    let file: File = match real.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(fd) => fd.into(),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    let is_file = file.metadata().map_err(failed)?.is_file();
    Ok(is_file.then_some(file))
}

/// Copies the files whose names are wanted, if they fit and nobody writes to them meanwhile.
fn copy(real: &Real, copied: &Copied<'_>, into: &Path) -> Result<()> {
    let failed = |source: io::Error| Error::io("copying", copied.dir, source);
    let mut sources = Vec::new();
    let mut bytes = 0_u64;
    for name in copied.names {
        if let Some(file) = source(real, &copied.dir.join(name))? {
            let before = file.metadata().map_err(failed)?;
            bytes = bytes.saturating_add(before.len());
            sources.push((name, file, before));
        }
    }
    if bytes > copied.bytes_max {
        return Err(Error::TooLong { path: copied.dir.into(), bytes_max: copied.bytes_max });
    }
    let place = File::open(into).map_err(failed)?;
    let space = fstatvfs(&place).map_err(|errno| failed(errno.into()))?;
    // Half of what is left stays for everybody else, and for what the program adds.
    if bytes > space.f_bavail.saturating_mul(space.f_frsize) / 2 {
        return Err(failed(io::ErrorKind::StorageFull.into()));
    }
    for (name, file, before) in &sources {
        let mut copy = File::create_new(into.join(name)).map_err(failed)?;
        io::copy(&mut file.take(before.len()), &mut copy).map_err(failed)?;
    }
    let stamp = |meta: &std::fs::Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
    for (_, file, before) in &sources {
        if stamp(&file.metadata().map_err(failed)?) != stamp(before) {
            return Err(failed(io::Error::other("somebody wrote to it meanwhile")));
        }
    }
    Ok(())
}
