//! A guest's root on a real file system, as Ollama's install script and our package leave it, and
//! its digest.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The names of our libraries.
pub const SHIMS: [&str; 6] = vgpu_install::facts::SHIMS;
/// Where they lie.
pub const SHIM_DIR: &str = "usr/lib/x86_64-linux-gnu/vgpu";
/// Ollama's libraries.
pub const OLLAMA_DIR: &str = "usr/local/lib/ollama";

/// Runs a program and demands that it ends well.
pub fn succeed(program: &str, arguments: &[&str], dir: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed (cargo xtask setup): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Builds a library of no content with the given name and needs.
pub fn library(dir: &Path, name: &str, needs: &[&str]) {
    let source = dir.join("empty.c");
    std::fs::write(&source, "int vgpu_test_999(void) { return 999; }\n").unwrap();
    let soname = format!("-Wl,-soname,{name}");
    let mut arguments =
        vec!["-shared", "-nostdlib", "-Wl,--no-as-needed", &soname, "-o", name, "empty.c"];
    arguments.extend(needs);
    succeed("gcc", &arguments, dir);
}

/// A root in a directory of its own, removed at the end.
pub struct Guest {
    /// Holds the root and the parts it is made of.
    pub dir: tempfile::TempDir,
}

impl Guest {
    /// Lays the root out.
    pub fn new() -> Self {
        Self::below(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    /// Lays the root out in memory, where a sync takes no time; on the disk if the kernel keeps no
    /// attributes of users there (before Linux 6.6).
    pub fn in_memory() -> Self {
        let flags = rustix::fs::XattrFlags::empty();
        let keeps_attributes = |dir: &tempfile::TempDir| {
            rustix::fs::setxattr(dir.path(), "user.theirs", b"999", flags).is_ok()
        };
        let dir = tempfile::tempdir_in("/dev/shm").ok().filter(keeps_attributes);
        dir.map_or_else(Self::new, Self::below)
    }

    fn below(dir: tempfile::TempDir) -> Self {
        let parts = dir.path().join("parts");
        std::fs::create_dir(&parts).unwrap();
        for name in SHIMS {
            library(&parts, name, &[]);
        }
        std::fs::write(parts.join("main.c"), "int main(void) { return 0; }\n").unwrap();
        succeed("gcc", &["-o", "ollama", "main.c"], &parts);
        let guest = Self { dir };
        for path in [SHIM_DIR, "var/lib", "etc/systemd/system", "usr/local/bin", OLLAMA_DIR] {
            std::fs::create_dir_all(guest.root().join(path)).unwrap();
        }
        for name in SHIMS {
            guest.copy(name, &format!("{SHIM_DIR}/{name}"));
        }
        guest.copy("ollama", "usr/local/bin/ollama");
        guest.copy("ollama", &format!("{OLLAMA_DIR}/llama-server"));
        for major in ["12", "13"] {
            guest.bundle(&parts, major);
        }
        guest.write(
            "etc/systemd/system/ollama.service",
            "[Unit]\nDescription=Ollama Service\n[Service]\nExecStart=/usr/local/bin/ollama serve\n\
             User=ollama\nGroup=ollama\nRestart=always\nEnvironment=\"PATH=/usr/bin\"\n\
             [Install]\nWantedBy=default.target\n",
        );
        guest
    }

    fn bundle(&self, parts: &Path, major: &str) {
        let dir = format!("{OLLAMA_DIR}/cuda_v{major}");
        std::fs::create_dir(self.root().join(&dir)).unwrap();
        let (cudart, cublas) = (format!("libcudart.so.{major}"), format!("libcublas.so.{major}"));
        library(parts, "libggml-cuda.so", &[&cudart, &cublas, "libcuda.so.1"]);
        self.copy("libggml-cuda.so", &format!("{dir}/libggml-cuda.so"));
        self.copy(&cudart, &format!("{dir}/{cudart}.999.1"));
        symlink(format!("{cudart}.999.1"), self.root().join(&dir).join(&cudart)).unwrap();
        self.copy(&cublas, &format!("{dir}/{cublas}"));
        // Attributes and odd modes must survive being moved aside.
        let path = self.root().join(&dir).join(&cublas);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&path, "user.theirs", b"999", flags).unwrap();
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o4751)).unwrap();
    }

    fn copy(&self, part: &str, to: &str) {
        std::fs::copy(self.dir.path().join("parts").join(part), self.root().join(to)).unwrap();
    }

    /// The root.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Writes a file below the root.
    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.root().join(path), text).unwrap();
    }

    /// Puts a program where our package puts `vgpu-smi`.
    pub fn place_smi(&self) {
        std::fs::create_dir_all(self.root().join("usr/bin")).unwrap();
        self.copy("ollama", "usr/bin/vgpu-smi");
    }

    /// Runs the installer on the root. An answer in JSON is held against its published schema.
    pub fn install(&self, arguments: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_vgpu-install");
        let mut command = Command::new(program);
        let output = command.arg("--root").arg(self.root()).args(arguments).output().unwrap();
        if arguments.contains(&"--json") {
            conforms(&output, arguments);
        }
        output
    }

    /// Runs the installer on the root under strace with further options for strace.
    pub fn traced(&self, strace: &[&str], arguments: &[&str]) -> Output {
        Command::new("strace")
            .args(strace)
            .arg(env!("CARGO_BIN_EXE_vgpu-install"))
            .arg("--root")
            .arg(self.root())
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("strace is needed (cargo xtask setup): {error}"))
    }

    /// Writes every path with type, mode, owner, time, attributes and content.
    pub fn digest(&self) -> String {
        let mut paths = BTreeMap::new();
        collect(&self.root(), Path::new("/"), &mut paths);
        paths.into_values().collect()
    }

    /// The digest without our state and without the times of what we make ourselves.
    pub fn essence(&self) -> String {
        let mut paths = BTreeMap::new();
        collect(&self.root(), Path::new("/"), &mut paths);
        let ours = |path: &Path| {
            path.starts_with("/var/lib")
                || path.starts_with("/etc/systemd/system")
                || path.starts_with("/usr/local/lib/ollama")
                || path.starts_with("/usr/local/bin")
                || path.starts_with("/etc/ld.so.conf.d")
                || path == Path::new("/etc")
        };
        paths.retain(|path, _| !path.starts_with("/var/lib/vgpu/"));
        paths
            .into_iter()
            .filter(|(path, _)| !path.starts_with("/var/lib/vgpu"))
            .map(|(path, text)| if ours(&path) { without_time(&text) } else { text })
            .collect()
    }
}

