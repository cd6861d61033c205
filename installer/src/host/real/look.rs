//! Looking at the machine: nothing here changes anything.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use vgpu_loader::Source;

use super::Real;
use crate::error::{Error, Result};
use crate::host::{Listing, Opened, Space};
use crate::location::{Location, hex};
use crate::object::{DIGEST_BYTES_MAX, Meta, Object, Stamp, digest};

/// Most links that one path may lead through, as in the kernel.
const LINKS_MAX: usize = 40;
/// Longest value of an extended attribute, as in the kernel: 64 KiB.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

pub(super) fn inspect(real: &Real, path: &Path) -> Result<Object> {
    let failed = |errno: Errno| Error::io("looking at", path, errno.into());
    let fd = match real.open_below(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Object::Absent),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fs::fstat(&fd).map_err(failed)?;
    let meta = Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stamp(&stat),
        xattrs: attributes(real, path).map_err(failed)?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Object::Dir { meta },
        FileType::RegularFile => {
            let bytes = stat.st_size.cast_unsigned();
            let sha256 =
                if bytes <= DIGEST_BYTES_MAX { Some(sha256(real, path, bytes)?) } else { None };
            Object::File { meta, bytes, sha256 }
        }
        FileType::Symlink => {
            let target = fs::readlinkat(&fd, "", Vec::new()).map_err(failed)?;
            let target = OsString::from_vec(target.into_bytes());
            Object::Link { meta, target: Location::new(target) }
        }
        _ => Object::Other { meta },
    })
}

/// Whether the kernel lets nobody change what lies at a path.
pub(super) fn is_immutable(real: &Real, path: &Path) -> Result<bool> {
    let failed = |errno: Errno| Error::io("looking at", path, errno.into());
    let fd = match real.open_below(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(errno) => return Err(failed(errno)),
    };
    let fixed = fs::StatxAttributes::IMMUTABLE | fs::StatxAttributes::APPEND;
    match fs::statx(&fd, "", AtFlags::EMPTY_PATH, fs::StatxFlags::empty()) {
        Ok(statx) => Ok(statx.stx_attributes.intersects(fixed)),
        // Not asked of by an old container's filter: the change itself will tell.
        Err(Errno::NOSYS | Errno::PERM) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

fn stamp(stat: &Stat) -> Stamp {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Stamp { seconds: stat.st_mtime, nanoseconds }
}

fn sha256(real: &Real, path: &Path, bytes: u64) -> Result<String> {
    let failed = |source: io::Error| Error::io("reading", path, source);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = real.open_below(path, flags).map_err(|errno| failed(errno.into()))?;
    // Its length may have changed meanwhile: what there is now is read.
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    std::fs::File::from(fd).take(DIGEST_BYTES_MAX).read_to_end(&mut content).map_err(failed)?;
    Ok(digest(&content))
}

/// Reads all extended attributes of a path, not following a link there.
fn attributes(real: &Real, path: &Path) -> Result<BTreeMap<String, String>, Errno> {
    let mut all = BTreeMap::new();
    // A descriptor opened with O_PATH has no attributes, and links cannot be opened otherwise:
    // the name below the parent's descriptor is the one way that fits every type.
    let Some(name) = path.file_name() else { return Ok(all) };
    let parent = path.parent().unwrap_or(Path::new("/"));
    let dir = real.open_below(parent, OFlags::PATH | OFlags::DIRECTORY)?;
    let by_fd = below(&dir, name);
    // Most paths have none, and need no room for them.
    match fs::llistxattr(&by_fd, &mut [0_u8; 0][..]) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(all),
        Ok(_) => {}
        Err(errno) => return Err(errno),
    }
    let mut names = vec![0_u8; ATTRIBUTE_BYTES_MAX];
    let length = match fs::llistxattr(&by_fd, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOENT) => return Ok(all),
        Err(errno) => return Err(errno),
    };
    for attribute in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; ATTRIBUTE_BYTES_MAX];
        match fs::lgetxattr(&by_fd, OsStr::from_bytes(attribute), &mut value[..]) {
            Ok(bytes) => {
                let name = String::from_utf8_lossy(attribute).into_owned();
                all.insert(name, hex(&value[..bytes]));
            }
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}

/// The path of a name below an open directory, which no rename can lead elsewhere.
fn below(dir: &OwnedFd, name: &OsStr) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

