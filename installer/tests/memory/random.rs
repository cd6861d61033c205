//! Random trees and random plans on a machine in memory: applied, killed, robbed of power,
//! recovered, joined and rolled back in any order; the last rollback gives every byte and time
//! back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use vgpu_install::host::Host;
use vgpu_install::host::memory::{Fault, Memory};
use vgpu_install::object::{Content, Object};
use vgpu_install::plan::Plan;
use vgpu_install::step::Step;
use vgpu_install::{apply, gc, recover, rollback, state};

/// Trees that are tried; each sees a dozen operations.
const TREES: u64 = 250;
const DIRS: [&str; 4] = ["/etc/a", "/etc/a/b", "/usr/lib/c", "/opt"];
const NAMES: [&str; 5] = ["one", "two.conf", "three.so.1", "four", "five"];

fn word(random: &mut Rng) -> String {
    (0..random.usize(1..40)).map(|_| random.lowercase()).collect()
}

/// One of so many names, at random.
fn some_names(random: &mut Rng, of: u8) -> Vec<&'static str> {
    NAMES.into_iter().filter(|_| random.u8(..of) == 0).collect()
}

fn tree(random: &mut Rng) -> String {
    let mut text = String::from("dir /var/lib\n");
    for dir in DIRS {
        text.push_str(&format!("dir {dir}\n"));
        for name in some_names(random, 2) {
            if random.bool() {
                text.push_str(&format!("file {dir}/{name} {}\n", word(random)));
            } else {
                text.push_str(&format!("link {dir}/{name} -> {}\n", word(random)));
            }
        }
    }
    text
}

fn content(random: &mut Rng) -> Content {
    if random.bool() {
        let mode = if random.bool() { 0o644 } else { 0o600 };
        return Content::File { mode, text: word(random) };
    }
    Content::Link { target: PathBuf::from(word(random)).into() }
}

/// A plan for the tree as it is: each path at most once, also in a directory that it makes.
fn plan(random: &mut Rng, host: &Memory) -> Plan {
    let mut steps = Vec::new();
    let mut dirs: Vec<PathBuf> = DIRS.map(PathBuf::from).to_vec();
    let made = Path::new(DIRS[random.usize(..DIRS.len())]).join("made");
    if host.inspect(&made).unwrap().is_absent() {
        steps.push(Step::MakeDir { path: made.clone().into(), mode: 0o755 });
    }
    dirs.push(made);
    for dir in dirs {
        for name in some_names(random, 4) {
            let path = dir.join(name);
            let before = host.inspect(&path).unwrap();
            let path = path.into();
            let removes = random.u8(..4) == 0;
            steps.push(match (before, content(random)) {
                (Object::Absent, Content::File { mode, text }) => {
                    Step::WriteFile { path, mode, text }
                }
                (Object::Absent, Content::Link { target }) => Step::MakeLink { path, target },
                (before, _) if removes => Step::RemoveFile { path, before },
                (before, content) => Step::Replace { path, before, content },
            });
        }
    }
    Plan { steps, ..Plan::default() }
}

fn operate(random: &mut Rng, host: &Memory) {
    if random.bool() {
        host.fault_at(random.u64(..120), Fault::Dies);
    }
    // Each may be killed on its way: what it answers then says nothing.
    match random.u8(..6) {
        0 => {
            let numbers: Vec<u64> =
                state::generations(host).unwrap().iter().map(|one| one.generation).collect();
            let to = numbers.get(random.usize(..=numbers.len())).copied().unwrap_or(0);
            let _ = rollback::rollback(host, to, false, false);
        }
        1 => {
            let found = gc::look(host, random.u64(1..4), &BTreeSet::new(), Path::new("/x"));
            let _ = gc::collect(host, &found.unwrap());
        }
        _ => {
            let plan = plan(random, host);
            let _ = apply::apply(host, &plan, &mut || Ok(()));
        }
    }
    host.revive();
    if random.u8(..4) == 0 {
        host.cut_power();
    }
    if random.u8(..4) == 0 {
        host.fault_at(random.u64(..40), Fault::Dies);
        let _ = recover::recover(host, false);
        host.revive();
    }
    recover::recover(host, false).unwrap();
    assert_eq!(recover::interrupted(host).unwrap(), None);
}

#[test]
fn whatever_was_done_and_interrupted_the_last_rollback_restores_everything() {
    let mut generations = 0;
    for seed in 0..TREES {
        let mut random = Rng::with_seed(seed);
        let text = tree(&mut random);
        let mut host = Memory::described(&text);
        if random.u8(..4) == 0 {
            host = host.without_exchange();
        }
        let clean = host.tree();
        for _ in 0..12 {
            operate(&mut random, &host);
        }
        generations += state::generations(&host).unwrap().len();
        let done = rollback::rollback(&host, 0, false, false).unwrap();
        assert!(done.left.is_empty(), "seed {seed}: {:?}", done.left);
        assert_eq!(host.tree(), clean, "seed {seed}");
    }
    assert!(generations > 500, "{generations} generations were in force");
}
