//! What we wrote, and what lies there now.

use std::collections::BTreeMap;

use super::super::{Finding, Fix, Scene};
use crate::error::Result;
use crate::location::Location;
use crate::object::{Content, Object};
use crate::state;

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut expected: BTreeMap<Location, Content> = BTreeMap::new();
    for manifest in state::generations(scene.host)? {
        for change in manifest.changes {
            let Some(path) = change.step.path() else { continue };
            match change.step.content() {
                Some(content) => expected.insert(path.clone(), content),
                None => expected.remove(path),
            };
        }
    }
    if expected.is_empty() {
        return Ok(vec![Finding::ok("nothing of ours is in force that could have changed")]);
    }
    let mut findings = Vec::new();
    for (path, content) in &expected {
        findings.extend(judge(scene, path, content)?);
    }
    if findings.is_empty() {
        let lines = expected.keys().map(ToString::to_string);
        findings.push(Finding::ok("what we wrote is still as we wrote it").saw_all(lines));
    }
    Ok(findings)
}

fn judge(scene: &Scene<'_>, path: &Location, content: &Content) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let now = scene.host.inspect(path)?;
    if !now.holds(content) {
        let is_link = matches!(content, Content::Link { .. });
        let in_bundle =
            scene.facts.ollamas.iter().any(|ollama| path.starts_with(&*ollama.library_dir));
        let finding = if is_link && (in_bundle || now.is_absent()) {
            let cause = "a link of ours in Ollama's directory is gone: was Ollama upgraded?";
            Finding::fail(&["P25"], cause)
        } else {
            Finding::fail(&["P35"], "somebody changed what we had written")
        };
        let saw = format!("{path}: expected {}, found {}", told(content), shown(&now));
        findings.push(finding.saw(saw).mended_by(Fix::apply()));
    } else if let Some(dir) = path.parent()
        && let Some(real) = scene.host.canonical(dir)?
        && real != dir
    {
        let cause = "a directory of ours is reached by another name since";
        let saw = format!("{} is {} now; both are one", dir.display(), real.display());
        findings.push(Finding::warn(&["P48"], cause).saw(saw));
    }
    if scene.host.is_immutable(path)? {
        let cause = "a file of ours is marked immutable: neither apply nor rollback can change it";
        let remedy = format!("chattr -i -a {path}");
        findings.push(Finding::fail(&["P36"], cause).saw(path.to_string()).remedy(remedy));
    }
    Ok(findings)
}

fn told(content: &Content) -> String {
    match content {
        Content::File { text, .. } => {
            format!(
                "{} with SHA-256 {}",
                content.describe(),
                crate::object::digest(text.as_bytes())
            )
        }
        Content::Link { .. } => content.describe(),
    }
}

fn shown(object: &Object) -> String {
    match object {
        Object::File { sha256: Some(digest), .. } => {
            format!("{} with SHA-256 {digest}", object.describe())
        }
        _ => object.describe(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::applied;
    use crate::host::Host;
    use crate::host::memory::Memory;
    use crate::plan::Scope;

    const CHECK: &str = "package.drift";
    const DROP_IN: &str = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
    const LINK: &str = "/usr/local/lib/ollama/cuda_v13/libcudart.so.13";

    #[test]
    fn what_nobody_changed_is_fine() {
        assert_eq!(verdicts(&examine_host(CHECK, &applied(Scope::Service))), ["ok"]);
        assert_eq!(verdicts(&examine_host(CHECK, &Memory::described("dir /var/lib"))), ["ok"]);
    }

    #[test]
    fn an_edited_drop_in_is_found_with_both_digests() {
        let machine = applied(Scope::Service);
        machine.place_file(Path::new(DROP_IN), b"[Service]\n");
        let found = examine_host(CHECK, &machine);
        assert_eq!(verdicts(&found), ["fail P35"]);
        assert_eq!(found[0].evidence[0].matches("SHA-256").count(), 2, "{found:?}");
    }

    #[test]
    fn a_link_that_an_upgrade_took_is_found() {
        let machine = applied(Scope::Bundle);
        machine.unlink(Path::new(LINK)).unwrap();
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["fail P25"]);
    }

    #[test]
    fn an_immutable_file_is_found() {
        let machine = applied(Scope::Service);
        machine.mark(Path::new(DROP_IN), "immutable", b"").unwrap();
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["fail P36"]);
    }

    #[test]
    fn a_directory_that_has_another_name_since_is_told() {
        let machine = applied(Scope::Service);
        machine.move_new(Path::new("/etc/systemd"), Path::new("/etc/units")).unwrap();
        machine.make_link(Path::new("/etc/systemd"), Path::new("units")).unwrap();
        let found = verdicts(&examine_host(CHECK, &machine));
        assert_eq!(found, ["warn P48"]);
    }
}
