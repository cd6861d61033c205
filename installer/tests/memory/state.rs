//! What stays on the disk beside the changes: the installer's state, originals, others' files; in
//! memory, also when the power goes after all is done.

use std::io::ErrorKind;

use crate::machine::{applied, machine, planned};
use vgpu_install::error::Error;
use vgpu_install::host::Host;
use vgpu_install::host::memory::{Fault, Memory};
use vgpu_install::plan::{Plan, Scope};
use vgpu_install::step::Step;
use vgpu_install::{apply, recover, rollback, state};

/// More steps than any of these transactions has: a sweep that gets here never ends.
const STEPS_MAX: u64 = 1000;

#[test]
fn what_an_undone_apply_had_to_leave_is_named() {
    let host = machine();
    let path = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
    let outcome = apply::apply(&host, &planned(&host, Scope::Service), &mut || {
        host.place_file(path.as_ref(), b"edited");
        Err(Error::Stopped)
    });
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("except: ") && said.contains(path), "{said}");
}

#[test]
fn what_was_undone_beside_an_older_generation_does_not_come_back_with_the_power() {
    for step in 0..STEPS_MAX {
        let host = machine();
        applied(&host, Scope::Service).unwrap();
        applied(&host, Scope::Bundle).unwrap();
        host.fault_at(step, Fault::Dies);
        let ended = rollback::rollback(&host, 1, false, false).is_ok();
        let met = host.revive() > step;
        host.cut_power();
        recover::recover(&host, false).unwrap();
        let backup = host.tree().contains("/.vgpu-2-");
        let generations = state::generations(&host).unwrap().len();
        assert_eq!(generations, 1 + usize::from(backup), "step {step}");
        assert!(!(ended && backup), "step {step}: it ended, and is not on the disk");
        if !met {
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_failed_apply_beside_an_older_generation_stays_undone_when_the_power_goes() {
    for step in 0..STEPS_MAX {
        let host = machine();
        applied(&host, Scope::Service).unwrap();
        let plan = planned(&host, Scope::Bundle);
        host.fault_at(step, Fault::Fails(ErrorKind::StorageFull));
        let outcome = apply::apply(&host, &plan, &mut || Ok(()));
        host.revive();
        host.cut_power();
        recover::recover(&host, false).unwrap();
        let generations = state::generations(&host).unwrap().len();
        assert_eq!(generations, 1 + usize::from(outcome.is_ok()), "step {step}: {outcome:?}");
        if outcome.is_ok() && step > 20 {
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn what_ended_well_asks_for_no_recovery_when_the_power_goes() {
    let host = machine();
    applied(&host, Scope::Service).unwrap();
    host.cut_power();
    assert_eq!(recover::interrupted(&host).unwrap(), None);
    rollback::rollback(&host, 0, false, false).unwrap();
    host.cut_power();
    assert_eq!(recover::interrupted(&host).unwrap(), None);
}

#[test]
fn a_machine_without_var_lib_is_refused_and_has_nothing_to_recover() {
    let host = Memory::described("dir /etc\nfile /etc/a theirs");
    let before = host.tree();
    let step = Step::WriteFile { path: "/etc/b".into(), mode: 0o644, text: "ours".into() };
    let plan = Plan { steps: vec![step], ..Plan::default() };
    let error = apply::apply(&host, &plan, &mut || Ok(())).unwrap_err();
    assert_eq!(error.exit_code(), 6, "{error:?}");
    assert_eq!(host.tree(), before);
}

#[test]
fn a_file_of_others_in_the_state_directory_does_not_stop_a_rollback() {
    let host = machine();
    applied(&host, Scope::Service).unwrap();
    host.place_file("/var/lib/vgpu/note".as_ref(), b"theirs");
    rollback::rollback(&host, 0, false, false).unwrap();
    assert_eq!(recover::interrupted(&host).unwrap(), None);
    assert_eq!(host.list("/var/lib/vgpu".as_ref()).unwrap(), ["note"]);
    assert!(!host.tree().contains("user.vgpu"), "no mark is left");
    assert!(!host.tree().contains("50-vgpu.conf"));
}

#[test]
fn a_hidden_name_that_is_taken_is_left_to_whoever_took_it() {
    let host = machine();
    for index in 0..8 {
        let taken = format!("/usr/local/lib/ollama/cuda_v13/.vgpu-1-{index}");
        host.place_file(taken.as_ref(), b"an original of long ago");
    }
    let before = host.tree();
    let error = applied(&host, Scope::Bundle).unwrap_err();
    assert!(matches!(error, Error::Undone { .. }), "{error:?}");
    assert_eq!(host.tree(), before);
}
