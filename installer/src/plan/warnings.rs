//! What a person should know of a plan; nothing here stops it.

use super::{Policy, Scope, Warning, is_served, unit_of};
use crate::facts::{Copy, Facts, Init, Layout, Manager, Ollama, PciDevice, Runs, Unit};

/// Lists every warning.
pub(super) fn all(facts: &Facts, policy: &Policy, scope: Scope) -> Vec<Warning> {
    let mut found = Vec::new();
    if facts.ollamas.is_empty() && facts.confined.is_empty() {
        let what = "no Ollama was found in /usr/local, /usr or by its unit";
        let hint = "install Ollama, then run vgpu-install again";
        found.push(Warning::new("no_ollama", what, hint));
    }
    if let Some(problem) = &facts.guest.problem {
        let what = format!("/etc/vgpu/guest.toml cannot be understood: {problem}");
        let hint = "mend the file: our libraries find no host while it is like this";
        found.push(Warning::new("guest_toml", what, hint));
    }
    found.extend(pci(facts, policy));
    for unit in &facts.units {
        of_unit(unit, facts, scope, &mut found);
    }
    scopes(facts, policy, scope, &mut found);
    for ollama in &facts.ollamas {
        of_ollama(ollama, &mut found);
    }
    for confined in &facts.confined {
        let what = format!("the Ollama in {} was left alone", confined.describe());
        found.push(Warning::new("confined_ollama", what, &confined.advice));
    }
    for dir in &facts.left_behind {
        let what = format!("no program here takes the libraries in {dir}");
        let hint = "another install left them: remove them once you know that you need them not";
        found.push(Warning::new("left_behind", what, hint));
    }
    let other = |copy: &&Copy| copy.is_of_driver() && copy.asked.is_some() && !copy.ours;
    for copy in facts.libraries.iter().filter(other) {
        let what = format!("another {} is installed: {}", copy.name, copy.file);
        let hint = match scope {
            Scope::System => "programs that ask ld.so by name get ours from now on",
            _ => "nothing to do: Ollama's service takes ours, all else keeps it",
        };
        found.push(Warning::new("driver", what, hint));
    }
    found
}

/// A link by PCI whose device is not there, or is not free.
fn pci(facts: &Facts, policy: &Policy) -> Option<Warning> {
    let link = policy.link.as_deref().or(facts.guest.link.as_deref())?;
    let wanted = link.strip_prefix("pci:")?;
    let carries = |device: &&PciDevice| {
        (wanted == "auto" || device.address == wanted)
            && (device.is_shared_memory() || device.is_stub())
    };
    let carriers: Vec<&PciDevice> = facts.guest.devices.iter().filter(carries).collect();
    let (what, hint) = match carriers.as_slice() {
        [] => (
            format!("{link}: this guest has no such device that carries a link"),
            "see docs/pci.md for what the virtual machine needs; until then nothing reaches a GPU",
        ),
        [one] => match one.driver.as_deref() {
            Some(driver) if driver.starts_with("nvidia") || driver == "nouveau" => (
                format!("{link}: the kernel module {driver} is bound to {}", one.address),
                "udevadm trigger keeps it away from the next start on; then restart the guest",
            ),
            _ => return None,
        },
        [one, other, ..] => (
            format!("{link}: {} and {} both carry a link", one.address, other.address),
            "name one of them by --link pci:ADDRESS",
        ),
    };
    Some(Warning::new("pci_link", what, hint))
}

/// A unit that is changed and, as was asked for, not restarted.
pub(super) fn pending(unit: &Unit) -> Warning {
    let (what, hint) = match &unit.manager {
        Manager::System => ("", "run systemctl restart for it when it suits"),
        Manager::User(_) => (" of a user", "let its user run systemctl --user restart for it"),
    };
    let what = format!("{}{what} is not restarted: it runs on as it was started", unit.name);
    Warning::new("restart_pending", what, hint)
}

/// Which scope was taken by itself, and which Ollama it leaves alone.
fn scopes(facts: &Facts, policy: &Policy, scope: Scope, found: &mut Vec<Warning>) {
    if scope != policy.scope {
        let what = "no systemd unit starts Ollama, so scope bundle was taken: links to our \
                    libraries in its own directories";
        let hint = match facts.platform.init {
            Init::Openrc => {
                "run rc-service ollama restart; after an upgrade of Ollama, which wipes the \
                 links, run vgpu-install again"
            }
            _ => {
                "start Ollama anew; after an upgrade of it, which wipes the links, run \
                 vgpu-install again"
            }
        };
        found.push(Warning::new("scope", what, hint));
        return;
    }
    if scope != Scope::Service {
        return;
    }
    for ollama in facts.ollamas.iter().filter(|ollama| ollama.bundles.iter().any(is_served)) {
        let masked = facts.units.iter().any(|unit| unit.masked);
        if unit_of(facts, ollama).is_none() && !masked {
            let what = format!("no systemd unit starts {}, so it is left alone", ollama.executable);
            let hint = "vgpu-install --scope bundle serves it: that needs no unit";
            found.push(Warning::new("no_unit", what, hint));
        }
    }
}

