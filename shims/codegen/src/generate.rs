//! From the description to every generated file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::api;
use crate::emit::{abi, dispatch, exports, format, wire};
use crate::error::{Error, Problem, Result};
use crate::model::{self, Library};
use crate::signature::Signatures;

/// Generated files by their path below the workspace's root.
pub type Outputs = BTreeMap<PathBuf, String>;

const CUDA: Library = Library { name: "cuda", prefix: "cu" };

const CUDA_RESULTS: abi::Results =
    abi::Results { kind: "CUresult", prefixes: &["CUDA_ERROR_", "CUDA_"], title: "the driver API" };

/// Makes the text of every generated file; writes nothing.
///
/// `root` is the workspace's directory. Needs no headers.
pub fn generate(root: &Path) -> Result<Outputs> {
    let mut outputs = Outputs::new();
    cuda(root, &mut outputs)?;
    for (path, text) in &mut outputs {
        if path.extension().is_some_and(|extension| extension == "rs") {
            *text = format::rustfmt(root, path, text)?;
        }
    }
    Ok(outputs)
}

fn cuda(root: &Path, outputs: &mut Outputs) -> Result<()> {
    let directory = root.join("shims/api");
    let signatures = Signatures::read(&directory.join("signatures/cuda.toml"))?;
    let api = api::read(&directory.join("cuda.toml"))?;
    let functions = model::join(CUDA, &api, &signatures)?;
    let list = names(&directory.join("names/libcuda-names-union.txt"))?;
    let exported: BTreeSet<&str> = list.iter().map(String::as_str).collect();
    let texts = texts(&directory.join("texts.toml"))?;
    let target =
        exports::Target { abi: "cuda", bodies: "crate::api", result: "CUresult", node: None };
    let failed = |(function, problem): (String, Problem)| Error::Row {
        library: CUDA.name.into(),
        function,
        problem,
    };
    let mut add = |path: &str, text| outputs.insert(path.into(), text);
    add(
        "shims/cuda/src/generated/exports.rs",
        exports::emit(target, &signatures, &functions, &exported).map_err(failed)?,
    );
    add("shims/abi/src/generated/cuda.rs", abi::emit(CUDA_RESULTS, &signatures, &texts));
    add(
        "transport/wire/src/generated/cuda.rs",
        wire::emit(&signatures, &functions).map_err(failed)?,
    );
    add(
        "daemon/src/dispatch/generated.rs",
        dispatch::emit(&signatures, &functions).map_err(failed)?,
    );
    Ok(())
}

/// Reads a list of exported names; a version node after the name is left out.
fn names(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        verb: "reading",
        path: path.into(),
        source,
    })?;
    Ok(text.lines().map(|line| line.split('@').next().unwrap_or(line).to_owned()).collect())
}

/// Reads what the libraries say about result codes, where clients match on it.
fn texts(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        verb: "reading",
        path: path.into(),
        source,
    })?;
    toml::from_str(&text)
        .map_err(|source| Error::Toml { path: path.into(), source: Box::new(source) })
}
