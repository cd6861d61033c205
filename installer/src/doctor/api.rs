//! Checks of the API as a program of the service's user meets it.

mod values;
mod work;

use super::children::{self, Seen};
use super::{Check, Finding, Scene};
use crate::error::Result;
use crate::probe::api::ApiSeen;
use crate::probe::calls::Refusal;

/// CUDA_ERROR_NO_DEVICE: no host was reached, or it offers nothing.
const NO_DEVICE: u32 = 100;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "api.identity",
        establishes: "driver API, NVML and runtime describe one device",
        rows: &["F12", "F67", "F87", "U36"],
        run: values::identity,
    },
    Check {
        id: "api.attrs",
        establishes: "attributes and properties are those of the host's GPU",
        rows: &["F51", "F68", "F69", "F70", "U20"],
        run: values::attributes,
    },
    Check {
        id: "api.memory",
        establishes: "memory can be had, and keeps what is copied to it",
        rows: &["F62", "F72", "F76"],
        run: work::memory,
    },
    Check {
        id: "api.kernel",
        establishes: "a kernel computes, and what is wrong is refused",
        rows: &["F73", "F74"],
        run: work::kernel,
    },
    Check {
        id: "api.blas",
        establishes: "cuBLAS multiplies as the processor does",
        rows: &["F75"],
        run: work::blas,
    },
    Check {
        id: "api.graph",
        establishes: "work can be recorded as a graph, and a graph computes",
        rows: &["U28"],
        run: work::graph,
    },
    Check {
        id: "api.unimplemented",
        establishes: "no program asked for a function that we do not have",
        rows: &["F73", "F78", "U23", "U34"],
        run: work::unimplemented,
    },
];

/// Judges what each child saw of the API.
fn over_apis(
    scene: &Scene<'_>,
    judge: impl Fn(&ApiSeen) -> Result<Vec<Finding>>,
) -> Result<Vec<Finding>> {
    if let Some(finding) = children::refused(scene) {
        return Ok(vec![finding]);
    }
    let mut findings = Vec::new();
    for seen in children::api(scene)? {
        let judged = match &seen.found {
            Err(needs) => vec![Finding::skipped(needs)],
            Ok(api) => match &api.driver {
                Err(refusal) if is_without_device(refusal) => vec![without_device(seen, refusal)],
                Err(refusal) if refusal.code.is_none() => vec![without_driver(refusal)],
                _ => judge(api)?,
            },
        };
        findings.extend(judged.into_iter().map(|found| found.saw(&seen.place)));
    }
    if findings.is_empty() {
        let needs = "needs an Ollama with a CUDA backend, whose libraries a child would load";
        findings.push(Finding::skipped(needs));
    }
    Ok(findings)
}

fn is_without_device(refusal: &Refusal) -> bool {
    refusal.code == Some(NO_DEVICE)
}

fn without_device(seen: &Seen<ApiSeen>, refusal: &Refusal) -> Finding {
    let said = seen.said.lines().find(|line| line.starts_with("vgpu: no GPU"));
    Finding::skipped("needs a GPU: see transport and host")
        .saw(refusal.to_string())
        .saw_all(said.map(str::to_owned))
}

/// Without a driver there is nothing to judge, and loader.winner says why it was not found.
fn without_driver(refusal: &Refusal) -> Finding {
    Finding::skipped("needs a libcuda.so.1: see loader.winner").saw(refusal.to_string())
}

/// A call that had to succeed and did not.
fn failed(rows: &[&'static str], cause: &str, refusal: &Refusal) -> Finding {
    Finding::fail(rows, cause)
        .saw(refusal.to_string())
        .remedy("vgpu-install report, and attach what it writes to a bug report")
}
