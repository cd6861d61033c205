//! Which units there are, which of them serves, and what each one starts.

use std::path::Path;

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Manager, Running, Unit};

/// Where systemd's units of snaps lie.
const SNAP_DIR: &str = "/etc/systemd/system";
/// systemd's status of a service whose mounts could not be made (systemd.exec(5)).
const NAMESPACE: u64 = 226;

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let units = &scene.facts.units;
    let mut findings = snaps(scene)?;
    if units.is_empty() {
        findings.push(if scene.facts.ollamas.is_empty() {
            Finding::skipped("needs an Ollama: see ollama.install")
        } else {
            let places = scene.facts.ollamas.iter().map(|ollama| ollama.executable.to_string());
            Finding::warn(&[], "no unit starts an Ollama that is here")
                .saw_all(places)
                .remedy("vgpu-install --scope bundle")
        });
    }
    let mut lines = Vec::new();
    for unit in units {
        lines.push(about(scene, unit)?);
        findings.extend(judge(scene, unit)?);
    }
    if units.iter().filter(|unit| !unit.masked).count() > 1 {
        let cause = "several units could serve Ollama; one port has room for one of them";
        let commands = units.iter().filter(|unit| !unit.masked);
        let commands: Vec<String> = commands.map(|unit| unit.command("disable --now")).collect();
        let remedy = format!("the one that is not used: {}", commands.join(", or "));
        lines.extend(scene.facts.running.iter().map(Running::describe));
        findings.push(Finding::warn(&["P45"], cause).saw_all(lines).remedy(remedy));
    } else if findings.is_empty() {
        findings.push(Finding::ok("one unit starts Ollama's own program").saw_all(lines));
    }
    Ok(findings)
}

fn about(scene: &Scene<'_>, unit: &Unit) -> Result<String> {
    let program = unit.executable.as_ref().map_or("nothing".into(), ToString::to_string);
    let state = match scene.shown(&unit.name, &unit.manager)? {
        Ok(shown) => {
            format!("{}, main process {}", shown.text("ActiveState"), shown.text("MainPID"))
        }
        Err(needs) => format!("whether it runs {needs}"),
    };
    let manager = match &unit.manager {
        Manager::System => String::new(),
        Manager::User(user) => format!(" of user {user}"),
    };
    let owner = scene.owner(&unit.fragment)?;
    let (name, file) = (&unit.name, &unit.fragment);
    Ok(format!("{name}{manager}: {file} (package {owner}), starts {program}, {state}"))
}

/// Units of snaps, which no file of ours reaches.
fn snaps(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in scene.host.list(Path::new(SNAP_DIR))? {
        let Some(name) = name.to_str() else { continue };
        if !(name.starts_with("snap.ollama.") && name.ends_with(".service")) {
            continue;
        }
        let shown = scene.shown(name, &Manager::System)?;
        let serves = scene.facts.running.iter().any(|one| one.unit.as_deref() == Some(name));
        let (rows, saw): (&[&str], _) = (&["F07", "U09"], Path::new(SNAP_DIR).join(name));
        let remedy =
            "snap remove ollama && curl -fsSL https://ollama.com/install.sh | sh && vgpu-install";
        let finding = if serves || shown.is_ok_and(|shown| shown.is_active()) {
            Finding::fail(rows, "the Ollama that serves is a snap's, which takes no libraries")
        } else {
            Finding::warn(rows, "a snap's Ollama is installed, which takes no libraries")
        };
        findings.push(finding.saw(saw.display().to_string()).remedy(remedy));
    }
    Ok(findings)
}

fn judge(scene: &Scene<'_>, unit: &Unit) -> Result<Vec<Finding>> {
    let name = &unit.name;
    if unit.masked {
        let cause = format!("{name} is masked and cannot be started");
        let remedy = unit.command("unmask");
        let saw = format!("{} leads to /dev/null", unit.fragment);
        return Ok(vec![Finding::warn(&[], cause).saw(saw).remedy(remedy)]);
    }
    let mut findings = Vec::new();
    findings.extend(program(scene, unit)?);
    findings.extend(mounts(scene, unit)?);
    Ok(findings)
}