/// Demands that an answer in JSON is what its published schema says.
pub fn conforms(output: &Output, arguments: &[&str]) {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        // The command line was not understood, so nobody knew that JSON was asked for.
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        return;
    };
    let is_facts = arguments.contains(&"scan") && answer.get("command").is_none();
    let name = if is_facts { "facts" } else { "answer" };
    fits(name, &answer, arguments);
}

/// Demands that a document is what a published schema says.
pub fn fits(name: &str, document: &serde_json::Value, arguments: &[&str]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/schema");
    let schema = std::fs::read(dir.join(format!("{name}.json"))).unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(document).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{arguments:?} against {name}.json: {wrong:#?}\n{document:#}");
}

fn without_time(text: &str) -> String {
    let words = text.split(' ').filter(|word| !word.starts_with("mtime="));
    words.collect::<Vec<_>>().join(" ")
}

/// The digest of any directory.
pub fn digest_of(dir: &Path) -> String {
    let mut paths = BTreeMap::new();
    collect(dir, Path::new("/"), &mut paths);
    paths.into_values().collect()
}

fn collect(real: &Path, shown: &Path, out: &mut BTreeMap<PathBuf, String>) {
    let meta = std::fs::symlink_metadata(real).unwrap();
    let mut line = format!(
        "{shown:?} mode={:o} owner={}:{} mtime={}.{}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::llistxattr(real, &mut names[..]).unwrap();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 4096];
        let name = std::ffi::OsStr::from_bytes(name);
        let length = rustix::fs::lgetxattr(real, name, &mut value[..]).unwrap();
        write!(line, " {name:?}={:?}", &value[..length]).unwrap();
    }
    if meta.is_symlink() {
        write!(line, " -> {:?}", std::fs::read_link(real).unwrap()).unwrap();
    } else if meta.is_file() {
        let content = std::fs::read(real).unwrap();
        write!(line, " {}", vgpu_install::object::digest(&content)).unwrap();
    }
    line.push('\n');
    out.insert(shown.to_path_buf(), line);
    if meta.is_dir() {
        for entry in std::fs::read_dir(real).unwrap() {
            let name = entry.unwrap().file_name();
            collect(&real.join(&name), &shown.join(&name), out);
        }
    }
}
