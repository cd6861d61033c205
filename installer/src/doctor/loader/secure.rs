//! Programs and libraries that do not take what the environment says.

use std::path::{Path, PathBuf};

use vgpu_loader::Binary;

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::SHIMS;

/// Bits of a mode that let a program run with other rights: set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
const CAPABILITY: &str = "security.capability";

/// The programs of every Ollama, each once: the server, and the runners beside the libraries.
fn programs(scene: &Scene<'_>) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for ollama in &scene.facts.ollamas {
        let runner = ollama.library_dir.join("llama-server");
        for path in [ollama.executable.to_path_buf(), runner] {
            if let Some(file) = scene.host.canonical(&path)?
                && !found.contains(&file)
            {
                found.push(file);
            }
        }
    }
    Ok(found)
}

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut fine = Vec::new();
    for program in programs(scene)? {
        let shown = program.display().to_string();
        let object = scene.host.inspect(&program)?;
        let meta = object.meta().cloned().unwrap_or_default();
        let mode = meta.mode;
        let capability = meta.xattrs.get(CAPABILITY);
        if mode & SET_ID != 0 || capability.is_some() {
            let (what, remedy) = match capability {
                Some(_) => ("file capabilities", format!("setcap -r {shown}")),
                None => ("set-user-id or set-group-id", format!("chmod u-s,g-s {shown}")),
            };
            let cause = format!("{shown} has {what}: ld.so ignores LD_LIBRARY_PATH and LD_PRELOAD");
            let saw =
                format!("{shown}: mode {mode:o}, {CAPABILITY} {}", word(capability.is_some()));
            findings.push(Finding::fail(&["F30", "P10"], cause).saw(saw).remedy(remedy));
            continue;
        }
        let Some(file) = scene.host.open(&program)? else { continue };
        // What is no ELF file is another check's matter.
        let Ok(binary) = Binary::read(file.source.as_ref()) else { continue };
        let interpreter =
            binary.interpreter.map(|path| String::from_utf8_lossy(&path).into_owned());
        let Some(interpreter) = interpreter else {
            let cause = format!("{shown} is linked statically: no variable of ours reaches it");
            let saw = format!("{shown}: no PT_INTERP");
            findings.push(Finding::warn(&["P11"], cause).saw(saw).remedy("use Ollama's own build"));
            continue;
        };
        if interpreter.contains("musl") {
            let cause = format!("{shown} runs on musl, and our libraries need the GNU C library");
            let saw = format!("{shown}: PT_INTERP {interpreter}");
            findings.push(Finding::fail(&["P11"], cause).saw(saw).remedy("use Ollama's own build"));
            continue;
        }
        fine.push(format!("{shown}: mode {mode:o}, no capabilities, PT_INTERP {interpreter}"));
    }
    if findings.is_empty() {
        let cause = "Ollama's programs take LD_LIBRARY_PATH and LD_PRELOAD from the environment";
        findings.push(match fine.is_empty() {
            true => Finding::skipped("needs a program of Ollama: none was found"),
            false => Finding::ok(cause).saw_all(fine),
        });
    }
    Ok(findings)
}

fn word(is_there: bool) -> &'static str {
    if is_there { "present" } else { "absent" }
}

/// DT_RPATH is searched before LD_LIBRARY_PATH; DT_RUNPATH after it.
pub(super) fn rpath(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut files = programs(scene)?;
    for bundle in scene.facts.ollamas.iter().flat_map(|ollama| &ollama.bundles) {
        files.push(bundle.dir.join("libggml-cuda.so"));
    }
    let mut findings = Vec::new();
    let mut fine = Vec::new();
    for path in files {
        let Some(file) = scene.host.open(&path)? else { continue };
        let Ok(binary) = Binary::read(file.source.as_ref()) else { continue };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let runpath = binary.runpath.as_deref().map_or("none".into(), text);
        let Some(rpath) = binary.rpath.as_deref().map(text) else {
            fine.push(format!("{}: RPATH none, RUNPATH {runpath}", path.display()));
            continue;
        };
        let saw = format!("{}: RPATH {rpath}", path.display());
        let rivals = rivals(scene, &path, &rpath)?;
        if rivals.is_empty() {
            fine.push(saw);
            continue;
        }
        let cause = format!("the RPATH of {} finds these before any environment", path.display());
        let remedy = "use Ollama's own build, which has RUNPATH or none";
        findings.push(Finding::fail(&["P07"], cause).saw(saw).saw_all(rivals).remedy(remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("no RPATH outranks the service's environment").saw_all(fine));
    }
    Ok(findings)
}

/// Our names that lie in the directories of an RPATH, ours aside. What is preloaded is found
/// before any path, so the runtime libraries are no rivals.
fn rivals(scene: &Scene<'_>, of: &Path, rpath: &str) -> Result<Vec<String>> {
    let origin = of.parent().unwrap_or(of).to_string_lossy().into_owned();
    let mut lines = Vec::new();
    for dir in rpath.split(':').filter(|dir| !dir.is_empty()) {
        let dir = dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
        for name in
            SHIMS.iter().filter(|name| !(name.contains("cudart") || name.contains("cublas")))
        {
            let path = Path::new(&dir).join(name);
            if let Some(file) = super::told(scene, &path)?
                && file.kind != crate::facts::Kind::Ours
            {
                lines.push(format!("{} {}", path.display(), file.words));
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{build, library, machine};
    use crate::host::Host;

    #[test]
    fn plain_programs_are_fine() {
        let machine = machine(b"backend", &[]);
        assert_eq!(verdicts(&examine_host("loader.secure", &machine)), ["ok"]);
        assert_eq!(verdicts(&examine_host("loader.rpath", &machine)), ["ok"]);
    }

    #[test]
    fn capabilities_and_static_programs_are_found() {
        let server = Path::new("/usr/local/bin/ollama");
        let capable = machine(b"backend", &[]);
        capable.mark(server, "security.capability", b"x").unwrap();
        assert_eq!(verdicts(&examine_host("loader.secure", &capable)), ["fail F30 P10"]);
        let fixed = machine(b"backend", &[]);
        let dir = tempfile::tempdir().unwrap();
        let program = build(dir.path(), "p", "void _start(void) {}", &["-static", "-no-pie"]);
        fixed.place_file(server, &program);
        assert_eq!(verdicts(&examine_host("loader.secure", &fixed)), ["warn P11"]);
    }

    #[test]
    fn an_rpath_with_a_driver_in_it_is_found() {
        let arguments = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../own"];
        let backend = library("b.so", "int y;", &arguments);
        let machine = machine(&backend, &[]);
        assert_eq!(verdicts(&examine_host("loader.rpath", &machine)), ["ok"]);
        let driver = library("c.so", "int x;", &["-Wl,-soname,libcuda.so.1"]);
        machine.place_file(Path::new("/usr/local/lib/ollama/own/libcuda.so.1"), &driver);
        assert_eq!(verdicts(&examine_host("loader.rpath", &machine)), ["fail P07"]);
    }
}
