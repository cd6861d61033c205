//! Our drop-in: is it there, does systemd take it, and does nothing after it undo it?

use std::collections::BTreeMap;

use super::super::scene::InForce;
use super::super::{Finding, Fix, Scene};
use crate::discover::text;
use crate::error::Result;
use crate::facts::Unit;
use crate::location::Location;
use crate::plan::Scope;
use crate::unit_file::{assignments, words};

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let in_force = scene.in_force()?;
    if scene.facts.units.is_empty() {
        return Ok(super::no_unit());
    }
    let is_bundle = |all: &InForce| all.scopes.iter().all(|scope| *scope == Scope::Bundle);
    if in_force.as_ref().is_some_and(is_bundle) {
        return Ok(vec![Finding::ok("scope bundle is in force, which needs no drop-in")]);
    }
    let mut findings = Vec::new();
    for unit in scene.facts.units.iter().filter(|unit| !unit.masked) {
        let ours = text(scene.host, &unit.drop_in_path)?;
        if unit.drop_in.is_absent() {
            let saw = format!("{}: nothing lies there", unit.drop_in_path);
            findings.push(match &in_force {
                Some(last) => {
                    let cause = format!("our drop-in of {} is gone since", unit.name);
                    let saw_too = format!("generation {} is in force", last.generation);
                    Finding::fail(&["F06", "U10"], cause)
                        .saw(saw)
                        .saw(saw_too)
                        .mended_by(Fix::apply())
                }
                None => {
                    let cause =
                        format!("nothing was applied: {} runs without our libraries", unit.name);
                    Finding::fail(&[], cause).saw(saw).remedy("vgpu-install")
                }
            });
            continue;
        }
        findings.extend(effect(scene, unit, &ours)?);
        findings.extend(twice(scene, unit)?);
    }
    Ok(findings)
}

