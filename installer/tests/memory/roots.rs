//! Systems described as text (`tests/roots/*.root`): what is found there, what is planned, and that
//! a rollback leaves nothing behind.
//!
//! Each root is made twice, in memory and on the disk, and both must be seen alike. The expected
//! texts lie in `tests/roots/snapshots`; `VGPU_ACCEPT=1` writes them anew.

#![allow(clippy::disallowed_methods, reason = "tests lay out their own roots and expectations")]

mod described;
mod disk;
mod shown;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use described::Root;
use vgpu_install::facts::Facts;
use vgpu_install::host::Host;
use vgpu_install::host::memory::Memory;
use vgpu_install::host::real::Real;
use vgpu_install::object::digest;
use vgpu_install::plan::{Plan, Policy, Scope, plan};
use vgpu_install::{apply, discover, rollback};

const SCOPES: [(Scope, &str); 3] =
    [(Scope::Service, "service"), (Scope::Bundle, "bundle"), (Scope::System, "system")];
/// The systems that the issue names, and more.
const ROOTS_MIN: usize = 30;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roots")
}

/// The names of the files in a directory that end so, without the ending.
fn files(dir: &Path, ending: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.filter_map(|name| name.into_string().ok());
    names.filter_map(|name| Some(name.strip_suffix(ending)?.to_owned())).collect()
}

fn root(name: &str) -> Root {
    let text = std::fs::read_to_string(dir().join(format!("{name}.root"))).unwrap();
    Root::read(name, &text)
}

fn facts(root: &Root, host: &dyn Host) -> Facts {
    discover::facts_beside(host, root.driver_root.as_deref()).unwrap()
}

fn planned(facts: &Facts, scope: Scope) -> Result<Plan, vgpu_install::error::Error> {
    plan(facts, &Policy { scope, ..Policy::default() })
}

/// Applies a plan and takes it back; what stops either is said.
fn there_and_back(host: &dyn Host, plan: &Plan) -> String {
    let applied = match apply::apply(host, plan, &mut || Ok(())) {
        Ok(applied) => applied,
        Err(error) => return format!("not applied: {}", shown::chain(&error)),
    };
    let back = rollback::rollback(host, 0, false, true).unwrap();
    assert!(back.left.is_empty() && back.failed.is_empty(), "{back:?}");
    format!("generation {} applied and taken back", applied.generation)
}

/// What is expected of a root, as one text.
fn told(root: &Root) -> String {
    let host = Memory::of(root.lines.clone());
    let facts = facts(root, &host);
    let before = host.tree();
    let mut out = format!("== facts\n{}", shown::facts(&facts));
    for (scope, name) in SCOPES {
        let plan = planned(&facts, scope);
        write!(out, "== plan {name}\n{}", shown::plan(&plan)).unwrap();
        if let Some(plan) = plan.ok().filter(|plan| !plan.steps.is_empty()) {
            writeln!(out, "== {name}: {}", there_and_back(&host, &plan)).unwrap();
            assert_eq!(host.tree(), before, "{}, {name}: not as it was", root.name);
        }
    }
    let essence = without_times(&before);
    writeln!(out, "== tree {} of {} lines", &digest(essence.as_bytes())[..16], lines(&essence))
        .unwrap();
    out
}

fn lines(text: &str) -> usize {
    text.lines().count()
}

/// A tree's text: kind, path, mode, time, and more; the fourth word is the time.
fn without_times(tree: &str) -> String {
    let lines = tree.lines().map(|line| {
        let words = line.split(' ').enumerate().filter(|(index, _)| *index != 3);
        words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_root_is_found_planned_and_left_as_its_snapshot_says() {
    let snapshots = dir().join("snapshots");
    let accept = std::env::var_os("VGPU_ACCEPT").is_some();
    let names = files(&dir(), ".root");
    assert!(names.len() >= ROOTS_MIN, "{} roots are too few", names.len());
    let mut wrong = Vec::new();
    for name in &names {
        let found = told(&root(name));
        let path = snapshots.join(name);
        if accept {
            std::fs::write(&path, &found).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push((name, found));
        }
    }
    for old in files(&snapshots, "").difference(&names) {
        assert!(accept, "snapshots/{old} has no root any more");
        std::fs::remove_file(snapshots.join(old)).unwrap();
    }
    for (name, found) in &wrong {
        eprintln!("---- {name}\n{found}");
    }
    let names: Vec<_> = wrong.iter().map(|(name, _)| name).collect();
    assert!(wrong.is_empty(), "{names:?}: VGPU_ACCEPT=1 takes the new texts");
}

#[test]
fn every_root_on_a_disk_is_seen_as_in_memory_and_is_left_as_it_was() {
    for name in files(&dir(), ".root") {
        let root = root(&name);
        if root.memory_only {
            continue;
        }
        let memory = Memory::of(root.lines.clone());
        let expected = facts(&root, &memory);
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        disk::lay(place.path(), &root.lines);
        let host = Real::open(place.path()).unwrap();
        let found = facts(&root, &host);
        let (found_text, expected_text) = (shown::facts(&found), shown::facts(&expected));
        assert!(found_text == expected_text, "{name}:\n{found_text}\nnot\n{expected_text}");
        let before = disk::tree(place.path());
        for (scope, what) in SCOPES {
            let plan = planned(&found, scope);
            assert_eq!(shown::plan(&plan), shown::plan(&planned(&expected, scope)), "{name}");
            if let Some(plan) = plan.ok().filter(|plan| !plan.steps.is_empty()) {
                there_and_back(&host, &plan);
                let after = disk::tree(place.path());
                assert!(after == before, "{name}, {what}:\n{}", disk::difference(&before, &after));
            }
        }
    }
}

#[test]
fn facts_of_every_root_survive_json() {
    for name in files(&dir(), ".root") {
        let root = root(&name);
        let facts = facts(&root, &Memory::of(root.lines.clone()));
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts, "{name}");
    }
}

#[test]
fn every_root_begins_with_a_line_that_says_what_it_is() {
    for entry in std::fs::read_dir(dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() == Some(OsStr::new("root")) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# "), "{}", path.display());
        }
    }
}
