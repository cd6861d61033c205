//! The installed system, in a Debian container with systemd as PID 1 and Ollama's layout in it.
//!
//! Real: Debian, systemd, apt, ld.so, the published CUDA backends, our deb from the release stage.
//! Imitated: the GPU (`vgpud --device sim`), `ollama` and `llama-server` (see
//! `vgpu_tests::stand_in`).

#![forbid(unsafe_code)]

mod access;
mod chapter;
mod devices;
mod doctor;
mod drivers;
mod packaging;
mod power;
mod scopes;
mod service;
mod upgrades;
mod users;

use std::fs;

use vgpu_tests::{
    Vgpud, stage,
    system::{Discovery, Except, Files, Guest, Layout, Plot, Result, Setting, story, verified},
};

const DEBUG: &str = "OLLAMA_DEBUG=2";
const USR_LOCAL: Layout = Layout { prefix: "/usr/local", environment: &[DEBUG], settings: &[] };
const USR: Layout = Layout { prefix: "/usr", environment: &[DEBUG], settings: &[] };

/// Finds what the tests need, or says what is missing and what to do.
fn setting() -> Setting {
    found(Setting::of_this_checkout())
}

fn found(setting: Result<Setting>) -> Setting {
    setting.unwrap_or_else(|error| {
        panic!("{error}\n  try: {}", error.hint().unwrap_or("cargo xtask test system"));
    })
}

/// Tells one story with a host and fails with all that is wrong in it.
fn check(setting: &Setting, plot: Plot) {
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"]).unwrap();
    let told = story(setting, plot, host.socket().parent(), &mut |_| {}).unwrap();
    let faults = told.faults();
    assert!(faults.is_empty(), "{}\nhost:\n{}", faults.join("\n"), host.log());
}

#[test]
fn the_service_finds_the_gpu_and_rollback_restores_every_byte() {
    check(&setting(), Plot { layout: USR_LOCAL, files: Files::Laid, scope: "service" });
}

#[test]
fn the_bundle_finds_the_gpu_and_rollback_restores_every_byte() {
    check(&setting(), Plot { layout: USR, files: Files::Laid, scope: "bundle" });
}

#[test]
fn the_deb_sets_ollama_up_and_purge_leaves_nothing() {
    check(&setting(), Plot { layout: USR_LOCAL, files: Files::Deb, scope: "service" });
}

/// The C library, systemd and dpkg are newer there.
#[test]
fn the_other_debian_finds_the_gpu_and_rollback_restores_every_byte() {
    let setting = found(Setting::of_the_other_debian());
    check(&setting, Plot { layout: USR, files: Files::Laid, scope: "service" });
}

#[test]
fn on_the_other_debian_the_deb_sets_ollama_up_and_purge_leaves_nothing() {
    let setting = found(Setting::of_the_other_debian());
    check(&setting, Plot { layout: USR_LOCAL, files: Files::Deb, scope: "service" });
}

/// A unit that is shut off as its documentation advises, and reaches no local socket.
const HARDENED: Layout = Layout {
    settings: &[
        "PrivateDevices=yes",
        "DevicePolicy=closed",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ProtectKernelTunables=yes",
        "PrivateTmp=yes",
        "NoNewPrivileges=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "SystemCallFilter=@system-service",
        "ReadWritePaths=/usr/share/ollama",
    ],
    ..USR_LOCAL
};

#[test]
fn a_hardened_unit_gets_what_the_link_needs_and_loses_it_with_the_rollback() {
    check(&setting(), Plot { layout: HARDENED, files: Files::Deb, scope: "service" });
}

/// Whose our libraries are, as the running installer learns it.
fn owners(guest: &Guest) -> Vec<String> {
    let facts = guest.vgpu_install(&["scan", "--json"]).unwrap().success().unwrap();
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    vgpu_tests::schema::demand("facts", &facts);
    let libraries = facts["libraries"].as_array().unwrap();
    let ours = libraries.iter().filter(|copy| copy["kind"] == "ours");
    ours.map(|copy| {
        let word = |name: &str| copy["owner"][name].as_str().unwrap_or("nobody").to_owned();
        format!("{} {} {}", word("manager"), word("package"), word("version"))
    })
    .collect()
}

/// Real: rpm, its database and its packages, with our files in /usr/lib64. Not real: the system
/// below, which is Debian's, with its C library and systemd and no dpkg.
#[test]
fn files_of_an_rpm_find_the_gpu_and_rpm_verifies_them_before_and_after() {
    let setting = setting();
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"]).unwrap();
    let guest = Guest::boot(&setting, USR, Files::Rpm, host.socket().parent()).unwrap();
    has_no_gpu(&guest.restart_ollama().unwrap(), "before");
    let database = Except { path: "usr/lib/sysimage", because: "rpm's own records" };
    let before = guest.tree(&[&[database]]).unwrap();
    guest.vgpu_install(&["apply"]).unwrap().success().unwrap();
    let found = guest.restart_ollama().unwrap();
    assert!(found.compute.contains("library=CUDA"), "{}", found.lines.join("\n"));
    let cuda = found.mapped().into_iter().filter(|path| path.contains("libcu"));
    let (ours, others): (Vec<_>, Vec<_>) =
        cuda.partition(|path| path.starts_with("/usr/lib64/vgpu/"));
    assert!(!ours.is_empty() && others.is_empty(), "{others:?} beside {ours:?}");
    let owner = format!("rpm vgpu-ollama {}-1", env!("CARGO_PKG_VERSION"));
    let owners = owners(&guest);
    assert!(owners.len() >= 6 && owners.iter().all(|one| *one == owner), "{owners:?}");
    let status = guest.vgpu_install(&["status"]).unwrap().success().unwrap();
    assert!(status.contains("generation 1 is in force and in place"), "{status}");
    assert_eq!(verified(&guest.root()).unwrap().success().unwrap(), "");
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    has_no_gpu(&guest.restart_ollama().unwrap(), "rolled back");
    assert_eq!(before.changes(&guest.tree(&[&[database]]).unwrap()), []);
    assert_eq!(verified(&guest.root()).unwrap().success().unwrap(), "");
}

/// Starts a host, and a guest with the deb beside it that can reach the host.
fn served(setting: &Setting) -> (Guest, Vgpud) {
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"]).unwrap();
    let guest = Guest::boot(setting, USR_LOCAL, Files::Deb, host.socket().parent()).unwrap();
    (guest, host)
}

/// Fails unless Ollama found the GPU, and by our libraries alone.
fn has_gpu(found: &Discovery, when: &str) {
    assert!(found.compute.contains("library=CUDA"), "{when}: {}", found.lines.join("\n"));
    let ours = |path: &&str| path.starts_with("/usr/lib/x86_64-linux-gnu/vgpu/");
    let cuda = found.mapped().into_iter().filter(|path| path.contains("libcu"));
    let (ours, others): (Vec<_>, Vec<_>) = cuda.partition(ours);
    assert!(!ours.is_empty() && others.is_empty(), "{when}: {others:?} beside {ours:?}");
}

fn has_no_gpu(found: &Discovery, when: &str) {
    assert!(found.compute.contains("library=cpu"), "{when}: {}", found.compute);
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
        settings: &[],
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
    assert_eq!(guest.sh("stat --format='%a %U %G' /run/vgpu").unwrap(), "755 vgpu vgpu\n");
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