/// Name and value of what our drop-in sets.
fn variables(ours: &str) -> BTreeMap<String, String> {
    let lines = assignments(ours).into_iter().filter(|line| line.key == "Environment");
    let words = lines.flat_map(|line| words(&line.value));
    let pairs = words.filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn effect(scene: &Scene<'_>, unit: &Unit, ours: &str) -> Result<Vec<Finding>> {
    let set = variables(ours);
    if !set.contains_key("LD_LIBRARY_PATH") {
        let cause = format!("the drop-in of {} sets nothing of ours", unit.name);
        let saw = format!("{}: {} assignments", unit.drop_in_path, assignments(ours).len());
        return Ok(vec![Finding::fail(&["F06"], cause).saw(saw).mended_by(Fix::apply())]);
    }
    let mut findings = Vec::new();
    for later in &unit.outranking {
        let whole = (later.name.as_str(), later.value.as_str()) == ("Environment", "");
        let mine = set.get(&later.name).map(String::as_str);
        let keeps = mine.is_some_and(|mine| later.value.starts_with(mine));
        if whole || mine.is_some() && !keeps {
            let cause = format!("{} undoes our {} after us", later.set_by, later.name);
            let saw = format!("{}: {}={}", later.set_by, later.name, later.value);
            let remedy = format!(
                "mv {} to a name that sorts before 50-vgpu.conf, then vgpu-install: it is merged",
                later.set_by
            );
            findings.push(Finding::fail(&["P44"], cause).saw(saw).remedy(remedy));
        }
    }
    let Ok(shown) = scene.shown(&unit.name, &unit.manager)? else { return Ok(findings) };
    // What systemd has not read yet is another check's matter.
    if shown.text("NeedDaemonReload") == "yes" || !findings.is_empty() {
        return Ok(findings);
    }
    let path = unit.drop_in_path.to_string();
    let is_read = words(shown.text("DropInPaths")).contains(&path);
    let directory = scene.facts.shims.dir.to_string();
    let has_effect = words(shown.text("Environment")).iter().any(|word| {
        let value = word.strip_prefix("LD_LIBRARY_PATH=");
        value.is_some_and(|value| value.split(':').next() == Some(&directory))
    });
    if !(is_read && has_effect) {
        let cause = format!("systemd starts {} without what our drop-in sets", unit.name);
        let finding = Finding::fail(&["F06"], cause)
            .saw(format!("DropInPaths={}", shown.text("DropInPaths")))
            .saw(format!("FragmentPath={}", shown.text("FragmentPath")))
            .mended_by(Fix::reload(unit));
        findings.push(finding);
    }
    Ok(findings)
}

/// Variables that two files of others set: the last one counts, and nobody sees that.
fn twice(scene: &Scene<'_>, unit: &Unit) -> Result<Vec<Finding>> {
    let mut set_by: BTreeMap<String, Vec<Location>> = BTreeMap::new();
    let files = std::iter::once(&unit.fragment).chain(&unit.drop_ins);
    for file in files.filter(|file| **file != unit.drop_in_path) {
        for line in assignments(&text(scene.host, file)?) {
            if (line.section.as_str(), line.key.as_str()) != ("Service", "Environment") {
                continue;
            }
            for word in words(&line.value) {
                let name = word.split('=').next().unwrap_or_default().to_owned();
                if ["LD_", "OLLAMA_", "CUDA_", "GGML_"].iter().any(|part| name.starts_with(part)) {
                    set_by.entry(name).or_default().push(file.clone());
                }
            }
        }
    }
    let several = set_by.into_iter().filter(|(_, files)| files.len() > 1);
    Ok(several
        .map(|(name, files)| {
            let cause =
                format!("{name} of {} is set more than once; the last one counts", unit.name);
            let lines = files.iter().map(ToString::to_string);
            let remedy = format!("keep one of them; then {}", unit.taken_up());
            Finding::warn(&["F13"], cause).saw_all(lines).remedy(remedy)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::package::tests::applied_all;
    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{DROP_IN, with};
    use crate::host::Host;
    use crate::plan::Scope;

    const CHECK: &str = "service.dropin";
    const D: &str = "file /etc/systemd/system/ollama.service.d";

    fn found(parts: &[&str], shown: &[(&str, &str)]) -> Vec<String> {
        verdicts(&examine_host(CHECK, &with(parts, shown)))
    }

    #[test]
    fn a_drop_in_that_is_gone_is_found_beside_a_later_scope_that_needs_none() {
        let machine = applied_all(&[Scope::Service, Scope::Bundle]);
        machine.unlink(Path::new("/etc/systemd/system/ollama.service.d/50-vgpu.conf")).unwrap();
        let found = examine_host("service.dropin", &machine);
        assert_eq!(verdicts(&found), ["fail F06 U10"]);
        let remedy = "vgpu-install && vgpu-install --scope bundle";
        assert_eq!(found[0].remedy.as_deref(), Some(remedy));
    }

    #[test]
    fn a_drop_in_that_nothing_outranks_is_fine() {
        assert_eq!(found(&[DROP_IN], &[]), ["ok"]);
        let live = [(
            "ollama.service",
            "NeedDaemonReload=no\nDropInPaths=/etc/systemd/system/ollama.service.d/50-vgpu.conf\n\
             Environment=A=b LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/vgpu:/x\n",
        )];
        assert_eq!(found(&[DROP_IN], &live), ["ok"]);
    }

    #[test]
    fn a_drop_in_without_effect_is_found_by_its_text_and_by_systemds_word() {
        assert_eq!(found(&[&format!("{D}/50-vgpu.conf [Service]\\n")], &[]), ["fail F06"]);
        let live = [("ollama.service", "NeedDaemonReload=no\nDropInPaths=\nEnvironment=\n")];
        assert_eq!(found(&[DROP_IN], &live), ["fail F06"]);
        assert_eq!(found(&[], &[]), ["fail"]);
    }

    #[test]
    fn a_later_drop_in_that_replaces_our_variable_is_named() {
        let later = format!("{D}/override.conf [Service]\\nEnvironment=LD_LIBRARY_PATH=/opt\\n");
        let findings = examine_host(CHECK, &with(&[DROP_IN, &later], &[]));
        assert_eq!(verdicts(&findings), ["fail P44"]);
        assert!(findings[0].evidence[0].ends_with("override.conf: LD_LIBRARY_PATH=/opt"));
        let before = format!("{D}/40-own.conf [Service]\\nEnvironment=LD_LIBRARY_PATH=/opt\\n");
        assert_eq!(found(&[DROP_IN, &before], &[]), ["ok"]);
    }

    #[test]
    fn a_variable_that_two_files_set_is_found() {
        let one = format!("{D}/10-a.conf [Service]\\nEnvironment=OLLAMA_LIBRARY_PATH=/a\\n");
        let two = format!("{D}/20-b.conf [Service]\\nEnvironment=OLLAMA_LIBRARY_PATH=/b\\n");
        assert_eq!(found(&[DROP_IN, &one, &two], &[]), ["warn F13"]);
    }
}
