//! The machine itself, seen below one root. No other module of the installer has effects.
//!
//! Every path is opened with `openat2(RESOLVE_IN_ROOT)` below the root's file descriptor, so no
//! link or `..` inside of a foreign root leads out of it. Where the kernel is older (Linux 5.6) or
//! a filter refuses the call, [`walk`] takes the same way step by step. The last part of a path
//! that is changed is never followed.

mod children;
mod copies;
mod lock;
mod look;
mod progress;
mod walk;

pub use children::{BECOME, become_user};

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    self, AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, XattrFlags,
};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Copied, CopyRun, Guard, Host, Listing, Opened, Outcome, Program, Space, User};
use crate::error::{Error, Result};
use crate::object::{Object, Stamp};

/// The running machine, or a system below a directory of it.
pub struct Real {
    root: OwnedFd,
    /// False on a kernel before 5.6, or where a container's filter refuses it.
    has_openat2: bool,
    root_path: PathBuf,
    asked_to_stop: Arc<AtomicBool>,
}

impl Real {
    /// Opens the system whose root is `root`.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not a directory that can be opened.
    pub fn open(root: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(root, flags, Mode::empty())
            .map_err(|errno| Error::io("opening the root", root, errno.into()))?;
        let asked_to_stop = Arc::new(AtomicBool::new(false));
        let mut real =
            Self { root: fd, has_openat2: true, root_path: root.to_path_buf(), asked_to_stop };
        if let Err(Errno::NOSYS | Errno::PERM) = real.open_below(Path::new("/"), OFlags::PATH) {
            real.has_openat2 = false;
        }
        Ok(real)
    }

    /// Lets the signals by which people and machines end programs only be noted from now on, so
    /// that a transaction ends as a whole.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel refuses.
    pub fn note_signals(&self) -> Result<()> {
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&self.asked_to_stop))
                .map_err(|source| Error::io("preparing for signals on", &self.root_path, source))?;
        }
        Ok(())
    }

    fn is_machine_root(&self) -> bool {
        let ours = fs::fstat(&self.root);
        let machine = fs::stat("/");
        matches!((ours, machine), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    fn open_below(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        if !self.has_openat2 {
            return walk::open(&self.root, path, flags);
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            // EAGAIN says that a rename raced with `..` inside of the path: try again.
            match fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Opens what lies at a path if no part of it is a link; none where the kernel has no openat2.
    fn open_plain(&self, path: &Path) -> Option<Result<OwnedFd, Errno>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        self.has_openat2.then(|| fs::openat2(&self.root, path, flags, Mode::empty(), resolve))
    }

    /// Opens the directory of a path and gives the last part of it.
    fn parent<'p>(&self, verb: &'static str, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::Error::from(io::ErrorKind::InvalidInput));
        let name = name.map_err(|source| Error::io(verb, path, source))?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let fd = self
            .open_below(dir, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| Error::io(verb, path, errno.into()))?;
        Ok((fd, name))
    }

    fn directory(&self, verb: &'static str, path: &Path) -> Result<OwnedFd> {
        self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| Error::io(verb, path, errno.into()))
    }

    fn rename(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
        let new = to.file_name().ok_or(Errno::INVAL)?;
        let dir = to.parent().unwrap_or(Path::new("/"));
        let dir = self.open_below(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let old = from.file_name().unwrap_or_default();
        assert_eq!(from.parent(), to.parent(), "renames stay within one directory");
        if flags.is_empty() {
            return fs::renameat(&dir, old, &dir, new);
        }
        fs::renameat_with(&dir, old, &dir, new, flags)
    }
}

