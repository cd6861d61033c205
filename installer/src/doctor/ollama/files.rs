//! What of Ollama lies where.

use crate::doctor::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Kind, Layout, Ollama};

/// What Homebrew's directories are called.
const BREW: [&str; 2] = ["linuxbrew", "Cellar"];

pub(super) fn install(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let ollamas = &scene.facts.ollamas;
    let Some(first) = ollamas.first() else {
        let remedy = "install Ollama, then run vgpu-install";
        return Ok(vec![Finding::warn(&[], "no Ollama was found").remedy(remedy)]);
    };
    let mut findings = Vec::new();
    if ollamas.len() > 1 {
        findings.push(
            Finding::warn(&["U14"], "more than one Ollama is installed")
                .remedy("remove those that no unit starts"),
        );
    }
    for ollama in ollamas {
        if !ollama.library_dir.starts_with(&ollama.prefix) {
            let saw = format!("{} takes {}", ollama.executable, ollama.library_dir);
            findings.push(
                Finding::fail(&["U14"], "program and libraries are of two installs")
                    .saw(saw)
                    .remedy("install Ollama again, after the older one was removed"),
            );
        }
        if BREW.iter().any(|name| ollama.executable.iter().any(|part| part == *name)) {
            findings.push(
                Finding::warn(&["U29"], "Homebrew's Ollama is built without a GPU backend")
                    .saw(ollama.executable.to_string())
                    .remedy("install Ollama by its own script"),
            );
        }
        if ollama.layout == Layout::Flat {
            findings.push(
                Finding::warn(&["P08"], "this Ollama opens libcuda by its path, in its server")
                    .saw(format!("{} holds its backend itself", ollama.library_dir))
                    .remedy("update Ollama to 0.12.4 or later"),
            );
        }
    }
    if let (Some(kind), true) =
        (&scene.facts.platform.container, scene.facts.shims.libraries.is_empty())
    {
        findings.push(
            Finding::warn(&["U30"], "this is a container, and our libraries are not in it")
                .saw(format!("a container of {kind}"))
                .remedy("start it without --gpus, as docs/install.md, Containers, says"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("{} is the one Ollama", first.executable)));
    }
    let evidence: Vec<String> = ollamas.iter().map(described).collect();
    Ok(findings.into_iter().map(|found| found.saw_all(evidence.clone())).collect())
}

fn described(ollama: &Ollama) -> String {
    let bundles: Vec<String> = ollama.bundles.iter().map(|one| one.dir.to_string()).collect();
    format!("{} with {}: {}", ollama.executable, ollama.library_dir, bundles.join(", "))
}

pub(super) fn bundle(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for ollama in &scene.facts.ollamas {
        findings.extend(lacking(scene, ollama)?);
    }
    for copy in &scene.facts.libraries {
        let in_bundle =
            scene.facts.ollamas.iter().any(|ollama| copy.file.starts_with(&ollama.library_dir));
        if in_bundle && copy.kind == Kind::Ours {
            findings.push(
                Finding::fail(&["F29"], "a library of Ollama's was overwritten with one of ours")
                    .saw(format!("{}, inode {}:{}", copy.file, copy.identity.0, copy.identity.1))
                    .remedy("install Ollama again: its script brings its own libraries back"),
            );
        }
    }
    if scene.facts.ollamas.is_empty() {
        findings.push(Finding::skipped("needs an Ollama: see ollama.install"));
    }
    if findings.is_empty() {
        let bundles = scene.facts.ollamas.iter().flat_map(|ollama| &ollama.bundles);
        let saw = bundles.map(|one| format!("{}: needs {}", one.dir, one.needed.join(", ")));
        findings.push(Finding::ok("each bundle holds a CUDA backend").saw_all(saw));
    }
    Ok(findings)
}

/// What an Ollama's library directory should hold and does not.
fn lacking(scene: &Scene<'_>, ollama: &Ollama) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let dir = &ollama.library_dir;
    for name in scene.host.list(dir)? {
        let path = dir.join(&name);
        let is_cuda = name.to_string_lossy().starts_with("cuda_");
        if is_cuda && !ollama.bundles.iter().any(|bundle| bundle.dir.as_ref() == path) {
            findings.push(
                Finding::fail(&["F18"], "a CUDA directory holds no backend")
                    .saw(format!("{} has no libggml-cuda.so", path.display()))
                    .remedy("install Ollama again: a part of it is missing"),
            );
        }
    }
    if ollama.layout == Layout::None && findings.is_empty() {
        let is_arch = scene.facts.platform.id == "arch"
            || scene.facts.platform.id_like.iter().any(|id| id == "arch");
        let rows: &[_] = if is_arch { &["U08", "U33"] } else { &["U08"] };
        let remedy = match is_arch {
            true => "pacman -S ollama-cuda",
            false => "install Ollama by its own script, or the package with its CUDA backend",
        };
        findings.push(
            Finding::fail(rows, "this Ollama was installed without its CUDA backend")
                .saw(format!("no libggml-cuda.so below {dir}"))
                .remedy(remedy),
        );
    }
    Ok(findings)
}
