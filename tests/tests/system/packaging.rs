//! The deb: what is in it, and what its scripts do around upgrades, wishes and interruptions.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use vgpu_tests::{
    Stage, run, stage,
    system::{APT, Guest, repack},
};

use super::{USR_LOCAL, alone, has_gpu, served, setting};

const LIMIT: Duration = Duration::from_secs(60);
const DROP_IN: &str = "etc/systemd/system/ollama.service.d/50-vgpu.conf";
const INVOCATION: &str = "systemctl show --property=InvocationID --value ollama";

/// Puts a deb of the next version beside the first; answers its place in the guest.
fn next_deb(guest: &Guest, next: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let there = guest.root().join("root/next");
    fs::create_dir_all(&there).unwrap();
    let packed = repack(&stage::deb("vgpu-ollama"), &there, version, next).unwrap();
    format!("/root/next/{}", packed.file_name().unwrap().to_string_lossy())
}

fn has_drop_in(guest: &Guest) -> bool {
    guest.root().join(DROP_IN).exists()
}

#[test]
fn installing_the_same_deb_again_changes_nothing_for_ollama() {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    let before = guest.tree(&[APT]).unwrap().without_directory_times();
    guest.apt(&["install", "--reinstall", "/root/vgpu-ollama.deb"]).unwrap().success().unwrap();
    let after = guest.tree(&[APT]).unwrap().without_directory_times();
    assert_eq!(before.changes(&after), []);
}

#[test]
fn a_deb_holds_what_the_stage_holds_and_its_papers() {
    for package in ["vgpu-ollama", "vgpu-host"] {
        let mut dpkg = Command::new("dpkg-deb");
        let listed = run(dpkg.arg("--contents").arg(stage::deb(package)), LIMIT).unwrap();
        let packed: BTreeSet<String> = listed
            .success()
            .unwrap()
            .lines()
            .filter_map(|line| line.split("./").nth(1))
            .filter(|path| !path.ends_with('/'))
            .map(|path| path.split(" -> ").next().unwrap_or(path).to_owned())
            .collect();
        let mut find = Command::new("find");
        find.arg(Stage::release().package(package)).args(["!", "-type", "d", "-printf", "%P\\n"]);
        let staged = run(&mut find, LIMIT).unwrap().success().unwrap();
        let papers = ["changelog.Debian.gz", "copyright"];
        let papers = papers.map(|name| format!("usr/share/doc/{package}/{name}"));
        // cargo-deb compresses manual pages, as policy 12.1 asks.
        let packed_as = |path: &str| match path.starts_with("usr/share/man/") {
            true => format!("{path}.gz"),
            false => path.to_owned(),
        };
        let expected = staged.lines().map(packed_as).chain(papers).collect();
        assert_eq!(packed, expected, "{package}");
    }
}

#[test]
fn an_upgrade_keeps_the_gpu_and_the_generation_and_a_rollback_outlives_it() {
    let (guest, _host) = served(&setting());
    guest.install_deb().unwrap();
    let next = next_deb(&guest, "0.9.1");
    let upgrade = guest.apt(&["install", &next]).unwrap().success().unwrap();
    assert!(upgrade.contains("nothing to do: generation 1 is in force"), "{upgrade}");
    has_gpu(&guest.restart_ollama().unwrap(), "after the upgrade");
    assert_eq!(guest.sh("systemctl is-active vgpu-refresh.path").unwrap(), "active\n");
    // Who rolled back does not want the next version to set it up again.
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    let next = next_deb(&guest, "0.9.2");
    let upgrade = guest.apt(&["install", &next]).unwrap().success().unwrap();
    assert!(upgrade.contains("no generation is in force"), "{upgrade}");
    assert!(!has_drop_in(&guest));
    // Who removes the package and installs it again does.
    guest.apt(&["remove", "vgpu-ollama"]).unwrap().success().unwrap();
    guest.apt(&["install", &next]).unwrap().success().unwrap();
    assert!(has_drop_in(&guest));
    guest.apt(&["remove", "vgpu-ollama"]).unwrap().success().unwrap();
    assert!(!has_drop_in(&guest));
}

