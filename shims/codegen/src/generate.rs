//! From the description to every generated file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::description::Description;
use crate::emit::{
    abi, dispatch, docs, driver, entry_points, exports, format, handles, host, samples, wire,
};
use crate::error::{Error, Problem, Result};
use crate::message;
use crate::model::{self, Library};
use crate::shims::{CUBLAS, CUDA, CUDART, NVML, SHIMS, Shim};
use crate::signature::Signatures;

/// Generated files by their path below the workspace's root.
pub type Outputs = BTreeMap<PathBuf, String>;

/// Makes the text of every generated file; writes nothing.
///
/// `root` is the workspace's directory. Needs no headers.
pub fn generate(root: &Path) -> Result<Outputs> {
    let description = Description::read(root)?;
    let mut outputs = Outputs::new();
    for shim in &SHIMS {
        exports_of(shim, &description, &mut outputs)?;
    }
    let text = entry_points::emit(&description.versions, &description.names["cuda"])
        .map_err(refused(CUDA))?;
    outputs.insert("shims/cuda/src/generated/entry_points.rs".into(), text);
    outputs.insert("docs/supported-api.md".into(), supported(&description));
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
    let functions = model::join(shim.library, api, signatures, shim.major, |name, row| {
        names.contains(name) && (row.major.is_none() || row.major == shim.major)
    })?;
    let text =
        exports::emit(shim.target, signatures, &functions, names).map_err(refused(shim.library))?;
    outputs.insert(format!("shims/{}/src/generated/exports.rs", shim.directory).into(), text);
    Ok(())
}

fn messages(description: &Description, outputs: &mut Outputs) -> Result<()> {
    let mut vocabularies = Vec::new();
    for library in [CUDA, CUBLAS] {
        let api = &description.apis[library.name];
        let signatures = &description.signatures[library.name];
        let functions = model::join(library, api, signatures, None, |_, _| true)?;
        let vocabulary = message::Vocabulary::collect(library, api, signatures, &functions)
            .map_err(refused(library))?;
        let path = format!("transport/wire/src/generated/{}.rs", library.name);
        outputs.insert(path.into(), wire::emit(&vocabulary));
        vocabularies.push(vocabulary);
    }
    let path = "transport/wire/tests/messages/generated.rs";
    outputs.insert(path.into(), samples::emit(&vocabularies));
    let path = "tests/src/isolation/generated.rs";
    outputs.insert(path.into(), handles::emit(&vocabularies));
    outputs.insert("docs/messages.md".into(), wire::page(&vocabularies));
    for (file, text) in dispatch::emit(&vocabularies) {
        outputs.insert(format!("daemon/src/dispatch/generated/{file}.rs").into(), text);
    }
    genuine(description, &vocabularies[0], outputs)
}

/// Where the host's side of the genuine driver goes.
const GENUINE: &str = "daemon/src/device/nvidia/generated";

/// Writes the calls of the genuine driver, and the tables of the genuine libraries.
fn genuine(
    description: &Description,
    vocabulary: &message::Vocabulary,
    outputs: &mut Outputs,
) -> Result<()> {
    let (api, signatures) = (&description.apis["cuda"], &description.signatures["cuda"]);
    let functions = model::join(CUDA, api, signatures, None, |_, _| true)?;
    let images = host::images(signatures, &functions);
    for (file, text) in host::emit(vocabulary, signatures, &images) {
        outputs.insert(format!("{GENUINE}/{file}.rs").into(), text);
    }
    let listed = |library: Library| description.host.get(library.name).cloned().unwrap_or_default();
    let mut called = listed(CUDA);
    for image in images {
        called.entry(image.name.to_owned()).or_default();
    }
    let tables = [
        (CUDA, "driver", "Driver", "NVIDIA's libcuda", called),
        (NVML, "nvml", "Nvml", "NVIDIA's libnvidia-ml", listed(NVML)),
    ];
    for (library, file, name, about, called) in tables {
        let table = driver::Table { name, about, abi: library.name, prefix: library.prefix };
        let signatures = &description.signatures[library.name];
        let text = driver::emit(&table, signatures, &called).map_err(refused(library))?;
        outputs.insert(format!("{GENUINE}/{file}.rs").into(), text);
    }
    Ok(())
}

fn supported(description: &Description) -> String {
    let titles =
        [(CUDA, "Driver API"), (NVML, "NVML"), (CUDART, "Runtime API"), (CUBLAS, "cuBLAS")];
    let sections = titles.map(|(library, title)| docs::Section {
        title,
        api: &description.apis[library.name],
        libraries: SHIMS
            .iter()
            .filter(|shim| shim.library == library)
            .map(|shim| docs::Exported {
                soname: shim.soname,
                major: shim.major,
                names: &description.names[shim.directory],
            })
            .collect(),
    });
    docs::emit(&sections)
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
    for function in description.apis[library.name].rows.keys() {
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
