//! Checks of what the host says of itself, and of what the service's log says of the host.

use std::path::Path;

use super::transport::{connected, over_links, unreached};
use super::{Check, Finding, Scene, children};
use crate::error::Result;
use crate::facts::Unit;
use crate::host::Host;
use crate::probe::link::{Connected, DeviceSeen, HostSeen, LinkSeen, Outcome, Trouble};
use crate::unit_log;

/// Oldest driver that unpacks the code of Ollama's bundles, and that reads that of CUDA 12.4.
const DRIVER_MIN: u32 = 550;
/// Oldest driver for Ollama's CUDA 12 on a GPU below compute capability 7.
const DRIVER_FOR_OLD_GPUS: u32 = 570;
/// First CUDA whose driver says where a kernel's parameters lie (`cuFuncGetParamInfo`).
const PARAMETERS_SINCE: i32 = 12040;
/// CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, and the two of the compute capability.
const UNIFIED: u32 = 41;
const CC_MAJOR: u32 = 75;
const CC_MINOR: u32 = 76;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "host.driver",
        establishes: "the host's driver and GPU do what Ollama asks for",
        rows: &["F67", "F85", "U06", "U11", "U38"],
        run: driver,
    },
    Check {
        id: "host.worker",
        establishes: "the host serves this guest, and lost nothing since the service started",
        rows: &["F39", "F59", "F65", "F66", "F80", "F89", "U02", "U19"],
        run: worker,
    },
];

/// An attribute of a device that the host told of.
pub(super) fn attribute(device: &DeviceSeen, number: u32) -> Option<i32> {
    device.attributes.iter().find(|(known, _)| *known == number).map(|(_, value)| *value)
}

/// A device's compute capability.
pub(super) fn capability(device: &DeviceSeen) -> Option<(i32, i32)> {
    attribute(device, CC_MAJOR).zip(attribute(device, CC_MINOR))
}

fn driver(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_links(scene, |_, link| {
        let Some(host) = connected(link) else { return Ok(vec![unreached()]) };
        let told = match &host.host {
            Ok(told) => told,
            Err(error) => {
                let cause = "the host does not tell its driver";
                return Ok(vec![Finding::skipped(format!("needs an answer: {cause}")).saw(error)]);
            }
        };
        let mut findings = judged(told);
        for seen in children::api(scene)? {
            let Ok(Ok((version, _))) = seen.found.as_ref().map(|api| api.driver.as_ref()) else {
                continue;
            };
            if *version != told.cuda_version {
                let saw = format!("cuDriverGetVersion {version} by {}", seen.place);
                findings.push(
                    Finding::fail(&["F67"], "a program is told another version than the host has")
                        .saw(saw)
                        .remedy("vgpu-install doctor loader.winner: another libcuda answers"),
                );
            }
        }
        if findings.is_empty() {
            findings.push(Finding::ok("the host's driver does what Ollama asks for"));
        }
        let evidence = described(told);
        Ok(findings.into_iter().map(|found| found.saw_all(evidence.clone())).collect())
    })
}

fn judged(told: &HostSeen) -> Vec<Finding> {
    let mut findings = Vec::new();
    let major: Option<u32> = told.driver.split('.').next().and_then(|text| text.parse().ok());
    let oldest = told.devices.iter().filter_map(capability).map(|(major, _)| major).min();
    let needed = if oldest.is_some_and(|cc| cc < 7) { DRIVER_FOR_OLD_GPUS } else { DRIVER_MIN };
    match major {
        Some(major) if major < needed => findings.push(
            Finding::fail(&["U06", "U38"], "the host's driver is too old for Ollama's code")
                .saw(format!("driver {major}, needed {needed}"))
                .remedy(format!("update NVIDIA's driver on the host to {needed} or later")),
        ),
        Some(_) => {}
        None => findings.push(
            Finding::warn(&[], "the host's driver has no version that can be read")
                .saw(format!("driver \"{}\"", told.driver)),
        ),
    }
    if told.cuda_version < PARAMETERS_SINCE {
        findings.push(
            Finding::warn(&["F85"], "the host's driver cannot say how kernels take arguments")
                .saw(format!("CUDA {}, needed {PARAMETERS_SINCE}", told.cuda_version))
                .remedy("update NVIDIA's driver on the host to 550 or later"),
        );
    }
    for device in told.devices.iter().filter(|one| attribute(one, UNIFIED) == Some(0)) {
        findings.push(
            Finding::fail(&["U11"], "the host's GPU has no unified addressing")
                .saw(format!("{}: attribute {UNIFIED} is 0", device.name))
                .remedy("give the host a vGPU profile with unified memory, or the whole GPU"),
        );
    }
    if told.devices.is_empty() {
        findings.push(
            Finding::fail(&["U11"], "the host offers no device to this guest")
                .remedy("look at the log of vgpud on the host"),
        );
    }
    findings
}

