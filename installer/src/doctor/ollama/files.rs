//! What of Ollama lies where.

use crate::doctor::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Confined, Facts, Kind, Layout, Ollama, Running, Source};

/// The first Ollama that no longer opens libcuda by its path.
const BY_NAME_SINCE: [u64; 3] = [0, 12, 4];

pub(super) fn install(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let facts = scene.facts;
    let mut findings = containers(facts);
    let Some(first) = facts.ollamas.first() else {
        if facts.confined.is_empty() {
            let remedy = "curl -fsSL https://ollama.com/install.sh | sh && vgpu-install";
            findings.push(Finding::fail(&[], "no Ollama is installed here").remedy(remedy));
        }
        return Ok(left_behind(facts, findings));
    };
    if facts.ollamas.len() > 1 {
        findings.push(
            Finding::warn(&["U14"], "more than one Ollama is installed")
                .saw_all(facts.running.iter().map(Running::describe))
                .remedy("remove those that do not serve"),
        );
    }
    findings.extend(facts.ollamas.iter().flat_map(one));
    if findings.is_empty() {
        findings.push(Finding::ok(format!("{} is the one Ollama", first.executable)));
    }
    let evidence: Vec<String> = facts.ollamas.iter().map(described).collect();
    let findings = findings.into_iter().map(|found| found.saw_all(evidence.clone())).collect();
    Ok(left_behind(facts, findings))
}

/// What is to be told of one Ollama.
fn one(ollama: &Ollama) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !ollama.library_dir.starts_with(&ollama.prefix) {
        let saw = format!("{} takes {}", ollama.executable, ollama.library_dir);
        findings.push(
            Finding::fail(&["U14"], "program and libraries are of two installs")
                .saw(saw)
                .remedy("install Ollama again, after the older one was removed"),
        );
    }
    if let Some(advice) = &ollama.advice {
        let finding = match ollama.source {
            Source::Brew => {
                Finding::warn(&["U29"], "Homebrew's Ollama is built without a GPU backend")
            }
            source if source.is_sealed() => Finding::warn(
                &[],
                format!("nothing of ours reaches an Ollama of {}", source.word()),
            ),
            // A package without a backend is told of by ollama.bundle; the rest is a choice.
            _ => Finding::ok("there is advice for this Ollama"),
        };
        findings.push(finding.saw(ollama.executable.to_string()).remedy(advice));
    }
    if opens_by_path(ollama) {
        findings.push(
            Finding::warn(&["P08"], "this Ollama opens libcuda by its path, in its server")
                .saw(described(ollama))
                .remedy("update Ollama to 0.12.4 or later"),
        );
    }
    findings
}

/// True for an Ollama before 0.12.4; where no version is known, its layout tells.
fn opens_by_path(ollama: &Ollama) -> bool {
    let is_older = ollama.is_since(BY_NAME_SINCE).map(|is_since| !is_since);
    is_older.unwrap_or(matches!(ollama.layout, Layout::Flat | Layout::Runners))
}

/// Ollamas in containers, and the container that this system is.
fn containers(facts: &Facts) -> Vec<Finding> {
    let in_container = |one: &&Confined| matches!(one.source, Source::Docker | Source::Podman);
    let found = facts.confined.iter().filter(in_container);
    let mut findings: Vec<Finding> = found
        .map(|one| {
            let finding = if one.wants_nvidia {
                Finding::warn(&["U30"], "a container asks for NVIDIA's hook, which fails here")
            } else {
                Finding::warn(&[], "an Ollama in a container finds only what is mounted there")
            };
            let saw = format!("{}: {}", one.describe(), one.path);
            finding.saw(saw).remedy(&one.advice)
        })
        .collect();
    if let (Some(kind), true) = (&facts.platform.container, facts.shims.libraries.is_empty()) {
        findings.push(
            Finding::warn(&["U30"], "this is a container, and our libraries are not in it")
                .saw(format!("a container of {kind}"))
                .remedy("start it without --gpus, as docs/install.md, Containers, says"),
        );
    }
    findings
}

/// Libraries of an install whose program is gone: a later program can take them for its own.
fn left_behind(facts: &Facts, mut findings: Vec<Finding>) -> Vec<Finding> {
    if !facts.left_behind.is_empty() {
        let saw = facts.left_behind.iter().map(ToString::to_string);
        findings.push(
            Finding::warn(&["U14"], "another install left libraries that no program here takes")
                .saw_all(saw)
                .remedy("remove them once you know that you need them not"),
        );
    }
    findings
}

fn described(ollama: &Ollama) -> String {
    let bundles: Vec<String> = ollama.bundles.iter().map(|one| one.dir.to_string()).collect();
    let version = ollama.version.as_deref().unwrap_or("unknown");
    format!(
        "{}, version {version}, {}, with {}: {}",
        ollama.executable,
        ollama.source.word(),
        ollama.library_dir,
        bundles.join(", ")
    )
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
