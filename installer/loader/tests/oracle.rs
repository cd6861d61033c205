//! The model against the real ld.so and ldconfig of this machine, on small trees built by gcc.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use vgpu_loader::{Binary, Cache, Environment, Files, Found, Note, Platform, Process};

const CACHE: &str = "/etc/ld.so.cache";

struct Disk;

impl Files for Disk {
    fn look(&self, path: &Path) -> Found {
        let (Ok(bytes), Ok(meta)) = (std::fs::read(path), std::fs::metadata(path)) else {
            return Found::Nothing;
        };
        Found::of(bytes.as_slice(), 62, (meta.dev(), meta.ino()), meta.mode() & 0o4000 != 0)
    }
}

/// The machine with its cache.
fn platform() -> Platform {
    let cache = Cache::parse(&std::fs::read(CACHE).unwrap()).unwrap();
    Platform { cache: Some(cache), ..machine::platform() }
}

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn gcc(&self, arguments: &[&str], out: &str) {
        let out = self.path(out);
        std::fs::create_dir_all(out.parent().unwrap()).unwrap();
        std::fs::write(self.path("lib.c"), "int f(void) { return 999; }\n").unwrap();
        std::fs::write(self.path("main.c"), "int main(void) { return 0; }\n").unwrap();
        let root = self.path("");
        let arguments = arguments.iter().map(|a| a.replace("@", root.to_str().unwrap()));
        let output = Command::new("gcc")
            .arg("-Wl,--no-as-needed")
            .arg("-o")
            .arg(out)
            .args(arguments)
            .current_dir(self.path(""))
            .output()
            .expect("gcc is needed (cargo xtask setup)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A library with a SONAME, further options and needs.
    fn library(&self, out: &str, soname: &str, more: &[&str]) {
        let soname = format!("-Wl,-soname,{soname}");
        self.gcc(&[&["-shared", "lib.c", &soname][..], more].concat(), out);
    }

    fn program(&self, more: &[&str]) {
        self.gcc(&[&["main.c"][..], more].concat(), "prog");
    }

    /// Asks both for every name of the program, and compares the files.
    fn check(&self, library_path: &str, preload: &str) -> BTreeMap<String, Option<PathBuf>> {
        let root = self.path("");
        let (library_path, preload) = (
            library_path.replace('@', root.to_str().unwrap()),
            preload.replace('@', root.to_str().unwrap()),
        );
        let output = Command::new(self.path("prog"))
            .env_clear()
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .env("LD_LIBRARY_PATH", &library_path)
            .env("LD_PRELOAD", &preload)
            .current_dir("/")
            .output()
            .unwrap();
        // A name may be missing for one requester and found for the next: both are told.
        let mut theirs = BTreeSet::new();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let Some((name, path)) = line.trim().split_once(" => ") else { continue };
            let path = path.split(" (0x").next().unwrap();
            let file = (path != "not found").then(|| std::fs::canonicalize(path).unwrap());
            theirs.insert((name.to_owned(), file));
        }
        let environment = Environment {
            library_path: library_path.clone().into(),
            preload: preload.clone().into(),
            ..Environment::default()
        };
        let platform = platform();
        let process = Process::start(&self.path("prog"), &Disk, &platform, environment).unwrap();
        let mut ours = BTreeSet::new();
        for resolution in process.resolutions() {
            let name = String::from_utf8(resolution.name.clone()).unwrap();
            let file = resolution
                .object
                .map(|index| std::fs::canonicalize(&process.objects()[index].path).unwrap());
            ours.insert((name, file));
        }
        for (name, file) in &theirs {
            let said = format!("{name} with {library_path:?} and {preload:?}");
            let told = ours.contains(&(name.clone(), file.clone()));
            assert!(told, "{said}: {file:?}, and ours {ours:#?}");
        }
        theirs.into_iter().collect()
    }
}

