//! Stage one: from the public headers to our own form.
//!
//! Needs the unpacked public packages `nvidia-cuda-runtime` (12.9 and 13.5) and `nvidia-nvml-dev`
//! below one directory, and a C compiler. Nothing of the headers' text is carried over: only
//! names, types and numbers.

mod cursor;
mod find;
mod measure;
mod parse;
mod tokens;
mod types;
mod versions;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::generate::Outputs;
use crate::signature::{self, Signatures, Wanted};

use parse::Declarations;

/// Stands for `crt/host_defines.h`, which the packages do not hold: its words mean nothing to C.
const HOST_DEFINES: &str = "\
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDA_CB
#define __host__
#define __device__
#define __device_builtin__
#define __device_builtin_surface_type__
#define __device_builtin_texture_type__
#define __cudart_builtin__
#define __specialization_static
#define __location__(a)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))
";

/// Ways to read the headers: as programs do, with the old names, with the per-thread names. The
/// first that declares a name decides.
const MODES: [&[&str]; 4] = [
    &[],
    &["-D__CUDA_API_VERSION_INTERNAL"],
    &["-DCUDA_API_PER_THREAD_DEFAULT_STREAM"],
    &["-DNVML_NO_UNVERSIONED_FUNC_DEFS"],
];

/// Distils the headers below `headers`; writes nothing.
pub fn distil(root: &Path, headers: &Path) -> Result<Outputs> {
    let found = find::headers(headers)?;
    let wanted = signature::wanted(&root.join("shims/api/types.toml"))?;
    let scratch = Scratch::new()?;
    let mut outputs = Outputs::new();
    let mut add = |name: &str, signatures: &Signatures| {
        let path = PathBuf::from(format!("shims/api/signatures/{name}.toml"));
        outputs.insert(path, write::toml(signatures));
    };
    let (cuda12, cuda13) = (found.cuda(12)?, found.cuda(13)?);
    let driver = |directory| Compiler { directory, header: "cuda.h", scratch: &scratch };
    let mut cuda = library(driver(cuda13), wanted.get("cuda"))?;
    merge(&mut cuda, library(driver(cuda12), None)?);
    add("cuda", &cuda);
    for (name, directory) in [("cudart12", cuda12), ("cudart13", cuda13)] {
        let compiler = Compiler { directory, header: "cuda_runtime_api.h", scratch: &scratch };
        let mut signatures = library(compiler, wanted.get("cudart"))?;
        signatures.functions.retain(|name, _| name.contains("cuda"));
        add(name, &signatures);
    }
    let nvml = |directory| Compiler { directory, header: "nvml.h", scratch: &scratch };
    let mut newest = library(nvml(found.nvml(13)?), wanted.get("nvml"))?;
    merge(&mut newest, library(nvml(found.nvml(12)?), None)?);
    add("nvml", &newest);
    let table = versions::table(&[cuda13, cuda12])?;
    outputs.insert("shims/api/signatures/versions.toml".into(), table);
    Ok(outputs)
}

/// A directory for the few files that the compiler needs; removed when dropped.
#[derive(Debug)]
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Result<Self> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { verb: "writing", path, source }
        };
        let directory = tempfile::tempdir().map_err(failed(&std::env::temp_dir()))?;
        let crt = directory.path().join("crt");
        std::fs::create_dir(&crt).map_err(failed(&crt))?;
        let file = crt.join("host_defines.h");
        std::fs::write(&file, HOST_DEFINES).map_err(failed(&file))?;
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The C compiler, with one header of one package.
#[derive(Debug, Clone, Copy)]
struct Compiler<'a> {
    directory: &'a Path,
    header: &'a str,
    scratch: &'a Scratch,
}

impl Compiler<'_> {
    fn arguments(&self) -> Vec<String> {
        let include = |path: &Path| format!("-I{}", path.display());
        vec![include(self.scratch.path()), include(self.directory)]
    }

    /// Reads the header in every mode.
    fn declarations(&self) -> Result<Declarations> {
        let mut all = Declarations::default();
        for mode in MODES {
            let text = self.preprocess(mode)?;
            let directory = self.directory.display().to_string();
            all.add(parse::parse(&tokens::tokens(&text, &directory)));
        }
        Ok(all)
    }

    fn preprocess(&self, mode: &[&str]) -> Result<String> {
        let source = self.scratch.path().join("header.c");
        std::fs::write(&source, format!("#include <{}>\n", self.header)).map_err(|error| {
            Error::File { verb: "writing", path: source.clone(), source: error }
        })?;
        let output = Command::new("cc")
            .args(["-E", "-x", "c"])
            .args(mode)
            .args(self.arguments())
            .arg(&source)
            .output();
        let failed = |complaint: String| Error::Tool {
            tool: "cc",
            what: self.directory.join(self.header).display().to_string(),
            complaint,
        };
        let output = output.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn library(compiler: Compiler<'_>, wanted: Option<&Wanted>) -> Result<Signatures> {
    let declarations = compiler.declarations()?;
    let mut wanted = wanted.cloned().unwrap_or_default();
    wanted.structs = declarations.with_parts(&wanted.structs);
    let numbers = measure::measure(&compiler, &declarations, &wanted)?;
    let mut signatures =
        Signatures { enums: numbers.enums, structs: numbers.structs, ..Default::default() };
    let mut named: BTreeSet<String> = wanted.enums.into_iter().chain(wanted.structs).collect();
    for (name, function) in &declarations.functions {
        let mut parameters = Vec::new();
        for (index, parameter) in function.parameters.iter().enumerate() {
            let kind = parameter.kind.rust(&declarations.types);
            let own = if parameter.name.is_empty() {
                format!("argument{index}")
            } else {
                parameter.name.clone()
            };
            note(&kind, &mut named);
            parameters.push(format!("{own}: {kind}"));
        }
        let returns = function.returns.rust(&declarations.types);
        if !["CUresult", "cudaError_t", "nvmlReturn_t"].contains(&returns.as_str()) {
            signatures.returns.insert(name.clone(), returns);
        }
        signatures.functions.insert(name.clone(), parameters);
    }
    for layout in signatures.structs.values() {
        layout.fields.iter().for_each(|(_, kind, _)| note(kind, &mut named));
    }
    let mut open: Vec<String> = named.iter().cloned().collect();
    while let Some(name) = open.pop() {
        if let Some(meaning) = types::meaning(&name, &declarations.types) {
            let mut more = BTreeSet::new();
            note(&meaning, &mut more);
            open.extend(more.into_iter().filter(|name| named.insert(name.clone())));
            signatures.types.insert(name, meaning);
        }
    }
    Ok(signatures)
}

/// Notes the name in a spelled type: `*mut CUstream` names `CUstream`.
fn note(kind: &str, named: &mut BTreeSet<String>) {
    let name = kind.rsplit(' ').next().unwrap_or(kind);
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        named.insert(name.to_owned());
    }
}

/// Adds what only the other headers know.
fn merge(into: &mut Signatures, other: Signatures) {
    for (name, parameters) in other.functions {
        if let Some(returns) = other.returns.get(&name)
            && !into.functions.contains_key(&name)
        {
            into.returns.insert(name.clone(), returns.clone());
        }
        into.functions.entry(name).or_insert(parameters);
    }
    for (name, meaning) in other.types {
        into.types.entry(name).or_insert(meaning);
    }
}
