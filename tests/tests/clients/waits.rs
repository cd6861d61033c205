//! What waits for the host: counted by the library itself, and data that is there when it must be.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};
use vgpu_tests::{
    Stage,
    client::{Way, over},
};

use crate::ggml::{cuda13, line_of_the_device};
use crate::python::script;
use crate::{answer, finish, host};

/// Calls, posts and waits of each function of a run.
type Counts = BTreeMap<String, [u64; 3]>;

/// Tells a story, compares what it saw, and returns what the libraries counted.
#[track_caller]
fn tell(story: &str, expected: Value) -> Counts {
    told(story, expected, |python| python)
}

/// As [`tell`], by the program that `by` makes of the usual one.
#[track_caller]
fn told(story: &str, expected: Value, by: fn(Command) -> Command) -> Counts {
    let host = host();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts");
    let mut python = script(Way::SearchPath, &host, "waits.py");
    python.arg(story).env("VGPU_STATS", format!("json:{}", file.display()));
    assert_eq!(answer(&mut by(python), &host), expected, "{story}");
    counted(&file)
}

/// What the libraries of a process wrote into the file that it named for them.
#[track_caller]
fn counted(file: &Path) -> Counts {
    let mut counts = Counts::new();
    for line in fs::read_to_string(file).expect("the libraries wrote it").lines() {
        let library: Value = serde_json::from_str(line).expect("a line of JSON");
        for (name, of) in library["functions"].as_object().expect("functions") {
            let figures = ["calls", "posts", "waits"].map(|figure| of[figure].as_u64());
            counts.insert(name.clone(), figures.map(|figure| figure.expect("a number")));
        }
    }
    counts
}

/// The same program without any capability, and with no page that it may lock.
fn deprived(program: Command) -> Command {
    let mut command = Command::new("prlimit");
    command.args(["--memlock=0", "setpriv", "--no-new-privs"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--inh-caps=-all", "--bounding-set=-all"]);
    }
    command.arg("--").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
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

/// Where locked pages or a capability made the way of the data, their lack would make it slow, and
/// nobody would be told.
#[test]
fn without_capabilities_and_locked_pages_copies_go_the_same_way() {
    let stories = [
        ("load", json!({"same": true})),
        ("decode", json!({"same": true})),
        ("large", json!({"at_once": true, "together": true, "freed": 0})),
    ];
    for (story, expected) in stories {
        let usual = tell(story, expected.clone());
        assert_eq!(told(story, expected, deprived), usual, "{story}");
    }
}

/// Most waits of one process that looks for devices; it made three. An Ollama start has twelve such
/// processes: at a round trip of 1 ms, which is long, they wait 50 ms of the second that they have.
const WAITS_OF_A_LOOK: u64 = 4;

#[test]
fn a_process_that_looks_for_devices_waits_a_few_times() {
    let (stage, host) = (Stage::dev(), host());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts");
    let mut probe = over(&stage, Way::SearchPath, &host.link(), env!("CARGO_BIN_EXE_ggml-probe"));
    probe.env("VGPU_STATS", format!("json:{}", file.display()));
    let done = finish(cuda13(&mut probe).arg("--list-devices"));
    assert!(done.stdout.contains(&line_of_the_device()), "{done:?}");
    let waits: Vec<(String, u64)> = counted(&file)
        .into_iter()
        .map(|(name, [_, _, waits])| (name, waits))
        .filter(|(_, waits)| *waits > 0)
        .collect();
    let all: u64 = waits.iter().map(|(_, waits)| waits).sum();
    assert!((1..=WAITS_OF_A_LOOK).contains(&all), "{all} waits: {waits:?}");
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
