//! What the kernel holds against us: lockdown, and NVIDIA's own module.

use std::path::{Path, PathBuf};

use super::super::{Finding, Scene};
use crate::error::Result;

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const PCI: &str = "/sys/bus/pci/devices";
/// NVIDIA's number as a vendor, as sysfs writes it.
const NVIDIA: &str = "0x10de";
/// The number under which an emulator shows the stub device.
const STUB: &str = "0x2331";
/// The stub's subsystem, which no genuine card has.
const STUB_SUBSYSTEM: (&str, &str) = ("0x10de", "0x16c1");

pub(super) fn lockdown(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let links = scene.links()?;
    let Some(link) = links.iter().find(|link| link.starts_with("pci:")) else {
        let named = if links.is_empty() { "the default".into() } else { links.join(", ") };
        return Ok(vec![Finding::ok("the link maps no device").saw(format!("link: {named}"))]);
    };
    let Some(text) = scene.host.kernel_text(Path::new(LOCKDOWN))? else {
        let needs = "needs securityfs: the kernel shows no lockdown state here";
        return Ok(vec![Finding::skipped(needs).saw(format!("{LOCKDOWN}: no such file"))]);
    };
    let saw = format!("{LOCKDOWN}: {}", text.trim());
    Ok(vec![if text.contains("[none]") {
        Finding::ok("the kernel is not locked down").saw(saw)
    } else {
        let cause = format!("kernel lockdown forbids programs to map the device of {link}");
        let remedy = "vgpu-install --link unix:PATH or vsock:CID:PORT, which map no device";
        Finding::fail(&["F55"], cause).saw(saw).remedy(remedy)
    }])
}

struct Device {
    address: String,
    dir: PathBuf,
    driver: Option<String>,
    is_stub: bool,
}

pub(super) fn modules(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let modules = scene.host.kernel_text(Path::new("/proc/modules"))?;
    let is_foreign = modules.is_none() && scene.host.list(Path::new(PCI))?.is_empty();
    if is_foreign && !scene.host.is_running() {
        return Ok(vec![Finding::skipped("needs the running machine: there is no /proc here")]);
    }
    // A kernel that loads no modules has no such file.
    let modules = modules.unwrap_or_default();
    let loaded: Vec<&str> = modules
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("nvidia") || *name == "nouveau")
        .collect();
    let mut findings = Vec::new();
    for device in devices(scene)? {
        let Some(driver) = device.driver.as_deref().filter(|name| name.starts_with("nv")) else {
            continue;
        };
        let what = if device.is_stub { "the virtual device" } else { "a GPU of this guest's own" };
        let saw = format!("{}: {what}, driver {driver}", device.address);
        findings.push(if device.is_stub {
            let cause = "NVIDIA's kernel module took the virtual device of the link";
            let address = &device.address;
            let dir = device.dir.display();
            let remedy =
                format!("echo none > {dir}/driver_override; echo {address} > {dir}/driver/unbind");
            Finding::fail(&["F48"], cause).saw(saw).remedy(remedy)
        } else {
            let cause = "this guest has a GPU of its own with NVIDIA's driver at work; our \
                         libraries would hide it from Ollama";
            let remedy = "vgpu-install --rollback, if Ollama is to use that GPU";
            Finding::warn(&["P39"], cause).saw(saw).remedy(remedy)
        });
    }
    if let (true, false) = (findings.is_empty(), loaded.is_empty()) {
        let cause = "NVIDIA's kernel module is loaded and holds no device";
        let saw = format!("/proc/modules: {}", loaded.join(", "));
        findings.push(Finding::warn(&["P39"], cause).saw(saw));
    }
    Ok(findings)
}

fn devices(scene: &Scene<'_>) -> Result<Vec<Device>> {
    let mut found = Vec::new();
    for name in scene.host.list(Path::new(PCI))? {
        let dir = Path::new(PCI).join(&name);
        let word = |file: &str| -> Result<String> {
            let text = scene.host.kernel_text(&dir.join(file))?;
            Ok(text.map_or_else(String::new, |text| text.trim().to_owned()))
        };
        if word("vendor")? != NVIDIA {
            continue;
        }
        let subsystem = (word("subsystem_vendor")?, word("subsystem_device")?);
        let is_stub = word("device")? == STUB
            && (subsystem.0.as_str(), subsystem.1.as_str()) == STUB_SUBSYSTEM;
        let driver = scene.host.canonical(&dir.join("driver"))?;
        let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let address = name.to_string_lossy().into_owned();
        found.push(Device { address, dir, driver, is_stub });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, verdicts};

    fn device(subsystem: &str) -> String {
        format!(
            "file /proc/modules nvidia 999 1 - Live\\next4 1 1\\n
             file /sys/bus/pci/devices/0000:00:05.0/vendor 0x10de\\n
             file /sys/bus/pci/devices/0000:00:05.0/device 0x2331\\n
             file /sys/bus/pci/devices/0000:00:05.0/subsystem_vendor 0x10de\\n
             file /sys/bus/pci/devices/0000:00:05.0/subsystem_device {subsystem}\\n
             link /sys/bus/pci/devices/0000:00:05.0/driver -> /sys/bus/pci/drivers/nvidia
             dir /sys/bus/pci/drivers/nvidia"
        )
    }

    #[test]
    fn the_module_on_the_stub_fails_and_on_a_gpu_of_the_guest_warns() {
        let found = examine("system.kmod", &device("0x16c1"));
        assert_eq!(verdicts(&found), ["fail F48"]);
        assert!(found[0].remedy.as_ref().unwrap().contains("0000:00:05.0/driver_override"));
        assert_eq!(verdicts(&examine("system.kmod", &device("0x1234"))), ["warn P39"]);
    }

    #[test]
    fn a_guest_without_the_module_is_fine_and_a_foreign_root_is_skipped() {
        assert_eq!(verdicts(&examine("system.kmod", "file /proc/modules ext4 1")), ["ok"]);
        assert_eq!(verdicts(&examine("system.kmod", "dir /etc")), ["skipped"]);
    }

    #[test]
    fn lockdown_matters_to_a_link_that_maps_a_device_only() {
        let locked = "file /sys/kernel/security/lockdown none [integrity] confidentiality";
        assert_eq!(verdicts(&examine("system.lockdown", locked)), ["ok"]);
        let pci = "file /etc/vgpu/guest.toml link = \"pci:auto\"\\n";
        let both = format!("{locked}\n{pci}");
        assert_eq!(verdicts(&examine("system.lockdown", &both)), ["fail F55"]);
        let open = format!("{pci}\nfile /sys/kernel/security/lockdown [none] integrity");
        assert_eq!(verdicts(&examine("system.lockdown", &open)), ["ok"]);
        assert_eq!(verdicts(&examine("system.lockdown", pci)), ["skipped"]);
    }
}
