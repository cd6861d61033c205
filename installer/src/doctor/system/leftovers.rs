//! Files of an earlier system of this kind, and of installations by hand, that still have effects.

use std::path::{Path, PathBuf};

use super::super::{Finding, Scene};
use crate::error::Result;
use crate::facts::{Layout, SHIMS};
use crate::object::Object;

/// Files that are nobody's but that system's.
const FILES: [&str; 12] = [
    "/etc/ld.so.conf.d/vgpu-lib64.conf",
    "/etc/ld.so.conf.d/vgpu.conf",
    "/etc/modprobe.d/blacklist-nvidia-real.conf",
    "/etc/profile.d/vgpu-cuda.sh",
    "/etc/systemd/system/ollama.service.d/vgpu.conf",
    "/etc/systemd/system/vgpu-devices.service",
    "/etc/udev/rules.d/99-vgpu-nvidia.rules",
    "/opt/vgpu/lib",
    "/usr/lib64/libldaudit_cuda.so",
    "/usr/local/bin/force_load_shim",
    "/usr/local/lib/vgpu/ollama_wrapper.sh",
    "/usr/local/lib/vgpu",
];
/// The directories that it puts libraries into.
const DIRS: [&str; 4] =
    ["/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/local/lib"];
/// Its libraries, wherever they lie.
const LIBRARIES: [&str; 5] = [
    "libvgpu-cuda.so",
    "libvgpu-cudart.so",
    "libvgpu-exec.so",
    "libvgpu-nvml.so",
    "libvgpu-syscall.so",
];
/// What it moved aside.
const BACKUPS: [&str; 4] =
    ["libcuda.so.real", "libcuda.so.1.real", "libnvidia-ml.so.real", "libnvidia-ml.so.1.real"];
/// Links that it puts into Ollama's own directory, where its versions have a directory for each
/// CUDA line.
const BUNDLE_LINKS: [&str; 4] =
    ["libggml-cuda.so", "libcublas.so.12", "libcublasLt.so.12", "libcudart.so.12"];
/// Records that it leaves for everybody to write.
const RECORDS: [&str; 4] =
    ["/tmp/vgpu_debug.txt", "/tmp/vgpu_last_error", "/tmp/vgpu_checkpoint", "/tmp/vgpu_status"];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut seen = Seen::default();
    for path in FILES {
        seen.look(scene, Path::new(path))?;
    }
    for dir in DIRS {
        for name in LIBRARIES.iter().chain(&BACKUPS) {
            seen.look(scene, &Path::new(dir).join(name))?;
        }
    }
    for ollama in &scene.facts.ollamas {
        let bundles = ollama.bundles.iter().map(|bundle| &bundle.dir);
        for dir in std::iter::once(&ollama.library_dir).chain(bundles) {
            for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
                // Ollama never brings these; in scope bundle they are links to ours.
                seen.look_unless_ours(scene, &dir.join(name))?;
            }
        }
        for name in BUNDLE_LINKS.iter().filter(|_| ollama.layout == Layout::Directories) {
            let path = ollama.library_dir.join(name);
            if matches!(scene.host.inspect(&path)?, Object::Link { .. }) {
                seen.look_unless_ours(scene, &path)?;
            }
        }
    }
    seen.findings(scene)
}

#[derive(Default)]
struct Seen {
    /// Path, and the path behind all links: two spellings of one file are one.
    files: Vec<(PathBuf, PathBuf)>,
}

impl Seen {
    fn look(&mut self, scene: &Scene<'_>, path: &Path) -> Result<()> {
        if scene.host.inspect(path)?.is_absent() {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        let dir = scene.host.canonical(dir)?.unwrap_or_else(|| dir.into());
        let real = dir.join(path.file_name().unwrap_or_default());
        if !self.files.iter().any(|(_, known)| *known == real) {
            self.files.push((path.into(), real));
        }
        Ok(())
    }

    fn look_unless_ours(&mut self, scene: &Scene<'_>, path: &Path) -> Result<()> {
        let Some(file) = scene.host.open(path)? else { return self.look(scene, path) };
        for shim in SHIMS {
            let ours = scene.host.open(&scene.facts.shims.dir.join(shim))?;
            if ours.is_some_and(|ours| ours.identity == file.identity) {
                return Ok(());
            }
        }
        self.look(scene, path)
    }

    fn findings(self, scene: &Scene<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        if !self.files.is_empty() {
            let hooks = |(path, _): &(PathBuf, PathBuf)| {
                let name = path.file_name().unwrap_or_default();
                name == "libvgpu-exec.so" || name == "libvgpu-syscall.so"
            };
            let rows: &[&str] = if self.files.iter().any(hooks) { &["F10"] } else { &[] };
            let cause = "files of an earlier system of this kind are left and still have effects";
            let mut lines = Vec::new();
            for (path, _) in &self.files {
                let what = scene.host.inspect(path)?.describe();
                let owner = scene.owner(path)?;
                lines.push(format!("{}: {what}, package {owner}", path.display()));
            }
            let paths: Vec<String> =
                self.files.iter().map(|(path, _)| path.display().to_string()).collect();
            let remedy = format!("look at them, then: rm -r -- {}", paths.join(" "));
            findings.push(Finding::fail(rows, cause).saw_all(lines).remedy(remedy));
        }
        let mut records = Vec::new();
        for path in RECORDS {
            if !scene.host.inspect(Path::new(path))?.is_absent() {
                records.push(path.to_owned());
            }
        }
        if !records.is_empty() {
            let remedy = format!("rm -- {}", records.join(" "));
            let cause = "records of an earlier system of this kind are left; they have no effect";
            findings.push(Finding::warn(&[], cause).saw_all(records).remedy(remedy));
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, verdicts};

    const CHECK: &str = "system.leftovers";

    #[test]
    fn leftovers_are_listed_once_however_they_are_spelled() {
        let found = examine(
            CHECK,
            "file /usr/lib/x86_64-linux-gnu/libvgpu-exec.so elf
             link /lib -> usr/lib
             file /etc/profile.d/vgpu-cuda.sh export
             file /tmp/vgpu_debug.txt x",
        );
        assert_eq!(verdicts(&found), ["fail F10", "warn"]);
        assert_eq!(found[0].evidence.len(), 2, "{found:?}");
        assert!(found[0].evidence[1].starts_with("/usr/lib/x86_64-linux-gnu/libvgpu-exec.so: a"));
    }

    #[test]
    fn a_copy_in_ollamas_directory_is_a_leftover_and_a_link_to_ours_is_not() {
        let machine = "file /usr/local/bin/ollama program
             file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
             file /usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1 ours";
        let ours = format!(
            "{machine}\nlink /usr/local/lib/ollama/libcuda.so.1 -> \
             /usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1"
        );
        assert_eq!(verdicts(&examine(CHECK, &ours)), ["ok"]);
        let copy = format!("{machine}\nfile /usr/local/lib/ollama/libcuda.so.1 copy");
        let found = examine(CHECK, &copy);
        assert_eq!(verdicts(&found), ["fail"]);
        assert!(found[0].evidence[0].starts_with("/usr/local/lib/ollama/libcuda.so.1: a file"));
    }
}
