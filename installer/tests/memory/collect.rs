//! `gc` on a machine in memory: what it joins and removes, stopped at every step, by a kill and by
//! a power cut; the way back to the start stays whole.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::machine::{DROP_IN, linked, machine};
use vgpu_install::error::Error;
use vgpu_install::gc::{self, Collection};
use vgpu_install::host::Host;
use vgpu_install::host::memory::{Fault, Memory};
use vgpu_install::{recover, rollback, state};

/// More steps than a collection has: a sweep that gets here never ends.
const STEPS_MAX: u64 = 200;
const SHIMS: &str = "/usr/lib/x86_64-linux-gnu/vgpu";

/// A machine with five generations of one drop-in, each with another link.
fn grown() -> Memory {
    let host = machine();
    for port in 1..=5 {
        linked(&host, &format!("vsock:2:{port}"));
    }
    host
}

fn look(host: &Memory, keep: u64) -> Collection {
    gc::look(host, keep, &BTreeSet::new(), Path::new(SHIMS)).unwrap()
}

fn numbers(host: &Memory) -> Vec<u64> {
    state::generations(host).unwrap().iter().map(|one| one.generation).collect()
}

/// The tree without our own state.
fn outside(host: &Memory) -> String {
    let lines = host.tree();
    lines.lines().filter(|line| !line.contains(" /var/lib/vgpu")).collect::<Vec<_>>().join("\n")
}

#[test]
fn old_generations_become_one_and_every_way_back_that_is_left_is_exact() {
    for keep in 1..=4 {
        let host = grown();
        let clean = machine().tree();
        let in_force = outside(&host);
        gc::collect(&host, &look(&host, keep)).unwrap();
        assert_eq!(numbers(&host).len() as u64, keep);
        assert_eq!(*numbers(&host).last().unwrap(), 5);
        let hidden = |tree: &str| tree.matches("/.vgpu-").count();
        assert_eq!(hidden(&host.tree()) as u64, keep - 1, "only what a rollback needs is left");
        assert!(hidden(&in_force) == 4, "{in_force}");
        assert!(look(&host, keep).is_empty());
        let mut plain = grown();
        for to in numbers(&host).into_iter().rev().skip(1) {
            rollback::rollback(&host, to, false, false).unwrap();
            rollback::rollback(&plain, to, false, false).unwrap();
            let content = |host: &Memory| host.read(Path::new(DROP_IN), 9999).unwrap().unwrap();
            assert_eq!(content(&host), content(&plain), "generation {to}");
        }
        rollback::rollback(&host, 0, false, false).unwrap();
        assert_eq!(host.tree(), clean, "keeping {keep}");
        plain = grown();
        rollback::rollback(&plain, 0, false, false).unwrap();
        assert_eq!(plain.tree(), clean);
    }
}

#[test]
fn a_collection_stopped_at_any_step_is_carried_to_its_end() {
    let clean = machine().tree();
    for power in [false, true] {
        let mut ended = false;
        for step in 0..STEPS_MAX {
            let host = grown();
            let before = outside(&host);
            let found = look(&host, 2);
            host.fault_at(step, Fault::Dies);
            ended = gc::collect(&host, &found).is_ok();
            host.revive();
            if power {
                host.cut_power();
            }
            recover::recover(&host, false).unwrap();
            assert_eq!(recover::interrupted(&host).unwrap(), None, "step {step}");
            let whole = numbers(&host) == [4, 5];
            assert!(
                whole || numbers(&host) == [1, 2, 3, 4, 5],
                "step {step}: {:?}",
                numbers(&host)
            );
            assert!(whole || outside(&host) == before, "step {step}");
            assert!(host.tree().matches("/.vgpu-").count() == if whole { 1 } else { 4 });
            rollback::rollback(&host, 0, false, false).unwrap();
            assert_eq!(host.tree(), clean, "step {step}, power {power}");
            if ended {
                assert!(step > 20, "the collection was stopped {step} times");
                break;
            }
        }
        assert!(ended, "the sweep did not end");
    }
}

