//! What the loader sees at a path.

use std::path::Path;
use std::sync::Arc;

use crate::elf::{Binary, ElfError, Source};

/// A way to look at files; the caller decides below which root.
pub trait Files {
    /// Looks at the file at an absolute path, following links.
    fn look(&self, path: &Path) -> Found;

    /// True if a directory lies at an absolute path, following links. Where that is not known,
    /// true is a safe answer: every file in it is then looked for.
    fn has_dir(&self, _path: &Path) -> bool {
        true
    }
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing that can be opened: nothing is there, or it must not be read.
    Nothing,
    /// Opening it fails for another reason, such as a circle of links: the list of directories
    /// ends here, and the next rule is tried.
    Unreadable,
    /// A library of another machine or class: glibc goes on searching.
    Foreign(Mismatch),
    /// No library at all, in these words: the loader gives up.
    Damaged(&'static str),
    /// A library or program.
    Elf {
        /// Device and inode: two paths with the same pair are one object for the loader.
        identity: (u64, u64),
        /// True if it has the set-user-id bit, which secure execution asks of preloads.
        set_user_id: bool,
        /// What the file says about itself.
        binary: Arc<Binary>,
    },
}

/// How a library differs from what the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// 32 bits instead of 64.
    Class,
    /// Another machine, by its `e_machine`.
    Machine(u16),
}

impl Found {
    /// Judges a regular file as the loader of a 64-bit little-endian `machine` does
    /// (`open_verify` in glibc's dl-load.c).
    #[must_use]
    pub fn of(
        source: &(impl Source + ?Sized),
        machine: u16,
        identity: (u64, u64),
        set_user_id: bool,
    ) -> Self {
        // The machine comes first: what a foreign library holds further on is never looked at.
        let read = Binary::machine_of(source).and_then(|found| {
            if found == machine { Binary::read(source).map(Ok) } else { Ok(Err(found)) }
        });
        match read {
            Ok(Err(found)) => Self::Foreign(Mismatch::Machine(found)),
            Ok(Ok(binary)) if !binary.is_dynamic => Self::Damaged("no dynamic section"),
            Ok(Ok(binary)) => Self::Elf { identity, set_user_id, binary: Arc::new(binary) },
            Err(ElfError::OtherClass) => Self::Foreign(Mismatch::Class),
            Err(ElfError::OtherOrder) => Self::Damaged("ELF file of another byte order"),
            Err(ElfError::TooShort) => Self::Damaged("file too short"),
            Err(ElfError::NotElf) => Self::Damaged("invalid ELF header"),
            Err(ElfError::Damaged { field }) => Self::Damaged(field),
        }
    }
}

impl Mismatch {
    /// The difference in words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Class => "a library for 32-bit programs".into(),
            Self::Machine(3) => "a library for i386".into(),
            Self::Machine(40) => "a library for 32-bit ARM".into(),
            Self::Machine(62) => "a library for x86-64".into(),
            Self::Machine(183) => "a library for AArch64".into(),
            Self::Machine(243) => "a library for RISC-V".into(),
            Self::Machine(other) => format!("a library for another machine ({other})"),
        }
    }
}
