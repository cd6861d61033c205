//! What the headers say, distilled: signatures, constants, layouts.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Holds what the headers of one library say.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// Parameters of each function, as `name: type` with Rust's spelling of the type.
    pub functions: BTreeMap<String, Vec<String>>,
    /// Return types of the functions that do not return the library's result code.
    #[serde(default)]
    pub returns: BTreeMap<String, String>,
    /// What each named type is.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    /// Constants of each enum, in the order of the header.
    #[serde(default)]
    pub enums: BTreeMap<String, Vec<(String, i64)>>,
    /// Layouts of the structures that we use.
    #[serde(default)]
    pub structs: BTreeMap<String, Layout>,
}

/// Says where the fields of a C structure lie on x86-64.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Name, type and offset of each field.
    pub fields: Vec<(String, String, usize)>,
}

/// One parameter of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The name in the header.
    pub name: &'a str,
    /// The type, in Rust's spelling.
    pub kind: &'a str,
}

impl<'a> Parameter<'a> {
    /// Returns what a pointer points to.
    pub fn pointee(&self) -> Option<&'a str> {
        self.kind.strip_prefix("*mut ").or_else(|| self.kind.strip_prefix("*const "))
    }
}

impl Signatures {
    /// Reads the distilled form of one library.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            verb: "reading",
            path: path.into(),
            source,
        })?;
        toml::from_str(&text)
            .map_err(|source| Error::Toml { path: path.into(), source: Box::new(source) })
    }

    /// Returns the parameters of a function, or `None` if no header declares it.
    pub fn parameters(&self, function: &str) -> Option<Vec<Parameter<'_>>> {
        let parameters = self.functions.get(function)?.iter();
        Some(
            parameters
                .map(|text| {
                    let (name, kind) = text.split_once(": ").unwrap_or((text, ""));
                    Parameter { name, kind }
                })
                .collect(),
        )
    }
}
