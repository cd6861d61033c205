//! Our own files: all there, each what its name says, and as its package recorded them.

use std::path::Path;
use std::time::Duration;

use vgpu_loader::Binary;

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::SHIMS;
use crate::object::{Content, Object};

/// How long a package manager may take to compare the files of one package.
const VERIFY_DEADLINE: Duration = Duration::from_secs(60);
const PACKAGE: &str = "vgpu-ollama";
/// The names without a number, which some programs open.
const LINKS: [(&str, &str); 2] =
    [("libcuda.so", "libcuda.so.1"), ("libnvidia-ml.so", "libnvidia-ml.so.1")];
const REINSTALL: &str = "apt-get install --reinstall vgpu-ollama, or dnf reinstall vgpu-ollama";

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if scene.facts.shims.libraries.is_empty() {
        let cause = "the package vgpu-ollama is not installed";
        let saw = format!("{}: none of our libraries", scene.facts.shims.dir);
        let remedy = "install the package vgpu-ollama";
        return Ok(vec![Finding::fail(&[], cause).saw(saw).remedy(remedy)]);
    }
    let mut findings = libraries(scene)?;
    findings.extend(links(scene)?);
    findings.extend(package(scene)?);
    findings.extend(label(scene)?);
    Ok(findings)
}

fn libraries(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut lines = Vec::new();
    for name in SHIMS {
        let path = scene.facts.shims.dir.join(name);
        let shown = path.display();
        let Some(file) = scene.host.open(&path)? else {
            let cause = "a library of ours is missing";
            let saw = format!("{shown}: no such file");
            findings.push(Finding::fail(&["F46"], cause).saw(saw).remedy(REINSTALL));
            continue;
        };
        match Binary::read(file.source.as_ref()) {
            Ok(binary) if binary.soname.as_deref() == Some(name.as_bytes()) => {
                let id = binary.build_id.map_or("none".into(), |id| crate::location::hex(&id));
                lines.push(format!("{shown}: build id {id}"));
            }
            Ok(binary) => {
                let cause = "a library of ours names itself otherwise";
                let called = binary.soname.unwrap_or_default();
                let saw = format!("{shown}: SONAME {:?}", String::from_utf8_lossy(&called));
                findings.push(Finding::fail(&["F46"], cause).saw(saw).remedy(REINSTALL));
            }
            Err(error) => {
                let cause = "a library of ours is damaged";
                let saw = format!("{shown}: {} bytes, {error}", file.bytes);
                findings.push(Finding::fail(&["F46"], cause).saw(saw).remedy(REINSTALL));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("our six libraries are there and sound").saw_all(lines));
    }
    Ok(findings)
}

fn links(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, target) in LINKS {
        let path = scene.facts.shims.dir.join(name);
        let wanted = Content::Link { target: target.into() };
        let now = scene.host.inspect(&path)?;
        if !now.holds(&wanted) {
            let cause = "a link of ours is gone or leads elsewhere";
            let saw =
                format!("{}: {}, expected a link to {target}", path.display(), now.describe());
            findings.push(Finding::fail(&["P04"], cause).saw(saw).remedy(REINSTALL));
        }
    }
    Ok(findings)
}

/// What the package's own record says. `dpkg -V` and `rpm -V` answer 0 for nothing to tell, and
/// lines of flags with a path otherwise; `5` among the flags is a content that changed.
fn package(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let dir = &scene.facts.shims.dir;
    let mut ours = scene.facts.libraries.iter().filter(|copy| copy.path.starts_with(&**dir));
    let owner = ours.find_map(|copy| copy.owner.as_ref());
    if !owner.is_some_and(|owner| owner.package.starts_with(PACKAGE)) {
        let needs = "needs the package's record: our files belong to no package of this system";
        let owner = owner.map_or("none", |owner| owner.package.as_str());
        return Ok(vec![Finding::skipped(needs).saw(format!("owner: {owner}"))]);
    }
    let dpkg = scene.ask(&["/usr/bin/dpkg"], &["-V", PACKAGE], VERIFY_DEADLINE)?;
    let outcome = match dpkg {
        Some(outcome) => Some(outcome),
        None => scene.ask(&["/usr/bin/rpm"], &["-V", PACKAGE], VERIFY_DEADLINE)?,
    };
    let Some(outcome) = outcome else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let lines: Vec<String> = text.lines().map(Into::into).collect();
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let flags = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let content = lines.iter().any(|line| flags(line).contains('5') || flags(line) == "missing");
    let rows: &[&str] = if content { &["F46", "P21"] } else { &["P21"] };
    let cause = "packaged files of ours were changed";
    Ok(vec![Finding::fail(rows, cause).saw_all(lines.into_iter().take(20)).remedy(REINSTALL)])
}

