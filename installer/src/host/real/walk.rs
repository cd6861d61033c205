//! Opening a path below a root without `openat2`: part by part, each link read and followed by us.
//!
//! Every part is opened relative to the descriptor of the part before it and never through a link,
//! so that no rename at the same time can lead out of the root.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// Most links that one path may lead through, as in the kernel.
const LINKS_MAX: usize = 40;

/// Opens a path with every link and `..` taken below `root`.
///
/// # Errors
/// What the kernel answers; ELOOP for too many links.
pub(super) fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut left: Vec<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => way.clear(),
            Some(Component::ParentDir) => drop(way.pop()),
            Some(Component::Normal(name)) => {
                let at = here(root, &way);
                let peek = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = retry_on_intr(|| fs::openat(at, name, peek, Mode::empty()))?;
                let is_last = left.is_empty();
                let stat = fs::fstat(&fd)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    if is_last {
                        // The name may lead elsewhere by now, but never through a link.
                        let flags = flags | OFlags::NOFOLLOW;
                        return retry_on_intr(|| fs::openat(at, name, flags, Mode::empty()));
                    }
                    way.push(fd);
                    continue;
                }
                if is_last && flags.contains(OFlags::NOFOLLOW) {
                    return if flags.contains(OFlags::PATH) { Ok(fd) } else { Err(Errno::LOOP) };
                }
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                // The text, also of a link in /proc that would lead out of the root by magic.
                let target = fs::readlinkat(&fd, "", Vec::new())?.into_bytes();
                left.extend(parts(&PathBuf::from(OsString::from_vec(target))));
            }
            _ => {}
        }
    }
    retry_on_intr(|| fs::openat(here(root, &way), ".", flags, Mode::empty()))
}

fn here<'a>(root: &'a OwnedFd, way: &'a [OwnedFd]) -> BorrowedFd<'a> {
    way.last().unwrap_or(root).as_fd()
}

/// The parts of a path, the last first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}
