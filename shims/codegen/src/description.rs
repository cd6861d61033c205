//! Reads everything below shims/api.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::api::{self, Api};
use crate::emit::driver::Called;
use crate::error::{Error, Problem, Result};
use crate::family;
use crate::shims::SHIMS;
use crate::signature::{self, Signatures, Wanted};

/// Everything that is read, before anything is made.
pub(crate) struct Description {
    /// Rows, by library.
    pub apis: BTreeMap<&'static str, Api>,
    /// What the headers say, by the stem of the file.
    pub signatures: BTreeMap<&'static str, Signatures>,
    /// The types to keep, by library.
    pub wanted: BTreeMap<String, Wanted>,
    /// What libraries say about a result code, by its constant.
    pub texts: BTreeMap<String, String>,
    /// Versions of each driver function, by base name.
    pub versions: BTreeMap<String, Vec<i32>>,
    /// What the host calls besides images, by library.
    pub host: BTreeMap<String, Called>,
    /// Exported names, by the directory of the shim.
    pub names: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Description {
    /// Reads it below the workspace's root.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let directory = root.join("shims/api");
        let mut description = Self {
            apis: BTreeMap::new(),
            signatures: BTreeMap::new(),
            wanted: signature::wanted(&directory.join("types.toml"))?,
            texts: signature::parse(&directory.join("texts.toml"))?,
            versions: signature::parse(&directory.join("signatures/versions.toml"))?,
            host: signature::parse(&directory.join("host.toml"))?,
            names: BTreeMap::new(),
        };
        let undeclared: BTreeMap<String, Signatures> =
            signature::parse(&directory.join("undeclared.toml"))?;
        for shim in &SHIMS {
            let library = shim.library.name;
            let api = api::read(&directory, library)?;
            let path = directory.join(format!("signatures/{}.toml", shim.signatures));
            let mut signatures =
                if path.exists() { Signatures::read(&path)? } else { Signatures::default() };
            let path = directory.join(format!("names/{}.txt", shim.names));
            let names = names(&path)?;
            if let Some(undeclared) = undeclared.get(library) {
                signatures.fill(undeclared);
            }
            family::declare(&mut signatures, &api.signatures);
            description.apis.insert(library, api);
            description.signatures.insert(shim.signatures, signatures);
            description.names.insert(shim.directory, names);
        }
        description.check_exported()?;
        description.share_texts();
        Ok(description)
    }

    /// Lets the driver say what the runtime says about the same number: they number alike.
    fn share_texts(&mut self) {
        let enums = |library: &str, name: &str| {
            let constants = self.signatures.get(library).and_then(|one| one.enums.get(name));
            constants.cloned().unwrap_or_default()
        };
        let runtime = enums("cudart13", "cudaError");
        for (constant, code) in enums("cuda", "CUresult") {
            let same = runtime.iter().find(|(_, other)| *other == code);
            let text = same.and_then(|(other, _)| self.texts.get(other).cloned());
            if let Some(text) = text {
                self.texts.entry(constant).or_insert(text);
            }
        }
    }

    /// Refuses a row for a function that no library exports.
    fn check_exported(&self) -> Result<()> {
        for (library, api) in &self.apis {
            let shims = || SHIMS.iter().filter(|shim| shim.library.name == *library);
            let exported =
                |name: &str| shims().any(|shim| self.names[shim.directory].contains(name));
            if let Some(name) = api.rows.keys().find(|name| !exported(name)) {
                return Err(Error::Row {
                    library: (*library).into(),
                    function: name.clone(),
                    problem: Problem::NotExported,
                });
            }
        }
        Ok(())
    }
}

/// Reads a list of exported names; a version node after the name is left out.
fn names(path: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        verb: "reading",
        path: path.into(),
        source,
    })?;
    Ok(text.lines().map(|line| line.split('@').next().unwrap_or(line).to_owned()).collect())
}