#[test]
fn recovering_a_collection_is_itself_stopped_at_any_step() {
    let clean = machine().tree();
    for (step, again) in (3..30).flat_map(|step| (0..20).map(move |again| (step, again))) {
        let host = grown();
        let found = look(&host, 2);
        host.fault_at(step, Fault::Dies);
        let _ = gc::collect(&host, &found);
        host.fault_at(again, Fault::Dies);
        let _ = recover::recover(&host, false);
        host.revive();
        recover::recover(&host, false).unwrap();
        rollback::rollback(&host, 0, false, false).unwrap();
        assert_eq!(host.tree(), clean, "{step}/{again}");
    }
}

#[test]
fn a_collection_that_fails_loses_nothing() {
    let clean = machine().tree();
    for (step, kind) in (0..STEPS_MAX)
        .flat_map(|step| [ErrorKind::StorageFull, ErrorKind::PermissionDenied].map(|k| (step, k)))
    {
        let host = grown();
        let found = look(&host, 1);
        host.fault_at(step, Fault::Fails(kind));
        let outcome = gc::collect(&host, &found);
        host.revive();
        let interrupted = recover::interrupted(&host).unwrap().is_some();
        let asks = matches!(outcome, Err(Error::UndoFailed { .. }));
        assert_eq!(interrupted, asks, "step {step}: {outcome:?}");
        recover::recover(&host, false).unwrap();
        rollback::rollback(&host, 0, false, false).unwrap();
        assert_eq!(host.tree(), clean, "step {step}");
        if outcome.is_ok() && step > 20 {
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_hidden_file_that_no_generation_names_is_left_unless_it_is_a_link_of_ours() {
    let host = grown();
    let bundle = PathBuf::from("/usr/local/lib/ollama/cuda_v13");
    host.make_link(&bundle.join(".vgpu-9-0"), &Path::new(SHIMS).join("libcuda.so.1")).unwrap();
    host.place_file(&bundle.join(".vgpu-9-1"), b"an original of long ago");
    host.place_file(&bundle.join(".vgpu-nine-1"), b"not a name of ours");
    let dirs = BTreeSet::from([bundle.clone()]);
    let found = gc::look(&host, 8, &dirs, Path::new(SHIMS)).unwrap();
    assert_eq!(found.obsolete.len(), 1, "{found:?}");
    assert_eq!(found.left.len(), 1, "{found:?}");
    assert!(found.left[0].contains(".vgpu-9-1") && found.left[0].contains("original"));
    gc::collect(&host, &found).unwrap();
    let names = host.list(&bundle).unwrap();
    let left: Vec<_> =
        names.iter().filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert_eq!(left, [".vgpu-9-1", ".vgpu-nine-1"]);
}

#[test]
fn a_displaced_file_that_was_edited_is_not_collected() {
    let host = grown();
    let found = look(&host, 1);
    let aside = found.obsolete[0].0.aside.clone();
    host.place_file(&aside, b"edited");
    gc::collect(&host, &found).unwrap();
    assert_eq!(host.read(&aside, 99).unwrap().unwrap(), b"edited");
}

#[test]
fn an_apply_keeps_the_number_of_generations_bounded() {
    let host = machine();
    for port in 1..=12 {
        linked(&host, &format!("vsock:2:{port}"));
        assert_eq!(gc::bound(&host), None);
    }
    assert_eq!(numbers(&host), (5..=12).collect::<Vec<_>>());
    linked_anyway(&host);
    rollback::rollback(&host, 0, false, false).unwrap();
    assert_eq!(host.tree(), machine().tree());
}

/// One generation too many, and a disk that is full when they are to be joined.
fn linked_anyway(host: &Memory) {
    linked(host, "vsock:2:13");
    host.fault_at(2, Fault::Fails(ErrorKind::StorageFull));
    let warning = gc::bound(host).unwrap();
    assert!(warning.hint.contains("vgpu-install"), "{warning:?}");
    host.revive();
    recover::recover(host, false).unwrap();
}
