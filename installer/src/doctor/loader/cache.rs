//! ld.so.cache beside what lies in the directories, for the names of our libraries.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::{Finding, Fix, Scene, Verdict};
use crate::discover::cache;
use crate::error::Result;
use crate::facts::SHIMS;
use crate::object::Object;
use crate::plan::Scope;

/// One line of the cache, for a name of ours.
struct Cached {
    name: String,
    path: PathBuf,
    hwcaps: Option<String>,
}

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let is_system =
        scene.in_force()?.is_some_and(|in_force| in_force.scopes.contains(&Scope::System));
    let entries = entries(scene)?;
    let lines: Vec<String> = entries.iter().map(Cached::line).collect();
    let mut findings = Vec::new();
    findings.extend(hwcaps(&entries, is_system));
    findings.extend(stale(scene, &entries, is_system)?);
    findings.extend(odd(scene, &entries)?);
    findings.extend(rivals(scene, is_system));
    if findings.is_empty() {
        let cause = if lines.is_empty() {
            "ld.so.cache names none of these libraries"
        } else {
            "ld.so.cache says what lies in the directories"
        };
        findings.push(Finding::ok(cause).saw_all(lines));
    }
    Ok(findings)
}

impl Cached {
    fn line(&self) -> String {
        let hwcaps = self.hwcaps.as_ref().map_or(String::new(), |dir| format!(" (hwcaps {dir})"));
        format!("{}{hwcaps} => {}", self.name, self.path.display())
    }
}

fn entries(scene: &Scene<'_>) -> Result<Vec<Cached>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let cache = cache(scene.host)?;
    let ours = cache
        .entries()
        .iter()
        .filter(|entry| SHIMS.iter().any(|shim| entry.name == shim.as_bytes()));
    Ok(ours
        .map(|entry| Cached {
            name: text(&entry.name),
            path: OsStr::from_bytes(&entry.path).into(),
            hwcaps: entry.hwcaps.as_deref().map(text),
        })
        .collect())
}

/// Copies for newer processors come before all plain ones, whatever the order of the directories.
fn hwcaps(entries: &[Cached], is_system: bool) -> Option<Finding> {
    let lines: Vec<String> =
        entries.iter().filter(|entry| entry.hwcaps.is_some()).map(Cached::line).collect();
    if lines.is_empty() {
        return None;
    }
    let cause = "a copy in a glibc-hwcaps directory comes before all others in the cache";
    let verdict = if is_system { Verdict::Fail } else { Verdict::Warn };
    let remedy = "remove that copy, then ldconfig -X; scope service is not touched by it";
    Some(Finding::new(verdict, &["P06"], cause).saw_all(lines).remedy(remedy))
}