#[test]
fn a_policy_against_restarts_is_honoured_and_the_next_start_has_the_gpu() {
    let (guest, _host) = served(&setting());
    guest
        .sh("printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
             chmod +x /usr/sbin/policy-rc.d")
        .unwrap();
    let before = guest.sh(INVOCATION).unwrap();
    guest.install_deb().unwrap();
    assert!(has_drop_in(&guest));
    assert_eq!(guest.sh(INVOCATION).unwrap(), before);
    assert_eq!(guest.sh("systemctl is-active vgpu-refresh.path || true").unwrap(), "inactive\n");
    has_gpu(&guest.restart_ollama().unwrap(), "started again by hand");
    let before = guest.sh(INVOCATION).unwrap();
    guest.apt(&["purge", "vgpu-ollama"]).unwrap().success().unwrap();
    assert!(!has_drop_in(&guest));
    assert_eq!(guest.sh(INVOCATION).unwrap(), before);
}

#[test]
fn a_configuration_that_was_killed_is_finished_by_dpkg() {
    let (guest, _host) = served(&setting());
    // vgpu-install alone syncs a file of this name; apt and dpkg sync their own.
    let kill = [
        "--trace-path=/var/lib/vgpu/journal",
        "--trace=fsync,fdatasync",
        "--inject=fsync,fdatasync:signal=KILL:when=3",
    ];
    let words = ["apt-get", "--yes", "install", "/root/vgpu-ollama.deb"];
    let killed = guest.under_strace(&kill, &words).unwrap();
    assert!(!killed.status.success(), "{killed:?}");
    let state = "dpkg-query --show --showformat='${db:Status-Status}' vgpu-ollama";
    assert_eq!(guest.sh(state).unwrap(), "half-configured");
    assert!(guest.root().join("var/lib/vgpu/journal").exists());
    guest.sh("dpkg --configure --pending").unwrap();
    assert_eq!(guest.sh(state).unwrap(), "installed");
    has_gpu(&guest.discovery().unwrap(), "after dpkg --configure");
}

/// A package with one file, as its path is spelled, which is installed without running triggers;
/// then each package's state, and the removal.
const ONE_FILE: &str = "mkdir -p package/DEBIAN package/$(dirname $PLACE)
    echo mark > package/$PLACE
    cat > package/DEBIAN/control <<-END
\tPackage: one-file
\tVersion: 999
\tArchitecture: all
\tMaintainer: Nobody <nobody@example.invalid>
\tDescription: one file
\tEND
    dpkg-deb --build package one-file.deb >/dev/null
    dpkg --no-triggers --install one-file.deb >/dev/null
    dpkg-query --show --showformat='${db:Status-Status}\n' one-file vgpu-ollama
    dpkg --purge one-file >/dev/null
    dpkg --configure --pending >/dev/null
    rm -r package one-file.deb";

#[test]
fn either_spelling_of_a_drivers_file_fires_the_trigger_and_nobody_waits_for_it() {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    for (place, fires) in [
        ("usr/lib/x86_64-linux-gnu/libcuda.so.1", true),
        ("lib/x86_64-linux-gnu/libcuda.so.1", true),
        ("usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1", true),
        ("usr/lib/x86_64-linux-gnu/libcuda.so.999", false),
        ("lib/x86_64-linux-gnu/libanother.so.1", false),
    ] {
        let states = guest.sh(&format!("cd /root\nPLACE={place}\n{ONE_FILE}")).unwrap();
        let ours = if fires { "triggers-pending" } else { "installed" };
        assert_eq!(states, format!("installed\n{ours}\n"), "{place}");
    }
    let state = "dpkg-query --show --showformat='${db:Status-Status}' vgpu-ollama";
    assert_eq!(guest.sh(state).unwrap(), "installed");
}

/// Any package's installation runs ldconfig, and `dpkg --verify` is what an administrator asks.
#[test]
fn ldconfig_diversions_and_dpkg_find_nothing_of_ours_to_change() {
    let guest = alone(USR_LOCAL);
    let diversions = guest.sh("dpkg-divert --list").unwrap();
    let cache = guest.sh("ldconfig --print-cache").unwrap();
    guest.install_deb().unwrap();
    assert_eq!(guest.sh("dpkg --verify vgpu-ollama").unwrap(), "");
    assert_eq!(guest.sh("dpkg-divert --list").unwrap(), diversions);
    let installed = guest.tree(&[APT]).unwrap().without_times();
    for _ in 0..2 {
        guest.sh("ldconfig").unwrap();
        let after = guest.tree(&[APT]).unwrap().without_times();
        assert_eq!(installed.changes(&after), []);
    }
    assert_eq!(guest.sh("ldconfig --print-cache").unwrap(), cache);
    assert_eq!(guest.sh("dpkg --verify vgpu-ollama").unwrap(), "");
}

/// Ollama's installer takes a machine with an NVIDIA PCI device and no `nvidia-smi` in PATH for
/// one that lacks NVIDIA's driver, and installs that over whatever libcuda is there.
#[test]
fn ollamas_installer_finds_an_nvidia_smi_and_asks_for_no_driver() {
    let question = "if command -v nvidia-smi; then :; else echo installs a driver; fi";
    let (guest, _host) = served(&setting());
    assert_eq!(guest.sh(question).unwrap(), "installs a driver\n");
    guest.install_deb().unwrap();
    assert_eq!(guest.sh(question).unwrap(), "/usr/local/bin/nvidia-smi\n");
    let listed = guest.sh("nvidia-smi -L").unwrap();
    assert!(listed.contains("GPU 0: NVIDIA H100"), "{listed}");
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    assert_eq!(guest.sh(question).unwrap(), "installs a driver\n");
}