/// Programs whose library lies in several places, each by another rule.
#[test]
fn the_search_order_is_that_of_the_real_loader() {
    let rules: &[(&str, &[&str])] = &[
        ("none", &[]),
        ("rpath", &["-Wl,--disable-new-dtags,-rpath,$ORIGIN/rpath"]),
        ("runpath", &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/runpath:${ORIGIN}/other"]),
    ];
    for (rule, options) in rules {
        let tree = Tree::new();
        for dir in ["rpath", "runpath", "env", "other"] {
            tree.library(&format!("{dir}/libx999.so.1"), "libx999.so.1", &[]);
        }
        std::fs::write(tree.path("text"), "no ELF").unwrap();
        tree.program(&[&["env/libx999.so.1"][..], options].concat());
        for path in ["", "@/env", "@/missing:@/other;@/env", "$ORIGIN/env", "@/env/"] {
            let theirs = tree.check(path, "");
            let found = theirs["libx999.so.1"].is_some();
            assert!(found || (*rule == "none" && path.is_empty()), "{rule} {path}: {theirs:?}");
        }
        for preload in ["@/other/libx999.so.1", "libx999.so.1", "@/env/libx999.so.1:@/gone.so"] {
            tree.check("@/env", preload);
        }
    }
}

#[test]
fn needs_of_needs_follow_their_own_paths_and_the_loaders_rpath() {
    let tree = Tree::new();
    tree.library("deep/libz999.so", "libz999.so", &[]);
    tree.library("env/libz999.so", "libz999.so", &[]);
    // libr has RUNPATH, which serves its own needs only; liba has none, and inherits RPATH.
    let runpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../deep";
    tree.library("libs/libr999.so", "libr999.so", &["deep/libz999.so", runpath]);
    tree.library("libs/liba999.so", "liba999.so", &["deep/libz999.so"]);
    let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/libs:$ORIGIN/deep";
    let allow = "-Wl,--allow-shlib-undefined,--unresolved-symbols=ignore-all";
    for first in [["libs/libr999.so", "libs/liba999.so"], ["libs/liba999.so", "libs/libr999.so"]] {
        for order in [rpath, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/libs"] {
            tree.program(&[first[0], first[1], order, allow]);
            tree.check("", "");
            tree.check("@/env", "");
        }
    }
}

#[test]
fn hwcaps_directories_outrank_plain_ones_and_foreign_files_are_passed_over() {
    let tree = Tree::new();
    tree.library("env/libx999.so.1", "libx999.so.1", &[]);
    tree.library("env/glibc-hwcaps/x86-64-v2/libx999.so.1", "libx999.so.1", &[]);
    tree.library("env/glibc-hwcaps/x86-64-v3/libx999.so.1", "libx999.so.1", &[]);
    // A library of another machine: the same file with another e_machine.
    let mut foreign = std::fs::read(tree.path("env/libx999.so.1")).unwrap();
    foreign[18] = 183;
    std::fs::create_dir(tree.path("foreign")).unwrap();
    std::fs::write(tree.path("foreign/libx999.so.1"), foreign).unwrap();
    tree.program(&["env/libx999.so.1"]);
    tree.check("@/env", "");
    tree.check("@/foreign:@/env", "");
}

#[test]
fn a_name_that_is_loaded_already_is_not_searched_again() {
    let tree = Tree::new();
    tree.library("a/libx999.so.1", "libx999.so.1", &[]);
    // Another file name with the same SONAME: whoever comes first serves both.
    tree.library("a/other999.so", "libx999.so.1", &[]);
    tree.program(&["a/libx999.so.1", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/a"]);
    let theirs = tree.check("", "@/a/other999.so");
    assert!(theirs.keys().all(|name| !name.starts_with("libx999")), "{theirs:?}");
}

#[test]
fn a_filter_is_told_of_wherever_the_search_meets_it() {
    for option in ["-Wl,-F,libreal999.so", "-Wl,-f,libreal999.so"] {
        let tree = Tree::new();
        tree.library("a/libx999.so", "libx999.so", &[option]);
        tree.program(&["a/libx999.so", "-Wl,-rpath,$ORIGIN/a"]);
        let platform = platform();
        let process = Process::start(&tree.path("prog"), &Disk, &platform, Environment::default());
        let notes = process.unwrap().notes().to_vec();
        let filter = Note::Filter(b"libreal999.so".to_vec(), tree.path("a/libx999.so"));
        assert_eq!(notes, [filter], "{option}");
    }
}

#[test]
fn every_entry_of_the_cache_is_read_as_ldconfig_prints_it() {
    let output = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<(String, String)> = text
        .lines()
        .filter(|line| line.starts_with('\t'))
        .filter_map(|line| {
            let (head, path) = line.trim().split_once(" => ")?;
            Some((head.split(" (").next()?.to_owned(), path.to_owned()))
        })
        .collect();
    let cache = Cache::parse(&std::fs::read(CACHE).unwrap()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let parsed: Vec<(String, String)> =
        cache.entries().iter().map(|entry| (text(&entry.name), text(&entry.path))).collect();
    assert!(printed.len() > 10, "this machine has libraries");
    assert_eq!(parsed, printed);
}

#[test]
fn a_damaged_cache_is_refused_or_read_and_never_panics() {
    let whole = std::fs::read(CACHE).unwrap();
    for cut in (0..whole.len()).step_by(whole.len() / 500 + 1) {
        let _ = Cache::parse(&whole[..cut]);
    }
    for at in 0..4000.min(whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = Cache::parse(&bytes);
    }
    assert!(Cache::parse(&whole[..47]).is_err());
    assert!(Cache::parse(b"").is_err());
    let mut many = whole.clone();
    many[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Cache::parse(&many).is_err(), "more libraries than the file can hold");
}

#[test]
fn a_damaged_library_is_refused_or_read_and_never_panics() {
    let tree = Tree::new();
    tree.library("libx999.so", "libx999.so", &[]);
    let whole = std::fs::read(tree.path("libx999.so")).unwrap();
    let sound = Binary::read(whole.as_slice()).unwrap();
    assert_eq!(sound.soname.as_deref(), Some(&b"libx999.so"[..]));
    assert!(sound.needed.contains(&b"libc.so.6".to_vec()), "{sound:?}");
    assert_eq!(sound.build_id.map(|id| id.len()), Some(20));
    for at in 0..whole.len() {
        let _ = Binary::read(&whole[..at]);
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = Binary::read(bytes.as_slice());
    }
}

#[test]
fn version_nodes_are_read_without_the_one_that_names_the_file() {
    let tree = Tree::new();
    std::fs::write(tree.path("map"), "libx999.so.13 { global: f; local: *; };\n").unwrap();
    tree.library("libx999.so.13", "libx999.so.13", &["-Wl,--version-script,map"]);
    let binary =
        Binary::read(std::fs::read(tree.path("libx999.so.13")).unwrap().as_slice()).unwrap();
    assert_eq!(binary.versions, [b"libx999.so.13".to_vec()]);
}
