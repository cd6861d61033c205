//! LD_PRELOAD: what the unit names, and what its processes got.

use std::path::Path;

use super::super::scene::value;
use super::super::{Finding, Fix, Scene};
use super::told;
use crate::error::Result;
use crate::facts::{Kind, SHIMS, Unit};

const NAME: &str = "LD_PRELOAD";

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if scene.facts.units.is_empty() {
        return Ok(vec![Finding::skipped("needs a unit of Ollama: none was found")]);
    }
    let mut findings = Vec::new();
    for unit in scene.facts.units.iter().filter(|unit| !unit.masked) {
        let environment = scene.environment(unit)?;
        let Some(set) = value(&environment, NAME) else {
            let cause = format!("{} preloads nothing", unit.name);
            findings.push(Finding::ok(cause));
            continue;
        };
        let mut fine = Vec::new();
        let mut bad = Vec::new();
        for entry in set.value.split([':', ' ']).filter(|entry| !entry.is_empty()) {
            match judge(scene, entry)? {
                Ok(line) => fine.push(line),
                Err(finding) => bad.push(finding.saw(format!("{}: {NAME}", set.set_by))),
            }
        }
        bad.extend(reached(scene, unit, &set.value)?);
        if bad.is_empty() {
            let cause = format!("LD_PRELOAD of {} names files by their paths", unit.name);
            bad.push(Finding::ok(cause).saw_all(fine));
        }
        findings.extend(bad);
    }
    Ok(findings)
}

fn judge(scene: &Scene<'_>, entry: &str) -> Result<std::result::Result<String, Finding>> {
    if entry.contains('%') {
        return Ok(Ok(format!("{entry}: only systemd knows its specifiers")));
    }
    if !entry.contains('/') {
        let cause =
            format!("LD_PRELOAD names {entry} without a path: Ollama's own copy is found first");
        return Ok(Err(Finding::fail(&["P43"], cause).mended_by(Fix::apply())));
    }
    let Some(file) = told(scene, Path::new(entry))? else {
        let cause = "LD_PRELOAD names a file that is not there";
        let saw = format!("{entry}: no such file (ENOENT)");
        return Ok(Err(Finding::fail(&["F09"], cause).saw(saw).mended_by(Fix::apply())));
    };
    let line = format!("{entry} {}", file.words);
    let is_name_of_ours = file.soname.as_deref().is_some_and(|soname| SHIMS.contains(&soname));
    if is_name_of_ours && file.kind != Kind::Ours {
        let cause = "LD_PRELOAD names a library of NVIDIA's in place of ours";
        return Ok(Err(Finding::fail(&["F08"], cause).saw(line).mended_by(Fix::apply())));
    }
    Ok(Ok(line))
}

/// The processes of a unit must have what the unit says: something between may have taken it.
fn reached(scene: &Scene<'_>, unit: &Unit, wanted: &str) -> Result<Vec<Finding>> {
    let Ok(shown) = scene.shown(&unit.name, &unit.manager)? else { return Ok(Vec::new()) };
    let Some(main) = shown.number("MainPID") else { return Ok(Vec::new()) };
    let all = &scene.processes()?.all;
    let environment = |pid: u64| -> Result<Option<String>> {
        let Some(process) = all.iter().find(|known| u64::from(known.pid) == pid) else {
            return Ok(None);
        };
        let pairs = process.environment(scene.host)?.unwrap_or_default();
        Ok(pairs.into_iter().find(|(name, _)| name == NAME).map(|(_, value)| value))
    };
    // A server from before the change is another check's matter.
    if environment(main)?.as_deref() != Some(wanted) {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for child in all.iter().filter(|process| u64::from(process.parent) == main) {
        let got = environment(child.pid.into())?;
        if got.as_deref() != Some(wanted) {
            let cause = "something between Ollama's server and its runner takes LD_PRELOAD away";
            let finding = Finding::fail(&["F04"], cause)
                .saw(format!("{}: {NAME}={}", child.words(), got.as_deref().unwrap_or("not set")))
                .saw(format!("process {main}: {NAME}={wanted}"));
            let remedy = "use Ollama's own program, without a wrapper or patch";
            findings.push(finding.remedy(remedy));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{library, machine};
    use crate::host::memory::Memory;
    use crate::host::{Host, Outcome};

    const CHECK: &str = "loader.preload";
    const OURS: &str = "/usr/lib/x86_64-linux-gnu/vgpu/libcudart.so.13";

    fn preloading(value: &str) -> Memory {
        let cudart = library("x.so", "int x;", &["-Wl,-soname,libcudart.so.13"]);
        let machine = machine(b"backend", &[("libcudart.so.13", &cudart)]);
        let place = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
        let text = format!("[Service]\nEnvironment=\"LD_PRELOAD={value}\"\n");
        machine.place_file(Path::new(place), text.as_bytes());
        machine.place_file(Path::new("/opt/libcudart.so.13"), &cudart);
        machine.place_file(Path::new("/opt/libjem.so"), &library("j.so", "int j;", &[]));
        machine
    }

    #[test]
    fn each_entry_is_judged_by_what_it_is() {
        for (value, expected) in [
            (OURS, "ok"),
            (&format!("{OURS}:/opt/libjem.so"), "ok"),
            ("libcudart.so.13", "fail P43"),
            ("/gone/libcudart.so.13", "fail F09"),
            ("/opt/libcudart.so.13", "fail F08"),
        ] {
            assert_eq!(verdicts(&examine_host(CHECK, &preloading(value))), [expected], "{value}");
        }
    }

    #[test]
    fn a_runner_that_lost_the_variable_is_found() {
        let machine = preloading(OURS);
        for (pid, parent, value) in [(42, 1, OURS), (43, 42, "")] {
            let dir = Path::new("/proc").join(pid.to_string());
            machine.place_file(&dir.join("stat"), b"");
            machine.make_link(&dir.join("exe"), Path::new("/usr/local/bin/ollama")).unwrap();
            let stat = format!("{pid} (ollama) S {parent} 0");
            machine.place_file(&dir.join("stat"), stat.as_bytes());
            let environment = format!("A=b\0LD_PRELOAD={value}\0");
            machine.place_file(&dir.join("environ"), environment.as_bytes());
        }
        machine.place_file(Path::new("/usr/bin/systemctl"), b"elf");
        let stdout = b"MainPID=42\nActiveState=active\n".to_vec();
        let outcome = Outcome { status: Some(0), stdout, ..Outcome::default() };
        let machine = machine.running().with_systemd().answering("-- ollama.service", outcome);
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["fail F04"]);
    }
}
