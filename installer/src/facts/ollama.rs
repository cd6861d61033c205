//! What is known of one Ollama, and of those that our files do not reach.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Owner;
use crate::location::Location;
use crate::object::Object;

/// How an Ollama lays out its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A directory for each CUDA line: `cuda_v12`, `cuda_v13` (0.5.8 to 0.9.2, and since 0.11.11).
    Directories,
    /// Everything in `lib/ollama` (0.9.3 to 0.11.10).
    Flat,
    /// Backends below `runners`, their libraries in `lib/ollama` (0.5.1 to 0.5.7).
    Runners,
    /// No CUDA backend at all.
    None,
}

/// Where an Ollama came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Ollama's own install script.
    InstallScript,
    /// An archive that somebody unpacked.
    #[default]
    Tarball,
    /// A package of the system.
    Package,
    /// A snap.
    Snap,
    /// A container of Docker, or an image for one.
    Docker,
    /// A container of Podman, or an image for one.
    Podman,
    /// A Flatpak.
    Flatpak,
    /// The store of Nix.
    Nix,
    /// Homebrew.
    Brew,
}

/// One Ollama.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Ollama {
    /// The directory that holds `bin` and `lib/ollama`.
    pub prefix: Location,
    /// The program, with every link resolved.
    pub executable: Location,
    /// Its version, where that is known without running it.
    pub version: Option<String>,
    /// How the version was found.
    pub version_from: Option<VersionFrom>,
    /// Where it came from.
    pub source: Source,
    /// The package that its program belongs to; only some commands ask.
    pub owner: Option<Owner>,
    /// What to do where our libraries do not reach it by themselves.
    pub advice: Option<String>,
    /// The directory of libraries that this very program takes.
    pub library_dir: Location,
    /// How they are laid out.
    pub layout: Layout,
    /// True if models run in `llama-server` (since 0.30), false if in Ollama's own program.
    pub llama_server: bool,
    /// Directories with libraries for the MLX engine, which is not served.
    pub mlx_dirs: Vec<Location>,
    /// Its CUDA backends.
    pub bundles: Vec<Bundle>,
}

impl Ollama {
    /// True if its version is this one or later; none where the version is not known.
    #[must_use]
    pub fn is_since(&self, version: [u64; 3]) -> Option<bool> {
        let number = self.version.as_ref()?.split(['-', '+']).next()?;
        let parts = number.split('.').map(str::parse);
        let parts: Vec<u64> = parts.collect::<Result<_, _>>().ok()?;
        Some(parts.as_slice() >= version.as_slice())
    }
}

/// How a version was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionFrom {
    /// The package manager's records.
    Package,
    /// What the Go compiler wrote into the program of how it was built.
    BuildInformation,
    /// The text that the program's own variable points to.
    Data,
    /// The name of an image or a directory.
    Name,
}

/// One directory with a CUDA backend.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Bundle {
    /// The directory of the libraries that the backend is to find.
    pub dir: Location,
    /// The backend.
    pub backend: Location,
    /// The CUDA line it was built for.
    pub cuda_major: Option<u32>,
    /// What its backend asks ld.so for, in order.
    pub needed: Vec<String>,
    /// What lies where our links would go.
    pub entries: Vec<Entry>,
}

/// A name in a directory and what lies there.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Entry {
    /// The file name.
    pub name: String,
    /// What lies there.
    pub object: Object,
}

/// An Ollama that has files of its own, which neither a drop-in nor a link of ours reaches.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Confined {
    /// What confines it.
    pub source: Source,
    /// The name of the container, snap, application or image.
    pub name: String,
    /// Where it was seen.
    pub path: Location,
    /// The image that it runs, for containers.
    pub image: Option<String>,
    /// Its version, where a name says it.
    pub version: Option<String>,
    /// True if it was running when its record was written; none where no record says it.
    pub running: Option<bool>,
    /// True if it asks for NVIDIA's hook (`--gpus`, the runtime `nvidia`, a CDI device), which
    /// fails without a driver.
    pub wants_nvidia: bool,
    /// What to do.
    pub advice: String,
}

impl Confined {
    /// Says in a few words what confines it: `the Docker container llm`.
    #[must_use]
    pub fn describe(&self) -> String {
        let is_image = self.image.as_ref() == Some(&self.name);
        let kind = match self.source {
            Source::Docker if is_image => "Docker's image",
            Source::Podman if is_image => "Podman's image",
            Source::Docker => "the Docker container",
            Source::Podman => "the Podman container",
            Source::Snap => "the snap",
            Source::Flatpak => "the Flatpak",
            _ => "the store of",
        };
        format!("{kind} {}", self.name)
    }
}

impl Source {
    /// True where another program keeps the files and checks them, so that no link may go there.
    #[must_use]
    pub fn is_sealed(self) -> bool {
        matches!(self, Self::Nix | Self::Snap | Self::Docker | Self::Podman | Self::Flatpak)
    }

    /// The source in a word or two.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::InstallScript => "install script",
            Self::Tarball => "archive",
            Self::Package => "package",
            Self::Snap => "snap",
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Flatpak => "Flatpak",
            Self::Nix => "Nix",
            Self::Brew => "Homebrew",
        }
    }
}
