//! Ollama's own discovery, run by children of the doctor; the service is left as it is.

use std::time::Duration;

use crate::doctor::children::{self, Listing, Seen};
use crate::doctor::host::capability;
use crate::doctor::transport::connected;
use crate::doctor::{Finding, Scene};
use crate::error::Result;
use crate::unit_log;

/// Ollama's limit for a refresh of free memory while no model is loaded.
const REFRESH_MAX: Duration = Duration::from_secs(3);
/// Most lines of a child's log that are shown.
const LINES_MAX: usize = 8;
/// What a line of the log holds that says why there is no GPU.
const TELLING: [&str; 8] = [
    "vgpu:",
    "load_backend",
    "ggml_cuda_init",
    "cannot open shared object",
    "undefined symbol",
    "CUDA error",
    "failed",
    "no CUDA",
];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if let Some(finding) = children::refused(scene) {
        return Ok(vec![finding]);
    }
    let mut findings = Vec::new();
    for seen in children::listings(scene)? {
        let judged = match &seen.found {
            Ok(listing) => judged(seen, listing),
            Err(needs) => vec![Finding::skipped(needs)],
        };
        findings.extend(judged.into_iter().map(|found| found.saw(&seen.place)));
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("needs an Ollama with a CUDA backend: see ollama.bundle"));
    }
    Ok(findings)
}

fn judged(seen: &Seen<Listing>, listing: &Listing) -> Vec<Finding> {
    let slowest = listing.children.iter().map(|(_, took, _)| *took).max().unwrap_or_default();
    let mut findings = Vec::new();
    if listing.devices.is_empty() {
        let cause = "Ollama's own child finds no GPU, and this is what it says";
        findings.push(
            Finding::fail(&["F03", "U39"], cause)
                .saw_all(telling(&seen.said))
                .remedy("vgpu-install doctor loader transport api, which name it closer"),
        );
    } else if listing.confirmed.is_empty() {
        let cause = "the GPU is found, and lost when it is asked for by itself";
        findings.push(
            Finding::fail(&["U21"], cause)
                .saw_all(telling(&seen.said))
                .remedy("vgpu-install doctor api: the first that fails is the cause"),
        );
    }
    if slowest > listing.limit {
        let cause = "looking takes longer than Ollama waits, which then stays on the CPU";
        findings
            .push(Finding::fail(&["U05"], cause).remedy("vgpu-install doctor transport.latency"));
    } else if slowest > REFRESH_MAX {
        let cause = "looking takes longer than Ollama waits when it refreshes free memory";
        findings
            .push(Finding::warn(&["U18"], cause).remedy("vgpu-install doctor transport.latency"));
    }
    if findings.is_empty() {
        let what = format!("Ollama's children find {}", listing.devices.join(", "));
        findings.push(Finding::ok(what));
    }
    let mut evidence: Vec<String> = listing
        .children
        .iter()
        .map(|(name, took, well)| {
            let end = if *well { "" } else { ", and failed" };
            format!("{}: {name} took {:.2} s{end}", listing.dir, took.as_secs_f64())
        })
        .collect();
    evidence.extend(listing.told.iter().cloned());
    findings.into_iter().map(|found| found.saw_all(evidence.clone())).collect()
}

/// The last lines that could say why; all of the last ones if none does.
fn telling(said: &str) -> Vec<String> {
    let is_telling = |line: &&str| TELLING.iter().any(|part| line.contains(part));
    let mut lines: Vec<&str> = said.lines().filter(is_telling).collect();
    if lines.is_empty() {
        lines = said.lines().collect();
    }
    lines.iter().rev().take(LINES_MAX).rev().map(ToString::to_string).collect()
}

pub(super) fn arch(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if let Some(finding) = children::refused(scene) {
        return Ok(vec![finding]);
    }
    let link = children::link(scene)?;
    let hosts = link.iter().filter_map(|seen| connected(seen.found.as_ref().ok()?));
    let told = hosts.filter_map(|host| host.host.as_ref().ok()).flat_map(|host| &host.devices);
    let Some((major, minor)) = told.filter_map(capability).next() else {
        return Ok(vec![Finding::skipped("needs a host that tells its GPU: see host.driver")]);
    };
    let wanted = format!("{major}{minor}0");
    let mut findings = Vec::new();
    for seen in children::listings(scene)? {
        let mut lists: Vec<String> = seen.said.lines().filter_map(list).collect();
        if let (true, Some(unit)) = (lists.is_empty(), &seen.unit) {
            let lines =
                unit_log::since_start(scene.host, &unit.name, &unit.manager)?.unwrap_or_default();
            lists.extend(lines.iter().filter_map(|line| list(line)));
        }
        let Some(list) = lists.last() else {
            let needs = "needs a line \"CUDA : ARCHS = …\" of llama-server, which it did not write";
            findings.push(Finding::skipped(needs).saw(&seen.place));
            continue;
        };
        let fits = list.split(',').any(|arch| arch.trim() == wanted);
        findings.push(
            if fits {
                Finding::ok(format!("the bundle was built for compute capability {major}.{minor}"))
            } else {
                let cause =
                    format!("the bundle has no code for compute capability {major}.{minor}");
                Finding::fail(&["F71", "U13"], cause).remedy(
                    "choose the bundle that has it with OLLAMA_LLM_LIBRARY, or update Ollama",
                )
            }
            .saw(format!("ARCHS = {list}"))
            .saw(&seen.place),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("needs an Ollama with a CUDA backend: see ollama.bundle"));
    }
    Ok(findings)
}

/// The list in llama.cpp's `system_info` line: `CUDA : ARCHS = 750,800 | …`.
fn list(line: &str) -> Option<String> {
    let rest = line.split_once("ARCHS = ")?.1;
    let list = rest.split([' ', '|', '"']).next()?;
    (!list.is_empty()).then(|| list.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::verdicts;

    fn looked(devices: usize, confirmed: usize, seconds: u64) -> Vec<String> {
        let device = "CUDA0: Sim 999 (9 MiB, 9 MiB free)".to_owned();
        let listing = Listing {
            dir: "/x/cuda_v13".into(),
            devices: vec![device.clone(); devices],
            confirmed: vec![device; confirmed],
            children: vec![("llama-server", Duration::from_secs(seconds), true)],
            limit: Duration::from_secs(15),
            told: Vec::new(),
        };
        let seen = Seen { place: "here".into(), unit: None, found: Ok(listing), said: "x".into() };
        verdicts(&judged(&seen, seen.found.as_ref().unwrap()))
    }

    #[test]
    fn a_gpu_that_is_lost_in_the_second_pass_is_told() {
        assert_eq!(looked(1, 0, 0), ["fail U21"]);
        assert_eq!(looked(1, 1, 0), ["ok"]);
    }

    #[test]
    fn a_discovery_that_ollama_would_not_wait_for_is_told() {
        assert_eq!(looked(1, 1, 4), ["warn U18"]);
        assert_eq!(looked(1, 1, 16), ["fail U05"]);
        assert_eq!(looked(0, 0, 16), ["fail F03 U39", "fail U05"]);
    }
}
