//! What headers cannot say: class, direction, length-of, kind.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Problem, Result};
use crate::family::{Family, Member};
use crate::signature::parse;

/// Describes one library: what we implement of it, and what travels for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Api {
    /// Functions, by their C names.
    pub rows: BTreeMap<String, Row>,
    /// Messages that are no function's plain image, by their names.
    pub messages: BTreeMap<String, OwnMessage>,
    /// What several fields of such messages are made of, by name.
    pub structures: BTreeMap<String, Structure>,
    /// Parameters of the functions that families stand for.
    pub signatures: BTreeMap<String, Vec<String>>,
}

/// One file of a description: a noun of the library.
#[derive(Debug, serde::Deserialize)]
struct Group {
    #[serde(default)]
    family: BTreeMap<String, Family>,
    #[serde(default)]
    message: BTreeMap<String, OwnMessage>,
    #[serde(default)]
    structure: BTreeMap<String, Structure>,
    #[serde(flatten)]
    rows: BTreeMap<String, Row>,
}

/// Describes a message that is no function's plain image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnMessage {
    /// What it asks for, after "Asks".
    pub about: String,
    /// `sync` or `async`.
    pub class: Class,
    /// Its number. Never reused, never changed.
    pub opcode: u32,
    /// Fields, as `name: form`.
    #[serde(default)]
    pub request: Vec<String>,
    /// Fields of the reply.
    #[serde(default)]
    pub reply: Vec<String>,
    /// What travels beside the fields: `in` to the host, `out` from it.
    pub bulk: Option<Direction>,
    /// Whether the device may have to wait for earlier work before it can answer.
    #[serde(default)]
    pub waits: bool,
    /// `own`, where the genuine driver's side is written by hand.
    pub host: Option<Host>,
    /// The file's stem.
    #[serde(skip)]
    pub group: String,
}

/// Describes what a list holds or several messages share.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structure {
    /// What it is: the first sentence of its documentation.
    pub about: String,
    /// Fields, as `name: form`.
    pub fields: Vec<String>,
}

/// Says which way memory contents travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the host.
    In,
    /// From the host.
    Out,
}

/// Says how one function is answered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// How the function is answered.
    pub class: Class,
    /// Number of its message; for `sync` and `async` only. Never reused, never changed.
    pub opcode: Option<u32>,
    /// The message of our own that its body sends instead of one that is its plain image.
    pub message: Option<String>,
    /// Module of `api` with the body; without one the wrapper sends the message by itself.
    pub body: Option<String>,
    /// The only major of the library to which the row applies; elsewhere the name is refused.
    pub major: Option<u32>,
    /// The function whose row the name has in major 13, where its parameters became those of a
    /// later version that major 12 exports by a name of its own.
    pub thirteen: Option<String>,
    /// What a function without a result code answers if its body fails; a Rust expression.
    pub otherwise: Option<String>,
    /// Whether the function answers also where the library cannot be initialised.
    #[serde(default)]
    pub uninitialised: bool,
    /// Whether the device may have to wait for earlier work before it can answer.
    #[serde(default)]
    pub waits: bool,
    /// `own`, where the genuine driver's side is written by hand and not the function's image.
    pub host: Option<Host>,
    /// The handle that the function ends, and with it what belonged to it.
    pub ends: Option<String>,
    /// Roles of the parameters that are not plain values.
    #[serde(default)]
    pub params: BTreeMap<String, Role>,
    /// The file's stem.
    #[serde(skip)]
    pub group: String,
    /// The family that it belongs to, whose body it calls.
    #[serde(skip)]
    pub member: Option<Member>,
}

impl Row {
    /// Begins a row of a class; all else is as if nothing were said of it.
    pub(crate) fn answered(class: Class) -> Self {
        Self {
            class,
            opcode: None,
            message: None,
            body: None,
            major: None,
            thirteen: None,
            waits: false,
            otherwise: None,
            uninitialised: false,
            host: None,
            ends: None,
            params: BTreeMap::new(),
            group: String::new(),
            member: None,
        }
    }
}

/// Says how the host asks the genuine driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// By a function of our own in `daemon/src/device/nvidia`.
    Own,
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
    /// A place for one result that holds 0 if there is none.
    ClearedOut,
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
        !matches!(self, Self::Out | Self::ClearedOut | Self::OptionalOut | Self::Inout | Self::In)
    }

    /// Says whether a body returns this parameter instead of taking it.
    pub fn is_result(&self) -> bool {
        matches!(self, Self::Out | Self::ClearedOut | Self::OptionalOut)
    }
}

/// Reads the description of one library: `LIBRARY.toml`, or each file in a directory `LIBRARY`.
pub fn read(directory: &Path, library: &str) -> Result<Api> {
    let several = directory.join(library);
    if !several.is_dir() {
        let mut api = Api::default();
        api.take(library, library, parse(&directory.join(format!("{library}.toml")))?)?;
        return Ok(api);
    }
    let failed = |source| Error::File { verb: "listing", path: several.clone(), source };
    let listed: std::io::Result<Vec<_>> =
        std::fs::read_dir(&several).map_err(failed)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = listed.map_err(failed)?;
    paths.sort();
    let mut api = Api::default();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|one| one == "toml")) {
        let group = path.file_stem().unwrap_or_default().to_string_lossy();
        api.take(library, &group, parse(path)?)?;
    }
    Ok(api)
}

impl Api {
    /// Adds what one file describes; nothing is described twice.
    fn take(&mut self, library: &str, group: &str, file: Group) -> Result<()> {
        let refused = |name: &str| Error::Row {
            library: library.into(),
            function: name.into(),
            problem: Problem::Twice,
        };
        for (name, row) in file.rows {
            let row = Row { group: group.into(), ..row };
            if self.rows.insert(name.clone(), row).is_some() {
                return Err(refused(&name));
            }
        }
        for (name, family) in file.family {
            let (rows, signatures) = family.expand(&name, group).map_err(|problem| Error::Row {
                library: library.into(),
                function: name.clone(),
                problem,
            })?;
            self.signatures.extend(signatures);
            for (name, row) in rows {
                if self.rows.insert(name.clone(), row).is_some() {
                    return Err(refused(&name));
                }
            }
        }
        for (name, message) in file.message {
            let message = OwnMessage { group: group.into(), ..message };
            if self.messages.insert(name.clone(), message).is_some() {
                return Err(refused(&name));
            }
        }
        for (name, structure) in file.structure {
            if self.structures.insert(name.clone(), structure).is_some() {
                return Err(refused(&name));
            }
        }
        Ok(())
    }
}
