//! Debian's own packages of NVIDIA's driver come, grow and go around us.
//!
//! Whatever they do, Ollama's service keeps our GPU, and after our rollback the machine is as one
//! on which the same was done without us.

use vgpu_tests::{
    stage,
    system::{APT, Driver, Except, Files, Guest, Setting, Tree},
};

use super::{USR_LOCAL, has_gpu, served, setting};

/// What differs between two machines that had the same done to them.
const TWINS: &[Except] = &[
    Except { path: "etc/machine-id", because: "the first boot makes one up" },
    Except { path: "var/lib/dbus", because: "it is linked to, or copied from, the same" },
];

/// One thing that an administrator does with the driver.
struct Step {
    words: &'static str,
    script: &'static str,
}

const APT_GET: &str = "apt-get --yes --no-install-recommends --allow-downgrades";

const COMES: Step = Step { words: "the driver came", script: "install /run/driver/1/*.deb" };
const GROWS: Step = Step { words: "the driver grew", script: "install /run/driver/2/*.deb" };
const GOES: Step = Step {
    words: "the driver went",
    script: "purge libcuda1 libnvidia-ml1 nvidia-smi nvidia-alternative && ldconfig",
};
/// An older driver beside it, as Debian's packages of those register one, and back.
const AWAY: &str = "mkdir /usr/lib/nvidia/legacy-999xx
    update-alternatives --install /usr/lib/nvidia/nvidia nvidia /usr/lib/nvidia/legacy-999xx 1
    update-alternatives --set nvidia /usr/lib/nvidia/legacy-999xx
    ldconfig";
const BACK: &str = "update-alternatives --remove nvidia /usr/lib/nvidia/legacy-999xx
    rmdir /usr/lib/nvidia/legacy-999xx
    ldconfig";

fn with_driver() -> Setting {
    let mut setting = setting();
    let driver = Driver::fetched(&stage::cache(), &setting.release, &setting.tarball).unwrap();
    setting.shown.push(driver.bind());
    setting
}

fn take(guest: &Guest, step: &Step) -> String {
    guest.sh(&format!("{APT_GET} {} 2>&1", step.script)).unwrap()
}

fn state(guest: &Guest) -> Tree {
    guest.tree(&[TWINS, APT]).unwrap().without_times()
}

fn twin(setting: &Setting) -> Guest {
    Guest::boot(setting, USR_LOCAL, Files::Deb, None).unwrap()
}

#[test]
fn a_driver_that_comes_grows_and_goes_after_us_leaves_ollama_our_gpu() {
    let setting = with_driver();
    let (guest, _host) = served(&setting);
    guest.install_deb().unwrap();
    for step in [COMES, GROWS] {
        let said = take(&guest, &step);
        assert!(said.contains("Processing triggers for vgpu-ollama"), "{}: {said}", step.words);
        assert!(!said.contains("out of Ollama's reach"), "{}: {said}", step.words);
        has_gpu(&guest.restart_ollama().unwrap(), step.words);
    }
    let libcuda = "/usr/lib/x86_64-linux-gnu/libcuda.so.1";
    let leads = guest.sh(&format!("readlink --canonicalize {libcuda}")).unwrap();
    assert!(leads.contains("/nvidia/current/libcuda.so.998."), "the driver is not there: {leads}");
    for (flip, there) in [(AWAY, false), (BACK, true)] {
        guest.sh(flip).unwrap();
        assert_eq!(guest.root().join(libcuda.trim_start_matches('/')).is_symlink(), there);
        has_gpu(&guest.restart_ollama().unwrap(), flip);
    }
    let scan = guest.vgpu_install(&["verify"]).unwrap();
    assert!(scan.status.success(), "{scan:?}");
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    guest.apt(&["purge", "vgpu-ollama"]).unwrap().success().unwrap();
    let twin = twin(&setting);
    for step in [COMES, GROWS] {
        take(&twin, &step);
    }
    for flip in [AWAY, BACK] {
        twin.sh(flip).unwrap();
    }
    assert_eq!(state(&twin).changes(&state(&guest)), []);
}

#[test]
fn a_driver_that_was_there_before_us_grows_and_goes_as_if_we_were_not() {
    let setting = with_driver();
    let (guest, _host) = served(&setting);
    take(&guest, &COMES);
    guest.install_deb().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "beside a driver");
    take(&guest, &GROWS);
    has_gpu(&guest.restart_ollama().unwrap(), GROWS.words);
    take(&guest, &GOES);
    has_gpu(&guest.restart_ollama().unwrap(), GOES.words);
    guest.apt(&["purge", "vgpu-ollama"]).unwrap().success().unwrap();
    let twin = twin(&setting);
    for step in [COMES, GROWS, GOES] {
        take(&twin, &step);
    }
    assert_eq!(state(&twin).changes(&state(&guest)), []);
}

/// The trigger looks and says; it mends nothing, because a person may have meant it.
#[test]
fn a_driver_that_comes_while_our_drop_in_is_gone_is_told_and_nothing_is_changed() {
    let setting = with_driver();
    let (guest, _host) = served(&setting);
    guest.install_deb().unwrap();
    guest
        .sh("rm /etc/systemd/system/ollama.service.d/50-vgpu.conf
             systemctl daemon-reload")
        .unwrap();
    let said = take(&guest, &COMES);
    assert!(said.contains("out of Ollama's reach; vgpu-install verify says why"), "{said}");
    assert!(!guest.root().join("etc/systemd/system/ollama.service.d/50-vgpu.conf").exists());
}
