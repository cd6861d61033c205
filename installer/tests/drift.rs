//! What others changed of ours, and services that run without, or still with, our variables.

#![forbid(unsafe_code)]

mod machine;

use std::path::Path;

use machine::{DROP_IN, applied, machine};
use vgpu_install::host::memory::Memory;
use vgpu_install::host::{Host, Outcome};
use vgpu_install::plan::{Policy, Scope, plan};
use vgpu_install::{apply, discover, drift, rollback, state};

/// A machine whose systemd says that the service was started at this second.
fn started(at: u64) -> Memory {
    let said =
        Outcome { status: Some(0), stdout: format!("@{at}\n").into_bytes(), ..Outcome::default() };
    machine().answering("--property=ExecMainStartTimestamp", said)
}

fn unrestarted(host: &Memory) {
    let policy = Policy { no_restart: true, ..Policy::default() };
    let plan = plan(&discover::facts(host).unwrap(), &policy).unwrap();
    apply::apply(host, &plan, &mut || Ok(())).unwrap();
}

fn restarts(host: &Memory) -> usize {
    host.commands().iter().filter(|line| line.contains("try-restart")).count()
}

#[test]
fn what_others_changed_is_named_and_what_they_did_not_is_not() {
    let host = machine();
    applied(&host, Scope::Service).unwrap();
    let generations = state::generations(&host).unwrap();
    assert_eq!(drift::changed(&host, &generations).unwrap(), [""; 0]);
    host.place_file(Path::new(DROP_IN), b"edited");
    let found = drift::changed(&host, &generations).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(DROP_IN) && found[0].contains(": a file of 6 bytes, where ours"));
    host.unlink(Path::new(DROP_IN)).unwrap();
    assert!(
        drift::changed(&host, &generations).unwrap()[0].contains(": nothing, where ours was: ")
    );
}

#[test]
fn a_removal_and_a_link_of_ours_that_came_back_are_drift() {
    let host = machine();
    applied(&host, Scope::Bundle).unwrap();
    let generations = state::generations(&host).unwrap();
    assert_eq!(drift::changed(&host, &generations).unwrap(), [""; 0]);
    let stale = "/usr/local/lib/ollama/cuda_v13/libcudart.so.12";
    host.place_file(Path::new(stale), b"theirs");
    let found = drift::changed(&host, &generations).unwrap();
    assert!(found.len() == 1 && found[0].starts_with(stale), "{found:?}");
}

#[test]
fn a_service_that_was_started_before_the_change_waits_for_its_restart() {
    for (at, pending) in [(1, true), (u64::MAX, false)] {
        let host = started(at);
        unrestarted(&host);
        let generations = state::generations(&host).unwrap();
        let found = drift::pending(&host, &generations).unwrap();
        assert_eq!(found, if pending { &["ollama.service"][..] } else { &[] }, "{at}");
    }
}

#[test]
fn a_rollback_restarts_what_was_started_since_and_nothing_else() {
    for (at, expected) in [(1, 0), (u64::MAX, 1)] {
        let host = started(at);
        unrestarted(&host);
        assert_eq!(restarts(&host), 0);
        rollback::rollback(&host, 0, false, false).unwrap();
        assert_eq!(restarts(&host), expected, "{at}");
    }
    let host = started(u64::MAX);
    applied(&host, Scope::Service).unwrap();
    rollback::rollback(&host, 0, false, true).unwrap();
    assert_eq!(restarts(&host), 1, "by the apply, and none with --no-restart");
}
