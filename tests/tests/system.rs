//! The installed system, in a Debian container with systemd as PID 1 and Ollama's layout in it.
//!
//! Real: Debian, systemd, apt, ld.so, the published CUDA backends, our deb from the release stage.
//! Imitated: the GPU (`vgpud --device sim`), `ollama` and `llama-server` (see
//! `vgpu_tests::stand_in`).

#![forbid(unsafe_code)]

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use vgpu_tests::{
    Stage, Vgpud, run, stage,
    system::{APT, Files, Guest, Layout, Plot, Setting, story},
};

const LIMIT: Duration = Duration::from_secs(60);
const DEBUG: &str = "OLLAMA_DEBUG=2";
const USR_LOCAL: Layout = Layout { prefix: "/usr/local", environment: &[DEBUG] };
const USR: Layout = Layout { prefix: "/usr", environment: &[DEBUG] };

/// Finds what the tests need, or says what is missing and what to do.
fn setting() -> Setting {
    Setting::of_this_checkout().unwrap_or_else(|error| {
        panic!("{error}\n  try: {}", error.hint().unwrap_or("cargo xtask test system"));
    })
}

/// Tells one story with a host and fails with all that is wrong in it.
fn check(plot: Plot) {
    let setting = setting();
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"]).unwrap();
    let told = story(&setting, plot, host.socket().parent(), &mut |_| {}).unwrap();
    let faults = told.faults();
    assert!(faults.is_empty(), "{}\nhost:\n{}", faults.join("\n"), host.log());
}

#[test]
fn the_service_finds_the_gpu_and_rollback_restores_every_byte() {
    check(Plot { layout: USR_LOCAL, files: Files::Laid, scope: "service" });
}

#[test]
fn the_bundle_finds_the_gpu_and_rollback_restores_every_byte() {
    check(Plot { layout: USR, files: Files::Laid, scope: "bundle" });
}

#[test]
fn the_deb_sets_ollama_up_and_purge_leaves_nothing() {
    check(Plot { layout: USR_LOCAL, files: Files::Deb, scope: "service" });
}

/// Boots a guest with the deb beside it and no host that answers.
fn alone(layout: Layout) -> Guest {
    Guest::boot(&setting(), layout, Files::Deb, None).unwrap()
}

#[test]
fn without_a_host_apt_succeeds_and_ollama_carries_on_with_the_cpu() {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    let found = guest.restart_ollama().unwrap();
    assert!(found.compute.contains("library=cpu"), "{}", found.compute);
    let why = |line: &&String| line.contains("vgpu: no GPU: ") && line.contains("vgpud.sock");
    assert!(found.lines.iter().any(|line| why(&line)), "nothing says why: {:#?}", found.lines);
    assert_eq!(guest.sh("dpkg --verify vgpu-ollama").unwrap(), "");
    guest.apt(&["remove", "vgpu-ollama"]).unwrap().success().unwrap();
    let environment = guest.environment().unwrap();
    assert!(!environment.contains("vgpu"), "{environment}");
}

