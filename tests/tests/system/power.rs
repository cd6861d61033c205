//! Killed, cut off, and reloaded: what an interruption leaves, and what carries on through one.

use vgpu_tests::Vgpud;
use vgpu_tests::system::{Files, Guest, Layout, MODELS, Tree};

use super::{DEBUG, USR_LOCAL, alone, has_gpu, served, setting};

const DROP_IN: &str = "etc/systemd/system/ollama.service.d/50-vgpu.conf";

/// A guest whose apply was killed before its commit, and the state before.
fn interrupted() -> (Guest, Tree) {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    let before = guest.tree(&[]).unwrap();
    // At the twelfth sync the drop-in lies there, and nothing is committed yet.
    let kill = ["--trace=fsync,fdatasync", "--inject=fsync,fdatasync:signal=KILL:when=12"];
    let killed = guest.vgpu_install_under_strace(&kill, &["apply"]).unwrap();
    assert!(!killed.status.success(), "{killed:?}");
    assert!(guest.root().join(DROP_IN).exists(), "killed too early for this test");
    (guest, before)
}

#[test]
fn what_a_killed_run_left_is_undone_at_the_next_boot() {
    let (mut guest, before) = interrupted();
    guest.reboot().unwrap();
    let state = "systemctl show --property=ConditionResult --value vgpu-install-recover";
    assert_eq!(guest.sh(state).unwrap(), "yes\n");
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}

/// EL 8 has Linux 4.18, Ubuntu 20.04 has 5.4: neither knows these calls, and both are served.
#[test]
fn a_kernel_without_openat2_and_pidfds_installs_and_rolls_back() {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    let before = guest.tree(&[]).unwrap();
    let old = ["--inject=openat2,pidfd_open,pidfd_send_signal:error=ENOSYS"];
    guest.vgpu_install_under_strace(&old, &["apply"]).unwrap().success().unwrap();
    assert_ne!(before.changes(&guest.tree(&[]).unwrap()), []);
    guest.vgpu_install_under_strace(&old, &["--rollback"]).unwrap().success().unwrap();
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}

#[test]
fn what_a_power_cut_left_of_an_apply_is_undone_at_the_next_boot() {
    let (mut guest, before) = interrupted();
    guest.cut_power().unwrap();
    let result = "systemctl show --property=Result --value vgpu-install-recover";
    assert_eq!(guest.sh(result).unwrap(), "success\n");
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}

#[test]
fn what_a_power_cut_left_of_a_rollback_is_ended_at_the_next_boot() {
    let mut guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    // The state before the package's own set-up, for what the rollback has to lead to.
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    let before = guest.tree(&[]).unwrap();
    guest.vgpu_install(&["apply"]).unwrap().success().unwrap();
    let kill = ["--trace=fsync,fdatasync", "--inject=fsync,fdatasync:signal=KILL:when=5"];
    let killed = guest.vgpu_install_under_strace(&kill, &["--rollback"]).unwrap();
    assert!(!killed.status.success(), "{killed:?}");
    assert!(guest.root().join("var/lib/vgpu/journal").exists(), "killed too late for this test");
    guest.cut_power().unwrap();
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}

/// NVIDIA's containers lose their GPU when systemd writes the device rules of a running service
/// again. Ours reach no device node: the model speaks on, word for word.
#[test]
fn systemd_reads_its_units_again_while_a_model_speaks() {
    let setting = setting();
    let (guest, _host) = served(&setting);
    guest.install_deb().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "installed");
    let expected = guest.speeches(&setting.speaker).unwrap();
    let (reloads, speech) = guest.speech_among_reloads(&setting.speaker).unwrap();
    assert!(reloads > 0, "the model had spoken before systemd was asked");
    assert_eq!(speech.tokens, expected.cpu.tokens);
    assert!(speech.launches >= expected.gpu.launches, "{speech:?}, without reloads {expected:?}");
    has_gpu(&guest.discovery().unwrap(), "after the reloads");
}

/// The unit as the package has set it up, and its runner in it.
#[test]
fn the_service_loads_its_model_again_by_itself_after_the_hosts_end_and_return() {
    const LAYOUT: Layout = Layout { environment: &[DEBUG, MODELS], ..USR_LOCAL };
    let setting = setting();
    let directory = tempfile::tempdir().unwrap();
    let listen = format!("unix:{}", directory.path().join("vgpud.sock").display());
    let start = || Vgpud::start_with(&setting.stage, &["--mode", "0666", "--listen", &listen]);
    let host = start().unwrap();
    let guest = Guest::boot(&setting, LAYOUT, Files::Deb, Some(directory.path())).unwrap();
    guest.install_deb().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "installed");
    let first = guest.ask_ollama().unwrap();
    assert_eq!((first.lost, first.loads), (0, 1), "{first:?}");
    host.end();
    let _host = start().unwrap();
    let again = guest.ask_ollama().unwrap();
    assert_eq!((again.lost, again.loads), (1, 2), "{again:?}");
    assert_eq!((again.answer, again.invocation), (first.answer, first.invocation));
}
