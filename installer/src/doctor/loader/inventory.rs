//! Every copy of the libraries that ours stand in for, and copies that can be mistaken for others.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Copy, Kind};

/// `e_machine` of the machines that are served.
const MACHINES: [(&str, u16); 2] = [("x86_64", 62), ("aarch64", 183)];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = examined(&scene.facts.libraries, &scene.facts.platform.arch);
    for unseen in &scene.facts.unseen {
        let needs = format!("needs a look at {}", unseen.path);
        findings.push(Finding::skipped(needs).saw(unseen.because.clone()));
    }
    Ok(findings)
}

fn examined(copies: &[Copy], arch: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(wsl(copies));
    findings.extend(neighbours(copies));
    findings.extend(renamed(copies));
    findings.extend(foreign(arch, copies));
    findings.extend(versions(copies));
    if findings.is_empty() {
        let cause = format!("{} copies, and none lies where it is taken for another", copies.len());
        findings.push(Finding::ok(cause).saw_all(copies.iter().map(line)));
    }
    findings
}

fn line(copy: &Copy) -> String {
    let (dev, inode) = copy.identity;
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    let owner = copy.owner.as_ref().map_or("none", |owner| owner.package.as_str());
    format!(
        "{} ({dev:x}:{inode}), SONAME {}, version {}, build id {}, {}, package {owner}",
        copy.file,
        word(&copy.soname),
        word(&copy.version),
        word(&copy.build_id),
        copy.kind.word()
    )
}

/// Ollama 0.12.6 to 0.24 try WSL's libnvidia-ml by its path before any other.
fn wsl(copies: &[Copy]) -> Option<Finding> {
    let is_wsl = |copy: &&Copy| {
        copy.path.starts_with("/usr/lib/wsl/lib") && copy.name.starts_with("libnvidia-ml.so")
    };
    let copy = copies.iter().find(is_wsl)?;
    let cause = "some Ollamas open WSL's libnvidia-ml by its path, before ours";
    let remedy = "use Ollama 0.30 or newer, which does not";
    Some(Finding::warn(&["U35"], cause).saw(line(copy)).remedy(remedy))
}

/// Two files of one directory with one SONAME: ldconfig chooses by the name that sorts last.
fn neighbours(copies: &[Copy]) -> Vec<Finding> {
    let mut places: BTreeMap<(&Path, &str), Vec<&Copy>> = BTreeMap::new();
    for copy in copies {
        if let (Some(dir), Some(soname)) = (copy.file.parent(), copy.soname.as_deref()) {
            places.entry((dir, soname)).or_default().push(copy);
        }
    }
    let several = places.into_iter().filter(|(_, copies)| copies.len() > 1);
    several
        .map(|((dir, soname), copies)| {
            let cause =
                format!("{} files in {} call themselves {soname}", copies.len(), dir.display());
            let remedy = "move away the one that no package owns";
            Finding::warn(&["P02"], cause).saw_all(copies.into_iter().map(line)).remedy(remedy)
        })
        .collect()
}

/// A file under a name that only a backup has, which ldconfig takes all the same.
fn renamed(copies: &[Copy]) -> Vec<Finding> {
    let is_odd = |copy: &&Copy| {
        let name = copy.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = copy.soname.as_deref().and_then(|soname| soname.split(".so").next());
        let Some(rest) = stem.and_then(|stem| name.strip_prefix(stem)?.strip_prefix(".so")) else {
            return copy.soname.is_some();
        };
        !rest.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
    };
    let found = copies.iter().filter(|copy| copy.kind != Kind::Ours).filter(is_odd);
    found
        .map(|copy| {
            let soname = copy.soname.as_deref().unwrap_or_default();
            let cause =
                format!("a file of another name calls itself {soname}; ldconfig may take it");
            let remedy = format!("move {} out of the library directories", copy.file);
            Finding::warn(&["P03"], cause).saw(line(copy)).remedy(remedy)
        })
        .collect()
}

fn foreign(arch: &str, copies: &[Copy]) -> Option<Finding> {
    let machine = MACHINES.iter().find(|(name, _)| *name == arch)?.1;
    let lines: Vec<String> = copies
        .iter()
        .filter_map(|copy| {
            let elf = copy.elf.filter(|elf| elf.class != 64 || elf.machine != machine)?;
            Some(format!("{}: {} bits, machine {}", copy.file, elf.class, elf.machine))
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    let cause = "copies for other machines are here; ld.so passes them over";
    Some(Finding::new(super::super::Verdict::Ok, &["P52"], cause).saw_all(lines))
}

/// One name, several versions: which one a program gets is decided by its path.
fn versions(copies: &[Copy]) -> Vec<Finding> {
    let mut names: BTreeMap<&str, Vec<&Copy>> = BTreeMap::new();
    for copy in copies.iter().filter(|copy| copy.kind != Kind::Ours && copy.version.is_some()) {
        names.entry(&copy.name).or_default().push(copy);
    }
    names.retain(|_, copies| copies.iter().any(|copy| copy.version != copies[0].version));
    names
        .into_iter()
        .map(|(name, copies)| {
            let cause =
                format!("{name} is here in several versions; loader.winner says who gets which");
            Finding::warn(&["F22"], cause).saw_all(copies.into_iter().map(line))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::verdicts;
    use super::*;
    use crate::facts::Elf;

    const DIR: &str = "/usr/lib/x86_64-linux-gnu";

    fn copy(file: &str, soname: &str, version: &str) -> Copy {
        Copy {
            name: soname.into(),
            path: file.into(),
            file: file.into(),
            links: vec![],
            aliases: vec![],
            identity: (1, file.len() as u64),
            soname: Some(soname.into()),
            version: Some(version.into()),
            build_id: None,
            elf: Some(Elf { class: 64, machine: 62 }),
            kind: Kind::Driver,
            owner: None,
            ours: false,
            asked: None,
        }
    }

    fn found(copies: &[Copy]) -> Vec<String> {
        verdicts(&examined(copies, "x86_64"))
    }

    #[test]
    fn one_copy_of_each_is_fine() {
        assert_eq!(found(&[]), ["ok"]);
        let driver = copy(&format!("{DIR}/libcuda.so.999.1"), "libcuda.so.1", "999.1");
        assert_eq!(found(&[driver]), ["ok"]);
    }

    #[test]
    fn neighbours_backups_and_versions_are_found() {
        let one = copy(&format!("{DIR}/libcuda.so.999.1"), "libcuda.so.1", "999.1");
        let two = copy(&format!("{DIR}/libcuda.so.999.2"), "libcuda.so.1", "999.2");
        let kept = copy(&format!("{DIR}/libcuda.so.1.distrib"), "libcuda.so.1", "999.1");
        assert_eq!(found(&[one.clone(), two]), ["warn P02", "warn F22"]);
        assert_eq!(found(&[one, kept]), ["warn P02", "warn P03"]);
    }

    #[test]
    fn copies_of_wsl_and_for_other_machines_are_told() {
        let wsl = copy("/usr/lib/wsl/lib/libnvidia-ml.so.1", "libnvidia-ml.so.1", "999.1");
        assert_eq!(found(&[wsl]), ["warn U35"]);
        let mut small = copy("/usr/lib/i386-linux-gnu/libcuda.so.999", "libcuda.so.1", "999");
        small.elf = Some(Elf { class: 32, machine: 3 });
        assert_eq!(found(&[small]), ["ok P52"]);
    }
}