#[test]
fn without_ollama_apt_succeeds_and_says_what_is_missing() {
    let guest = alone(USR_LOCAL);
    guest
        .sh("systemctl disable --quiet --now ollama
             rm -r /etc/systemd/system/ollama.service /usr/local/bin/ollama /usr/local/lib/ollama
             systemctl daemon-reload")
        .unwrap();
    let said = guest.apt(&["install", "/root/vgpu-ollama.deb"]).unwrap();
    assert!(said.status.success(), "{said:?}");
    let words = format!("{}{}", said.stdout, said.stderr).to_lowercase();
    assert!(words.contains("ollama"), "{words}");
    assert_eq!(
        guest.sh("dpkg-query --show --showformat='${Status}' vgpu-ollama").unwrap(),
        "install ok installed"
    );
    guest.apt(&["purge", "vgpu-ollama"]).unwrap().success().unwrap();
    assert!(!guest.root().join("var/lib/vgpu").exists());
}

#[test]
fn an_environment_that_the_unit_had_is_kept() {
    let layout = Layout {
        prefix: "/usr/local",
        environment: &[DEBUG, "LD_LIBRARY_PATH=/opt/site/lib", "LD_PRELOAD=/opt/site/libsite.so"],
    };
    let guest = alone(layout);
    guest.install_deb().unwrap();
    guest.restart_ollama().unwrap();
    let environment = guest.environment().unwrap();
    let value = |name: &str| {
        let line = environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in:\n{environment}"))
    };
    let paths: Vec<_> = value("LD_LIBRARY_PATH").split(':').collect();
    assert!(paths.contains(&"/opt/site/lib"), "{paths:?}");
    assert!(paths.contains(&"/usr/lib/x86_64-linux-gnu/vgpu"), "{paths:?}");
    let preloads: Vec<_> = value("LD_PRELOAD").split([':', ' ']).collect();
    assert!(preloads.contains(&"/opt/site/libsite.so"), "{preloads:?}");
    assert!(preloads.iter().any(|path| path.ends_with("/vgpu/libcudart.so.13")), "{preloads:?}");
}

#[test]
fn an_edited_drop_in_survives_the_removal_and_is_named() {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    let drop_in = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";
    guest.sh(&format!("echo '# mine' >> {drop_in}")).unwrap();
    let removal = guest.apt(&["remove", "vgpu-ollama"]).unwrap();
    assert!(removal.status.success(), "{removal:?}");
    let words = format!("{}{}", removal.stdout, removal.stderr);
    assert!(words.contains(drop_in), "{words}");
    assert!(guest.sh(&format!("cat {drop_in}")).unwrap().ends_with("# mine\n"));
}

#[test]
fn what_a_killed_run_left_is_undone_at_the_next_boot() {
    let mut guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    let before = guest.tree(&[]).unwrap();
    // At the twelfth sync the drop-in lies there, and nothing is committed yet.
    let kill = ["--trace=fsync,fdatasync", "--inject=fsync,fdatasync:signal=KILL:when=12"];
    let killed = guest.vgpu_install_under_strace(&kill, &["apply"]).unwrap();
    assert!(!killed.status.success(), "{killed:?}");
    let drop_in = "etc/systemd/system/ollama.service.d/50-vgpu.conf";
    assert!(guest.root().join(drop_in).exists(), "killed too early for this test");
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
fn installing_the_same_deb_again_changes_nothing_for_ollama() {
    let guest = alone(USR_LOCAL);
    guest.install_deb().unwrap();
    let before = guest.tree(&[APT]).unwrap().without_directory_times();
    guest.apt(&["install", "--reinstall", "/root/vgpu-ollama.deb"]).unwrap().success().unwrap();
    let after = guest.tree(&[APT]).unwrap().without_directory_times();
    assert_eq!(before.changes(&after), []);
}

#[test]
fn the_host_package_serves_the_gpu_to_its_group() {
    let guest = alone(USR_LOCAL);
    let deb = "/root/vgpu-host.deb";
    let there = guest.root().join(deb.trim_start_matches('/'));
    fs::copy(stage::deb("vgpu-host"), there).unwrap();
    guest.apt(&["install", deb]).unwrap().success().unwrap();
    // Nothing is served before somebody says what.
    assert_eq!(guest.sh("systemctl is-active vgpud || true").unwrap(), "inactive\n");
    guest
        .sh("mkdir -p /etc/vgpu
             echo 'device = \"sim\"' > /etc/vgpu/host.toml
             systemctl start vgpud
             usermod --append --groups vgpu ollama")
        .unwrap();
    let socket = "stat --format='%a %U %G' /run/vgpu/vgpud.sock";
    assert_eq!(guest.sh(socket).unwrap(), "660 vgpu vgpu\n");
    assert_eq!(guest.sh("dpkg --verify vgpu-host").unwrap(), "");
    guest.install_deb().unwrap();
    let found = guest.restart_ollama().unwrap();
    assert!(found.compute.contains("libdirs=ollama,cuda_v13"), "{:#?}", found.lines);
    // An administrator may hold Ollama to one of its CUDA versions.
    guest
        .sh("echo '[Service]\nEnvironment=OLLAMA_LLM_LIBRARY=cuda_v12' \\
                 > /etc/systemd/system/ollama.service.d/10-cuda.conf
             systemctl daemon-reload")
        .unwrap();
    let found = guest.restart_ollama().unwrap();
    assert!(found.compute.contains("libdirs=ollama,cuda_v12"), "{:#?}", found.lines);
    guest.apt(&["purge", "vgpu-host"]).unwrap().success().unwrap();
    assert_eq!(guest.sh("systemctl is-active vgpud || true").unwrap(), "inactive\n");
    assert_eq!(guest.sh("ls /etc/vgpu/host.toml 2>/dev/null || true").unwrap(), "");
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
        let expected = staged.lines().map(str::to_owned).chain(papers).collect();
        assert_eq!(packed, expected, "{package}");
    }
}
