//! Every symbol that a backend wants of NVIDIA's libraries, in our files, under its version node.

use std::collections::BTreeMap;

use vgpu_loader::symbols::{Symbols, Wanted};

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Bundle, SHIMS};

const REINSTALL: &str = "install the newest vgpu-ollama; if it is, report this line";
/// Most missing symbols that are shown for one library.
const SHOWN_MAX: usize = 20;
/// NVIDIA's other libraries, which a backend may want and Ollama brings.
const BROUGHT: [&str; 3] = ["libcublasLt.so", "libnccl.so", "libcufft.so"];

type Ours = BTreeMap<&'static str, Symbols>;

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut ours = Ours::new();
    let mut findings = Vec::new();
    for name in SHIMS {
        let path = scene.facts.shims.dir.join(name);
        let Some(file) = scene.host.open(&path)? else { continue };
        match Symbols::read(file.source.as_ref()) {
            Ok(symbols) => _ = ours.insert(name, symbols),
            Err(error) => {
                let needs = "needs the symbols of our libraries, which cannot be read";
                let saw = format!("{}: {error}", path.display());
                findings.push(Finding::skipped(needs).saw(saw));
            }
        }
    }
    if ours.is_empty() {
        let needs = "needs our libraries: none with symbols was found";
        findings.push(Finding::skipped(needs));
        return Ok(findings);
    }
    findings.extend(alone(&ours));
    let mut lines = Vec::new();
    for bundle in scene.facts.ollamas.iter().flat_map(|ollama| &ollama.bundles) {
        match backend(scene, bundle, &ours)? {
            Ok(line) => lines.push(line),
            Err(bad) => findings.extend(bad),
        }
    }
    if findings.is_empty() {
        let cause = "our files have every symbol that the backends want, under its version node";
        findings.push(Finding::ok(cause).saw_all(lines));
    }
    Ok(findings)
}

/// Is it a function of one of the libraries that ours stand in for?
fn is_ours(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let driver = name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(char::is_uppercase));
    driver || ["cuda", "__cuda", "cublas", "nvml"].iter().any(|start| name.starts_with(start))
}

/// Each library of ours must load by itself.
fn alone(ours: &Ours) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, symbols) in ours {
        let wanted =
            symbols.wanted.iter().filter(|wanted| !wanted.is_weak && is_ours(&wanted.name));
        let lines: Vec<String> =
            wanted.map(|wanted| format!("{file} wants {}", shown(wanted))).collect();
        if !lines.is_empty() {
            let cause = format!("our {file} does not load alone");
            findings.push(Finding::fail(&["F25"], cause).saw_all(lines).remedy(REINSTALL));
        }
        if file.starts_with("libcudart") && !symbols.has_nodes() {
            let cause =
                format!("our {file} has no version nodes: ld.so ends programs that want one");
            let saw = format!("{file}: {} symbols, none with a node", symbols.offered.len());
            findings.push(Finding::fail(&["U22"], cause).saw(saw).remedy(REINSTALL));
        }
    }
    findings
}

fn shown(wanted: &Wanted) -> String {
    let name = String::from_utf8_lossy(&wanted.name);
    match &wanted.node {
        Some((file, node)) => {
            let (file, node) = (String::from_utf8_lossy(file), String::from_utf8_lossy(node));
            format!("{name}@{node} of {file}")
        }
        None => name.into_owned(),
    }
}

fn backend(
    scene: &Scene<'_>,
    bundle: &Bundle,
    ours: &Ours,
) -> Result<std::result::Result<String, Vec<Finding>>> {
    let path = bundle.dir.join("libggml-cuda.so");
    let shown_path = path.display();
    let Some(file) = scene.host.open(&path)? else {
        return Ok(Ok(format!("{shown_path}: no such file")));
    };
    let symbols = match Symbols::read(file.source.as_ref()) {
        Ok(symbols) => symbols,
        Err(error) => {
            let needs = format!("needs the symbols of {shown_path}, which cannot be read");
            return Ok(Err(vec![Finding::skipped(needs).saw(error.to_string())]));
        }
    };
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for wanted in symbols.wanted.iter().filter(|wanted| !wanted.is_weak) {
        let row = match &wanted.node {
            Some((file, node)) => {
                let file = String::from_utf8_lossy(file).into_owned();
                let Some(shim) = ours.get(file.as_str()) else { continue };
                count += 1;
                if shim.offers(&wanted.name, Some(node)) {
                    continue;
                }
                if file.starts_with("libcublas") { "F24" } else { "F23" }
            }
            None if is_ours(&wanted.name) => {
                count += 1;
                if ours.values().any(|shim| shim.offers(&wanted.name, None)) {
                    continue;
                }
                "F26"
            }
            None => continue,
        };
        missing.entry(row).or_default().push(shown(wanted));
    }
    let mut findings = libraries(scene, bundle)?;
    for (row, lines) in missing {
        let rows: &[&'static str] = match row {
            "F24" => &["F24"],
            "F23" => &["F23"],
            _ => &["F26", "U12"],
        };
        let cause = format!("{shown_path} wants {} symbols that our files lack", lines.len());
        let lines = lines.into_iter().take(SHOWN_MAX);
        findings.push(Finding::fail(rows, cause).saw_all(lines).remedy(REINSTALL));
    }
    if findings.is_empty() {
        return Ok(Ok(format!("{shown_path}: {count} symbols of ours, all there")));
    }
    Ok(Err(findings))
}