pub(super) fn list(real: &Real, dir: &Path) -> Result<Vec<OsString>> {
    let failed = |errno: Errno| Error::io("listing", dir, errno.into());
    let fd = match real.open_below(dir, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut names = Vec::new();
    for entry in Dir::new(fd).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn search(
    real: &Real,
    dir: &Path,
    wanted: &dyn Fn(&OsStr) -> bool,
    entries_max: usize,
) -> Result<Option<Listing>> {
    let failed = |errno: Errno| Error::io("listing", dir, errno.into());
    let fd = match real.open_below(dir, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let mut listing = Listing { names: Vec::new(), whole: true };
    for (count, entry) in Dir::new(fd).map_err(failed)?.enumerate() {
        if count >= entries_max {
            listing.whole = false;
            break;
        }
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && wanted(name) {
            listing.names.push(name.to_owned());
        }
    }
    listing.names.sort();
    Ok(Some(listing))
}

pub(super) fn is_dir(real: &Real, path: &Path) -> Result<bool> {
    match real.open_below(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(errno) => Err(Error::io("looking at", path, errno.into())),
    }
}

pub(super) fn dir_identity(real: &Real, dir: &Path) -> Result<Option<(u64, u64)>> {
    let failed = |errno: Errno| Error::io("looking at", dir, errno.into());
    match real.open_below(dir, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(fd) => {
            let stat = fs::fstat(&fd).map_err(failed)?;
            Ok(Some((stat.st_dev, stat.st_ino)))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

pub(super) fn open(real: &Real, path: &Path) -> Result<Option<Opened>> {
    let failed = |errno: Errno| Error::io("opening", path, errno.into());
    // O_NONBLOCK: a pipe in a foreign root must not stop the scan.
    let fd = match real.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fs::fstat(&fd).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    Ok(Some(Opened {
        identity: (stat.st_dev, stat.st_ino),
        bytes: stat.st_size.cast_unsigned(),
        source: Box::new(FileSource { file: fd.into(), bytes: stat.st_size.cast_unsigned() }),
    }))
}

pub(super) fn space(real: &Real, path: &Path) -> Result<Option<Space>> {
    let failed = |errno: Errno| Error::io("looking at", path, errno.into());
    let fd = match real.open_below(path, OFlags::PATH) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fs::fstatvfs(&fd).map_err(failed)?;
    Ok(Some(Space {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: (stat.f_files > 0).then_some(stat.f_ffree),
        read_only: stat.f_flag.contains(fs::StatVfsMountFlags::RDONLY),
    }))
}

pub(super) fn read_endless(real: &Real, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let failed = |source: io::Error| Error::io("reading", path, source);
    let fd = match real.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    let mut content = Vec::new();
    match std::fs::File::from(fd).take(bytes_max + 1).read_to_end(&mut content) {
        Ok(_) => {}
        // The process of that file has ended meanwhile.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    if content.len() as u64 > bytes_max {
        return Err(Error::TooLong { path: path.into(), bytes_max });
    }
    Ok(Some(content))
}

struct FileSource {
    file: std::fs::File,
    /// Its length when it was opened.
    bytes: u64,
}

impl Source for FileSource {
    fn read_at(&self, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        // Asked before, so that a hostile size allocates nothing.
        if offset.checked_add(bytes as u64)? > self.bytes {
            return None;
        }
        let mut content = vec![0; bytes];
        self.file.read_exact_at(&mut content, offset).ok()?;
        Some(content)
    }
}

pub(super) fn canonical(real: &Real, path: &Path) -> Result<Option<PathBuf>> {
    let mut done = PathBuf::from("/");
    let mut links = 0;
    let mut left: Vec<OsString> = parts(path);
    // Most paths lead through no link, or through no other after the first: one call tells.
    let mut is_new = true;
    while let Some(part) = left.pop() {
        if is_new && let Some(lies_there) = without_links(real, &done, &part, &left) {
            return Ok(lies_there);
        }
        is_new = false;
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => done = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                done.pop();
            }
            Some(Component::Normal(name)) => {
                let next = done.join(name);
                let Some(target) = link_text(real, &next)? else { return Ok(None) };
                let Some(target) = target else {
                    done = next;
                    continue;
                };
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                left.extend(parts(&target));
                is_new = true;
            }
            _ => {}
        }
    }
    Ok(Some(done))
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// The path that is still to be gone, if something lies there, else none; nothing where a link or
/// `..` is on the way, or one call cannot tell.
fn without_links(
    real: &Real,
    done: &Path,
    next: &OsStr,
    left: &[OsString],
) -> Option<Option<PathBuf>> {
    let mut whole = done.join(next);
    whole.extend(left.iter().rev());
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !whole.components().all(is_plain) {
        return None;
    }
    match real.open_plain(&whole)? {
        Ok(_) => Some(Some(whole)),
        Err(Errno::NOENT | Errno::NOTDIR) => Some(None),
        Err(_) => None,
    }
}

/// The text of the link at a path: none if nothing lies there, `Some(None)` if it is no link.
fn link_text(real: &Real, path: &Path) -> Result<Option<Option<PathBuf>>> {
    let failed = |errno: Errno| Error::io("looking at", path, errno.into());
    let fd = match real.open_below(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fs::statat(&fd, "", AtFlags::EMPTY_PATH).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(Some(None));
    }
    let target = fs::readlinkat(&fd, "", Vec::new()).map_err(failed)?;
    Ok(Some(Some(PathBuf::from(OsString::from_vec(target.into_bytes())))))
}
