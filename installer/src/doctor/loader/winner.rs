//! Who answers for each name, by the loader's model in the environment of Ollama's children.

use std::path::{Path, PathBuf};

use vgpu_loader::{Environment, Process};

use super::super::{Finding, Fix, Scene};
use super::{Told, told};
use crate::discover::cache;
use crate::error::Result;
use crate::facts::{Kind, SHIMS};
use crate::ldso::{self, HostFiles};
use crate::plan::Scope;
use crate::verify::{self, Child};

/// The names without a number, which some programs open first.
const UNVERSIONED: [&str; 2] = ["libcuda.so", "libnvidia-ml.so"];
/// Most places that are shown where a name was found nowhere.
const PLACES_MAX: usize = 12;

/// One name and its answer.
struct Answer {
    name: String,
    path: Option<PathBuf>,
    why: &'static str,
    tried: Vec<String>,
}

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let in_force = scene.in_force()?;
    // Only scope service by itself leaves an Ollama alone that no unit starts.
    let is_service =
        in_force.as_ref().is_some_and(|all| all.scopes.iter().all(|one| *one == Scope::Service));
    let scope = if is_service { Scope::Service } else { Scope::Bundle };
    let mut findings = Vec::new();
    for child in verify::children(scene.host, scene.facts, scope)? {
        match answers(scene, &child)? {
            Err(why) => {
                findings.push(Finding::skipped("needs a program that ld.so starts").saw(why));
            }
            Ok(answers) => findings.extend(judge(scene, &child, &answers, in_force.is_some())?),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("needs an Ollama with a CUDA backend: none was found"));
    }
    Ok(findings)
}

/// What ld.so gives the child, or why there is no such process.
fn answers(
    scene: &Scene<'_>,
    child: &Child<'_>,
) -> Result<std::result::Result<Vec<Answer>, String>> {
    let value = |name: &str| {
        let known = child.environment.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let environment = Environment {
        library_path: value("LD_LIBRARY_PATH"),
        preload: value("LD_PRELOAD"),
        ..Environment::default()
    };
    let runner = child.ollama.library_dir.join("llama-server");
    let is_there = scene.host.open(&runner)?.is_some();
    let program = if is_there { runner } else { child.ollama.executable.to_path_buf() };
    let files = HostFiles::new(scene.host, &scene.facts.platform, false);
    let cached = Some(cache(scene.host)?);
    let platform =
        ldso::platform(scene.host, &scene.facts.platform, b"", cached, scene.host.is_running())?;
    let mut process = match Process::start(&program, &files, &platform, environment) {
        Ok(process) => process,
        Err(why) => return Ok(Err(format!("{}: {why}", program.display()))),
    };
    let backend = child.bundle.dir.join("libggml-cuda.so");
    if process.open(backend.as_os_str(), 0).object.is_none() {
        return Ok(Err(format!("{}: no library that ld.so loads", backend.display())));
    }
    // ld.so gives a backend up at the first need that is nowhere; libcuda is asked for anyway.
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"].iter().chain(&UNVERSIONED) {
        process.open(name.as_ref(), 0);
    }
    let mut found: Vec<Answer> = Vec::new();
    for resolution in process.resolutions() {
        let name = String::from_utf8_lossy(&resolution.name).into_owned();
        let is_ours = SHIMS.contains(&name.as_str()) || UNVERSIONED.contains(&name.as_str());
        if !is_ours || found.iter().any(|known| known.name == name) {
            continue;
        }
        let object = resolution.object.map(|index| &process.objects()[index]);
        let tried = resolution
            .attempts
            .iter()
            .map(|attempt| format!("{}: {}", attempt.path.display(), attempt.outcome.words()));
        found.push(Answer {
            name,
            path: object.map(|object| object.path.clone()),
            why: resolution.reason.map_or("", |reason| reason.words()),
            tried: tried.take(PLACES_MAX).collect(),
        });
    }
    Ok(Ok(found))
}