/// Libraries beside ours that the backend wants and that Ollama should have brought.
fn libraries(scene: &Scene<'_>, bundle: &Bundle) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in &bundle.needed {
        if !BROUGHT.iter().any(|stem| name.starts_with(stem)) {
            continue;
        }
        let parent = bundle.dir.parent().unwrap_or(&bundle.dir);
        let is_there = scene.host.open(&bundle.dir.join(name))?.is_some()
            || scene.host.open(&parent.join(name))?.is_some()
            || scene.facts.libraries.iter().any(|copy| copy.name == *name && copy.asked.is_some());
        if !is_there {
            let cause =
                format!("the backend of {} wants {name}, which Ollama did not bring", bundle.dir);
            let saw = format!("{}: NEEDED {name}", bundle.dir.join("libggml-cuda.so").display());
            let remedy = "install Ollama again with its own script";
            findings.push(Finding::fail(&["F27"], cause).saw(saw).remedy(remedy));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{build, machine};

    /// A backend linked against these sources of libcudart and libcuda, on a machine where ours
    /// are built of others.
    fn found(theirs: [&str; 2], ours: [&str; 2], backend: &str) -> Vec<String> {
        let make = |dir: &std::path::Path, sources: [&str; 2]| {
            let script = "-Wl,--default-symver";
            let cudart = ["-shared", "-Wl,-soname,libcudart.so.13", script];
            let cuda = ["-shared", "-Wl,-soname,libcuda.so.1"];
            [
                build(dir, "libcudart.so.13", sources[0], &cudart),
                build(dir, "libcuda.so.1", sources[1], &cuda),
            ]
        };
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(dir.path(), theirs);
        let needs = ["-shared", "-fPIC", "libcudart.so.13", "libcuda.so.1"];
        let backend = build(dir.path(), "libggml-cuda.so", backend, &needs);
        let [cudart, cuda] = make(other.path(), ours);
        let machine = machine(&backend, &[("libcudart.so.13", &cudart), ("libcuda.so.1", &cuda)]);
        verdicts(&examine_host("loader.symbols", &machine))
    }

    const CUDART: &str = "void cudaFree(void) {} void cudaNew(void) {}";
    const CUDA: &str = "void cuInit(void) {} void cuNew(void) {}";
    const CALLS: &str =
        "void cudaFree(void); void cudaNew(void); void cuInit(void); void cuNew(void);
        void f(void) { cudaFree(); cudaNew(); cuInit(); cuNew(); }";

    #[test]
    fn a_backend_whose_symbols_are_all_there_is_fine() {
        assert_eq!(found([CUDART, CUDA], [CUDART, CUDA], CALLS), ["ok"]);
    }

    #[test]
    fn missing_symbols_are_told_by_their_library() {
        let less = ["void cudaFree(void) {}", CUDA];
        assert_eq!(found([CUDART, CUDA], less, CALLS), ["fail F23"]);
        let less = [CUDART, "void cuInit(void) {}"];
        assert_eq!(found([CUDART, CUDA], less, CALLS), ["fail F26 U12"]);
    }

    #[test]
    fn a_library_of_ours_that_wants_another_is_found() {
        let wants = "void cuOther(void); void cudaFree(void) { cuOther(); } void cudaNew(void) {}";
        assert_eq!(found([CUDART, CUDA], [wants, CUDA], CALLS), ["fail F25"]);
    }

    #[test]
    fn symbols_of_cublas_missing_nodes_and_a_missing_library_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, source: &str, script: &str| {
            let soname = format!("-Wl,-soname,{name}");
            build(dir.path(), name, source, &["-shared", &soname, script])
        };
        let nodes = "-Wl,--default-symver";
        make("libcublas.so.13", "void cublasOld(void) {} void cublasNew(void) {}", nodes);
        make("libnccl.so.2", "void ncclInit(void) {}", nodes);
        let calls = "void cublasNew(void); void f(void) { cublasNew(); }";
        let needs = ["-shared", "-fPIC", "libcublas.so.13", "libnccl.so.2"];
        let backend = build(dir.path(), "libggml-cuda.so", calls, &needs);
        let cublas = make("libcublas.so.13", "void cublasOld(void) {}", nodes);
        let cudart = make("libcudart.so.13", CUDART, "-Wl,--as-needed");
        let ours = [("libcublas.so.13", cublas.as_slice()), ("libcudart.so.13", &cudart)];
        let found = verdicts(&examine_host("loader.symbols", &machine(&backend, &ours)));
        assert_eq!(found, ["fail U22", "fail F27", "fail F24"]);
    }
}
