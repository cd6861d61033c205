//! What the headers say, distilled: signatures, constants, layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Error, Result};

/// Holds what the headers of one library say.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// Parameters of each function, as `name: type` with Rust's spelling of the type.
    #[serde(default)]
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

/// Names the enums and structures of a library whose numbers we keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Enums, by typedef or tag.
    pub enums: Vec<String>,
    /// Structures, by typedef or tag; what they hold by value comes along.
    pub structs: Vec<String>,
}

/// Reads which enums and structures we keep, by library.
pub fn wanted(path: &Path) -> Result<BTreeMap<String, Wanted>> {
    parse(path)
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
        parse(path)
    }

    /// Adds what only the other description knows.
    pub(crate) fn fill(&mut self, other: &Self) {
        fn add<T: Clone>(own: &mut BTreeMap<String, T>, other: &BTreeMap<String, T>) {
            for (name, value) in other {
                own.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        add(&mut self.functions, &other.functions);
        add(&mut self.returns, &other.returns);
        add(&mut self.types, &other.types);
        add(&mut self.enums, &other.enums);
        add(&mut self.structs, &other.structs);
    }

    /// Keeps the named types and what they are made of; functions are left out.
    pub(crate) fn reachable(&self, names: BTreeSet<String>) -> Self {
        let mut kept = Self::default();
        let mut open: Vec<String> = names.into_iter().collect();
        while let Some(name) = open.pop() {
            let Some(meaning) = self.types.get(&name) else { continue };
            if kept.types.insert(name.clone(), meaning.clone()).is_some() {
                continue;
            }
            let word = |kind: &str| kind.rsplit(' ').next().unwrap_or(kind).to_owned();
            open.push(word(meaning));
            if let Some(constants) = self.enums.get(&name) {
                kept.enums.insert(name.clone(), constants.clone());
            }
            if let Some(layout) = self.structs.get(&name) {
                open.extend(layout.fields.iter().map(|(_, kind, _)| word(kind)));
                kept.structs.insert(name, layout.clone());
            }
        }
        kept
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

/// Reads a description.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        verb: "reading",
        path: path.into(),
        source,
    })?;
    toml::from_str(&text)
        .map_err(|source| Error::Toml { path: path.into(), source: Box::new(source) })
}
