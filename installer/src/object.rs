//! What lies at one path, as a value: the state before a change and after it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::location::{Location, hex};

/// Longest file whose content is part of its identity: 1 MiB. A larger one (Ollama bundles
/// libraries of 600 MB) is never copied, only moved aside, so size and time tell it apart.
pub const DIGEST_BYTES_MAX: u64 = 1 << 20;

/// A point in time as files carry it: seconds and nanoseconds since 1970.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, JsonSchema, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// Owner, rights, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Meta {
    /// Permission bits, with set-user-id and sticky.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Stamp,
    /// Extended attributes, ACLs and security labels among them; values in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

/// What lies at a path, not following a link there.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Object {
    /// Nothing.
    #[default]
    Absent,
    /// A directory.
    Dir {
        /// Owner, rights and so on.
        meta: Meta,
    },
    /// A regular file.
    File {
        /// Owner, rights and so on.
        meta: Meta,
        /// Its length.
        bytes: u64,
        /// Its SHA-256, for files up to [`DIGEST_BYTES_MAX`].
        sha256: Option<String>,
    },
    /// A symbolic link.
    Link {
        /// Owner, rights and so on.
        meta: Meta,
        /// Its text.
        target: Location,
    },
    /// A device, socket or pipe.
    Other {
        /// Owner, rights and so on.
        meta: Meta,
    },
}

/// What we put at a path.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// A file with this text.
    File {
        /// Permission bits.
        mode: u32,
        /// The whole content.
        text: String,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: Location,
    },
}

impl Object {
    /// True if nothing lies there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// True if this is what `content` puts there. Times are not compared.
    #[must_use]
    pub fn holds(&self, content: &Content) -> bool {
        match (self, content) {
            (Self::File { meta, bytes, sha256 }, Content::File { mode, text }) => {
                meta.mode == *mode
                    && *bytes == text.len() as u64
                    && sha256.as_deref() == Some(&digest(text.as_bytes()))
            }
            (Self::Link { target, .. }, Content::Link { target: wanted }) => target == wanted,
            _ => false,
        }
    }

    /// The object's owner, rights and times; none where nothing lies.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Absent => None,
            Self::Dir { meta }
            | Self::File { meta, .. }
            | Self::Link { meta, .. }
            | Self::Other { meta } => Some(meta),
        }
    }

    /// Says in a few words what lies there.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Absent => "nothing".into(),
            Self::Dir { .. } => "a directory".into(),
            Self::File { bytes, .. } => format!("a file of {bytes} bytes"),
            Self::Link { target, .. } => format!("a link to {target}"),
            Self::Other { .. } => "a special file".into(),
        }
    }
}

impl Content {
    /// Says in a few words what is put there.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::File { text, .. } => format!("a file of {} bytes", text.len()),
            Self::Link { target } => format!("a link to {target}"),
        }
    }
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
