//! `explain --pid` of real processes with mounts, and roots, of their own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use vgpu_install::host::memory::stand_in::StandIn;

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const NAME: &str = "libsim999.so.1";

/// `cat` in namespaces of its own, which has said a line: its libraries are loaded.
struct Cat(Child);

impl Cat {
    fn started(script: &str, dir: &Path, library_path: &Path) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "/bin/sh", "-c", script, "sh"]).arg(dir);
        unshare.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        unshare.env("LD_LIBRARY_PATH", library_path);
        let mut child = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"here\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n", "{script}");
        Self(child)
    }

    fn explained(&self) -> Value {
        let mut installer = Command::new(env!("CARGO_BIN_EXE_vgpu-install"));
        installer.args(["explain", "--json", "--pid", &self.0.id().to_string()]);
        let output = installer.args([NAME, "libc.so.6"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["explanations"][0].clone()
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        // It has ended by itself if this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answered<'v>(explanation: &'v Value, name: &str) -> &'v Value {
    let answers = explanation["answers"].as_array().unwrap();
    answers.iter().find(|answer| answer["name"] == name).unwrap()
}

fn copy(from: &str, root: &Path) {
    let to = root.join(&from[1..]);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

/// A root with `cat`, the loader and the C library, and a library that only it has.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for path in ["/bin/cat", "/bin/sh", "/lib64/ld-linux-x86-64.so.2", LIBC] {
        copy(path, root.path());
    }
    std::fs::create_dir_all(root.path().join("usr/lib/x86_64-linux-gnu")).unwrap();
    std::fs::create_dir_all(root.path().join("old")).unwrap();
    std::fs::create_dir_all(root.path().join("own")).unwrap();
    std::fs::write(root.path().join("own").join(NAME), library()).unwrap();
    root
}

fn library() -> Vec<u8> {
    StandIn::parse(&format!("soname={NAME} image=30M")).bytes()
}

#[test]
fn a_process_with_mounts_of_its_own_is_explained_by_what_it_sees() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (hidden, seen) = (dir.path().join("hidden"), dir.path().join("seen"));
    std::fs::create_dir(&hidden).unwrap();
    std::fs::create_dir(&seen).unwrap();
    std::fs::write(hidden.join(NAME), library()).unwrap();
    let script = "mount --bind \"$1/hidden\" \"$1/seen\" && exec cat";
    let explanation = Cat::started(script, dir.path(), &seen).explained();
    let file = seen.join(NAME);
    assert!(!file.exists(), "nobody else sees it");
    let winner = &answered(&explanation, NAME)["winner"]["path"];
    assert_eq!(winner.as_str().map(Path::new), Some(file.as_path()), "{explanation:#}");
    assert_eq!(answered(&explanation, "libc.so.6")["agrees"], true, "{explanation:#}");
}

#[test]
fn a_process_with_a_root_of_its_own_is_explained_within_it() {
    for script in [
        "exec chroot \"$1\" /bin/cat",
        "mount --bind \"$1\" \"$1\" && cd \"$1\" && pivot_root . old && exec /bin/cat",
    ] {
        let root = root();
        let cat = Cat::started(script, root.path(), Path::new("/own"));
        let explanation = cat.explained();
        let said = format!("{script}: {explanation:#}");
        assert_eq!(explanation["program"], "/bin/cat", "{said}");
        assert_eq!(
            answered(&explanation, NAME)["winner"]["path"],
            format!("/own/{NAME}"),
            "{said}"
        );
        let libc = answered(&explanation, "libc.so.6");
        assert_eq!(
            (&libc["winner"]["path"], &libc["agrees"]),
            (&LIBC.into(), &true.into()),
            "{said}"
        );
    }
}

#[test]
fn a_program_below_another_root_is_explained_within_it() {
    let root = root();
    let mut installer = Command::new(env!("CARGO_BIN_EXE_vgpu-install"));
    installer.args(["explain", "--json", "--exe", "/bin/cat", "libc.so.6"]);
    let output = installer.arg("--root").arg(root.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let libc = answered(&answer["explanations"][0], "libc.so.6");
    assert_eq!(libc["winner"]["path"], LIBC, "{answer:#}");
}
