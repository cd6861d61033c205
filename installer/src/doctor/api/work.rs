//! What the device does: memory, a kernel, a product, a graph, and what was asked for in vain.

use std::collections::BTreeMap;

use super::{failed, over_apis};
use crate::doctor::{Finding, Scene, children};
use crate::error::Result;
use crate::probe::api::SIZES;
use crate::unit_log;

/// Device memory begins at multiples of this (CUDA C++ Programming Guide, "Device Memory
/// Accesses").
const ALIGNMENT: u64 = 256;
/// Largest difference of a product of whole numbers: none, but a thousandth for tensor formats.
const DIFFERENCE_MAX: u64 = 1000;
/// The end of a library's line about a function that it does not have.
const MISSING: &str = " is not implemented, answering NOT_SUPPORTED";
/// The end of such a function's row in the table that `VGPU_STATS` prints.
const MISSING_ROW: &str = " (not implemented)";
/// What to do where a thing that was promised does not work.
const REPORT: &str = "vgpu-install report, and attach what it writes to a bug report";

pub(super) fn memory(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_apis(scene, |api| {
        let memory = match &api.memory {
            Ok(memory) => memory,
            Err(refusal) => {
                return Ok(vec![failed(&["F72"], "memory of the device cannot be had", refusal)]);
            }
        };
        let mut findings = Vec::new();
        for (size, (pointer, wrong)) in SIZES.iter().zip(&memory.copies) {
            if let Some(at) = wrong {
                findings.push(
                    Finding::fail(&["F62"], "what was copied to the device came back changed")
                        .saw(format!("{size} bytes at {pointer:#x}: byte {at} differs"))
                        .remedy(REPORT),
                );
            }
            if pointer % ALIGNMENT != 0 {
                findings.push(
                    Finding::fail(&["F76"], "device memory is not aligned")
                        .saw(format!("{size} bytes at {pointer:#x}"))
                        .remedy(REPORT),
                );
            }
        }
        if findings.is_empty() {
            let sizes = SIZES.map(|size| size.to_string()).join(", ");
            findings.push(Finding::ok(format!("{sizes} bytes came back as they went")));
        }
        let (free, total) = (memory.free_after >> 20, memory.total >> 20);
        let line = format!("{free} of {total} MiB are free");
        Ok(findings.into_iter().map(|found| found.saw(line.clone())).collect())
    })
}

pub(super) fn kernel(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_apis(scene, |api| {
        let kernel = match &api.kernel {
            Ok(kernel) => kernel,
            Err(refusal) => return Ok(vec![failed(&["F73"], "a kernel cannot be run", refusal)]),
        };
        let mut findings = Vec::new();
        if let Some((thread, expected, found)) = kernel.wrong {
            findings.push(
                Finding::fail(&["F73"], "a kernel was launched and did not compute")
                    .saw(format!("thread {thread} wrote {found}, not {expected}"))
                    .remedy(REPORT),
            );
        }
        let refused = [
            ("a kernel that is in no module", kernel.missing_kernel),
            ("freeing what was never allocated", kernel.wild_free),
        ];
        for (what, _) in refused.iter().filter(|(_, code)| code.is_none()) {
            findings.push(
                Finding::fail(&["F74"], "a wrong call was answered with success")
                    .saw(format!("{what} succeeded"))
                    .remedy("vgpu-install doctor loader.winner; if ours answers, report it"),
            );
        }
        if findings.is_empty() {
            let threads = kernel.threads_max;
            let what = format!("64 threads computed, of {threads} that a block may have");
            let codes: Vec<String> = refused
                .iter()
                .filter_map(|(what, code)| Some(format!("{what} answers {}", (*code)?)))
                .collect();
            findings.push(Finding::ok(what).saw_all(codes));
        }
        Ok(findings)
    })
}

pub(super) fn blas(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_apis(scene, |api| {
        Ok(vec![match &api.blas {
            Err(refusal) => failed(&["F75"], "cuBLAS does not work", refusal),
            Ok(difference) if *difference > DIFFERENCE_MAX => {
                Finding::fail(&["F75"], "cuBLAS multiplies wrongly")
                    .saw(format!("largest difference {difference} millionths"))
                    .remedy(REPORT)
            }
            Ok(difference) => Finding::ok("a product of matrices is the processor's")
                .saw(format!("largest difference {difference} millionths")),
        }])
    })
}

pub(super) fn graph(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_apis(scene, |api| {
        Ok(vec![match &api.graph {
            Err(refusal) => failed(&["U28"], "a graph cannot be recorded or launched", refusal),
            Ok(false) => {
                Finding::fail(&["U28"], "a graph was launched and did not compute").remedy(REPORT)
            }
            Ok(true) => Finding::ok("a recorded kernel computes when its graph is launched"),
        }])
    })
}

pub(super) fn unimplemented(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if let Some(finding) = children::refused(scene) {
        return Ok(vec![finding]);
    }
    // By name: who asked first, and how often.
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    let said = children::api(scene)?.iter().map(|seen| (&seen.said, &seen.place));
    let listed = children::listings(scene)?.iter().map(|seen| (&seen.said, &seen.place));
    for (said, place) in said.chain(listed) {
        for line in said.lines() {
            let row = line.strip_suffix(MISSING_ROW).and_then(|row| row.split_whitespace().last());
            if let Some(name) = row.or_else(|| name(line)) {
                asked.entry(name.to_owned()).or_insert_with(|| format!("{name}: {place}"));
            }
        }
    }
    let mut foreign = Vec::new();
    let mut unread = Vec::new();
    for unit in &scene.facts.units {
        match unit_log::since_start(scene.host, &unit.name, &unit.manager)? {
            Err(why) => unread.push(format!("{}: {why}", unit.name)),
            Ok(lines) => {
                for line in lines {
                    if let Some(name) = name(&line) {
                        asked.entry(name.to_owned()).or_insert_with(|| line.clone());
                    }
                    if line.contains("asked for the private table") {
                        foreign.push(line);
                    }
                }
            }
        }
    }
    let mut findings = Vec::new();
    if !foreign.is_empty() {
        let cause = "NVIDIA's runtime asks our driver for its private tables, which it has not";
        findings.push(
            Finding::fail(&["F78", "U34"], cause)
                .saw_all(foreign)
                .remedy("vgpu-install, whose drop-in preloads our runtime"),
        );
    }
    if !asked.is_empty() {
        let cause = "programs asked for functions that we do not have, and were told so";
        findings.push(
            Finding::warn(&["F73", "U23"], cause).saw_all(asked.into_values()).remedy(REPORT),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok("every function that was asked for is there").saw_all(unread));
    }
    Ok(findings)
}

/// The function that a line says is missing.
fn name(line: &str) -> Option<&str> {
    line.split_once(MISSING)?.0.split_whitespace().last()
}
