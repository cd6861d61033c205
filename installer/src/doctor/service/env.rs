//! Variables of the service that decide whether, and where, Ollama looks for a GPU.

use std::path::Path;

use super::super::scene::value;
use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Ollama, SHIMS, Unit, Variable};
use crate::plan::AUTOMATIC;

/// Work-arounds for functions that an incomplete library lacks; ours has them.
const WORK_AROUNDS: [(&str, &str); 4] = [
    ("GGML_CUDA_DISABLE_GRAPHS", "1"),
    ("GGML_CUDA_NO_VMM", "1"),
    ("GGML_CUDA_NO_PINNED", "1"),
    ("OLLAMA_FLASH_ATTENTION", "0"),
];
/// Kinds of memory that a guest and its host cannot share.
const SHARED_MEMORY: [&str; 2] = ["GGML_CUDA_ENABLE_UNIFIED_MEMORY", "GGML_CUDA_REGISTER_HOST"];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if scene.facts.units.is_empty() {
        return Ok(super::no_unit());
    }
    let mut findings = Vec::new();
    for unit in scene.facts.units.iter().filter(|unit| !unit.masked) {
        let environment = scene.environment(unit)?;
        let mut found = Vec::new();
        found.extend(visible(&environment));
        found.extend(library_choice(scene, unit, &environment)?);
        found.extend(library_path(scene, &environment)?);
        found.extend(switches(&environment));
        let unset = |finding: Finding| match finding.remedy {
            Some(_) => finding,
            None => finding.remedy(format!("take it out of that file; then {}", unit.taken_up())),
        };
        findings.extend(found.into_iter().map(unset));
        for file in unit.environment_files.iter().filter(|file| !file.read && !file.optional) {
            let cause = format!("an environment file of {} was not read", unit.name);
            findings.push(Finding::warn(&[], cause).saw(file.path.to_string()));
        }
    }
    Ok(findings)
}

fn shown(variable: &Variable) -> String {
    format!("{}: {}={}", variable.set_by, variable.name, variable.value)
}

fn visible(environment: &[Variable]) -> Option<Finding> {
    let set = value(environment, "CUDA_VISIBLE_DEVICES")?;
    let hides = set.value.is_empty() || set.value.starts_with('-');
    let rows = &["F20", "U15"];
    Some(if hides {
        Finding::fail(rows, "CUDA_VISIBLE_DEVICES hides every GPU from Ollama").saw(shown(set))
    } else {
        let cause = "CUDA_VISIBLE_DEVICES chooses which GPU Ollama sees";
        Finding::warn(rows, cause).saw(shown(set))
    })
}

/// The variables by which Ollama chooses a backend's directory.
fn library_choice(
    scene: &Scene<'_>,
    unit: &Unit,
    environment: &[Variable],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if let Some(set) = value(environment, "OLLAMA_LIBRARY_PATH") {
        let dirs: Vec<&str> = set.value.split(':').collect();
        let is_cuda = |dir: &&str| {
            dir.trim_end_matches('/').rsplit('/').next().is_some_and(|n| n.starts_with("cuda_v"))
        };
        let first_cuda = dirs.iter().position(is_cuda);
        findings.push(match first_cuda {
            Some(0) => {
                let cause = "OLLAMA_LIBRARY_PATH was set by hand; Ollama finds its own by itself";
                Finding::warn(&["F16"], cause).saw(shown(set))
            }
            _ => {
                let cause = "OLLAMA_LIBRARY_PATH names another directory before that of CUDA";
                Finding::fail(&["F17", "F16"], cause).saw(shown(set))
            }
        });
    }
    if let Some(set) = value(environment, "OLLAMA_LLM_LIBRARY").filter(|set| !set.value.is_empty())
    {
        let mut names = Vec::new();
        for ollama in of_unit(scene, unit)? {
            for name in scene.host.list(&ollama.library_dir)? {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        let names: Vec<String> = names.into_iter().filter(|name| !name.contains(".so")).collect();
        if !names.contains(&set.value) {
            let cause = "OLLAMA_LLM_LIBRARY names no directory of this Ollama: all are skipped";
            let saw = format!("directories: {}", names.join(", "));
            findings.push(Finding::fail(&["U16", "F19"], cause).saw(shown(set)).saw(saw));
        } else if !set.value.starts_with("cuda") {
            let cause = "OLLAMA_LLM_LIBRARY chooses a backend without CUDA";
            findings.push(Finding::fail(&["F19"], cause).saw(shown(set)));
        }
    }
    Ok(findings)
}

fn of_unit<'a>(scene: &Scene<'a>, unit: &Unit) -> Result<Vec<&'a Ollama>> {
    let program = match &unit.executable {
        Some(path) => scene.host.canonical(path)?,
        None => None,
    };
    let all = &scene.facts.ollamas;
    let own = all.iter().filter(|ollama| Some(&*ollama.executable) == program.as_deref());
    Ok(own.collect())
}

