//! The file of QEMU's ivshmem-plain.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Others may write: then they may also take the place of clients.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Opens the file, if it is one that only its owner and group write.
pub(super) fn find(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if found.st_mode & WRITABLE_BY_OTHERS != 0 {
        let why = "everybody may write to it: chmod it to 0660";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(file)
}
