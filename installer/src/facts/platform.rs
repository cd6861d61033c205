//! What is known of the system as a whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Location;

/// The C library of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Libc {
    /// The GNU C library, which our libraries need.
    Glibc,
    /// musl, which they do not run on.
    Musl,
    /// Neither was seen.
    #[default]
    Unknown,
}

impl Libc {
    /// The C library in words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Unknown => "an unknown C library",
        }
    }
}

/// What starts the services of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    Openrc,
    /// Nothing does: the root of a container, or a machine whose first process is the program.
    None,
    /// Something else.
    #[default]
    Unknown,
}

impl Init {
    /// The init system as a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Openrc => "OpenRC",
            Self::None => "no init system",
            Self::Unknown => "an unknown init system",
        }
    }
}

/// The system as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Platform {
    /// The name in os-release, or nothing.
    pub os: String,
    /// `ID` of os-release, such as `debian`; empty if it has none.
    pub id: String,
    /// `ID_LIKE` of os-release: the systems that this one descends from, nearest first.
    pub id_like: Vec<String>,
    /// `VERSION_ID` of os-release; empty for rolling systems.
    pub version_id: String,
    /// `x86_64` or `aarch64`; empty if neither was seen.
    pub arch: String,
    /// The C library.
    pub libc: Libc,
    /// The directory of the system's libraries.
    pub library_dir: Location,
    /// What starts services: on the running machine what does so now, else what is installed.
    pub init: Init,
    /// True if systemd is the first process of this very machine.
    pub systemd: bool,
    /// True below the Windows Subsystem for Linux.
    pub wsl: bool,
    /// What runs this system as a container, such as `docker` or `systemd-nspawn`, if it says so.
    pub container: Option<String>,
    /// True if `/usr` belongs to an image (OSTree, or a store) and is not written to.
    pub immutable: bool,
    /// The store that holds every package in a directory of its own, such as `/nix/store`.
    pub store: Option<Location>,
}
