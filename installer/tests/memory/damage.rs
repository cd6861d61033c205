//! A journal that the disk gave back wrong: `recover` undoes what it says, never loses an original,
//! and says what it cannot know.

use std::path::Path;

use crate::machine::{applied, machine};
use vgpu_install::host::Host;
use vgpu_install::host::memory::{Fault, Memory};
use vgpu_install::journal::PATH;
use vgpu_install::plan::Scope;
use vgpu_install::recover::{self, Recovered};
use vgpu_install::{rollback, state};

/// Contents of the tree without times, and without our own state.
fn names(host: &Memory) -> Vec<String> {
    let tree = host.tree();
    let lines = tree.lines().filter(|line| !line.contains(" /var/lib"));
    lines
        .map(|line| {
            let mut words: Vec<&str> = line.splitn(5, ' ').collect();
            words.remove(3);
            words.join(" ")
        })
        .collect()
}

fn journal(host: &Memory) -> Vec<u8> {
    host.read(Path::new(PATH), 1 << 20).unwrap().unwrap()
}

/// An apply of links that was killed so many steps before its end.
fn killed_before_end(left: u64) -> Memory {
    let plain = machine();
    plain.fault_at(u64::MAX, Fault::Dies);
    applied(&plain, Scope::Bundle).unwrap();
    let steps = plain.revive();
    let host = machine();
    host.fault_at(steps - left, Fault::Dies);
    applied(&host, Scope::Bundle).unwrap_err();
    host.revive();
    host
}

/// An apply of links that was killed when all links lay there and no manifest did.
fn killed() -> Memory {
    let host = killed_before_end(19);
    assert_eq!(state::generations(&host).unwrap(), []);
    host
}

#[test]
fn an_apply_whose_journal_is_damaged_at_any_byte_is_undone() {
    let whole = journal(&killed());
    let clean = names(&machine());
    let mut recovered = 0;
    for at in (15..whole.len()).step_by(7) {
        let host = killed();
        assert_ne!(names(&host), clean, "something had been done");
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        host.place_file(Path::new(PATH), &bytes);
        let outcome = recover::recover(&host, false).unwrap();
        assert!(
            matches!(&outcome, Recovered::Undone(left) if left.is_empty()),
            "{at}: {outcome:?}"
        );
        assert_eq!(names(&host), clean, "byte {at}");
        assert_eq!(recover::interrupted(&host).unwrap(), None);
        recovered += 1;
    }
    assert!(recovered > 100);
}

#[test]
fn a_rollback_whose_journal_is_damaged_at_any_byte_is_carried_on() {
    let begun = || {
        let host = machine();
        applied(&host, Scope::Bundle).unwrap();
        host.fault_at(30, Fault::Dies);
        rollback::rollback(&host, 0, false, false).unwrap_err();
        host.revive();
        host
    };
    let whole = journal(&begun());
    let clean = names(&machine());
    for at in 15..whole.len() {
        let host = begun();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        host.place_file(Path::new(PATH), &bytes);
        let outcome = recover::recover(&host, false).unwrap();
        assert!(matches!(outcome, Recovered::RolledBack(_)), "byte {at}: {outcome:?}");
        assert_eq!(names(&host), clean, "byte {at}");
    }
}

#[test]
fn a_journal_that_says_too_little_stays_and_every_original_is_named() {
    let whole = journal(&killed());
    for rest in [&b"nothing that can be read"[..], &whole[whole.len() / 2..]] {
        let host = killed();
        let mut bytes = vec![0xff; 64];
        bytes.extend_from_slice(rest);
        // A second wound, so that more than the first record is unknown.
        let last = bytes.len() - 2;
        bytes[last] ^= 0x20;
        host.place_file(Path::new(PATH), &bytes);
        let Recovered::Unknown { at: 0, left, given_up: false } =
            recover::recover(&host, false).unwrap()
        else {
            panic!("it is not known what was done");
        };
        let hidden = host.tree().matches("/.vgpu-").count();
        let named = left.iter().filter(|line| line.contains("/.vgpu-")).count();
        assert!(named == hidden && (hidden > 0 || rest.len() > 99), "{left:?}\n{}", host.tree());
        assert!(recover::interrupted(&host).unwrap().is_some(), "nothing starts over it");
        // Looking again says the same; giving up sets the journal aside and touches no original.
        let again = recover::recover(&host, false).unwrap();
        assert_eq!(again, Recovered::Unknown { at: 0, left: left.clone(), given_up: false });
        recover::recover(&host, true).unwrap();
        assert_eq!(recover::interrupted(&host).unwrap(), None);
        assert_eq!(
            host.read(Path::new("/var/lib/vgpu/journal.damaged"), 1 << 20).unwrap(),
            Some(bytes)
        );
        assert_eq!(host.tree().matches("/.vgpu-").count(), hidden);
        assert_eq!(state::generations(&host).unwrap(), []);
    }
}

#[test]
fn a_manifest_that_never_counted_stands_in_for_a_lost_journal() {
    let host = killed_before_end(12);
    assert_eq!(state::generations(&host).unwrap().len(), 1);
    host.place_file(Path::new(PATH), b"nothing that can be read");
    assert_eq!(recover::recover(&host, false).unwrap(), Recovered::Undone(Vec::new()));
    assert_eq!(host.tree(), machine().tree(), "also every time");
}

#[test]
fn a_journal_of_another_version_is_refused_with_the_remedy() {
    let host = killed();
    host.place_file(Path::new(PATH), b"vgpu journal 1\nsomething");
    let before = host.tree();
    let error = recover::recover(&host, false).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    assert_eq!(host.tree(), before);
}
