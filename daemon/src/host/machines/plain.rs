//! The file of QEMU's ivshmem-plain.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::geteuid;

use crate::config::account;

/// Others may write: then they may also take the place of clients.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// A file of somebody who may not be the machine. Anybody may make one in /dev/shm, and be the
/// machine if nobody made it before.
#[derive(Debug, thiserror::Error)]
#[error("it is another user's: if its QEMU runs so, user = {} in its [[machine]], else remove it",
        account::written(*owner))]
struct Foreign {
    owner: u32,
}

/// Opens the file, if it is one that only its owner and group write; `user` or root has to own it,
/// or where no user is named our own.
pub(super) fn find(path: &Path, user: Option<u32>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let owner = found.st_uid;
    if owner != 0 && owner != user.unwrap_or_else(|| geteuid().as_raw()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, Foreign { owner }));
    }
    if found.st_mode & WRITABLE_BY_OTHERS != 0 {
        let why = "everybody may write to it: chmod it to 0660";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(file)
}
