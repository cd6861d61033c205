//! The rules that clients punish, held by our libraries over the simulated device.
//!
//! The same cases run over a genuine driver on a GPU machine (`cargo xtask test-gpu`): law 7.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud, run, stage};

/// Some three hundred processes, each with a connection of its own, on a busy two-core machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Cases that the suite must have at least: what was asked for.
const CASES_MIN: usize = 150;

/// Runs all cases and returns those that did not hold, with what was seen.
#[track_caller]
fn broken(host: &Vgpud) -> BTreeMap<String, String> {
    let stage = Stage::dev();
    let mut python: Command = over(&stage, Way::SearchPath, &host.link(), "python3");
    python.arg(stage::repository().join("tests/compliance/run.py"));
    python.args(["--driver", "libcuda.so.1", "--runtime", "libcudart.so.13"]);
    let done = run(&mut python, LIMIT).expect("the suite starts and ends in time");
    let cases: Vec<Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).expect("a case")).collect();
    assert!(cases.len() >= CASES_MIN, "{} cases\n{}", cases.len(), done.stderr);
    let text = |case: &Value, key: &str| case[key].as_str().unwrap_or_default().to_owned();
    cases
        .iter()
        .filter(|case| case["outcome"] != "held")
        .map(|case| {
            let saw = format!("{}: {}", text(case, "outcome"), text(case, "saw"));
            (text(case, "case"), saw)
        })
        .collect()
}

#[test]
fn every_rule_holds_over_the_simulated_device() {
    let host = Vgpud::simulated(&Stage::dev(), &[]).expect("the staged vgpud starts");
    assert_eq!(broken(&host), BTreeMap::new());
}
