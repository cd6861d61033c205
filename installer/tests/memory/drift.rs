//! What others changed of ours, and services that run without, or still with, our variables.

use std::path::Path;

use crate::machine::{DROP_IN, applied, machine};
use vgpu_install::host::memory::Memory;
use vgpu_install::host::{Host, Outcome};
use vgpu_install::plan::{Policy, Scope, plan};
use vgpu_install::verify::Report;
use vgpu_install::{apply, discover, drift, rollback, state, verify};

/// What systemd says of a service that was started at this second.
fn shown(at: u64) -> String {
    format!("ActiveState=active\nExecMainStartTimestamp=@{at}\n")
}

/// A machine whose systemd says that the service was started at this second.
fn started(at: u64) -> Memory {
    let said = Outcome { status: Some(0), stdout: shown(at).into_bytes(), ..Outcome::default() };
    let host = machine().answering("--property=ExecMainStartTimestamp", said);
    host.place_file(Path::new("/usr/bin/systemctl"), b"x");
    host
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
        assert_eq!(words(&host), [if pending { "warn" } else { "ok" }], "{at}");
    }
}

/// The verdicts on the services that run.
fn words(host: &Memory) -> Vec<&'static str> {
    let mut report = Report::default();
    verify::running(host, &state::generations(host).unwrap(), &mut report).unwrap();
    let warned = report.warnings.iter().any(|warning| warning.code == "restart_pending");
    let verdicts: Vec<_> = report.checks.iter().map(|check| check.verdict.word()).collect();
    assert_eq!(warned, verdicts.contains(&"warn"), "{report:?}");
    verdicts
}

/// A machine with a unit of Ann's, and this beside it.
fn of_ann(further: &str) -> Memory {
    let mut text = format!(
        "dir /var/lib
         file /etc/passwd ann:x:1000:1000::/people/ann:/bin/sh
         file /usr/bin/systemctl x
         file /people/ann/.config/systemd/user/ollama.service [Service]\\n\
         ExecStart=/usr/local/bin/ollama serve
         file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
         {further}\n"
    );
    for name in vgpu_install::facts::SHIMS {
        text.push_str(&format!("file /usr/lib/x86_64-linux-gnu/vgpu/{name} ours\n"));
    }
    Memory::described(&text).with_systemd()
}

#[test]
fn a_users_service_is_asked_of_the_users_own_systemd() {
    let running = "file /run/user/1000/systemd/private x";
    for (at, verdict, owed) in [(1, "warn", 0), (u64::MAX, "ok", 1)] {
        let said = Outcome { status: Some(0), stdout: shown(at).into(), ..Outcome::default() };
        let host = of_ann(running).answering("--user --machine=ann@.host show", said);
        unrestarted(&host);
        assert_eq!(words(&host), [verdict], "{at}");
        rollback::rollback(&host, 0, false, false).unwrap();
        assert_eq!(restarts(&host), owed, "{at}");
    }
    let refused = Outcome { status: Some(1), ..Outcome::default() };
    let silent = of_ann(running).answering("show", refused);
    // Her systemd does not run, or does not answer: that is said, and no "ok".
    for host in [of_ann(""), silent] {
        unrestarted(&host);
        assert_eq!(words(&host), ["skipped"]);
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
