//! Graphs: captured, updated and launched by NVIDIA's own bindings, and the rules of capture.

use serde_json::{Value, json};
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, stage};

use crate::python::script;
use crate::{finish, host};

#[test]
fn graphs_compute_at_each_launch_and_a_launch_does_not_wait() {
    let host = host();
    let mut client = script(Way::SearchPath, &host, "graph.py");
    client.env("VGPU_STATS", "1");
    let done = finish(&mut client);
    let said = format!("{}\n{}\nvgpud said:\n{}", done.stdout, done.stderr, host.log());
    assert!(done.status.success(), "{said}");
    let last = done.stdout.lines().last().unwrap_or_default();
    let seen: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON in\n{said}"));
    let expected = json!({
        "trips_equal": true,
        "thousand_equal": true,
        "updated": "CU_GRAPH_EXEC_UPDATE_SUCCESS",
        "zero_again": true,
        "refused": "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE",
        "nodes": 1,
    });
    assert_eq!(seen, expected);
    // The table's columns: calls, waits, microseconds, function.
    let row = done.stderr.lines().find(|line| line.ends_with(" cuGraphLaunch"));
    let row: Vec<&str> = row.expect("a row of launches").split_whitespace().collect();
    assert_eq!(row[..2], ["1021", "0"], "launches, and those that waited");
}

#[test]
fn the_rules_of_capture_and_graphs_hold() {
    let (stage, host) = (Stage::dev(), host());
    for noun in ["capture", "graph_memory"] {
        let mut cases = over(&stage, Way::SearchPath, &host.link(), "python3");
        cases.arg(stage::repository().join("tests/compliance/run.py"));
        cases.arg("--driver").arg(stage.library("libcuda.so.1")).args(["--noun", noun]);
        cases.arg("--runtime").arg(stage.library("libcudart.so.12"));
        cases.env("PYTHONDONTWRITEBYTECODE", "1");
        let done = finish(&mut cases);
        let outcomes = done.stdout.lines().filter(|line| line.contains("\"held\"")).count();
        assert!(done.status.success(), "{}\n{}", done.stdout, host.log());
        assert!(outcomes >= 4, "{noun}: {outcomes} cases\n{}", done.stderr);
    }
}
