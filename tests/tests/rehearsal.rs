//! The program that compares NVIDIA's driver with ours on a GPU machine, rehearsed without one:
//! both sides are ours, and of each step a little is run.

#![forbid(unsafe_code)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vgpu_tests::{Finished, Stage, run, stage};

/// Some ten programs over the simulated device, one of them compiled here.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the sample, or some of its steps, as on a machine that is lent: with nothing in its
/// environment but what the kit's own script says.
fn rehearse(out: &Path, steps: &[&str]) -> Finished {
    // The published compiler comes without the library that a toolkit has beside it.
    let library = out.join("libcudart.so");
    let _ = std::fs::remove_file(&library);
    symlink(Stage::dev().library("libcudart.so.13"), &library).expect("a link");
    let mut program = Command::new(env!("CARGO_BIN_EXE_gpu-test"));
    program.env_clear().env("PATH", "/usr/bin:/bin");
    program.env("LIBRARY_PATH", out).env("VGPU_STAGE_RELEASE", Stage::dev().root());
    program.env("VGPU_NODE", stage::node()).env("VGPU_NODE_CLIENTS", stage::node_clients());
    program.args(["--rehearsal", "--sample", "--out"]).arg(out);
    program.arg("--repository").arg(stage::repository());
    program.arg("--nvcc").arg(stage::nvcc());
    program.arg("--include").arg(stage::headers().join("nvidia/cu13/include"));
    run(program.args(steps), LIMIT).expect("it starts and ends in time")
}

#[test]
fn a_rehearsed_comparison_holds_in_every_step_and_is_reported() {
    let out = tempfile::tempdir().expect("a directory");
    let done = rehearse(out.path(), &[]);
    let said = format!("{}\n{}", done.stdout, done.stderr);
    let report = std::fs::read_to_string(out.path().join("report.md")).expect("a report");
    assert!(done.status.success(), "{}\n{said}\n{report}", done.status);
    let json = std::fs::read_to_string(out.path().join("report.json")).expect("a report");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["rehearsal"], &json["sample"]), (&Value::Bool(true), &Value::Bool(true)));
    for step in vgpu_tests::gpu::steps() {
        let outcome = json["steps"][step]["outcome"].as_str().unwrap_or_default();
        assert!(outcome.starts_with("held: "), "{step}: {outcome}\n{said}\n{report}");
        assert!(report.contains(&format!("## {step}")), "{report}");
    }
    let recorded = out.path().join("recordings/decode-f32.vgpurec");
    assert!(recorded.metadata().is_ok_and(|file| file.len() > 1000), "ours was recorded");
}

#[test]
fn a_step_that_cannot_be_done_is_broken_and_said() {
    let out = tempfile::tempdir().expect("a directory");
    // Where a directory is due, there is a file.
    std::fs::write(out.path().join("recordings"), "").expect("a file");
    let done = rehearse(out.path(), &["models"]);
    assert!(!done.status.success(), "{}", done.stdout);
    let report = std::fs::read_to_string(out.path().join("report.md")).expect("a report");
    assert!(report.contains("BROKEN") && report.contains("recordings"), "{report}");
}
