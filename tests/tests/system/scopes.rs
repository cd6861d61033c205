//! How far a change reaches, with the real ldconfig and systemd: scope `system`, and a hardened
//! unit whose way to the host is the group alone.

use vgpu_tests::{
    Vgpud,
    system::{Except, Files, Guest},
};

use super::{USR_LOCAL, has_gpu, has_no_gpu, setting};

/// What ldconfig makes of all libraries; the test compares its content itself.
const DERIVED: &[Except] = &[
    Except { path: "etc/ld.so.cache", because: "ldconfig makes it anew, with the same content" },
    Except { path: "var/cache/ldconfig", because: "ldconfig's own notes of what it read" },
];

/// The number of the group in both, which no package takes; the host gives its socket to it. The
/// guest has the group from our sysusers file, by a number of its own.
const GROUP: &str = "47110";

const HARDENED: &str = "PrivateDevices=yes\nDevicePolicy=closed\nProtectSystem=strict\n\
    ProtectHome=yes\nProtectKernelTunables=yes\nProtectKernelModules=yes\nPrivateTmp=yes\n\
    ProtectProc=invisible\nNoNewPrivileges=yes\nMemoryDenyWriteExecute=yes\n\
    RestrictAddressFamilies=AF_INET AF_INET6\nSystemCallFilter=@system-service\n\
    SystemCallFilter=~@privileged @memlock\n";

#[test]
fn a_hardened_unit_reaches_a_socket_that_is_its_groups_alone() {
    let setting = setting();
    let access = ["--mode", "0660", "--group", GROUP];
    let host = Vgpud::start_with(&setting.stage, &access).unwrap();
    let guest = Guest::boot(&setting, USR_LOCAL, Files::Laid, host.socket().parent()).unwrap();
    guest
        .sh(&format!(
            "groupmod --gid {GROUP} vgpu
             mkdir -p /etc/systemd/system/ollama.service.d
             printf '[Service]\\n{}' > /etc/systemd/system/ollama.service.d/10-hard.conf
             systemctl daemon-reload",
            HARDENED.replace('\n', "\\n")
        ))
        .unwrap();
    has_no_gpu(&guest.restart_ollama().unwrap(), "hardened, and not served");
    let before = guest.tree(&[]).unwrap();
    let said = guest.vgpu_install(&["apply"]).unwrap().success().unwrap();
    // Ollama's own words decided, after the restart and before the commit.
    let line = said.lines().find(|line| line.contains("journal: ollama.service says: "));
    assert!(line.is_some_and(|line| line.contains("library=CUDA")), "{said}");
    has_gpu(&guest.restart_ollama().unwrap(), "hardened");
    let drop_in = guest.sh("cat /etc/systemd/system/ollama.service.d/50-vgpu.conf").unwrap();
    let given: Vec<&str> = drop_in
        .lines()
        .filter(|line| !line.starts_with(['#', '[']) && !line.starts_with("Environment="))
        .collect();
    let expected = [
        "RestrictAddressFamilies=AF_UNIX",
        "SystemCallFilter=mlock munlock",
        "SupplementaryGroups=vgpu",
    ];
    assert_eq!(given, expected);
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    has_no_gpu(&guest.restart_ollama().unwrap(), "rolled back");
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}

#[test]
fn scope_system_leads_every_program_to_us_and_the_rollback_to_nobody() {
    let setting = setting();
    let guest = Guest::boot(&setting, USR_LOCAL, Files::Laid, None).unwrap();
    let cached =
        "ldconfig -p | grep --extended-regexp 'lib(cuda|nvidia-ml|cudart|cublas).so' || true";
    assert_eq!(guest.sh(cached).unwrap(), "");
    let (before, cache) =
        (guest.tree(&[DERIVED]).unwrap(), guest.sh("cksum /etc/ld.so.cache").unwrap());
    guest.vgpu_install(&["apply", "--scope", "system"]).unwrap().success().unwrap();
    let listed = guest.sh(cached).unwrap();
    for name in ["libcuda.so.1", "libnvidia-ml.so.1", "libcudart.so.13", "libcublas.so.12"] {
        let ours = format!("=> /usr/lib/x86_64-linux-gnu/vgpu/{name}\n");
        assert!(listed.contains(&ours), "{name}: {listed}");
    }
    // What any package's installation does changes nothing, and neither does a second apply.
    guest.ldconfig().unwrap();
    assert_eq!(guest.sh(cached).unwrap(), listed);
    let again = guest.vgpu_install(&["apply", "--scope", "system"]).unwrap().success().unwrap();
    assert!(again.contains("nothing to do"), "{again}");
    // A driver that would come before us is no reason to claim that ours won.
    guest
        .sh("mkdir -p /usr/local/cuda/compat
             cp /usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1 /usr/local/cuda/compat/
             echo /usr/local/cuda/compat > /etc/ld.so.conf.d/00-cuda-compat.conf")
        .unwrap();
    let refused = guest.vgpu_install(&["apply", "--scope", "system"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("00-cuda-compat.conf that comes before ours"), "{refused:?}");
    guest.sh("rm -r /usr/local/cuda /etc/ld.so.conf.d/00-cuda-compat.conf").unwrap();
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    assert_eq!(guest.sh("cksum /etc/ld.so.cache").unwrap(), cache, "the same content again");
    let changes = before.changes(&guest.tree(&[DERIVED]).unwrap());
    let times = ["/usr/local", "/etc/ld.so.conf.d"];
    let by_us = changes.iter().filter(|change| {
        let said = change.to_string();
        // This test itself worked in these two.
        !times.iter().any(|dir| said.starts_with(&format!("~ {dir} (")))
    });
    assert_eq!(by_us.count(), 0, "{changes:?}");
}
