//! The installer's lock: `flock`, so that it goes with its holder, however that ends.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Real;
use crate::error::{Error, Result};
use crate::host::{Guard, Host};

/// Where installers of the running machine meet. A foreign root is locked by its own directory,
/// so that nothing is written there for it.
const LOCK_DIR: &str = "/run/vgpu";
const LOCK_NAME: &str = "lock";
/// Longest /proc/locks that is read: 1 MiB, some 15,000 locks.
const LOCKS_BYTES_MAX: u64 = 1 << 20;

pub(super) fn take(real: &Real, wait: Duration) -> Result<Guard> {
    let file = open(real)?;
    let until = Instant::now() + wait;
    loop {
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Guard(Some(file))),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < until && !real.is_asked_to_stop() => {
                // flock has no deadline of its own; 50 ms is well below what a person feels.
                std::thread::sleep(Duration::from_millis(50).min(wait));
            }
            Err(Errno::WOULDBLOCK) => {
                let path = if real.is_machine_root() {
                    Path::new(LOCK_DIR).join(LOCK_NAME)
                } else {
                    real.root_path.clone()
                };
                return Err(Error::Locked { path: path.into(), holder: holder(&file) });
            }
            Err(errno) => return Err(Error::io("locking", &real.root_path, errno.into())),
        }
    }
}

fn open(real: &Real) -> Result<OwnedFd> {
    let failed = |errno: Errno| Error::io("opening the lock in", LOCK_DIR.as_ref(), errno.into());
    if !real.is_machine_root() {
        return real.open_below(Path::new("/"), OFlags::RDONLY).map_err(failed);
    }
    match fs::mkdir(LOCK_DIR, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = fs::open(LOCK_DIR, flags, Mode::empty()).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(&dir, LOCK_NAME, flags, Mode::from_raw_mode(0o600)).map_err(failed)
}

/// The process that holds the lock, as the kernel lists it: nothing is written into a lock file,
/// which could be out of date. None where /proc does not show it, as in another PID namespace.
fn holder(file: &OwnedFd) -> Option<u32> {
    use std::io::Read;
    let stat = fs::fstat(file).ok()?;
    let (major, minor) = (fs::major(stat.st_dev), fs::minor(stat.st_dev));
    let mut locks = String::new();
    let list = std::fs::File::open("/proc/locks").ok()?;
    list.take(LOCKS_BYTES_MAX).read_to_string(&mut locks).ok()?;
    owner_in(&locks, &format!("{major:02x}:{minor:02x}:{}", stat.st_ino))
}

/// Finds the holder of a file's lock in the form of proc_locks(5).
fn owner_in(locks: &str, file: &str) -> Option<u32> {
    let mut lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| {
        // A waiting one has an arrow behind its number.
        words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file)
    })?;
    line.get(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_all_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:17:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 22 fe:00:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 33 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE -1 fe:00:78 0 EOF\n";
        assert_eq!(owner_in(locks, "fe:00:77"), Some(22));
        assert_eq!(owner_in(locks, "fe:00:78"), None);
        assert_eq!(owner_in(locks, "fe:00:79"), None);
    }
}
