//! The one effect layer: everything the installer sees of a machine, or does to it.
//!
//! Paths are absolute and are taken below the host's root, links and `..` included. Operations
//! that change something never follow a link in the last part of a path. [`real`] is the only
//! module that touches the machine; [`memory`] is a machine for tests that can die at any step.

pub mod memory;
#[expect(clippy::disallowed_methods, reason = "the one module that touches the machine")]
pub mod real;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vgpu_loader::Source;

use crate::error::Result;
use crate::object::{Object, Stamp};

/// Longest text of the kernel that is read: 64 MiB; the maps of a large process have 200 KiB.
const KERNEL_BYTES_MAX: u64 = 64 << 20;

/// A file opened for reading, with its identity.
pub struct Opened {
    /// Device and inode.
    pub identity: (u64, u64),
    /// Its length.
    pub bytes: u64,
    /// Its content.
    pub source: Box<dyn Source>,
}

/// What a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that any user may still take.
    pub bytes: u64,
    /// Files that can still be made; none where the file system has no such limit.
    pub inodes: Option<u64>,
    /// True if it is mounted read-only here.
    pub read_only: bool,
}

/// The names that were wanted of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The names, sorted.
    pub names: Vec<OsString>,
    /// False if the directory holds more entries than were looked at.
    pub whole: bool,
}

/// The numbers of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A program to run. It starts with this environment and no other.
#[derive(Debug, Clone)]
pub struct Program {
    /// Absolute path, in the machine's own root.
    pub path: PathBuf,
    /// Arguments after the name.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// How long it may take; then it is killed.
    pub deadline: Duration,
}

/// What a program answered.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// True if it was killed for taking too long.
    pub timed_out: bool,
    /// What it wrote to standard output, up to 4 MiB.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, up to 4 MiB.
    pub stderr: Vec<u8>,
}

/// Files of one directory that a program is to see in a private copy only.
#[derive(Debug, Clone)]
pub struct Copied<'a> {
    /// The directory, below the host's root.
    pub dir: &'a Path,
    /// The names that are copied; one where no regular file lies is left out.
    pub names: &'a [&'a str],
    /// Most bytes that are copied of them all.
    pub bytes_max: u64,
    /// The program's option that takes the copy's directory; it is put before its arguments.
    pub option: &'a str,
}

/// What came of a program that ran on copies.
#[derive(Debug, Clone, Default)]
pub struct CopyRun {
    /// What it answered.
    pub outcome: Outcome,
    /// The names that it made beside the copies.
    pub made: Vec<OsString>,
}

/// Holds the installer's lock; it goes with the value.
#[derive(Debug)]
pub struct Guard(
    #[expect(dead_code, reason = "the open descriptor is the lock")] Option<std::os::fd::OwnedFd>,
);

/// A machine. Each changing operation is one step that a crash may fall on.
pub trait Host {
    /// Looks at what lies at a path, not following a link there.
    fn inspect(&self, path: &Path) -> Result<Object>;
    /// Lists a directory's names, sorted; none if it is not a directory.
    fn list(&self, dir: &Path) -> Result<Vec<OsString>>;
    /// Lists those names of a directory that are wanted, looking at `entries_max` entries at most
    /// and holding none of the others; nothing if it is not a directory.
    fn search(
        &self,
        dir: &Path,
        wanted: &dyn Fn(&OsStr) -> bool,
        entries_max: usize,
    ) -> Result<Option<Listing>>;
    /// The device and inode of a directory, links followed; none if it is not one.
    fn dir_identity(&self, dir: &Path) -> Result<Option<(u64, u64)>>;
    /// The system whose root is a directory of this one: links there stay within it. None if
    /// there is no such directory.
    fn below(&self, dir: &Path) -> Result<Option<Box<dyn Host>>>;
    /// The path of something of this system as programs of the machine name it.
    fn seen_from_outside(&self, path: &Path) -> PathBuf;
    /// Opens a regular file, following links below the root; none if there is none.
    fn open(&self, path: &Path) -> Result<Option<Opened>>;
    /// Resolves every link of a path below the root; none if nothing lies there.
    fn canonical(&self, path: &Path) -> Result<Option<PathBuf>>;
    /// Says what is left where a path lies, following links; none if nothing lies there.
    fn space(&self, path: &Path) -> Result<Option<Space>>;
    /// True if a file's flags forbid every change of it, even to root (`chattr +i`, `+a`).
    fn is_immutable(&self, path: &Path) -> Result<bool>;
    /// Reads an extended attribute; none if it is not there or not supported.
    fn attribute(&self, path: &Path, name: &str) -> Result<Option<Vec<u8>>>;

