//! From the description to every generated file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::api::{self, Api};
use crate::emit::{abi, dispatch, entry_points, exports, format, wire};
use crate::error::{Error, Problem, Result};
use crate::model::{self, Library};
use crate::signature::{self, Signatures, Wanted};

/// Generated files by their path below the workspace's root.
pub type Outputs = BTreeMap<PathBuf, String>;

const CUDA: Library = Library { name: "cuda", prefix: "cu" };
const NVML: Library = Library { name: "nvml", prefix: "nvml" };
const CUDART: Library = Library { name: "cudart", prefix: "cuda" };
const CUBLAS: Library = Library { name: "cublas", prefix: "cublas" };

/// One shim library.
struct Shim {
    library: Library,
    /// Directory of its crate below `shims`.
    directory: &'static str,
    /// Its major, where there are several.
    major: Option<u32>,
    /// Stem of its distilled signatures; those of cuBLAS are in no small public package.
    signatures: &'static str,
    /// Stem of the list of names that the real library exports.
    names: &'static str,
    target: exports::Target,
}

const SHIMS: [Shim; 6] = [
    Shim {
        library: CUDA,
        directory: "cuda",
        major: None,
        signatures: "cuda",
        names: "libcuda-names-union",
        target: exports::Target {
            abi: "cuda",
            bodies: "crate::api",
            result: "CUresult",
            entry: "vgpu_guest",
            node: None,
        },
    },
    Shim {
        library: NVML,
        directory: "nvml",
        major: None,
        signatures: "nvml",
        names: "libnvml-names-union",
        target: exports::Target {
            abi: "nvml",
            bodies: "crate::api",
            result: "nvmlReturn_t",
            entry: "vgpu_guest",
            node: None,
        },
    },
    Shim {
        library: CUDART,
        directory: "cudart12",
        major: Some(12),
        signatures: "cudart12",
        names: "libcudart-12.9.79-exports",
        target: exports::Target {
            abi: "cudart12",
            bodies: "vgpu_cudart::api",
            result: "cudaError_t",
            entry: "crate",
            node: Some("libcudart.so.12"),
        },
    },
    Shim {
        library: CUDART,
        directory: "cudart13",
        major: Some(13),
        signatures: "cudart13",
        names: "libcudart-13.5.37-exports",
        target: exports::Target {
            abi: "cudart13",
            bodies: "vgpu_cudart::api",
            result: "cudaError_t",
            entry: "crate",
            node: Some("libcudart.so.13"),
        },
    },
    Shim {
        library: CUBLAS,
        directory: "cublas12",
        major: Some(12),
        signatures: "cublas",
        names: "libcublas-12.9.3.13-exports",
        target: exports::Target {
            abi: "cublas",
            bodies: "vgpu_cublas::api",
            result: "cublasStatus_t",
            entry: "vgpu_guest",
            node: Some("libcublas.so.12"),
        },
    },
    Shim {
        library: CUBLAS,
        directory: "cublas13",
        major: Some(13),
        signatures: "cublas",
        names: "libcublas-13.10.0.20-exports",
        target: exports::Target {
            abi: "cublas",
            bodies: "vgpu_cublas::api",
            result: "cublasStatus_t",
            entry: "vgpu_guest",
            node: Some("libcublas.so.13"),
        },
    },
];

