//! Looking again changes nothing that a person decided; in memory. What it renews is seen with
//! real libraries, in the system tests.

use crate::machine::{applied, machine};
use clap::Parser;
use vgpu_install::answer::Answer;
use vgpu_install::cli::Line;
use vgpu_install::error::Result;
use vgpu_install::host::memory::Memory;
use vgpu_install::plan::Scope;
use vgpu_install::{commands, rollback};

const DROP_IN: &str = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";

fn refreshed(host: &Memory) -> (Result<u8>, Answer) {
    let mut answer = Answer::default();
    let line = Line::parse_from(["vgpu-install", "refresh"]);
    (commands::run(host, &line, &mut answer), answer)
}

#[test]
fn after_a_rollback_a_refresh_changes_nothing() {
    let host = machine();
    applied(&host, Scope::Service).unwrap();
    rollback::rollback(&host, 0, false, false).unwrap();
    let before = host.tree();
    let (code, answer) = refreshed(&host);
    assert_eq!((code.unwrap(), answer.changed), (0, false));
    assert_eq!(host.tree(), before);
}

#[test]
fn a_drop_in_that_was_edited_or_removed_is_left_by_a_refresh() {
    let edited = |host: &Memory| host.place_file(DROP_IN.as_ref(), b"edited");
    let removed = |host: &Memory| {
        use vgpu_install::host::Host;
        host.unlink(DROP_IN.as_ref()).unwrap();
    };
    for by_others in [&edited as &dyn Fn(&Memory), &removed] {
        let host = machine();
        applied(&host, Scope::Service).unwrap();
        by_others(&host);
        let before = host.tree();
        // The files of this machine are no libraries, so the verification that follows fails.
        let (code, _) = refreshed(&host);
        assert!(code.is_err() || code.unwrap() == 3);
        assert_eq!(host.tree(), before);
    }
}

#[test]
fn an_interrupted_run_is_not_refreshed_over() {
    let host = machine();
    host.place_file("/var/lib/vgpu/journal".as_ref(), b"");
    assert_eq!(refreshed(&host).0.unwrap_err().exit_code(), 4);
}
