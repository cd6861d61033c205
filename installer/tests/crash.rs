//! A machine in memory is stopped at every changing step of apply and rollback, by a kill and by a
//! power cut, and must be exactly as before or after once it has recovered.

#![forbid(unsafe_code)]

use std::io::ErrorKind;

use vgpu_install::error::Error;
use vgpu_install::facts::SHIMS;
use vgpu_install::host::Host;
use vgpu_install::host::memory::{Fault, Memory};
use vgpu_install::plan::{Plan, Policy, Scope, plan};
use vgpu_install::step::Step;
use vgpu_install::{apply, discover, recover, rollback, state};

/// More steps than any of these transactions has: a sweep that gets here never ends.
const STEPS_MAX: u64 = 1000;

fn machine() -> Memory {
    let mut text = String::from(
        "dir /var/lib
         file /etc/os-release PRETTY_NAME=\"Sim 999\"
         file /etc/systemd/system/ollama.service [Service]\\nExecStart=/usr/local/bin/ollama serve
         file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
         file /usr/local/lib/ollama/cuda_v13/libcudart.so.13.999 theirs
         link /usr/local/lib/ollama/cuda_v13/libcudart.so.13 -> libcudart.so.13.999
         file /usr/local/lib/ollama/cuda_v13/libcublas.so.13 theirs, too
        ",
    );
    for name in SHIMS {
        text.push_str(&format!("file /usr/lib/x86_64-linux-gnu/vgpu/{name} ours\n"));
    }
    Memory::described(&text).with_systemd()
}

fn planned(host: &Memory, scope: Scope) -> Plan {
    let facts = discover::facts(host).unwrap();
    plan(&facts, &Policy { scope, ..Policy::default() }).unwrap()
}

fn applied(host: &Memory, scope: Scope) -> Result<(), Error> {
    apply::apply(host, &planned(host, scope), &mut || Ok(())).map(drop)
}

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
        if made || words[1].ends_with("50-vgpu.conf") {
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
        recover::recover(&host).unwrap();
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

const SCOPES: [Scope; 2] = [Scope::Service, Scope::Bundle];

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
            let first = recover::recover(&host);
            host.revive();
            let second = recover::recover(&host).unwrap();
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
        recover::recover(&host).unwrap();
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
fn a_second_apply_plans_nothing() {
    for scope in SCOPES {
        let host = machine();
        applied(&host, scope).unwrap();
        assert_eq!(planned(&host, scope).steps, []);
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
    assert_eq!(done.left.len(), 4, "{:?}", done.left);
    let path = "/usr/local/lib/ollama/cuda_v13/libcudart.so.13";
    assert_eq!(host.read(path.as_ref(), 100).unwrap().unwrap(), b"newer");
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
        recover::recover(&host).unwrap();
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
        recover::recover(&host).unwrap();
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