fn described(told: &HostSeen) -> Vec<String> {
    let mut lines = vec![format!(
        "driver {}, CUDA {}, capabilities {:#x}",
        told.driver, told.cuda_version, told.capabilities
    )];
    for device in &told.devices {
        let cc = capability(device).map_or("unknown".into(), |(a, b)| format!("{a}.{b}"));
        let mib = device.total_bytes >> 20;
        lines.push(format!(
            "{} {} at {}, compute capability {cc}, {mib} MiB for this guest",
            device.name, device.uuid, device.pci
        ));
    }
    lines.push("health and other tenants: unknown, the protocol does not tell them".into());
    lines
}

fn worker(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_links(scene, |seen, link| {
        let mut findings = policy(link);
        let host = connected(link);
        findings.extend(host.map(|host| held(scene.host, host)).transpose()?.unwrap_or_default());
        if let Some(unit) = &seen.unit {
            findings.extend(logged(scene.host, unit, host.is_some())?);
        }
        if findings.is_empty() {
            findings.push(match host {
                Some(host) => {
                    let saw = format!("epoch {}, session {}", host.epoch, host.sessions.0);
                    Finding::ok("the host gave this guest a worker of its own").saw(saw)
                }
                None => unreached(),
            });
        }
        Ok(findings)
    })
}

/// What the host refuses by its policy or for want of a device.
fn policy(link: &LinkSeen) -> Vec<Finding> {
    let failed = link.tries.iter().filter_map(|one| match &one.outcome {
        Outcome::Failed(failed) => Some(failed),
        Outcome::Connected(_) => None,
    });
    let refusal = failed.filter_map(|failed| match failed.trouble {
        Trouble::Full => Some(
            Finding::fail(&["F66"], "the host serves as many clients as its policy allows")
                .saw(&failed.error)
                .remedy("end some clients, or raise what /etc/vgpu/host.toml there allows"),
        ),
        Trouble::Stranger => Some(
            Finding::fail(&["F66"], "the host serves named tenants, and this is none of them")
                .saw(&failed.error)
                .remedy("name it in a [[tenant]] of /etc/vgpu/host.toml there"),
        ),
        Trouble::NoDevice => Some(
            Finding::fail(&["F80"], "the host's own device does not answer")
                .saw(&failed.error)
                .remedy("run nvidia-smi on the host; then systemctl restart vgpud there"),
        ),
        _ => None,
    });
    refusal.collect()
}

/// Memory that is held by programs which are not here.
fn held(host: &dyn Host, connected: &Connected) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let Ok(told) = &connected.host else { return Ok(findings) };
    for device in &told.devices {
        let Ok(state) = &device.state else { continue };
        for (pid, name, bytes) in state.clients.iter().filter(|(_, _, bytes)| *bytes > 0) {
            if host.inspect(&Path::new("/proc").join(pid.to_string()))?.is_absent() {
                findings.push(
                    Finding::warn(&["F65", "U19"], "memory is held by a program that is not here")
                        .saw(format!("{name}, process {pid}: {} MiB", bytes >> 20))
                        .remedy("if no other guest of this tenant runs it: restart vgpud there"),
                );
            }
        }
    }
    Ok(findings)
}

/// What our libraries wrote to the service's log about its host.
fn logged(host: &dyn Host, unit: &Unit, reached_now: bool) -> Result<Vec<Finding>> {
    let Ok(lines) = unit_log::since_start(host, &unit.name, &unit.manager)? else {
        return Ok(Vec::new());
    };
    let last = |part: &str| lines.iter().rev().find(|line| line.contains(part));
    let restart = unit.command("restart");
    let mut findings = Vec::new();
    if let Some(line) = last("the connection to the GPU host is lost") {
        let rows = ["F59", "U02"];
        let cause = "a program of the service lost its host: it was started anew, or slept";
        findings.push(Finding::warn(&rows, cause).saw(line).remedy(&restart));
    }
    if let (true, Some(line)) = (reached_now, last("vgpu: no GPU:")) {
        let cause = "the service found no host when it looked, and there is one now";
        findings.push(Finding::warn(&["F39"], cause).saw(line).remedy(&restart));
    }
    if let Some(line) = last("an illegal memory access was encountered") {
        let cause = "a kernel of a model failed, which ends its program and no other";
        let remedy = "load the model again; if it comes back, vgpu-install report";
        findings.push(Finding::warn(&["F89"], cause).saw(line).remedy(remedy));
    }
    Ok(findings)
}