/// True for the answers of a kernel, or a file system such as NFS, that knows a rename without
/// flags only.
fn lacks_flags(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

impl Host for Real {
    fn inspect(&self, path: &Path) -> Result<Object> {
        look::inspect(self, path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<std::ffi::OsString>> {
        look::list(self, dir)
    }

    fn search(
        &self,
        dir: &Path,
        wanted: &dyn Fn(&OsStr) -> bool,
        entries_max: usize,
    ) -> Result<Option<Listing>> {
        look::search(self, dir, wanted, entries_max)
    }

    fn is_dir(&self, path: &Path) -> Result<bool> {
        look::is_dir(self, path)
    }

    fn dir_identity(&self, dir: &Path) -> Result<Option<(u64, u64)>> {
        look::dir_identity(self, dir)
    }

    fn below(&self, dir: &Path) -> Result<Option<Box<dyn Host>>> {
        let root = match self.open_below(dir, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(root) => root,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(Error::io("opening", dir, errno.into())),
        };
        if !self.has_openat2 {
            let what = "openat2 is refused; looking into another root needs Linux 5.6".into();
            return Err(Error::Unsupported { what });
        }
        let root_path = self.root_path.join(dir.strip_prefix("/").unwrap_or(dir));
        let asked_to_stop = Arc::clone(&self.asked_to_stop);
        Ok(Some(Box::new(Self { root, has_openat2: true, root_path, asked_to_stop })))
    }

    fn seen_from_outside(&self, path: &Path) -> PathBuf {
        let below = self.root_path.join(path.strip_prefix("/").unwrap_or(path));
        // Programs such as rpm go elsewhere before they look.
        std::path::absolute(&below).unwrap_or(below)
    }

    fn open(&self, path: &Path) -> Result<Option<Opened>> {
        look::open(self, path)
    }

    fn read_endless(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        look::read_endless(self, path, bytes_max)
    }

    fn canonical(&self, path: &Path) -> Result<Option<PathBuf>> {
        look::canonical(self, path)
    }

    fn space(&self, path: &Path) -> Result<Option<Space>> {
        look::space(self, path)
    }

    fn attribute(&self, path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
        let dir = match self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("reading an attribute of", path, errno.into())),
        };
        let mut value = [0_u8; 256];
        match fs::fgetxattr(&dir, name, &mut value[..]) {
            Ok(bytes) => Ok(Some(value[..bytes].to_vec())),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::io("reading an attribute of", path, errno.into())),
        }
    }

    fn is_immutable(&self, path: &Path) -> Result<bool> {
        look::is_immutable(self, path)
    }

    fn make_dir(&self, path: &Path, mode: u32) -> Result<()> {
        const VERB: &str = "making the directory";
        let (dir, name) = self.parent(VERB, path)?;
        // main clears the umask, so that the mode is exact in one step.
        fs::mkdirat(&dir, name, Mode::from_raw_mode(mode))
            .map_err(|errno| Error::io(VERB, path, errno.into()))
    }

    fn make_file(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        const VERB: &str = "writing";
        let (dir, name) = self.parent(VERB, path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&dir, name, flags, Mode::from_raw_mode(mode))
            .map_err(|errno| Error::io(VERB, path, errno.into()))?;
        let mut file = std::fs::File::from(fd);
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|source| Error::io(VERB, path, source))
    }

    fn make_link(&self, path: &Path, target: &Path) -> Result<()> {
        const VERB: &str = "making the link";
        let (dir, name) = self.parent(VERB, path)?;
        fs::symlinkat(target, &dir, name).map_err(|errno| Error::io(VERB, path, errno.into()))
    }

    fn append(&self, path: &Path, keep: u64, content: &[u8]) -> Result<()> {
        const VERB: &str = "appending to";
        let (dir, name) = self.parent(VERB, path)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |source: io::Error| Error::io(VERB, path, source);
        let fd = fs::openat(&dir, name, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let file = std::fs::File::from(fd);
        let metadata = file.metadata().map_err(failed)?;
        if metadata.len() != keep {
            file.set_len(keep).map_err(failed)?;
        }
        let written = std::os::unix::fs::FileExt::write_all_at(&file, content, keep);
        written.and_then(|()| file.sync_all()).map_err(failed)
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<()> {
        const VERB: &str = "putting into place";
        match self.rename(from, to, RenameFlags::NOREPLACE) {
            // A second name and no first is the same in two steps, and replaces nothing either.
            Err(errno) if lacks_flags(errno) => {
                self.second_name(from, to)?;
                self.unlink(from)
            }
            other => other.map_err(|errno| Error::io(VERB, to, errno.into())),
        }
    }

    fn move_over(&self, from: &Path, to: &Path) -> Result<()> {
        self.rename(from, to, RenameFlags::empty())
            .map_err(|errno| Error::io("replacing", to, errno.into()))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<bool> {
        match self.rename(a, b, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(errno) if lacks_flags(errno) => Ok(false),
            Err(errno) => Err(Error::io("exchanging", b, errno.into())),
        }
    }

    fn second_name(&self, path: &Path, name: &Path) -> Result<()> {
        const VERB: &str = "giving a second name to";
        assert_eq!(path.parent(), name.parent(), "names stay within one directory");
        let (dir, old) = self.parent(VERB, path)?;
        let new = name.file_name().unwrap_or_default();
        fs::linkat(&dir, old, &dir, new, AtFlags::empty())
            .map_err(|errno| Error::io(VERB, path, errno.into()))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let (dir, name) = self.parent("removing", path)?;
        fs::unlinkat(&dir, name, AtFlags::empty())
            .map_err(|errno| Error::io("removing", path, errno.into()))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        const VERB: &str = "removing the directory";
        let (dir, name) = self.parent(VERB, path)?;
        fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)
            .map_err(|errno| Error::io(VERB, path, errno.into()))
    }

    fn restore_mtime(&self, path: &Path, mtime: Stamp) -> Result<()> {
        const VERB: &str = "restoring the time of";
        let dir = self.directory(VERB, path)?;
        let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let last_modification =
            Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
        fs::futimens(&dir, &Timestamps { last_access: keep, last_modification })
            .map_err(|errno| Error::io(VERB, path, errno.into()))
    }

    fn mark(&self, path: &Path, name: &str, value: &[u8]) -> Result<bool> {
        let dir = self.directory("marking", path)?;
        match fs::fsetxattr(&dir, name, value, XattrFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(false),
            Err(errno) => Err(Error::io("marking", path, errno.into())),
        }
    }

    fn unmark(&self, path: &Path, name: &str) -> Result<()> {
        let dir = self.directory("unmarking", path)?;
        match fs::fremovexattr(&dir, name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(Error::io("unmarking", path, errno.into())),
        }
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let dir = self.directory("syncing", path)?;
        fs::fsync(&dir).map_err(|errno| Error::io("syncing", path, errno.into()))
    }

    fn has_systemd(&self) -> bool {
        // sd_booted(3): the directory is there exactly while systemd is the first process.
        self.is_machine_root() && fs::stat("/run/systemd/system").is_ok()
    }

    fn is_running(&self) -> bool {
        self.is_machine_root()
    }

    fn run(&self, program: &Program) -> Result<Outcome> {
        children::run(program)
    }

    fn run_on_copy(&self, program: &Program, copied: &Copied<'_>) -> Result<CopyRun> {
        copies::run(self, program, copied)
    }

    fn run_self(&self, user: Option<&User>, program: &Program) -> Result<Outcome> {
        children::run_self(user, program)
    }

    fn run_as(&self, user: Option<&User>, program: &Program) -> Result<Outcome> {
        children::run_as(user, program)
    }

    fn watch(&self, program: &Program, is_it: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
        children::watch(program, is_it)
    }

    fn lock(&self, wait: Duration) -> Result<Guard> {
        lock::take(self, wait)
    }

    fn is_asked_to_stop(&self) -> bool {
        self.asked_to_stop.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs())
    }
}
