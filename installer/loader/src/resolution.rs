//! The answer for one name, with everything that led to it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::elf::Binary;
use crate::files::Mismatch;

/// Where a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is the program itself.
    Program,
    /// An object of that name was loaded before.
    Loaded,
    /// The name belongs to the loader itself (musl: `libc.so`, `libm.so` and others).
    Itself,
    /// The name was a path.
    Path,
    /// The RPATH of the requester or of one of its loaders.
    Rpath,
    /// `LD_LIBRARY_PATH`.
    LibraryPath,
    /// The RUNPATH of the requester.
    Runpath,
    /// `/etc/ld.so.cache`.
    Cache,
    /// A built-in directory; for musl also those of `/etc/ld-musl-ARCH.path`.
    DefaultDirs,
}

impl Reason {
    /// The rule in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Program => "being the program",
            Self::Loaded => "having been loaded before",
            Self::Itself => "being part of the loader",
            Self::Path => "its path",
            Self::Rpath => "RPATH",
            Self::LibraryPath => "LD_LIBRARY_PATH",
            Self::Runpath => "RUNPATH",
            Self::Cache => "ld.so.cache",
            Self::DefaultDirs => "the default directories",
        }
    }
}

/// What came of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file was taken.
    Taken,
    /// Nothing is there.
    Missing,
    /// The directory itself is not there, nor any below it.
    NoDirectory,
    /// It could not be opened, and the rest of the list was not looked at.
    Unreadable,
    /// A library of another machine; the search went on.
    Foreign(Mismatch),
    /// No library, in these words; the loader gave up.
    Damaged(&'static str),
    /// The cache does not name it.
    NotInCache,
    /// The requester wants no default directories, and the cache names a file in one of them.
    InDefaultDirs,
    /// Secure execution wants the set-user-id bit on a preloaded library, which it lacks.
    NotTrusted,
    /// The name holds a token that has no value here, or that secure execution forbids.
    Token,
    /// It is a program, which cannot be loaded as a library.
    IsProgram,
}

impl Outcome {
    /// The outcome in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Taken => "taken".into(),
            Self::Missing => "nothing there".into(),
            Self::NoDirectory => "no such directory".into(),
            Self::Unreadable => "cannot be opened; the rest of this list is skipped".into(),
            Self::Foreign(mismatch) => format!("{}; passed over", mismatch.words()),
            Self::Damaged(what) => format!("{what}; the loader gives up"),
            Self::NotInCache => "does not name it".into(),
            Self::InDefaultDirs => {
                "named by the cache, but the requester wants no default directory".into()
            }
            Self::NotTrusted => "lacks the set-user-id bit that secure execution asks for".into(),
            Self::Token => "holds a token that is not allowed here; the loader gives up".into(),
            Self::IsProgram => "a program, not a library; the loader gives up".into(),
        }
    }
}

/// One place that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The rule by which it was tried.
    pub reason: Reason,
    /// The object whose RPATH or RUNPATH it was, as an index into `Process::objects`.
    pub of: Option<usize>,
    /// The file or directory that was tried.
    pub path: PathBuf,
    /// What came of it.
    pub outcome: Outcome,
}

/// Who asked for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `LD_PRELOAD`.
    Preload,
    /// `/etc/ld.so.preload`.
    PreloadFile,
    /// A need (DT_NEEDED) of an object.
    Need,
    /// `dlopen`.
    Open,
}

/// The answer for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The name that was asked for.
    pub name: Vec<u8>,
    /// Who asked.
    pub asked: Asked,
    /// The object that asked, as an index into `Process::objects`.
    pub requester: Option<usize>,
    /// The object that answers, as an index into `Process::objects`; none if it is missing.
    pub object: Option<usize>,
    /// The rule that decided.
    pub reason: Option<Reason>,
    /// True if the file that was found is an object that was there already, by device and inode.
    pub is_same_file: bool,
    /// Every place that was tried, in order.
    pub attempts: Vec<Attempt>,
}

impl Resolution {
    /// True if the loader met a file that it can neither load nor pass over.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        let last = self.attempts.last().map(|attempt| &attempt.outcome);
        matches!(last, Some(Outcome::Damaged(_) | Outcome::Token | Outcome::IsProgram))
    }
}

/// One object of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The path by which it was found.
    pub path: PathBuf,
    /// Device and inode.
    pub identity: (u64, u64),
    /// What the file says about itself.
    pub binary: Arc<Binary>,
    /// The names under which it answers.
    pub(crate) names: Vec<Vec<u8>>,
    /// The object that loaded it first.
    pub(crate) loader: Option<usize>,
    /// True if the same device and inode are the same object: not for what the kernel mapped.
    pub(crate) is_known_by_file: bool,
    /// True if it was loaded for a `dlopen` that failed, and is gone again.
    pub(crate) is_gone: bool,
}

impl Object {
    /// False if it was loaded for a `dlopen` that failed for want of another library.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        !self.is_gone
    }
}

/// What a person should know about the search as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Secure execution ignores this variable.
    Ignored(&'static str),
    /// Secure execution ignores an entry of `LD_PRELOAD` that is a path.
    IgnoredPreload(Vec<u8>),
    /// Auditors are loaded; they may rewrite every step.
    Audit(Vec<u8>),
    /// An object has filters (DT_FILTER, DT_AUXILIARY): its first one, and the object's path.
    Filter(Vec<u8>, PathBuf),
    /// An entry of a list was dropped: a token in it has no value here.
    Dropped(Vec<u8>),
}

impl Note {
    /// The note as a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Ignored(variable) => {
                format!("{variable} is ignored: the program runs with other rights (AT_SECURE)")
            }
            Self::IgnoredPreload(name) => format!(
                "{} in LD_PRELOAD is ignored: a program with other rights preloads no path",
                text(name)
            ),
            Self::Audit(value) => {
                format!("LD_AUDIT={} may rewrite every step; this is not modelled", text(value))
            }
            Self::Filter(name, path) => format!(
                "{} is a filter of {} (DT_FILTER, DT_AUXILIARY): which of the two has a symbol is \
                 not modelled",
                path.display(),
                text(name)
            ),
            Self::Dropped(entry) => {
                format!("{} is dropped: a token in it has no value here", text(entry))
            }
        }
    }
}
