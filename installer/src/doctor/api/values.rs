//! What the libraries say of the device: one with another, and with the host.

use super::{failed, over_apis};
use crate::doctor::host::attribute;
use crate::doctor::transport::connected;
use crate::doctor::{Finding, Scene, children};
use crate::error::Result;
use crate::probe::api::ApiSeen;
use crate::probe::calls::{Card, Refusal};
use crate::probe::link::DeviceSeen;

/// Attributes with a row of their own: integrated, compute capability, opt-in shared memory.
const INTEGRATED: u32 = 18;
const CAPABILITY: [u32; 2] = [75, 76];
const SHARED_OPT_IN: u32 = 97;

pub(super) fn identity(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_apis(scene, |api| {
        let card = match &api.card {
            Ok(card) => card,
            Err(refusal) => {
                return Ok(vec![failed(&["F12"], "the driver API describes no device", refusal)]);
            }
        };
        let mut findings = Vec::new();
        let runtime = api.runtime.as_ref().map(|runtime| &runtime.card);
        let nvml = api.nvml.as_ref().map(|nvml| &nvml.card);
        findings.extend(compared("NVML", card, nvml));
        findings.extend(compared("the runtime", card, runtime));
        if let (Ok((version, _)), Ok(nvml)) = (&api.driver, &api.nvml)
            && *version != nvml.cuda_version
        {
            findings.push(
                Finding::fail(&["F67"], "NVML and the driver API tell different versions of CUDA")
                    .saw(format!("NVML {}, driver API {version}", nvml.cuda_version))
                    .remedy(
                        "vgpu-install doctor loader.winner: one of the two libraries is another's",
                    ),
            );
        }
        if findings.is_empty() {
            findings.push(Finding::ok("three libraries describe one device"));
        }
        let line =
            format!("{} {} at {}, {} bytes", card.name, card.uuid, card.pci, card.total_bytes);
        Ok(findings.into_iter().map(|found| found.saw(line.clone())).collect())
    })
}

fn compared(who: &str, card: &Card, theirs: Result<&Card, &Refusal>) -> Option<Finding> {
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(refusal) => {
            return Some(failed(&["F12"], &format!("{who} describes no device"), refusal));
        }
    };
    let differs = |rows: &[&'static str], what: &str, a: &str, b: &str| {
        Finding::fail(rows, format!("{who} tells another {what} than the driver API"))
            .saw(format!("{who} \"{a}\", driver API \"{b}\""))
            .remedy("vgpu-install doctor loader.winner: one of the two libraries is another's")
    };
    if theirs.uuid != card.uuid {
        return Some(differs(&["U36"], "UUID", &theirs.uuid, &card.uuid));
    }
    if place(&theirs.pci) != place(&card.pci) {
        return Some(differs(&["F87"], "PCI address", &theirs.pci, &card.pci));
    }
    if theirs.name != card.name {
        return Some(differs(&["F12"], "name", &theirs.name, &card.name));
    }
    let (a, b) = (theirs.total_bytes.to_string(), card.total_bytes.to_string());
    (a != b).then(|| differs(&["U36"], "size of memory", &a, &b))
}

/// A PCI address in one form: NVML writes the domain with eight digits, CUDA with four.
fn place(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    let (domain, rest) = text.split_once(':').unwrap_or(("", &text));
    format!("{}:{rest}", domain.trim_start_matches('0'))
}

pub(super) fn attributes(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_apis(scene, |api| {
        let mut findings = Vec::new();
        let link = children::link(scene)?;
        let hosts = link.iter().filter_map(|seen| connected(seen.found.as_ref().ok()?));
        let devices =
            hosts.filter_map(|host| host.host.as_ref().ok()).flat_map(|host| &host.devices);
        let uuid = api.card.as_ref().map(|card| card.uuid.as_str());
        let device = devices.into_iter().find(|device| Ok(device.uuid.as_str()) == uuid);
        match device {
            Some(device) => findings.extend(unlike_host(api, device)),
            None => findings.push(Finding::skipped(
                "needs a host that tells of this very device, to compare with",
            )),
        }
        match &api.runtime {
            Ok(runtime) => findings.extend(unlike_properties(api, &runtime.attributes)),
            Err(refusal) => {
                findings.push(failed(&["F68"], "the runtime tells no properties", refusal));
            }
        }
        if own(api, INTEGRATED) == Some(1) {
            findings.push(
                Finding::warn(&["U20"], "the GPU is an integrated one, which Ollama may drop")
                    .saw(format!("attribute {INTEGRATED} is 1"))
                    .remedy("unset OLLAMA_IGPU_ENABLE, or set it to 1"),
            );
        }
        if findings.is_empty() {
            let count = api.attributes.len();
            findings.push(Finding::ok(format!("{count} attributes are the host's")));
        }
        Ok(findings)
    })
}

fn own(api: &ApiSeen, number: u32) -> Option<i32> {
    api.attributes.iter().find(|(known, _)| *known == number).map(|(_, value)| *value)
}

fn rows(number: u32, usual: &'static str) -> Vec<&'static str> {
    let mut rows = vec![usual];
    if CAPABILITY.contains(&number) {
        rows.push("F70");
    }
    if number == SHARED_OPT_IN {
        rows.push("F69");
    }
    rows
}

/// The first attribute that is not the host's.
fn unlike_host(api: &ApiSeen, device: &DeviceSeen) -> Option<Finding> {
    let differs = |number: &&u32| attribute(device, **number) != own(api, **number);
    let numbers: Vec<u32> = device.attributes.iter().map(|(number, _)| *number).collect();
    let number = *numbers.iter().find(differs)?;
    let shown = |value: Option<i32>| value.map_or("nothing".into(), |value| value.to_string());
    let (ours, theirs) = (shown(own(api, number)), shown(attribute(device, number)));
    Some(
        Finding::fail(&rows(number, "F51"), "an attribute of the device is not the host's")
            .saw(format!("attribute {number}: a program gets {ours}, the host says {theirs}"))
            .remedy("vgpu-install doctor loader.winner: another libcuda answers"),
    )
}

/// The first property of the runtime that is not the driver's attribute.
fn unlike_properties(api: &ApiSeen, properties: &[(u32, i64)]) -> Option<Finding> {
    let differs = |(number, value): &&(u32, i64)| own(api, *number).map(i64::from) != Some(*value);
    let (number, value) = properties.iter().find(differs)?;
    let ours = own(api, *number).map_or("nothing".into(), |value| value.to_string());
    Some(
        Finding::fail(&rows(*number, "F68"), "cudaDeviceProp is not what the driver API says")
            .saw(format!("attribute {number}: the runtime {value}, the driver API {ours}"))
            .remedy("vgpu-install doctor loader.winner: it is another's runtime"),
    )
}
