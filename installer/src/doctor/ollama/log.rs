//! What the service itself logged since its last start.

use crate::doctor::children;
use crate::doctor::transport::connected;
use crate::doctor::{Finding, Scene};
use crate::error::Result;
use crate::facts::Unit;
use crate::unit_log;

/// A message of Ollama's or llama.cpp's: what it holds, the row that it is, what it means, and what
/// to do.
struct Message {
    part: &'static str,
    row: Option<&'static str>,
    means: &'static str,
    remedy: &'static str,
}

const fn message(
    part: &'static str,
    row: Option<&'static str>,
    means: &'static str,
    remedy: &'static str,
) -> Message {
    Message { part, row, means, remedy }
}

/// The messages that say what went wrong, in their own words.
#[rustfmt::skip]
const MESSAGES: [Message; 12] = [
    message("offloaded 0/", Some("F81"), "Ollama put no layer on the GPU",
        "leave num_gpu out of the model's options"),
    message("client connection closed before server finished loading", Some("F83"),
        "the client gave up before the model was loaded",
        "give the client a longer limit, or the model a smaller OLLAMA_CONTEXT_LENGTH"),
    message("CUDA error", Some("U23"), "the runner ended with an error of CUDA",
        "vgpu-install report, and attach what it writes to a bug report"),
    message("mlx runner failed", Some("U27"), "a model needs the MLX engine, which is not served",
        "take the model in GGUF form"),
    message("compute capability not in compiled architectures", None,
        "the GPU is left out, as the bundle was not built for it",
        "vgpu-install doctor ollama.arch"),
    message("NVIDIA driver too old", None, "the GPU is left out for the host's driver",
        "vgpu-install doctor host.driver"),
    message("filtering device which didn't fully initialize", None,
        "the GPU was lost when it was asked for by itself", "vgpu-install doctor ollama.discovery"),
    message("GPU discovery watchdog timed out", None, "Ollama gave up to look for GPUs",
        "vgpu-install doctor ollama.discovery"),
    message("unable to refresh free memory", None, "free memory was not told in time",
        "vgpu-install doctor ollama.discovery"),
    message("gpu VRAM usage didn't recover", None, "memory came back late after a model ended",
        "vgpu-install doctor host.worker"),
    message("user overrode visible devices", None, "a variable chooses among the GPUs",
        "vgpu-install doctor service.env"),
    message("dropping integrated GPU", None, "the GPU is dropped as an integrated one",
        "vgpu-install doctor api.attrs"),
];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for unit in &scene.facts.units {
        match unit_log::since_start(scene.host, &unit.name, &unit.manager)? {
            Err(why) => findings.push(Finding::skipped(why).saw(&unit.name)),
            Ok(lines) => findings.extend(judged(scene, unit, &lines)?),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("needs a unit that runs Ollama"));
    }
    Ok(findings)
}

fn judged(scene: &Scene<'_>, unit: &Unit, lines: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let last = |part: &str| lines.iter().rev().find(|line| line.contains(part));
    match last("inference compute") {
        None => findings.push(
            Finding::skipped("needs the line \"inference compute\", which the log has not")
                .saw(format!("{} lines of {}", lines.len(), unit.name)),
        ),
        Some(line) if line.to_ascii_lowercase().contains("library=cuda") => {
            findings.push(Finding::ok(format!("{} found the GPU", unit.name)).saw(line));
        }
        Some(line) => findings.push(without_gpu(scene, unit)?.saw(line)),
    }
    for known in &MESSAGES {
        if let Some(line) = last(known.part) {
            let rows: Vec<&'static str> = known.row.into_iter().collect();
            findings.push(Finding::warn(&rows, known.means).saw(line).remedy(known.remedy));
        }
    }
    Ok(findings)
}

/// The service runs on the CPU: for ever, if it looked before there was a host.
fn without_gpu(scene: &Scene<'_>, unit: &Unit) -> Result<Finding> {
    let mut links = children::link(scene)?.iter().filter_map(|seen| seen.found.as_ref().ok());
    if links.any(|link| connected(link).is_some()) {
        let cause = "the service looked once, found no GPU, and a host answers now";
        let restart = unit.command("restart");
        return Ok(Finding::fail(&["U17"], cause).remedy(restart));
    }
    let cause = "the service found no GPU, as no host answers";
    Ok(Finding::fail(&[], cause)
        .remedy("vgpu-install doctor transport.present transport.handshake"))
}
