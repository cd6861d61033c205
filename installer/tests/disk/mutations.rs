//! What `--check` lists is what is done: under strace, an apply and a rollback change those paths
//! and no other. Left out are the installer's own state and its hidden names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::guest::Guest;
use regex_lite::Regex;

/// Calls that change a directory's entries, or a file's content where they open it for writing.
const ENTRIES: &str = "mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,link,linkat,rename,renameat,\
                       renameat2,unlink,unlinkat,rmdir,open,openat,openat2,creat,truncate";
/// Calls that change what is known of a file, or its content, by its descriptor.
const FILES: &str = "write,pwrite64,ftruncate,fallocate,fchmod,fchmodat,fchown,fchownat,fsetxattr,\
                     fremovexattr,setxattr,lsetxattr,utimensat,copy_file_range,sendfile";
const STATE: &str = "/var/lib/vgpu";

/// What a run changed, below the root.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changed {
    /// The names that came, went or were opened for writing.
    names: BTreeSet<PathBuf>,
    /// The files and directories whose content, times or attributes were changed.
    files: BTreeSet<PathBuf>,
}

/// Runs the installer under strace and reads what it changed.
fn changed(guest: &Guest, arguments: &[&str]) -> Changed {
    let log = guest.dir.path().join("mutations");
    let trace = format!("trace={ENTRIES},{FILES}");
    let output = guest.traced(&["-f", "-y", "-e", &trace, "-o", log.to_str().unwrap()], arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let named = Regex::new(r#"(?:\d+|AT_FDCWD)<([^>]*)>, "([^"]+)""#).unwrap();
    let opened = Regex::new(r"^\w+\((?:\d+|AT_FDCWD)<([^>]*)>").unwrap();
    let names: Vec<&str> = ENTRIES.split(',').collect();
    let mut changed = Changed::default();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let line = line.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start();
        let Some((call, _)) = line.split_once('(') else { continue };
        let only_reads = call.starts_with("open")
            && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|f| line.contains(f));
        if only_reads || line.contains(" = -1 ") {
            continue;
        }
        if names.contains(&call) {
            let found: Vec<PathBuf> = named
                .captures_iter(line)
                .filter_map(|found| below(guest, &Path::new(&found[1]).join(&found[2])))
                .collect();
            assert!(!found.is_empty() || line.contains("/dev/null"), "nothing known of {line}");
            changed.names.extend(found);
        } else if let Some(found) = opened.captures(line) {
            changed.files.extend(below(guest, Path::new(&found[1])));
        }
    }
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        path.starts_with(STATE) || name.starts_with(".vgpu-")
    };
    changed.names.retain(|path| !is_ours(path));
    changed.files.retain(|path| !is_ours(path));
    changed
}

/// The path below the root; none for what is no file of a disk.
fn below(guest: &Guest, path: &Path) -> Option<PathBuf> {
    if let Ok(below) = path.strip_prefix(guest.root()) {
        return Some(Path::new("/").join(below));
    }
    let is_elsewhere = !["/dev", "/proc"].iter().any(|dir| path.starts_with(dir));
    // The answer goes into pipes.
    assert!(!is_elsewhere || path.is_relative(), "{path:?} is outside of the root");
    None
}

/// The paths that a check lists.
fn listed(guest: &Guest, arguments: &[&str]) -> BTreeSet<PathBuf> {
    let output = guest.install(&[arguments, &["--check", "--json"]].concat());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let actions = answer["actions"].as_array().unwrap();
    actions.iter().filter_map(|action| Some(action["path"].as_str()?.into())).collect()
}

/// Demands that a run changes what its check lists.
fn does_what_it_lists(guest: &Guest, arguments: &[&str]) {
    let listed = listed(guest, arguments);
    assert!(!listed.is_empty(), "{arguments:?} has something to do");
    let changed = changed(guest, arguments);
    assert_eq!(changed.names, listed, "{arguments:?}: changed, and listed");
    // A directory's time goes back with its entries.
    let mut known: BTreeSet<&Path> = listed.iter().map(PathBuf::as_path).collect();
    known.extend(listed.iter().filter_map(|path| path.parent()));
    known.extend(Path::new(STATE).parent());
    let others: Vec<_> = changed.files.iter().filter(|path| !known.contains(&***path)).collect();
    assert!(others.is_empty(), "{arguments:?} touches {others:?}");
}

#[test]
fn an_apply_and_a_rollback_change_the_paths_that_their_checks_list() {
    for scope in ["service", "bundle"] {
        let guest = Guest::new();
        does_what_it_lists(&guest, &["apply", "--scope", scope]);
        does_what_it_lists(&guest, &["--rollback"]);
    }
}

/// A file that is made in one directory and renamed into another keeps the first one's SELinux
/// label; in its own directory it is made with the right one.
#[test]
fn what_comes_into_place_was_made_in_its_own_directory() {
    let guest = Guest::new();
    let log = guest.dir.path().join("renames");
    let strace =
        ["-f", "-y", "-e", "trace=rename,renameat,renameat2,linkat", "-o", log.to_str().unwrap()];
    let places = Regex::new(r#"\w+\(\d+<([^>]*)>, "[^"/]+", \d+<([^>]*)>, "[^"/]+""#).unwrap();
    let runs: [&[&str]; 4] = [&["--scope", "bundle"], &["--rollback"], &["apply"], &["--rollback"]];
    let mut seen = [0; 4];
    for (arguments, seen) in runs.into_iter().zip(&mut seen) {
        let output = guest.traced(&strace, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let calls = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
        *seen = calls.len();
        for call in calls {
            let found = places.captures(call).unwrap_or_else(|| panic!("not understood: {call}"));
            assert_eq!(found[1], found[2], "{call}");
        }
    }
    // The rollback of a drop-in removes it and renames nothing.
    assert!(seen[..3].iter().all(|renames| *renames > 0), "{seen:?}");
}

/// Root alone may set the label, where no SELinux is at work; another attribute goes the same way.
#[test]
fn the_label_of_what_is_displaced_is_kept_and_comes_back() {
    let guest = Guest::new();
    let theirs = guest.root().join("usr/local/lib/ollama/cuda_v13/libcublas.so.13");
    let is_root = rustix::process::geteuid().is_root();
    let name = if is_root { "security.selinux" } else { "user.selinux" };
    let label = b"system_u:object_r:lib_t:s0\0";
    rustix::fs::setxattr(&theirs, name, label, rustix::fs::XattrFlags::empty()).unwrap();
    let before = guest.digest();
    let labelled = |digest: &str| {
        digest.lines().filter(|line| line.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(labelled(&before).len(), 1, "{before}");
    assert!(guest.install(&["--scope", "bundle"]).status.success());
    let applied = labelled(&guest.digest());
    assert!(applied.len() == 1 && applied[0].contains("/.vgpu-"), "{applied:?}");
    assert!(guest.install(&["--rollback"]).status.success());
    assert_eq!(guest.digest(), before);
}