    /// Makes a directory with exactly this mode.
    fn make_dir(&self, path: &Path, mode: u32) -> Result<()>;
    /// Makes a file that did not exist, with this content, on the disk.
    fn make_file(&self, path: &Path, content: &[u8], mode: u32) -> Result<()>;
    /// Makes a symbolic link that did not exist.
    fn make_link(&self, path: &Path, target: &Path) -> Result<()>;
    /// Cuts a file to `keep` bytes and appends to it, on the disk.
    fn append(&self, path: &Path, keep: u64, content: &[u8]) -> Result<()>;
    /// Renames within a directory; fails if the new name exists.
    fn move_new(&self, from: &Path, to: &Path) -> Result<()>;
    /// Renames within a directory, replacing what is there.
    fn move_over(&self, from: &Path, to: &Path) -> Result<()>;
    /// Exchanges two names of one directory in one step; `Ok(false)` where the file system or the
    /// kernel cannot.
    fn exchange(&self, a: &Path, b: &Path) -> Result<bool>;
    /// Gives a file or link a second name in its directory, which did not exist.
    fn second_name(&self, path: &Path, name: &Path) -> Result<()>;
    /// Removes a file or link.
    fn unlink(&self, path: &Path) -> Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// Gives a directory this modification time.
    fn restore_mtime(&self, path: &Path, mtime: Stamp) -> Result<()>;
    /// Gives a directory an extended attribute; `Ok(false)` where that is not supported.
    fn mark(&self, path: &Path, name: &str, value: &[u8]) -> Result<bool>;
    /// Takes an extended attribute away; fine if it is not there.
    fn unmark(&self, path: &Path, name: &str) -> Result<()>;
    /// Puts a directory's entries, times and attributes on the disk.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// True if this is the running machine and systemd is its first process.
    fn has_systemd(&self) -> bool;
    /// True if programs can be run with this host's root as their root.
    fn is_running(&self) -> bool;
    /// Runs a program to its end.
    fn run(&self, program: &Program) -> Result<Outcome>;
    /// Runs a program of the machine on private copies of files, which are removed afterwards: for
    /// programs that write beside what they read.
    fn run_on_copy(&self, program: &Program, copied: &Copied<'_>) -> Result<CopyRun>;
    /// Runs this very program again as another user, with the given arguments and environment.
    fn run_self(&self, user: Option<&User>, program: &Program) -> Result<Outcome>;
    /// Runs a program to its end as another user.
    fn run_as(&self, user: Option<&User>, program: &Program) -> Result<Outcome>;
    /// Runs a program until a line of its standard output is the one that is looked for, and ends
    /// the program then, or at its deadline.
    fn watch(&self, program: &Program, is_it: &dyn Fn(&str) -> bool) -> Result<Option<String>>;
    /// Takes the installer's lock until the guard is dropped, waiting as long as is said.
    fn lock(&self, wait: Duration) -> Result<Guard>;
    /// True if somebody asked this program to end: a transaction then undoes itself.
    fn is_asked_to_stop(&self) -> bool;
    /// Seconds since 1970.
    fn now(&self) -> u64;

    /// True if a directory itself lies at a path, not a link to one; reads nothing of a file.
    fn is_dir(&self, path: &Path) -> Result<bool> {
        Ok(matches!(self.inspect(path)?, Object::Dir { .. }))
    }

    /// Reads a file whose length nobody tells beforehand, as below `/proc` and `/sys`; none if
    /// there is none, or if its process has ended.
    fn read_endless(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        self.read(path, bytes_max)
    }

    /// Reads what the kernel shows below `/proc` or `/sys` as text; none if there is no such file.
    fn kernel_text(&self, path: &Path) -> Result<Option<String>> {
        let bytes = self.read_endless(path, KERNEL_BYTES_MAX)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Reads a whole file of at most `bytes_max` bytes, following links; none if there is none.
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let Some(opened) = self.open(path)? else { return Ok(None) };
        if opened.bytes > bytes_max {
            return Err(crate::Error::TooLong { path: path.into(), bytes_max });
        }
        let content = opened.source.read_at(0, usize::try_from(opened.bytes).unwrap_or(0));
        content.map(Some).ok_or_else(|| {
            let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            crate::Error::io("reading", path, short)
        })
    }
}
