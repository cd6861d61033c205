//! What kind of system this is, as far as it decides what can be done for it.

use std::path::Path;
use std::time::Duration;

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Facts, Libc, Source};

/// What our libraries are built for.
const MACHINES: [&str; 2] = ["x86_64", "aarch64"];
/// How long reading the kernel's log may take.
const LOG_DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = vec![served(scene)?];
    findings.extend(usr(scene)?);
    findings.extend(confined(scene.facts));
    findings.extend(denied(scene)?);
    Ok(findings)
}

fn served(scene: &Scene<'_>) -> Result<Finding> {
    let platform = &scene.facts.platform;
    let words = [
        format!("system: {}", if platform.os.is_empty() { "not named" } else { &platform.os }),
        format!("C library: {}, machine: {}", platform.libc.word(), platform.arch),
        format!("libraries: {}, init: {}", platform.library_dir, platform.init.word()),
    ];
    let finding = match platform.libc {
        Libc::Musl => {
            let cause = "the C library is musl, and our libraries need the GNU C library";
            Finding::fail(&[], cause).remedy("run Ollama in a container of a system with glibc")
        }
        Libc::Unknown => Finding::warn(&[], "no C library was recognised"),
        Libc::Glibc if !MACHINES.contains(&platform.arch.as_str()) => {
            Finding::fail(&[], "our libraries are built for x86_64 and aarch64")
        }
        Libc::Glibc if platform.wsl => {
            let cause = "WSL brings its own libcuda and writes its configuration anew at each boot";
            let remedy = "vgpu-install --scope service, which depends on neither";
            Finding::warn(&["P42"], cause).remedy(remedy)
        }
        Libc::Glibc => Finding::ok("this kind of system is served"),
    };
    let container = platform.container.as_ref().map(|name| format!("container: {name}"));
    Ok(finding.saw_all(words).saw_all(container))
}

/// A `/usr` that belongs to an image takes no package; what we change lies in `/etc` and `/var`.
fn usr(scene: &Scene<'_>) -> Result<Option<Finding>> {
    let space = scene.host.space(Path::new("/usr"))?;
    let read_only = space.is_some_and(|space| space.read_only);
    let platform = &scene.facts.platform;
    if !(read_only || platform.immutable) {
        return Ok(None);
    }
    let missing = scene.facts.shims.libraries.is_empty();
    let saw = format!("/usr: read-only {read_only}, of an image {}", platform.immutable);
    let cause = "/usr cannot be written here; the package goes into the image";
    let finding =
        if missing { Finding::fail(&["P29"], cause) } else { Finding::warn(&["P29"], cause) };
    let remedy = "rpm-ostree install vgpu-ollama, or a system extension image with its files";
    Ok(Some(finding.saw(saw).remedy(remedy)))
}

/// Ollamas that see files of their own only; those in containers are `ollama.install`'s.
fn confined(facts: &Facts) -> Vec<Finding> {
    let found = facts.confined.iter().filter_map(|one| {
        let (rows, cause): (&[_], _) = match one.source {
            Source::Snap => (
                &["F07", "U09"],
                "an Ollama of a snap cannot be served: its image and its confinement take no \
                 libraries from outside",
            ),
            Source::Flatpak => (&["U31"], "a Flatpak's Ollama sees no library of the system"),
            _ => return None,
        };
        let saw = format!("{}: {}", one.describe(), one.path);
        Some(Finding::warn(rows, cause).saw(saw).remedy(&one.advice))
    });
    found.collect()
}

/// AppArmor's own words about our files, from the kernel's log of this boot.
fn denied(scene: &Scene<'_>) -> Result<Option<Finding>> {
    let enabled = scene.host.kernel_text(Path::new("/sys/module/apparmor/parameters/enabled"))?;
    if enabled.is_none_or(|text| text.trim() != "Y") {
        return Ok(None);
    }
    let log = ["-k", "-b", "-o", "short-iso", "--no-pager", "-n", "5000"];
    let Some(log) = scene.tool("/usr/bin/journalctl", &log, LOG_DEADLINE)? else {
        return Ok(Some(Finding::skipped("needs journalctl: AppArmor's messages were not read")));
    };
    let ours = scene.facts.shims.dir.to_string();
    let about_us = |line: &&str| {
        line.contains("apparmor=\"DENIED\"") && (line.contains(&ours) || line.contains("/vgpu/"))
    };
    let lines: Vec<String> = log.lines().rev().filter(about_us).take(3).map(Into::into).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let cause = "AppArmor denies our files to a program";
    let remedy = "add \"/usr/lib{,64,/*}/vgpu/** mr,\" to the profile named there and reload it";
    Ok(Some(Finding::fail(&["P28"], cause).saw_all(lines).remedy(remedy)))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, examine_host, verdicts};
    use crate::host::Outcome;
    use crate::host::memory::Memory;

    const CHECK: &str = "system.platform";
    const DEBIAN: &str = "file /etc/os-release PRETTY_NAME=\"Sim 999\"
        file /lib64/ld-linux-x86-64.so.2 elf
        dir /usr/lib/x86_64-linux-gnu";

    fn with(further: &str) -> Vec<String> {
        verdicts(&examine(CHECK, &format!("{DEBIAN}\n{further}")))
    }

    #[test]
    fn a_plain_system_is_served_and_musl_is_not() {
        assert_eq!(with(""), ["ok"]);
        let musl = "file /lib/ld-musl-x86_64.so.1 elf\ndir /usr/lib/x86_64-linux-gnu";
        assert_eq!(verdicts(&examine(CHECK, musl)), ["fail"]);
    }

    #[test]
    fn a_snap_and_a_flatpak_are_advised_about() {
        assert_eq!(with("dir /snap/ollama/current"), ["ok", "warn F07 U09"]);
        assert_eq!(with("dir /var/lib/snapd/snap/ollama/current"), ["ok", "warn F07 U09"]);
        let app = "file /etc/passwd ann:x:1999:1999::/srv/ann:/bin/sh
            dir /srv/ann/.local/share/flatpak/app/com.jeffser.Alpaca";
        assert_eq!(with(app), ["ok", "warn U31"]);
    }

    #[test]
    fn a_usr_that_cannot_be_written_is_told() {
        assert_eq!(with("file /usr/READONLY x"), ["ok", "fail P29"]);
    }

    #[test]
    fn wsl_is_told() {
        let found = with("file /proc/sys/fs/binfmt_misc/WSLInterop x\ndir /usr/lib/wsl/lib");
        assert_eq!(found, ["warn P42"]);
    }

    #[test]
    fn apparmors_words_about_our_files_are_shown() {
        let line = "2026 kernel: audit: apparmor=\"DENIED\" operation=\"file_mmap\" \
                    name=\"/usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1\" pid=999";
        let stdout = line.as_bytes().to_vec();
        let outcome = Outcome { status: Some(0), stdout, ..Outcome::default() };
        let machine = format!(
            "{DEBIAN}\nfile /sys/module/apparmor/parameters/enabled Y\n
             file /usr/bin/journalctl elf"
        );
        let machine = Memory::described(&machine).running().answering("journalctl", outcome);
        let found = examine_host(CHECK, &machine);
        assert_eq!(verdicts(&found), ["ok", "fail P28"]);
        assert_eq!(found[1].evidence, [line]);
    }
}