/// SELinux's label, where SELinux is at work.
fn label(scene: &Scene<'_>) -> Result<Option<Finding>> {
    if scene.host.kernel_text(Path::new("/sys/fs/selinux/enforce"))?.is_none() {
        return Ok(None);
    }
    let dir = scene.facts.shims.dir.to_string();
    let tools = ["/usr/sbin/matchpathcon", "/sbin/matchpathcon"];
    let path = scene.facts.shims.dir.join(SHIMS[0]).to_string_lossy().into_owned();
    let Some(outcome) = scene.ask(&tools, &["-V", &path], VERIFY_DEADLINE)? else {
        return Ok(Some(Finding::skipped("needs matchpathcon: SELinux labels were not compared")));
    };
    let said = String::from_utf8_lossy(&outcome.stdout).trim().to_owned();
    if outcome.status == Some(0) {
        return Ok(None);
    }
    let now = match scene.host.inspect(Path::new(&path))? {
        Object::File { meta, .. } => meta.xattrs.get("security.selinux").cloned(),
        _ => None,
    };
    let now = format!("security.selinux in hexadecimal: {}", now.unwrap_or("none".into()));
    let cause = "SELinux's label of our libraries is not the policy's";
    let remedy = format!("restorecon -R {dir}");
    Ok(Some(Finding::fail(&["P27"], cause).saw(said).saw(now).remedy(remedy)))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, examine_host, verdicts};
    use crate::host::Outcome;
    use crate::host::memory::Memory;

    const CHECK: &str = "package.integrity";
    const DIR: &str = "/usr/lib/x86_64-linux-gnu/vgpu";

    fn outcome(status: i32, stdout: &str) -> Outcome {
        let stdout = stdout.as_bytes().to_vec();
        Outcome { status: Some(status), stdout, ..Outcome::default() }
    }

    #[test]
    fn a_machine_without_the_package_says_so() {
        assert_eq!(verdicts(&examine(CHECK, "dir /usr/lib/x86_64-linux-gnu")), ["fail"]);
    }

    #[test]
    fn a_damaged_library_missing_ones_and_missing_links_are_each_named() {
        let found = examine(CHECK, &format!("file {DIR}/libcuda.so.1 not a library"));
        let mut expected = vec!["fail F46"; 6];
        expected.extend(["fail P04", "fail P04", "skipped"]);
        assert_eq!(verdicts(&found), expected);
        assert!(found[0].evidence[0].contains("ELF"), "{found:?}");
    }

    #[test]
    fn what_the_package_manager_says_of_our_files_is_shown() {
        let machine = |line: &str| {
            let text = format!(
                "elf {DIR}/libcuda.so.1 soname=libcuda.so.1
                 file /usr/bin/dpkg elf\nfile /usr/bin/dpkg-query elf
                 file /var/lib/dpkg/status x"
            );
            let machine = Memory::described(&text).running();
            let owner = format!("vgpu-ollama: {DIR}/libcuda.so.1\n");
            let machine = machine.answering("dpkg-query", outcome(0, &owner));
            machine.answering("dpkg -V", outcome(1, line))
        };
        let changed = machine(&format!("??5??????   {DIR}/libcuda.so.1\n"));
        assert_eq!(verdicts(&examine_host(CHECK, &changed)).pop().unwrap(), "fail F46 P21");
        let mode = machine(&format!(".M.......   {DIR}/libcuda.so.1\n"));
        assert_eq!(verdicts(&examine_host(CHECK, &mode)).pop().unwrap(), "fail P21");
        let fine = verdicts(&examine_host(CHECK, &machine("")));
        assert!(!fine.iter().any(|verdict| verdict.contains("P21")), "{fine:?}");
    }

    #[test]
    fn a_wrong_selinux_label_is_found() {
        let text = format!(
            "file {DIR}/libcuda.so.1 x\nfile /sys/fs/selinux/enforce 1
             file /usr/sbin/matchpathcon e"
        );
        let wrong = outcome(1, "has context var_lib_t, should be lib_t\n");
        let machine = Memory::described(&text).running().answering("matchpathcon", wrong);
        assert_eq!(verdicts(&examine_host(CHECK, &machine)).pop().unwrap(), "fail P27");
    }
}