/// Lines whose file is gone, and in scope system our directory without lines.
fn stale(scene: &Scene<'_>, entries: &[Cached], is_system: bool) -> Result<Option<Finding>> {
    let mut lines = Vec::new();
    for entry in entries {
        if scene.host.open(&entry.path)?.is_none() {
            lines.push(format!("{}: no such file", entry.line()));
        }
    }
    if is_system {
        for library in &scene.facts.shims.libraries {
            let path = scene.facts.shims.dir.join(&library.name);
            let is_cached = entries.iter().any(|entry| entry.path == path);
            if !is_cached {
                lines.push(format!("{}: not in the cache", path.display()));
            }
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let cause = "ld.so.cache was written before the directories changed";
    Ok(Some(Finding::fail(&["P12", "P13"], cause).saw_all(lines).mended_by(Fix::Ldconfig)))
}

/// A driver's name that leads to a file which ldconfig chose by its name, or would not replace.
fn odd(scene: &Scene<'_>, entries: &[Cached]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let ours: &Path = &scene.facts.shims.dir;
    for entry in entries.iter().filter(|entry| !entry.path.starts_with(ours)) {
        let stem = entry.name.split(".so").next().unwrap_or_default();
        match scene.host.inspect(&entry.path)? {
            Object::Link { target, .. } => {
                let file = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let rest = file.strip_prefix(stem).and_then(|rest| rest.strip_prefix(".so"));
                let plain = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
                if !rest.is_some_and(plain) {
                    let cause = format!("ldconfig points {} at a file of another name", entry.name);
                    let saw = format!("{} -> {target}", entry.path.display());
                    let remedy = "move that file out of the library directories, then ldconfig";
                    findings.push(Finding::warn(&["P01"], cause).saw(saw).remedy(remedy));
                }
            }
            Object::File { .. } => {
                let cause =
                    format!("{} is a file where ldconfig wants a link; it keeps it", entry.name);
                let finding = Finding::new(Verdict::Ok, &["P05"], cause);
                findings.push(finding.saw(entry.path.display().to_string()));
            }
            _ => {}
        }
    }
    Ok(findings)
}

/// Directories that ldconfig reads before ours.
fn rivals(scene: &Scene<'_>, is_system: bool) -> Option<Finding> {
    let rivals = scene.facts.ld_cache.rivals.iter().filter(|rival| rival.conf.is_some());
    let lines: Vec<String> = rivals
        .map(|rival| {
            let conf = rival.conf.as_ref().map_or(String::new(), ToString::to_string);
            format!("{} => {}, named by {conf}", rival.name, rival.path)
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    let cause = "a directory that ldconfig reads before ours holds these libraries";
    let verdict = if is_system { Verdict::Fail } else { Verdict::Ok };
    let finding = Finding::new(verdict, &["P40"], cause).saw_all(lines);
    let remedy = "remove that package or line, then ldconfig; or use --scope service";
    Some(if is_system { finding.remedy(remedy) } else { finding })
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine_host, verdicts};
    use super::*;
    use crate::host::memory::Memory;

    /// A cache in the format of glibc 2.32 and later, with these names and paths.
    fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let start = 48 + 24 * entries.len();
        for (name, path) in entries {
            let mut place = |text: &str| {
                let at = start + strings.len();
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
                u32::try_from(at).unwrap()
            };
            let (key, value) = (place(name), place(path));
            table.extend_from_slice(&0x303_i32.to_le_bytes());
            table.extend_from_slice(&key.to_le_bytes());
            table.extend_from_slice(&value.to_le_bytes());
            table.extend_from_slice(&[0; 12]);
        }
        let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
        bytes.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(strings.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&[2, 0, 0, 0]);
        bytes.extend_from_slice(&[0; 16]);
        [bytes, table, strings].concat()
    }

    fn found(entries: &[(&str, &str)], files: &str) -> Vec<String> {
        let machine = Memory::described(&format!("dir /etc\n{files}"));
        machine.place_file(Path::new("/etc/ld.so.cache"), &cache(entries));
        verdicts(&examine_host("loader.cache", &machine))
    }

    const CUDA: (&str, &str) = ("libcuda.so.1", "/usr/lib/libcuda.so.1");

    #[test]
    fn a_cache_that_fits_is_fine() {
        assert_eq!(found(&[], ""), ["ok"]);
        let driver =
            "link /usr/lib/libcuda.so.1 -> libcuda.so.999.1\nfile /usr/lib/libcuda.so.999.1 x";
        assert_eq!(found(&[CUDA], driver), ["ok"]);
    }

    #[test]
    fn stale_lines_and_odd_files_are_found() {
        assert_eq!(found(&[CUDA], ""), ["fail P12 P13"]);
        let odd = "link /usr/lib/libcuda.so.1 -> libcuda.so.1.distrib
            file /usr/lib/libcuda.so.1.distrib x";
        assert_eq!(found(&[CUDA], odd), ["warn P01"]);
        assert_eq!(found(&[CUDA], "file /usr/lib/libcuda.so.1 x"), ["ok P05"]);
    }

    #[test]
    fn a_copy_for_newer_processors_outranks_what_scope_system_does() {
        let (name, path) = (CUDA.0.to_owned(), PathBuf::from(CUDA.1));
        let entry = Cached { name, path, hwcaps: Some("x86-64-v3".into()) };
        for (is_system, verdict) in [(false, Verdict::Warn), (true, Verdict::Fail)] {
            let found = hwcaps(std::slice::from_ref(&entry), is_system).unwrap();
            assert_eq!((found.verdict, found.rows), (verdict, vec!["P06"]));
        }
    }

    #[test]
    fn a_directory_that_ldconfig_reads_before_ours_is_told() {
        let rival = "file /etc/ld.so.conf include /etc/ld.so.conf.d/*.conf
            file /etc/ld.so.conf.d/00-a.conf /opt/a
            elf /opt/a/libcuda.so.1 soname=libcuda.so.1";
        assert_eq!(found(&[("libcuda.so.1", "/opt/a/libcuda.so.1")], rival), ["ok P05", "ok P40"]);
    }
}