fn judge(
    scene: &Scene<'_>,
    child: &Child<'_>,
    answers: &[Answer],
    is_applied: bool,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut fine = Vec::new();
    for answer in answers {
        let Some(path) = &answer.path else {
            // A program of Ollama's asks for these at most as a second choice; that our links are
            // gone is another check's matter.
            if UNVERSIONED.contains(&answer.name.as_str()) {
                continue;
            }
            findings.push(missing(scene, child, answer, is_applied));
            continue;
        };
        let Some(file) = told(scene, path)? else { continue };
        let line = format!("{}: {} {}, by {}", answer.name, path.display(), file.words, answer.why);
        if file.kind == Kind::Ours {
            fine.push(line);
        } else {
            let finding = other(&file, answer, path).saw(line);
            findings.push(mended(finding, answer, path, child, is_applied));
        }
    }
    let dir = &child.bundle.dir;
    if findings.is_empty() {
        let cause = format!("ld.so gives our files to what runs {dir}");
        return Ok(vec![Finding::ok(cause).saw_all(fine)]);
    }
    if let (false, Some(first)) = (fine.is_empty(), findings.first_mut()) {
        first.rows.push("F28");
        first.evidence.extend(fine);
    }
    Ok(findings)
}

fn missing(scene: &Scene<'_>, child: &Child<'_>, answer: &Answer, is_applied: bool) -> Finding {
    let is_driver = answer.name.starts_with("libcuda.so") || answer.name.starts_with("libnvidia");
    let in_container = scene.facts.platform.container.is_some();
    let rows: &[&str] = match (is_driver, in_container) {
        (true, true) => &["U01", "U40"],
        (true, false) => &["U01"],
        (false, true) => &["U33", "U40"],
        (false, false) => &["U33"],
    };
    let cause = format!("{} is found nowhere by what runs {}", answer.name, child.bundle.dir);
    let finding = Finding::fail(rows, cause).saw_all(answer.tried.iter().cloned());
    if is_applied { finding.mended_by(Fix::apply()) } else { finding.remedy("vgpu-install") }
}

/// What it means that somebody else's file answers.
fn other(file: &Told, answer: &Answer, path: &Path) -> Finding {
    let name = answer.name.as_str();
    let by_path = answer.why == vgpu_loader::resolution::Reason::LibraryPath.words();
    let mut rows: Vec<&str> = Vec::new();
    let is_stub = file.kind == Kind::Stub || path.iter().any(|part| part == "stubs");
    let cause = if UNVERSIONED.contains(&name) {
        rows.push("P09");
        format!("a program that opens {name} gets another file than ours")
    } else if is_stub {
        rows.extend(["U07", "P41"]);
        format!("{name} goes to a file for linking programs, of which every call fails")
    } else if name.starts_with("libcudart") {
        rows.extend(if file.kind == Kind::Toolkit { &["U33", "U34"] } else { &["F21", "U34"] });
        format!("{name} goes to NVIDIA's runtime, which cannot run on our driver")
    } else if name.starts_with("libcublas") {
        rows.push("F75");
        format!("{name} goes to NVIDIA's cuBLAS, which cannot run on our driver")
    } else {
        format!("{name} goes to another file than ours")
    };
    if file.soname.is_none() {
        rows.push(if name.starts_with("libcuda") { "F01" } else { "F02" });
    }
    if by_path && !UNVERSIONED.contains(&name) && !rows.contains(&"F21") && !rows.contains(&"F75") {
        rows.push("F82");
    }
    Finding::fail(&rows, cause)
}

