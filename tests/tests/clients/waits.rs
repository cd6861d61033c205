//! What waits for the host: counted by the library itself, and data that is there when it must be.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vgpu_tests::client::Way;

use crate::python::script;
use crate::{answer, host};

/// Calls, posts and waits of each function of a run.
type Counts = BTreeMap<String, [u64; 3]>;

/// Tells a story, compares what it saw, and returns what the libraries counted.
#[track_caller]
fn tell(story: &str, expected: Value) -> Counts {
    let host = host();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts");
    let mut python = script(Way::SearchPath, &host, "waits.py");
    python.arg(story).env("VGPU_STATS", format!("json:{}", file.display()));
    assert_eq!(answer(&mut python, &host), expected, "{story}");
    let mut counts = Counts::new();
    for line in std::fs::read_to_string(&file).expect("the libraries wrote it").lines() {
        let library: Value = serde_json::from_str(line).expect("a line of JSON");
        for (name, of) in library["functions"].as_object().expect("functions") {
            let figures = ["calls", "posts", "waits"].map(|figure| of[figure].as_u64());
            counts.insert(name.clone(), figures.map(|figure| figure.expect("a number")));
        }
    }
    counts
}

#[test]
fn loading_tensors_does_not_wait() {
    let counts = tell("load", json!({"same": true}));
    assert_eq!(counts["cuMemcpyHtoDAsync_v2"], [50, 50, 0]);
    // A post each, so that streams which do not wait for this one find the copy.
    assert_eq!(counts["cuStreamSynchronize"], [51, 51, 0]);
    assert_eq!(counts["cuMemcpyHtoD_v2"], [1, 2, 0]);
    assert_eq!(counts["cuMemcpyDtoH_v2"], [2, 0, 2]);
}

#[test]
fn a_step_of_a_model_waits_once() {
    let counts = tell("decode", json!({"same": true}));
    assert_eq!(counts["cuStreamSynchronize"], [20, 10, 10]);
    assert_eq!(counts["cuMemcpyDtoHAsync_v2"], [20, 20, 0]);
    assert_eq!(counts["cuMemcpyDtoDAsync_v2"], [10, 10, 0]);
}

#[test]
fn a_copy_is_there_when_an_event_or_the_context_was_waited_for() {
    let counts = tell("events", json!({"seen": [true, true, true]}));
    for name in ["cuEventSynchronize", "cuEventQuery", "cuCtxSynchronize"] {
        assert_eq!(counts[name], [1, 0, 1], "{name}");
    }
}

#[test]
fn copies_of_any_size_come_and_freed_memory_is_left_alone() {
    tell("large", json!({"at_once": true, "together": true, "freed": 0}));
}

#[test]
fn threads_copy_at_once_and_each_finds_its_own() {
    tell("threads", json!({"rounds": 160, "same": true}));
}

#[test]
fn a_stream_waits_for_functions_of_the_program_and_other_threads_go_on() {
    let expected = json!({
        "seen": [["first", 7, true, 800, 800, 800], ["second", true, 0, 8]],
        "query": 600,
        "place": "between!",
        "null": 1,
        "flags": 1,
    });
    tell("functions", expected);
}
