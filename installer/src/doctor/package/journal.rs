//! Unfinished changes, other installers at work, and how much is remembered.

use std::path::Path;

use super::super::{Finding, Fix, Scene};
use crate::error::Result;
use crate::{gc, recover, state};

/// Locks of installers: ours, and those of the package managers.
const LOCKS: [(&str, &str); 4] = [
    ("/run/vgpu/lock", "another vgpu-install"),
    ("/var/lib/dpkg/lock-frontend", "apt or dpkg"),
    ("/var/lib/rpm/.rpm.lock", "dnf or rpm"),
    ("/var/lib/pacman/db.lck", "pacman"),
];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let holders = holders(scene)?;
    let is_ours = holders.iter().any(|line| line.contains("vgpu-install"));
    if !holders.is_empty() {
        let cause = "another installer is at work; what it changes may look wrong meanwhile";
        let remedy = "wait for it to end; vgpu-install --wait-lock SECONDS waits for another";
        findings.push(Finding::warn(&["P34"], cause).saw_all(holders).remedy(remedy));
    }
    if let Some(what) = recover::interrupted(scene.host)?.filter(|_| !is_ours) {
        let cause = "an earlier run was interrupted";
        let finding = Finding::fail(&["F43", "P32", "P33"], cause).saw(what);
        findings.push(finding.mended_by(Fix::Recover));
    }
    let generations = state::generations(scene.host)?;
    let count = generations.len();
    if count as u64 > gc::KEPT {
        let cause = "more generations are kept than are of use";
        let saw = format!("{count} generations in {}", state::DIR);
        findings.push(Finding::warn(&["P53"], cause).saw(saw).remedy("vgpu-install gc"));
    }
    if findings.is_empty() {
        let saw = match generations.last() {
            Some(last) => format!("generation {} is in force, of {count} kept", last.generation),
            None => "no generation is in force".into(),
        };
        findings.push(Finding::ok("no change is unfinished").saw(saw));
    }
    Ok(findings)
}

/// Who holds one of the locks, from the kernel's own list (proc(5), `/proc/locks`).
fn holders(scene: &Scene<'_>) -> Result<Vec<String>> {
    let text = scene.host.kernel_text(Path::new("/proc/locks"))?.unwrap_or_default();
    let mut lines = Vec::new();
    for (path, who) in LOCKS {
        let Some(file) = scene.host.open(Path::new(path))? else { continue };
        let inode = format!(":{}", file.identity.1);
        for line in text.lines() {
            // 1: FLOCK  ADVISORY  WRITE 999 00:19:1234 0 EOF; a waiting one has an arrow.
            let fields: Vec<&str> = line.split_whitespace().filter(|word| *word != "->").collect();
            let (Some(pid), Some(place)) = (fields.get(4), fields.get(5)) else { continue };
            if place.ends_with(&inode) {
                lines.push(format!("{path}: held by process {pid} ({who})"));
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine_host, verdicts};
    use crate::host::Host;
    use crate::host::memory::Memory;
    use crate::plan::Scope;
    use crate::state::Manifest;
    use crate::{gc, state};

    const CHECK: &str = "package.journal";

    #[test]
    fn an_untouched_machine_is_fine() {
        assert_eq!(verdicts(&examine_host(CHECK, &Memory::described("dir /var/lib"))), ["ok"]);
    }

    #[test]
    fn what_an_interrupted_run_left_is_found_with_its_remedy() {
        let found = examine_host(CHECK, &Memory::described("dir /var/lib/vgpu"));
        assert_eq!(verdicts(&found), ["fail F43 P32 P33"]);
        assert_eq!(found[0].remedy.as_deref(), Some("vgpu-install recover"));
    }

    #[test]
    fn whoever_holds_a_lock_is_named() {
        let machine = Memory::described("dir /var/lib\nfile /var/lib/dpkg/lock-frontend");
        let lock = machine.open(Path::new("/var/lib/dpkg/lock-frontend")).unwrap().unwrap();
        let text = format!("1: POSIX  ADVISORY  WRITE 999 00:19:{} 0 EOF\n", lock.identity.1);
        machine.place_file(Path::new("/proc/locks"), text.as_bytes());
        let found = examine_host(CHECK, &machine);
        assert_eq!(verdicts(&found), ["warn P34"]);
        assert!(found[0].evidence[0].contains("process 999 (apt or dpkg)"), "{found:?}");
    }

    #[test]
    fn more_generations_than_are_of_use_are_told() {
        let found = |count: u64| {
            let machine = Memory::described("dir /var/lib");
            for generation in 1..=count {
                let manifest = Manifest {
                    schema_version: state::MANIFEST_VERSION,
                    generation,
                    time: generation,
                    program_version: String::new(),
                    scope: Scope::Service,
                    joined_scopes: Vec::new(),
                    changes: Vec::new(),
                    services: Vec::new(),
                    parent_times: None,
                };
                let place = format!("/var/lib/vgpu/gen/{generation}/manifest.json");
                let text = serde_json::to_vec(&manifest).unwrap();
                machine.place_file(Path::new(&place), &text);
            }
            let newest = format!("gen/{count}");
            let current = Path::new("/var/lib/vgpu/current");
            machine.make_link(current, Path::new(&newest)).unwrap();
            verdicts(&examine_host(CHECK, &machine))
        };
        assert_eq!(found(gc::KEPT), ["ok"]);
        assert_eq!(found(gc::KEPT + 1), ["warn P53"]);
    }
}