fn mended(
    finding: Finding,
    answer: &Answer,
    path: &Path,
    child: &Child<'_>,
    is_applied: bool,
) -> Finding {
    if !is_applied {
        return finding.remedy("vgpu-install");
    }
    let is_own = path.starts_with(&*child.ollama.library_dir);
    let dir = path.parent().unwrap_or(path).display();
    match child.unit {
        Some(unit) if answer.why.contains("LD_LIBRARY_PATH") && !is_own => {
            finding.remedy(format!("{}, and put {dir} after ours", unit.command("edit")))
        }
        _ => finding.mended_by(Fix::apply()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{library, machine};
    use crate::host::Host;
    use crate::plan::Scope;
    use crate::state::{self, Manifest};

    const CHECK: &str = "loader.winner";

    fn named(soname: &str) -> Vec<u8> {
        library("x.so", "int x;", &[&format!("-Wl,-soname,{soname}")])
    }

    /// A backend that needs libcuda and libcudart, and our two files for them.
    fn parts() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libcudart.so.13", "libcuda.so.1"] {
            let soname = format!("-Wl,-soname,{name}");
            super::super::tests::build(dir.path(), name, "int x;", &["-shared", &soname]);
        }
        let needs = ["-shared", "libcudart.so.13", "libcuda.so.1"];
        let backend = super::super::tests::build(dir.path(), "b.so", "int y;", &needs);
        (backend, named("libcudart.so.13"), named("libcuda.so.1"))
    }

    #[test]
    fn our_files_win_and_what_is_missing_is_named() {
        let (backend, cudart, cuda) = parts();
        let nvml = named("libnvidia-ml.so.1");
        let all: [(&str, &[u8]); 5] = [
            ("libcudart.so.13", &cudart),
            ("libcuda.so.1", &cuda),
            ("libcuda.so", &cuda),
            ("libnvidia-ml.so.1", &nvml),
            ("libnvidia-ml.so", &nvml),
        ];
        // The unversioned names are files here and not links, so they are told apart from ours.
        let found = verdicts(&examine_host(CHECK, &machine(&backend, &all)));
        assert_eq!(found, ["fail P09 F28", "fail P09"]);
        let found = verdicts(&examine_host(CHECK, &machine(&backend, &all[..1])));
        assert!(found.contains(&"fail U01 F28".to_owned()), "{found:?}");
    }

    #[test]
    fn an_ollama_without_a_unit_is_looked_at_if_any_scope_in_force_reaches_it() {
        let (backend, ..) = parts();
        let machine = machine(&backend, &[]);
        let unit = Path::new("/etc/systemd/system/ollama.service");
        machine.unlink(unit).unwrap();
        let manifest = |joined: &[Scope]| {
            let manifest = Manifest {
                schema_version: state::MANIFEST_VERSION,
                generation: 1,
                time: 1,
                program_version: String::new(),
                scope: Scope::Service,
                joined_scopes: joined.into(),
                changes: Vec::new(),
                services: Vec::new(),
                parent_times: None,
            };
            serde_json::to_vec(&manifest).unwrap()
        };
        let place = Path::new("/var/lib/vgpu/gen/1/manifest.json");
        machine.place_file(place, &manifest(&[]));
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["skipped"]);
        machine.place_file(place, &manifest(&[Scope::Bundle]));
        let found = verdicts(&examine_host(CHECK, &machine));
        assert!(found[0].starts_with("fail U"), "{found:?}");
    }

    #[test]
    fn another_runtime_a_stub_and_a_file_without_a_name_are_told_apart() {
        let (backend, cudart, cuda) = parts();
        let bare = library("x.so", "int x;", &[]);
        for (path, content, row) in [
            ("/usr/local/lib/ollama/cuda_v13/libcudart.so.13", &cudart, "fail F21 U34"),
            ("/usr/local/cuda/lib64/stubs/libcuda.so.1", &cuda, "fail U07 P41 F82"),
            ("/usr/local/cuda/lib64/stubs/libcuda.so.1", &bare, "fail U07 P41 F01 F82"),
            ("/usr/local/cuda/lib64/stubs/libnvidia-ml.so.1", &bare, "fail U07 P41 F02 F82"),
        ] {
            let machine = machine(&backend, &[]);
            let drop_in = "[Service]\nEnvironment=LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs\n";
            let place = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
            machine.place_file(Path::new(place), drop_in.as_bytes());
            machine.place_file(Path::new(path), content);
            let found = verdicts(&examine_host(CHECK, &machine));
            assert!(found.contains(&row.to_owned()), "{path}: {found:?}");
        }
    }
}