fn program(scene: &Scene<'_>, unit: &Unit) -> Result<Option<Finding>> {
    let Some(path) = &unit.executable else {
        let cause = format!("{} starts nothing", unit.name);
        return Ok(Some(Finding::fail(&[], cause).saw(unit.fragment.to_string())));
    };
    let Some(file) = scene.host.open(path)? else {
        let cause = format!("{} starts a program that is not there", unit.name);
        let remedy = format!("{}, and name the program in ExecStart=", unit.command("edit"));
        return Ok(Some(
            Finding::fail(&[], cause).saw(format!("{path}: no such file")).remedy(remedy),
        ));
    };
    let is_script = file.source.read_at(0, 2).is_some_and(|start| start == b"#!");
    // Distributions wrap programs, too; those wrappers belong to a package.
    if !is_script || scene.owner(path)? != "none" && scene.host.is_running() {
        return Ok(None);
    }
    let homes = path.starts_with("/home") || path.starts_with("/root");
    let hidden = homes && unit.settings.iter().any(|setting| setting.name == "ProtectHome");
    let cause = if hidden {
        format!("{} starts a script that ProtectHome= hides from it", unit.name)
    } else {
        format!("{} starts a script instead of Ollama's own program", unit.name)
    };
    let saw = format!("{path}: a script, of no package");
    let remedy = format!("{} && vgpu-install", unit.command("revert"));
    let finding =
        if hidden { Finding::fail(&["F14"], cause) } else { Finding::warn(&["F14"], cause) };
    Ok(Some(finding.saw(saw).remedy(remedy)))
}

/// A mount of somebody's whose source or target is gone keeps the unit from starting.
fn mounts(scene: &Scene<'_>, unit: &Unit) -> Result<Option<Finding>> {
    let mut lines = Vec::new();
    for setting in unit.settings.iter().filter(|setting| setting.name.starts_with("Bind")) {
        for entry in crate::unit_file::words(&setting.value) {
            if entry.starts_with('-') || entry.contains('%') {
                continue;
            }
            let source = entry.split(':').next().unwrap_or_default();
            if scene.host.canonical(Path::new(source))?.is_none() {
                lines.push(format!(
                    "{}: {}={entry}: {source} is gone",
                    setting.set_by, setting.name
                ));
            }
        }
    }
    let shown = scene.shown(&unit.name, &unit.manager)?.unwrap_or_default();
    let failed = shown.number("ExecMainStatus") == Some(NAMESPACE);
    if failed {
        lines.push(format!("{}: status 226/NAMESPACE at its last start", unit.name));
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let cause = format!("{} does not start: a mount that it asks for leads nowhere", unit.name);
    let remedy = format!("take that line out of the file; then {}", unit.taken_up());
    Ok(Some(Finding::fail(&["P54"], cause).saw_all(lines).remedy(remedy)))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, examine_host, verdicts};
    use super::super::tests::{MACHINE, with};

    const CHECK: &str = "service.unit";

    #[test]
    fn one_unit_with_ollamas_program_is_fine() {
        let found = examine(CHECK, MACHINE);
        assert_eq!(verdicts(&found), ["ok"]);
        assert!(found[0].evidence[0].contains("starts /usr/local/bin/ollama"), "{found:?}");
    }

    #[test]
    fn nothing_that_serves_is_said() {
        assert_eq!(verdicts(&examine(CHECK, "dir /etc")), ["skipped"]);
        let program =
            "file /usr/local/bin/ollama x\nfile /usr/local/lib/ollama/cuda_v13/libggml-cuda.so b";
        assert_eq!(verdicts(&examine(CHECK, program)), ["warn"]);
    }

    #[test]
    fn a_snap_that_serves_fails_and_one_that_only_lies_there_warns() {
        let snap = "file /etc/systemd/system/snap.ollama.listener.service [Service]";
        assert_eq!(verdicts(&examine_host(CHECK, &with(&[snap], &[]))), ["warn F07 U09"]);
        let shown = [("snap.ollama.listener.service", "ActiveState=active\n")];
        assert_eq!(verdicts(&examine_host(CHECK, &with(&[snap], &shown))), ["fail F07 U09"]);
    }

    #[test]
    fn a_script_and_a_mount_that_leads_nowhere_are_found() {
        let unit = "file /etc/systemd/system/ollama.service [Service]\\nExecStart=/opt/run.sh\\n\
                    BindReadOnlyPaths=/gone/lib:/usr/lib -/also/gone\\n
                    file /opt/run.sh #!/bin/sh";
        let found = examine_host(CHECK, &with(&[unit], &[]));
        assert_eq!(verdicts(&found), ["warn F14", "fail P54"]);
        assert_eq!(found[1].evidence.len(), 1, "{found:?}");
        let shown = [("ollama.service", "ExecMainStatus=226\nActiveState=failed\n")];
        assert_eq!(verdicts(&examine_host(CHECK, &with(&[], &shown))), ["fail P54"]);
    }

    #[test]
    fn a_second_unit_that_could_serve_is_told_with_both_names() {
        let second = "file /etc/systemd/system/llm.service [Service]\\n\
                      ExecStart=/usr/local/bin/ollama serve";
        let found = examine_host(CHECK, &with(&[second], &[]));
        assert_eq!(verdicts(&found), ["warn P45"]);
        let remedy = found[0].remedy.as_deref().unwrap();
        assert!(remedy.contains("disable --now llm.service"), "{remedy}");
        assert!(remedy.contains("disable --now ollama.service"), "{remedy}");
    }
}
