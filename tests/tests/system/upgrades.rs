//! What Ollama's own installer does to us: it wipes the bundle and writes the unit again.

use vgpu_tests::system::Guest;

use super::{has_gpu, has_no_gpu, served, setting};

/// Waits until a look that follows an upgrade has said that this generation is in force.
fn await_generation(guest: &Guest, generation: u32) {
    let said = format!("generation {generation} is in force");
    guest
        .sh(&format!(
            "timeout 120 bash -ec 'grep -m1 \"{said}\" < <(journalctl -o cat -f -n all \
                 --unit vgpu-refresh.service)'"
        ))
        .unwrap();
}

#[test]
fn ollamas_installer_leaves_the_service_its_gpu() {
    let (guest, _host) = served(&setting());
    guest.keep_ollama().unwrap();
    guest.install_deb().unwrap();
    guest.upgrade_ollama().unwrap();
    has_gpu(&guest.discovery().unwrap(), "after Ollama's upgrade");
    // The path unit saw it too: it looked, and there was nothing to renew.
    await_generation(&guest, 1);
    has_gpu(&guest.discovery().unwrap(), "after the look");
    let state = guest.vgpu_install(&["status"]).unwrap().success().unwrap();
    assert!(state.contains("generation 1 is in force and in place"), "{state}");
}

#[test]
fn links_in_the_bundle_that_ollamas_installer_wiped_are_said_to_be_gone_and_come_again() {
    let (guest, _host) = served(&setting());
    guest.keep_ollama().unwrap();
    guest.install_deb().unwrap();
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    guest.vgpu_install(&["apply", "--scope", "bundle"]).unwrap().success().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "with links in the bundle");
    // Without the path unit nothing happens by itself, and status says what is wrong.
    guest.sh("systemctl stop vgpu-refresh.path vgpu-refresh.service").unwrap();
    guest.upgrade_ollama().unwrap();
    has_no_gpu(&guest.discovery().unwrap(), "the bundle was wiped");
    let state = guest.vgpu_install(&["status"]).unwrap();
    assert_eq!(state.status.code(), Some(3), "{state:?}");
    assert!(state.stdout.contains("vgpu-install would change it"), "{state:?}");
    guest.sh("systemctl start vgpu-refresh.path").unwrap();
    guest.upgrade_ollama().unwrap();
    await_generation(&guest, 2);
    has_gpu(&guest.discovery().unwrap(), "the links were made again");
    // What a person took back stays away.
    let code = guest.vgpu_install(&["--rollback"]).unwrap().status.code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    guest.upgrade_ollama().unwrap();
    // Twice: the first waits for a look that our own links had started.
    guest
        .sh("systemctl start vgpu-refresh.service && systemctl start vgpu-refresh.service")
        .unwrap();
    let condition = "systemctl show --property=ConditionResult --value vgpu-refresh.service";
    assert_eq!(guest.sh(condition).unwrap(), "no\n");
    has_no_gpu(&guest.discovery().unwrap(), "rolled back");
}
