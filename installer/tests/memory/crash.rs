//! A machine in memory is stopped at every changing step of apply and rollback, by a kill and by a
//! power cut, and must be exactly as before or after once it has recovered.

use std::io::ErrorKind;

use crate::machine::{applied, machine, planned};
use vgpu_install::error::Error;
use vgpu_install::host::Host;
use vgpu_install::host::memory::{Fault, Memory};
use vgpu_install::plan::Scope;
use vgpu_install::step::Step;
use vgpu_install::{apply, recover, rollback, state};

/// More steps than any of these transactions has: a sweep that gets here never ends.
const STEPS_MAX: u64 = 1000;

/// The tree without our own state, whose times differ from run to run, and without the times of
/// what we made ourselves.
fn essence(host: &Memory) -> String {
    let mut lines = Vec::new();
    for line in host.tree().lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        if words[1].starts_with("/var/lib/vgpu/") {
            continue;
        }
        let made = words[1].starts_with("/var/lib") || words[0] == "dir" || words[0] == "link";
        if made || words[1].ends_with("-vgpu.conf") {
            words[3] = "-";
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

/// Stops `act` at every step, recovers, and compares; `exact` says that a state counts only with
/// all times.
fn sweep(scope: Scope, prepare: impl Fn(&Memory), act: impl Fn(&Memory) -> bool, power: bool) {
    let finished = machine();
    prepare(&finished);
    let before = finished.tree();
    assert!(act(&finished), "{scope:?}: the act works when nothing goes wrong");
    let after = finished.tree();
    let mut seen = (0, 0);
    for step in 0..STEPS_MAX {
        let host = machine();
        prepare(&host);
        host.fault_at(step, Fault::Dies);
        let survived = act(&host);
        host.revive();
        if survived {
            assert!(seen.0 > 0 && seen.1 > 0, "both outcomes were reached: {seen:?}");
            return;
        }
        if power {
            host.cut_power();
        }
        recover::recover(&host, false).unwrap();
        assert_eq!(recover::interrupted(&host).unwrap(), None, "step {step}");
        let found = host.tree();
        let matches = |wanted: &str, exact: bool| {
            let other = machine();
            prepare(&other);
            if exact { found == wanted } else { essence(&host) == wanted }
        };
        let installed_before = before.contains("/var/lib/vgpu/");
        let is_before = if installed_before {
            let other = machine();
            prepare(&other);
            matches(&essence(&other), false)
        } else {
            matches(&before, true)
        };
        let is_after = if installed_before {
            matches(&after, true)
        } else {
            matches(&essence(&finished), false)
        };
        assert!(is_before || is_after, "stopped at step {step} ({scope:?}):\n{found}");
        seen.0 += u32::from(is_before);
        seen.1 += u32::from(is_after);
    }
    panic!("the sweep did not end");
}

const SCOPES: [Scope; 3] = [Scope::Service, Scope::Bundle, Scope::System];

#[test]
fn an_apply_stopped_at_any_step_is_all_there_or_not_at_all() {
    for (scope, power) in SCOPES.into_iter().flat_map(|scope| [(scope, false), (scope, true)]) {
        sweep(scope, |_| (), |host| applied(host, scope).is_ok(), power);
    }
}

#[test]
fn a_rollback_stopped_at_any_step_is_all_done_or_not_at_all() {
    for (scope, power) in SCOPES.into_iter().flat_map(|scope| [(scope, false), (scope, true)]) {
        let prepare = |host: &Memory| applied(host, scope).unwrap();
        let act = |host: &Memory| rollback::rollback(host, 0, false, false).is_ok();
        // A rollback that began is carried to its end, so the state before is seen only where it
        // stopped before its journal was on the disk.
        sweep(scope, prepare, act, power);
    }
}

#[test]
fn a_rollback_restores_every_byte_and_time() {
    for scope in SCOPES {
        for host in [machine(), machine().without_attributes()] {
            let before = host.tree();
            applied(&host, scope).unwrap();
            assert_ne!(host.tree(), before);
            rollback::rollback(&host, 0, false, false).unwrap();
            assert_eq!(host.tree(), before, "{scope:?}");
        }
    }
}

#[test]
fn recovering_is_itself_stopped_at_any_step_and_still_ends_well() {
    for scope in SCOPES {
        for (step, again) in (5..60).flat_map(|step| (0..20).map(move |again| (step, again))) {
            let host = machine();
            let before = host.tree();
            host.fault_at(step, Fault::Dies);
            if applied(&host, scope).is_ok() {
                break;
            }
            host.fault_at(again, Fault::Dies);
            let first = recover::recover(&host, false);
            host.revive();
            let second = recover::recover(&host, false).unwrap();
            let whole = state::generations(&host).unwrap().len() == 1;
            assert!(whole || host.tree() == before, "{step}/{again}: {first:?} {second:?}");
        }
    }
}

#[test]
fn a_failure_at_any_step_is_undone_before_apply_returns() {
    let kinds =
        [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
    for (scope, kind) in SCOPES.into_iter().flat_map(|scope| kinds.map(|kind| (scope, kind))) {
        for step in 0..STEPS_MAX {
            let host = machine();
            let before = host.tree();
            let plan = planned(&host, scope);
            host.fault_at(step, Fault::Fails(kind));
            let outcome = apply::apply(&host, &plan, &mut || Ok(()));
            host.revive();
            match outcome {
                Ok(_) => {
                    assert!(step > 20, "the fault was met in each step before the last");
                    break;
                }
                Err(Error::Undone { .. }) => assert_eq!(host.tree(), before, "step {step}"),
                // The fault may fall on the undoing of a failed verification only.
                Err(error) => panic!("step {step}: {error:?}"),
            }
        }
    }
}

#[test]
fn a_failure_followed_by_a_kill_still_ends_before_or_after() {
    let finished = machine();
    let before = finished.tree();
    applied(&finished, Scope::Service).unwrap();
    let after = essence(&finished);
    let mut kills = 0;
    for (step, later) in (0..60).flat_map(|step| (1..25).map(move |later| (step, later))) {
        let host = machine();
        let plan = planned(&host, Scope::Service);
        host.fault_at(step, Fault::Fails(ErrorKind::StorageFull));
        host.then_at(step + later, Fault::Dies);
        let outcome = apply::apply(&host, &plan, &mut || Ok(()));
        host.revive();
        kills += u32::from(matches!(outcome, Err(Error::UndoFailed { .. })));
        recover::recover(&host, false).unwrap();
        let found = host.tree();
        assert!(found == before || essence(&host) == after, "{step} and {later}:\n{found}");
    }
    assert!(kills > 100, "the undoing was killed {kills} times");
}

#[test]
fn a_signal_at_any_step_ends_the_apply_before_or_after() {
    let plain = machine();
    let before = plain.tree();
    let mut undone = 0;
    for step in 0..STEPS_MAX {
        let host = machine();
        host.fault_at(step, Fault::Asked);
        match applied(&host, Scope::Bundle) {
            Err(Error::Undone { source, .. }) => {
                assert_eq!(source.code(), "stopped", "step {step}");
                assert_eq!(host.tree(), before, "step {step}");
                undone += 1;
            }
            Err(error) => panic!("step {step}: {error:?}"),
            Ok(()) => {
                assert_eq!(recover::interrupted(&host).unwrap(), None);
                assert!(undone > 20, "undone {undone} times");
                return;
            }
        }
    }
}

#[test]
fn a_failed_verification_undoes_everything_and_restarts_nothing() {
    let host = machine();
    let before = host.tree();
    let because = String::from("libcudart.so.13 is not ours");
    let plan = planned(&host, Scope::Service);
    let mut fail = || Err(Error::Verification { check: "mapped", because: because.clone() });
    let error = apply::apply(&host, &plan, &mut fail).unwrap_err();
    assert!(matches!(error, Error::Undone { .. }), "{error:?}");
    assert_eq!(host.tree(), before);
    let reload = "/bin/systemctl daemon-reload";
    assert_eq!(host.commands(), [reload, reload]);
}

#[test]
fn a_second_apply_plans_nothing() {
    for scope in SCOPES {
        let host = machine();
        applied(&host, scope).unwrap();
        // There is no ldconfig in memory, so its cache is never what it would be.
        let mut again = planned(&host, scope).steps;
        again.retain(|step| scope != Scope::System || *step != Step::Ldconfig);
        assert_eq!(again, []);
    }
}

#[test]
fn what_others_changed_since_is_left_and_force_puts_it_back() {
    let host = machine();
    let before = host.tree();
    applied(&host, Scope::Service).unwrap();
    let path = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
    host.place_file(path.as_ref(), b"edited");
    let done = rollback::rollback(&host, 0, false, false).unwrap();
    assert_eq!(done.left.len(), 2, "the file, and the directory that holds it: {:?}", done.left);
    assert_eq!(host.read(path.as_ref(), 100).unwrap().unwrap(), b"edited");
    let done = rollback::rollback(&host, 0, true, false).unwrap();
    assert!(done.left.is_empty(), "{:?}", done.left);
    assert!(host.inspect(path.as_ref()).unwrap().is_absent());
    let names = |tree: &str| -> Vec<String> {
        tree.lines().map(|line| line.split(' ').take(3).collect()).collect()
    };
    assert_eq!(names(&host.tree()), names(&before));
}

#[test]
fn a_bundle_that_ollama_replaced_is_left_to_ollama() {
    let host = machine();
    applied(&host, Scope::Bundle).unwrap();
    for name in ["libcudart.so.13", "libcublas.so.13", "libcuda.so.1", "libnvidia-ml.so.1"] {
        let path = format!("/usr/local/lib/ollama/cuda_v13/{name}");
        host.unlink(path.as_ref()).unwrap();
        host.place_file(path.as_ref(), b"newer");
    }
    for aside in host.list("/usr/local/lib/ollama/cuda_v13".as_ref()).unwrap() {
        if aside.to_string_lossy().starts_with(".vgpu-") {
            let path = std::path::Path::new("/usr/local/lib/ollama/cuda_v13").join(aside);
            host.unlink(&path).unwrap();
        }
    }
    let done = rollback::rollback(&host, 0, false, false).unwrap();
    assert_eq!(done.left.len(), 5, "with the stale link of ours: {:?}", done.left);
    let path = "/usr/local/lib/ollama/cuda_v13/libcudart.so.13";
    assert_eq!(host.read(path.as_ref(), 100).unwrap().unwrap(), b"newer");
}