fn of_unit(unit: &Unit, facts: &Facts, scope: Scope, found: &mut Vec<Warning>) {
    if unit.masked {
        let what = format!("{} is masked and was left alone", unit.name);
        let hint = "run systemctl unmask, then vgpu-install again";
        found.push(Warning::new("masked", what, hint));
        return;
    }
    if unit.runs != Runs::Ollama {
        let name = &unit.name;
        let (what, hint) = match unit.runs {
            Runs::Docker | Runs::Podman => (
                format!("{name} starts Ollama in a container, and was left alone"),
                "give the container our libraries: vgpu-install scan prints the command",
            ),
            Runs::Snap => (
                format!("{name} starts Ollama from a snap, and was left alone"),
                "a snap finds no library of ours: install Ollama with its own script instead",
            ),
            Runs::Unknown | Runs::Ollama => (
                format!("in what {name} starts, no Ollama was seen, so it was left alone"),
                "name Ollama's program in ExecStart=, or use vgpu-install --scope bundle",
            ),
        };
        found.push(Warning::new("not_reached", what, hint));
        return;
    }
    if scope != Scope::Bundle {
        environment(unit, facts, found);
    }
    if let (Manager::User(user), true) = (&unit.manager, facts.guest.group) {
        let what =
            format!("{} is a unit of {user}'s own, which cannot be given a group", unit.name);
        let hint = "run usermod --append --groups vgpu for that user, who then logs in anew";
        found.push(Warning::new("group", what, hint));
    }
    for setting in &unit.settings {
        if matches!(setting.name.as_str(), "AppArmorProfile" | "SELinuxContext") {
            let what = format!("{} runs under {}={}", unit.name, setting.name, setting.value);
            let hint = "see that it may read our libraries and reach the link; verify says if not";
            found.push(Warning::new("confined", what, hint));
        }
    }
}

/// Variables that keep Ollama from the GPU although all else is right. Those from files outrank
/// the unit's own, and the last one counts.
fn environment(unit: &Unit, facts: &Facts, found: &mut Vec<Warning>) {
    let value = |name: &str| {
        let mut known = unit.environment.iter().chain(&unit.outranking).rev();
        known.find(|variable| variable.name == name && !variable.value.is_empty())
    };
    if let Some(variable) = value("CUDA_VISIBLE_DEVICES") {
        let what = format!(
            "{} sets CUDA_VISIBLE_DEVICES={} for {}: Ollama sees no other device",
            variable.set_by, variable.value, unit.name
        );
        let hint = "take the line away, unless this choice is meant for the host's GPUs";
        found.push(Warning::new("visible_devices", what, hint));
    }
    let Some(variable) = value("OLLAMA_LLM_LIBRARY") else { return };
    let served =
        facts.ollamas.iter().filter(|ollama| unit.program == Some(ollama.executable.clone()));
    let mut dirs = served.flat_map(|ollama| &ollama.bundles).filter(|bundle| is_served(bundle));
    let is_named = |dir: &std::path::Path| {
        dir.file_name().is_some_and(|name| name.to_string_lossy() == variable.value)
    };
    if !dirs.any(|bundle| is_named(&bundle.dir)) {
        let what = format!(
            "{} sets OLLAMA_LLM_LIBRARY={} for {}: Ollama passes over every CUDA backend here",
            variable.set_by, variable.value, unit.name
        );
        let hint = "take the line away, or name a directory such as cuda_v13";
        found.push(Warning::new("llm_library", what, hint));
    }
}

fn of_ollama(ollama: &Ollama, found: &mut Vec<Warning>) {
    let advice = ollama.advice.as_deref();
    if ollama.layout == Layout::None {
        let what = format!("the Ollama in {} has no CUDA backend", ollama.library_dir);
        let hint = advice.unwrap_or("install Ollama with CUDA support");
        found.push(Warning::new("no_backend", what, hint));
    } else if let Some(advice) = advice {
        let what = format!("the Ollama in {} is kept by another program", ollama.prefix);
        found.push(Warning::new("kept", what, advice));
    }
    for bundle in ollama.bundles.iter().filter(|bundle| !is_served(bundle)) {
        let line = bundle
            .cuda_major
            .map_or("an unknown CUDA line".into(), |major| format!("CUDA {major}"));
        let what = format!("the backend in {} is for {line}; 12 and 13 are served", bundle.dir);
        found.push(Warning::new("cuda_line", what, "update Ollama"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(address: &str, id: (&str, &str), driver: Option<&str>) -> PciDevice {
        PciDevice {
            address: address.into(),
            vendor: id.0.into(),
            device: id.1.into(),
            subsystem: "10de:16c1".into(),
            driver: driver.map(Into::into),
            ..PciDevice::default()
        }
    }

    #[test]
    fn a_link_by_pci_without_a_device_for_it_is_warned_of() {
        let (shared, stub) = (("1af4", "1110"), ("10de", "2331"));
        let said = |link: &str, devices: &[PciDevice]| {
            let mut facts = Facts::default();
            facts.guest.devices = devices.to_vec();
            let policy = Policy { link: Some(link.into()), ..Policy::default() };
            pci(&facts, &policy).map(|warning| warning.what)
        };
        let five = device("0000:00:05.0", shared, None);
        let six = device("0000:00:06.0", stub, None);
        assert_eq!(said("pci:auto", std::slice::from_ref(&five)), None);
        assert_eq!(said("vsock:2:6475", &[]), None);
        for (link, devices, words) in [
            ("pci:auto", &[][..], "no such device"),
            ("pci:0000:00:07.0", &[five.clone(), six.clone()], "no such device"),
            ("pci:auto", &[five.clone(), six], "0000:00:05.0 and 0000:00:06.0"),
            ("pci:auto", &[device("0000:00:06.0", stub, Some("nvidia"))], "nvidia is bound"),
        ] {
            let what = said(link, devices).unwrap_or_else(|| panic!("{link}: no warning"));
            assert!(what.contains(words), "{what}");
        }
    }
}