/// Everything that is read, before anything is made.
struct Description {
    apis: BTreeMap<&'static str, Api>,
    signatures: BTreeMap<&'static str, Signatures>,
    wanted: BTreeMap<String, Wanted>,
    texts: BTreeMap<String, String>,
    versions: BTreeMap<String, Vec<i32>>,
    names: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Description {
    fn read(root: &Path) -> Result<Self> {
        let directory = root.join("shims/api");
        let mut description = Self {
            apis: BTreeMap::new(),
            signatures: BTreeMap::new(),
            wanted: signature::wanted(&directory.join("types.toml"))?,
            texts: signature::parse(&directory.join("texts.toml"))?,
            versions: signature::parse(&directory.join("signatures/versions.toml"))?,
            names: BTreeMap::new(),
        };
        let undeclared: BTreeMap<String, Signatures> =
            signature::parse(&directory.join("undeclared.toml"))?;
        for shim in &SHIMS {
            let library = shim.library.name;
            let api = api::read(&directory.join(format!("{library}.toml")))?;
            description.apis.insert(library, api);
            let path = directory.join(format!("signatures/{}.toml", shim.signatures));
            let mut signatures =
                if path.exists() { Signatures::read(&path)? } else { Signatures::default() };
            let path = directory.join(format!("names/{}.txt", shim.names));
            let names = names(&path)?;
            if let Some(undeclared) = undeclared.get(library) {
                signatures.fill(undeclared);
            }
            description.signatures.insert(shim.signatures, signatures);
            description.names.insert(shim.directory, names);
        }
        Ok(description)
    }
}

/// Makes the text of every generated file; writes nothing.
///
/// `root` is the workspace's directory. Needs no headers.
pub fn generate(root: &Path) -> Result<Outputs> {
    let description = Description::read(root)?;
    let mut outputs = Outputs::new();
    for shim in &SHIMS {
        exports_of(shim, &description, &mut outputs)?;
    }
    let text = entry_points::emit(&description.versions, &description.names["cuda"]);
    outputs.insert("shims/cuda/src/generated/entry_points.rs".into(), text);
    messages(&description, &mut outputs)?;
    types(&description, &mut outputs)?;
    for (path, text) in &mut outputs {
        if path.extension().is_some_and(|extension| extension == "rs") {
            *text = format::rustfmt(root, path, text)?;
        }
    }
    Ok(outputs)
}

fn refused(library: Library) -> impl Fn((String, Problem)) -> Error {
    move |(function, problem)| Error::Row { library: library.name.into(), function, problem }
}

fn exports_of(shim: &Shim, description: &Description, outputs: &mut Outputs) -> Result<()> {
    let signatures = &description.signatures[shim.signatures];
    let names = &description.names[shim.directory];
    let api = &description.apis[shim.library.name];
    let functions = model::join(shim.library, api, signatures, |name, row| {
        names.contains(name) && (row.major.is_none() || row.major == shim.major)
    })?;
    let text =
        exports::emit(shim.target, signatures, &functions, names).map_err(refused(shim.library))?;
    outputs.insert(format!("shims/{}/src/generated/exports.rs", shim.directory).into(), text);
    Ok(())
}

fn messages(description: &Description, outputs: &mut Outputs) -> Result<()> {
    let (api, signatures) = (&description.apis["cuda"], &description.signatures["cuda"]);
    let functions = model::join(CUDA, api, signatures, |_, _| true)?;
    let text = wire::emit(signatures, &functions).map_err(refused(CUDA))?;
    outputs.insert("transport/wire/src/generated/cuda.rs".into(), text);
    let text = dispatch::emit(signatures, &functions).map_err(refused(CUDA))?;
    outputs.insert("daemon/src/dispatch/generated.rs".into(), text);
    Ok(())
}

fn types(description: &Description, outputs: &mut Outputs) -> Result<()> {
    let signatures = |name: &str| &description.signatures[name];
    for library in [CUDA, NVML, CUBLAS] {
        let selected = select(description, library, signatures(library.name))?;
        let text = abi::emit(abi::results(library.name), &selected, &description.texts);
        outputs.insert(format!("shims/abi/src/generated/{}.rs", library.name).into(), text);
    }
    let twelve = select(description, CUDART, signatures("cudart12"))?;
    let thirteen = select(description, CUDART, signatures("cudart13"))?;
    let (common, twelve, thirteen) = abi::split(twelve, thirteen);
    let text = abi::emit(abi::results("cudart"), &common, &description.texts);
    outputs.insert("shims/abi/src/generated/cudart.rs".into(), text);
    for (name, own) in [("cudart12", twelve), ("cudart13", thirteen)] {
        outputs.insert(format!("shims/abi/src/generated/{name}.rs").into(), abi::emit_major(&own));
    }
    Ok(())
}

/// Keeps the types that our rows and types.toml ask for.
fn select(
    description: &Description,
    library: Library,
    signatures: &Signatures,
) -> Result<Signatures> {
    let mut names = BTreeSet::new();
    if let Some(wanted) = description.wanted.get(library.name) {
        names.extend(wanted.enums.iter().chain(&wanted.structs).cloned());
    }
    names.insert(abi::results(library.name).returned.to_owned());
    for function in description.apis[library.name].keys() {
        for parameter in signatures.parameters(function).unwrap_or_default() {
            names.insert(last_word(parameter.kind).to_owned());
        }
        let returns = signatures.returns.get(function).into_iter();
        names.extend(returns.map(|kind| last_word(kind).to_owned()));
    }
    Ok(signatures.reachable(names))
}

fn last_word(kind: &str) -> &str {
    kind.rsplit(' ').next().unwrap_or(kind)
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
