//! `/etc/ld.so.preload`: we never write it, and what others wrote there reaches every process.

use std::path::Path;

use super::super::{Finding, Scene};
use crate::discover::text;
use crate::error::Result;

const PATH: &str = "/etc/ld.so.preload";
const REMEDY: &str = "from a second root shell that stays open: mv /etc/ld.so.preload \
                      /etc/ld.so.preload.away";

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let text = text(scene.host, Path::new(PATH))?;
    let entries = entries(&text);
    if entries.is_empty() {
        return Ok(vec![Finding::ok(format!("{PATH} preloads nothing"))]);
    }
    let about = about(scene)?;
    let mut findings = Vec::new();
    for entry in entries {
        findings.push(judge(scene, entry)?.saw(about.clone()));
    }
    Ok(findings)
}

/// The entries as ld.so splits them: blanks and colons separate, `#` starts a comment.
fn entries(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split([' ', '\t', ':'])).filter(|entry| !entry.is_empty()).collect()
}

fn about(scene: &Scene<'_>) -> Result<String> {
    let object = scene.host.inspect(Path::new(PATH))?;
    let meta = object.meta().cloned().unwrap_or_default();
    let (uid, gid, mode, at) = (meta.uid, meta.gid, meta.mode, meta.mtime.seconds);
    Ok(format!("{PATH}: {}, owner {uid}:{gid}, mode {mode:o}, changed at {at}", object.describe()))
}

fn judge(scene: &Scene<'_>, entry: &str) -> Result<Finding> {
    let name = entry.rsplit('/').next().unwrap_or_default();
    if !(entry.starts_with('/') || name.contains(".so")) {
        // Text that went astray may be a password: it is counted, never shown.
        let cause = format!("{PATH} holds text that is no library");
        let saw = format!("{} characters that are no path (not shown)", entry.chars().count());
        return Ok(Finding::fail(&["F33"], cause).saw(saw).remedy(REMEDY));
    }
    let cuda = ["libcuda", "libcublas", "libnvidia", "libvgpu", "vgpu"];
    if cuda.iter().any(|part| name.contains(part)) {
        let cause = "every process of this machine loads a CUDA library";
        return Ok(Finding::fail(&["F32", "F40"], cause).saw(entry).remedy(REMEDY));
    }
    match scene.host.open(Path::new(entry))? {
        Some(file) if entry.starts_with('/') => {
            let (dev, inode) = file.identity;
            let cause = "somebody else preloads a library into every process, Ollama's included";
            Ok(Finding::warn(&["P38"], cause).saw(format!("{entry} ({dev:x}:{inode})")))
        }
        _ => {
            let cause = "a library is preloaded into every process by a path that leads nowhere";
            let saw = format!("{entry}: no such file, seen from here");
            Ok(Finding::fail(&["P38"], cause).saw(saw).remedy(REMEDY))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, verdicts};
    use super::*;

    const CHECK: &str = "system.preload";

    #[test]
    fn an_empty_preload_file_is_fine() {
        assert_eq!(verdicts(&examine(CHECK, "file /etc/ld.so.preload # nothing\\n")), ["ok"]);
        assert_eq!(verdicts(&examine(CHECK, "dir /etc")), ["ok"]);
    }

    #[test]
    fn a_password_in_the_preload_file_is_found_and_not_shown() {
        let found = examine(CHECK, "file /etc/ld.so.preload hunter999");
        assert_eq!(verdicts(&found), ["fail F33"]);
        assert!(!format!("{found:?}").contains("hunter999"));
    }

    #[test]
    fn a_cuda_library_for_every_process_fails_and_a_strangers_own_warns() {
        let found = examine(
            CHECK,
            "file /etc/ld.so.preload /usr/lib64/libvgpu-cuda.so /usr/lib/libjem.so.999 /gone.so
             file /usr/lib/libjem.so.999 elf",
        );
        assert_eq!(verdicts(&found), ["fail F32 F40", "warn P38", "fail P38"]);
        assert!(found[1].evidence[0].starts_with("/usr/lib/libjem.so.999 (1:"), "{found:?}");
        assert!(entries("a.so:b.so # c.so").len() == 2);
    }
}