/// A directory before ours that has libraries under our names.
fn library_path(scene: &Scene<'_>, environment: &[Variable]) -> Result<Vec<Finding>> {
    let Some(set) = value(environment, "LD_LIBRARY_PATH") else { return Ok(Vec::new()) };
    let ours: &Path = &scene.facts.shims.dir;
    let mut findings = Vec::new();
    for dir in set.value.split([':', ';']).filter(|dir| !dir.is_empty()) {
        if scene.host.canonical(Path::new(dir))?.is_some_and(|dir| dir == *ours) {
            break;
        }
        for name in SHIMS {
            let path = Path::new(dir).join(name);
            if let Some(file) = scene.host.open(&path)? {
                let (dev, inode) = file.identity;
                let cause = format!("LD_LIBRARY_PATH finds another {name} before ours");
                let saw = format!("{} ({dev:x}:{inode})", path.display());
                findings.push(Finding::fail(&["F82"], cause).saw(shown(set)).saw(saw));
            }
        }
    }
    Ok(findings)
}

fn switches(environment: &[Variable]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, wrong) in WORK_AROUNDS {
        if let Some(set) = value(environment, name).filter(|set| set.value == wrong) {
            let cause = format!("{name} is a work-around that costs speed and is not needed");
            findings.push(Finding::warn(&["F84"], cause).saw(shown(set)));
        }
    }
    for name in SHARED_MEMORY {
        if let Some(set) = value(environment, name).filter(|set| set.value != "0") {
            let cause = format!("{name} asks for memory that guest and host cannot share");
            findings.push(Finding::fail(&["U26"], cause).saw(shown(set)));
        }
    }
    if let Some(set) = value(environment, "OLLAMA_IGPU_ENABLE").filter(|set| set.value == "0") {
        let cause = "OLLAMA_IGPU_ENABLE=0 drops a GPU that calls itself integrated";
        findings.push(Finding::warn(&["U20"], cause).saw(shown(set)));
    }
    if let Some(set) = value(environment, "VGPU_LINK") {
        let is_link = set.value == AUTOMATIC || set.value.parse::<vgpu_link::Uri>().is_ok();
        if !(set.value.is_empty() || is_link) {
            let cause = "VGPU_LINK names no link, which switches our libraries off";
            findings.push(Finding::fail(&["P51"], cause).saw(shown(set)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{DROP_IN, with};

    const DIR: &str = "/etc/systemd/system/ollama.service.d";

    /// What a drop-in of somebody's with these variables gives.
    fn found(variables: &str) -> Vec<String> {
        let file = format!(
            "file {DIR}/60-own.conf [Service]\\nEnvironment={variables}\\n
             dir /usr/local/lib/ollama/cpu_avx2
             file /usr/local/cuda/lib64/libcuda.so.1 theirs"
        );
        verdicts(&examine_host("service.env", &with(&[DROP_IN, &file], &[])))
    }

    #[test]
    fn each_variable_that_hinders_is_named() {
        for (variables, expected) in [
            ("CUDA_VISIBLE_DEVICES=-1", "fail F20 U15"),
            ("CUDA_VISIBLE_DEVICES=0", "warn F20 U15"),
            ("OLLAMA_LIBRARY_PATH=/x/ollama:/x/ollama/cuda_v12", "fail F17 F16"),
            ("OLLAMA_LIBRARY_PATH=/x/ollama/cuda_v12:/x/ollama", "warn F16"),
            ("OLLAMA_LLM_LIBRARY=cuda_v11", "fail U16 F19"),
            ("OLLAMA_LLM_LIBRARY=cpu_avx2", "fail F19"),
            ("LD_LIBRARY_PATH=/usr/local/cuda/lib64", "fail F82"),
            ("GGML_CUDA_DISABLE_GRAPHS=1", "warn F84"),
            ("OLLAMA_FLASH_ATTENTION=0", "warn F84"),
            ("GGML_CUDA_ENABLE_UNIFIED_MEMORY=1", "fail U26"),
            ("GGML_CUDA_REGISTER_HOST=1", "fail U26"),
            ("OLLAMA_IGPU_ENABLE=0", "warn U20"),
            ("VGPU_LINK=off", "fail P51"),
        ] {
            assert_eq!(found(variables), [expected], "{variables}");
        }
    }

    #[test]
    fn variables_that_hinder_nothing_are_fine() {
        for variables in
            ["OLLAMA_HOST=0.0.0.0", "OLLAMA_LLM_LIBRARY=cuda_v13", "VGPU_LINK=unix:/x", "A=b"]
        {
            assert_eq!(found(variables), ["ok"], "{variables}");
        }
    }
}
