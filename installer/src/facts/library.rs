//! What is known of each copy of NVIDIA's libraries, or of ours under their names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Location;

/// Whose a copy is and what it is for, by its content where that can tell, else by its place.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A library of ours: it carries our note.
    Ours,
    /// The driver's, in a directory of the system.
    Driver,
    /// The driver's, in Debian's `nvidia/current` or a sibling of it.
    NvidiaCurrent,
    /// A newer user-space driver for an older kernel module (`/usr/local/cuda*/compat`).
    Compat,
    /// For linking programs only; every call of it fails.
    Stub,
    /// The one that Windows lends to WSL.
    Wsl,
    /// What Ollama brings along.
    Bundle,
    /// Inside of a snap.
    Snap,
    /// What a container runtime mounts into a container.
    Container,
    /// Below a driver root, such as the one of the GPU operator.
    DriverRoot,
    /// In a `glibc-hwcaps` directory: it outranks all others in ld.so.cache.
    Hwcaps,
    /// The runtime libraries of a CUDA toolkit, or of a distribution's package of it.
    Toolkit,
    /// None of these, or no library at all.
    Unknown,
}

impl Kind {
    /// The kind as one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Driver => "driver",
            Self::NvidiaCurrent => "nvidia/current",
            Self::Compat => "compat",
            Self::Stub => "stub",
            Self::Wsl => "wsl",
            Self::Bundle => "bundle",
            Self::Snap => "snap",
            Self::Container => "container",
            Self::DriverRoot => "driver-root",
            Self::Hwcaps => "hwcaps",
            Self::Toolkit => "toolkit",
            Self::Unknown => "unknown",
        }
    }
}

/// How ld.so reaches a copy for its name when nothing else is said: no path in a program, no
/// variable in the environment.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// ld.so.cache names it, and it is the one that is taken.
    Cache,
    /// The cache knows no other, and it is the first in a built-in directory.
    DefaultDir,
    /// The cache or a built-in directory holds it, and another is taken before.
    Later,
}

/// What kind of ELF file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Elf {
    /// 32 or 64 bits.
    pub class: u8,
    /// `e_machine`: 62 is x86-64, 183 is AArch64, 3 is 32-bit x86.
    pub machine: u16,
}

/// The package that a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Owner {
    /// The package manager: `dpkg`, `rpm`, `pacman` or `apk`.
    pub manager: String,
    /// The package.
    pub package: String,
    /// Its version, where the manager says it in the same breath.
    pub version: Option<String>,
}

/// One file that programs could take for NVIDIA's libcuda, libnvidia-ml, libcudart or libcublas.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Copy {
    /// The name by which programs ask for it: its SONAME, or its file name if it has none.
    pub name: String,
    /// The path by which it was found: the one that ld.so takes, if it takes one.
    pub path: Location,
    /// The file behind the path.
    pub file: Location,
    /// Each link on the way from the path to the file, in order.
    pub links: Vec<Location>,
    /// The other paths that lead to the same file.
    pub aliases: Vec<Location>,
    /// Device and inode.
    pub identity: (u64, u64),
    /// The name it gives itself.
    pub soname: Option<String>,
    /// Its version, from its file name.
    pub version: Option<String>,
    /// Its build id in hexadecimal.
    pub build_id: Option<String>,
    /// What kind of ELF file it is; none if it is not one.
    pub elf: Option<Elf>,
    /// Whose it is and what it is for.
    pub kind: Kind,
    /// The package it belongs to; asked only by commands that show it.
    pub owner: Option<Owner>,
    /// True if it is a library of ours.
    pub ours: bool,
    /// How ld.so reaches it by default; none if it does not.
    pub asked: Option<Asked>,
}

impl Copy {
    /// True if it is one of the two libraries that belong to a driver.
    #[must_use]
    pub fn is_of_driver(&self) -> bool {
        self.name.starts_with("libcuda.so") || self.name.starts_with("libnvidia-ml.so")
    }
}

/// A place that could not be looked at as a whole.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Unseen {
    /// The place.
    pub path: Location,
    /// What kept us from it.
    pub because: String,
}

/// A group of alternatives: a link, and what it may lead to (update-alternatives(1)).
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Alternative {
    /// Its name.
    pub name: String,
    /// True if the choice with the highest priority is taken by itself.
    pub automatic: bool,
    /// The link that leads into `/etc/alternatives`.
    pub link: Location,
    /// Where it leads now, every link resolved.
    pub current: Option<Location>,
    /// What it may lead to.
    pub choices: Vec<Choice>,
}

/// One of the things that an alternative may lead to.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Choice {
    /// Where it lies.
    pub path: Location,
    /// The highest is taken by itself.
    pub priority: i64,
}
