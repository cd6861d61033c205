//! Ollama as a service of a person, under the person's own systemd.

use vgpu_tests::{
    Vgpud,
    system::{Discovery, Files, Guest},
};

use super::{USR_LOCAL, has_gpu, has_no_gpu, setting};

const SYSTEMCTL: &str = "systemctl --user --machine=ann@.host";

/// What Ann's Ollama found at the start that it is in.
fn discovery(guest: &Guest) -> Discovery {
    guest.discovery_of(SYSTEMCTL, "_SYSTEMD_INVOCATION_ID").unwrap()
}

#[test]
fn a_persons_own_service_gets_the_gpu_and_the_rollback_takes_it_back() {
    let setting = setting();
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"]).unwrap();
    let guest = Guest::boot(&setting, USR_LOCAL, Files::Laid, host.socket().parent()).unwrap();
    guest
        .sh(&format!(
            "systemctl disable --quiet --now ollama
             useradd --create-home ann
             units=~ann/.config/systemd/user
             mkdir -p $units
             sed '/^User=/d; /^Group=/d' /etc/systemd/system/ollama.service > $units/ollama.service
             rm /etc/systemd/system/ollama.service
             chown -R ann: ~ann/.config
             systemctl daemon-reload
             loginctl enable-linger ann
             systemctl start user@$(id -u ann)
             {SYSTEMCTL} start ollama"
        ))
        .unwrap();
    has_no_gpu(&discovery(&guest), "before");
    let before = guest.tree(&[]).unwrap();
    let said = guest.vgpu_install(&["apply"]).unwrap().success().unwrap();
    assert!(said.contains("restart ollama.service of ann"), "{said}");
    // Ollama's own line of that very start, and no other's.
    assert!(said.contains("ok       journal: ollama.service says: "), "{said}");
    let status = guest.vgpu_install(&["status"]).unwrap().success().unwrap();
    let running = "ok       running: ollama.service of ann was started with the newest change";
    assert!(status.contains(running), "{status}");
    let drop_in = "/etc/systemd/user/ollama.service.d/50-vgpu.conf";
    assert_eq!(guest.sh(&format!("stat --format=%U {drop_in}")).unwrap(), "root\n");
    // The installer restarted it itself.
    has_gpu(&discovery(&guest), "applied");
    let doctor = guest.vgpu_install(&["doctor"]).unwrap();
    assert!(doctor.status.success(), "{}", doctor.stdout);
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    has_no_gpu(&discovery(&guest), "rolled back");
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}
