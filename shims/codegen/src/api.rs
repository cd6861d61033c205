//! What headers cannot say: class, direction, length-of, kind.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::signature::parse;

/// Describes the functions of one library that we implement, by their C names.
pub type Api = BTreeMap<String, Row>;

/// Says how one function is answered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// How the function is answered.
    pub class: Class,
    /// Number of its message; for `sync` and `async` only. Never reused, never changed.
    pub opcode: Option<u32>,
    /// Module of `api` with the body; without one the wrapper sends the message by itself.
    pub body: Option<String>,
    /// The only major of the library to which the row applies; elsewhere the name is refused.
    pub major: Option<u32>,
    /// What a function without a result code answers if its body fails; a Rust expression.
    pub otherwise: Option<String>,
    /// Whether the function answers also where the library cannot be initialised.
    #[serde(default)]
    pub uninitialised: bool,
    /// Roles of the parameters that are not plain values.
    #[serde(default)]
    pub params: BTreeMap<String, Role>,
}

/// Says where a function is answered (design: the API classes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// In the guest, from what it knows.
    Local,
    /// On the host, later; an error is reported at the next synchronising call.
    Async,
    /// On the host, and the caller waits.
    Sync,
}

/// Says what a pointer parameter is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    /// A place for one result.
    Out,
    /// A place for one result that may be NULL.
    OptionalOut,
    /// One value, read and changed.
    Inout,
    /// One value that may be NULL, read and changed.
    OptionalInout,
    /// One value, read.
    In,
    /// One value that may be NULL, read.
    OptionalIn,
    /// One structure that points to memory of the program, read.
    InMemory,
    /// A C text.
    Text,
    /// A buffer for a C text; names the parameter with its capacity.
    TextOut(String),
    /// A list, read; names the parameter with its length.
    Slice(String),
    /// A list, written; names the parameter with its length.
    SliceOut(String),
    /// Memory contents that travel to the host; names the parameter with their length.
    BulkIn(String),
    /// Memory contents that travel from the host; names the parameter with their length.
    BulkOut(String),
    /// A list of addresses of the program; names the parameter with its length.
    Memories(String),
    /// An address that may be in the program's own memory or on a device.
    Memory,
    /// Passed to the body as it is.
    Raw,
}

impl Role {
    /// Returns the parameter that counts the elements of this one.
    pub fn length(&self) -> Option<&str> {
        match self {
            Self::TextOut(length)
            | Self::Slice(length)
            | Self::SliceOut(length)
            | Self::Memories(length)
            | Self::BulkIn(length)
            | Self::BulkOut(length) => Some(length),
            _ => None,
        }
    }

    /// Says whether a wrapper can turn the parameter into a field by itself.
    pub fn needs_body(&self) -> bool {
        !matches!(self, Self::Out | Self::OptionalOut | Self::Inout | Self::In)
    }

    /// Says whether a body returns this parameter instead of taking it.
    pub fn is_result(&self) -> bool {
        matches!(self, Self::Out | Self::OptionalOut)
    }
}

/// Reads the description of one library.
pub fn read(path: &Path) -> Result<Api> {
    parse(path)
}
