//! Recordings of real programs, played to the same programs again without a device: what our
//! libraries send is what they sent when the recordings were made.
//!
//! `tests/recordings/README.md` says what made them, and how to make them again.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vgpu_tests::client::{Way, over};
use vgpu_tests::cu::{Streams, program};
use vgpu_tests::model::{self, Shape, Weights};
use vgpu_tests::{Major, Stage, Vgpud, run, stage};

/// Set to 1, the recordings are made anew before they are played.
const UPDATE: &str = "VGPU_UPDATE";

/// What to do where the change is meant.
const REMEDY: &str = "try: if our libraries are meant to send something else now, make the \
                      recordings anew: VGPU_UPDATE=1 cargo xtask test recordings";

/// The simulated device, where a recording is made anew, takes seconds for a model.
const LIMIT: Duration = Duration::from_secs(240);

/// Most bytes of all recordings together.
const BYTES_MAX: u64 = 1 << 20;

/// Messages of one step of a model that the client may wait for (the design's number).
const WAITS_MAX: usize = 3;

/// Where a recording lies.
fn recording(name: &str) -> PathBuf {
    stage::repository().join("tests/recordings").join(name).with_extension("vgpurec")
}

/// One client's part of a recording: its frames as `vgpud recording` lists them.
struct Section {
    frames: Vec<String>,
}

/// Lists what was recorded.
#[track_caller]
fn sections(file: &Path) -> Vec<Section> {
    let mut list = Command::new(Stage::dev().vgpud());
    let done = run(list.arg("recording").arg(file), LIMIT).expect("vgpud starts");
    assert!(done.status.success(), "{}\n  {REMEDY}", done.stderr);
    let mut sections = Vec::new();
    for line in done.stdout.lines() {
        match sections.last_mut() {
            _ if line.starts_with("section ") => sections.push(Section { frames: Vec::new() }),
            Some(Section { frames }) => frames.push(line.to_owned()),
            None => panic!("a frame before the first section: {line}"),
        }
    }
    sections
}

/// Runs a client to its end, which must be a good one, and returns what the host had logged when
/// it had seen so many connections of it end.
#[track_caller]
fn end(host: &Vgpud, client: &mut Command, clients: usize) -> String {
    let done = run(client, LIMIT).expect("the client starts and ends in time");
    let text = format!("{}\n{}\nvgpud said:\n{}", done.stdout, done.stderr, host.log());
    assert!(
        done.status.success(),
        "{} ended with {}\n{text}\n  {REMEDY}",
        done.command,
        done.status
    );
    host.logged("gone", clients).unwrap_or_else(|error| panic!("{error:?}\n  {REMEDY}"))
}

/// Makes a recording on the simulated device.
#[track_caller]
fn make(file: &Path, client: &mut impl FnMut(&str) -> Command) {
    let made = tempfile::tempdir().expect("a directory");
    let made = made.path().join("recording");
    let named = made.to_str().expect("UTF-8");
    let host = Vgpud::simulated(&Stage::dev(), &["--record", named]).expect("vgpud starts");
    end(&host, &mut client(&host.link()), 1);
    // Its workers add what they kept before it ends.
    drop(host);
    std::fs::create_dir_all(file.parent().expect("it has a directory")).expect("a directory");
    std::fs::copy(&made, file).expect("the checkout is writable");
}

/// Plays a recording to the client that made it, and returns what it holds.
#[track_caller]
fn check(name: &str, mut client: impl FnMut(&str) -> Command) -> Vec<Section> {
    let file = recording(name);
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        make(&file, &mut client);
    }
    let recorded = sections(&file);
    assert!(!recorded.is_empty(), "{} holds nothing", file.display());
    let replay = format!("replay={}", file.display());
    let host = Vgpud::launch(&Stage::dev(), &["--device", &replay], None);
    let host = host.unwrap_or_else(|error| panic!("{error:?}\n  {REMEDY}"));
    let log = end(&host, &mut client(&host.link()), recorded.len());
    let mut played: Vec<usize> = Vec::new();
    for line in log.lines().filter(|line| line.starts_with("vgpud: played ")) {
        let figure = |key: &str| -> usize {
            let value = line.split(' ').find_map(|word| word.strip_prefix(key));
            value.and_then(|value| value.parse().ok()).expect("a number")
        };
        assert_eq!(figure("came="), figure("of="), "{name}: {line}\n{log}\n  {REMEDY}");
        played.push(figure("of="));
    }
    let mut messages: Vec<usize> = recorded
        .iter()
        .map(|one| one.frames.iter().filter(|frame| !frame.starts_with("reply ")).count())
        .collect();
    played.sort_unstable();
    messages.sort_unstable();
    assert_eq!(played, messages, "{name}: every section is played to one client\n{log}");
    recorded
}

#[test]
fn ggmls_backend_says_to_a_recording_what_it_said_and_a_step_waits_at_most_three_times() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("model.gguf");
    let mut file = BufWriter::new(File::create(&model).expect("a file"));
    model::write(&mut file, Shape::SMALL, Weights::F32).expect("written");
    drop(file);
    let recorded = check("ggml-decode", |link| {
        let mut node = over(&Stage::dev(), Way::Preload, link, stage::node());
        node.arg(stage::repository().join("tests/clients/node/decode.mjs")).arg(&model);
        node.args(["8", "99"]).env("VGPU_NODE_CLIENTS", stage::node_clients());
        // Else two threads of its pool may make streams in either order, and a number is not the
        // recorded one.
        node.env("UV_THREADPOOL_SIZE", "1");
        node
    });
    let longest = recorded.iter().max_by_key(|section| section.frames.len()).expect("a client");
    // A step is what lies between two launches of its graph.
    let launch = |frame: &String| frame.starts_with("post cuGraphLaunch ");
    let steps: Vec<&[String]> = longest.frames.split(launch).collect();
    let [_, steps @ .., _] = &steps[..] else { panic!("two launches at least") };
    assert!(steps.len() >= 4, "{} steps", steps.len());
    for frames in steps {
        let waits = frames.iter().filter(|frame| frame.starts_with("call ")).count();
        assert!((1..=WAITS_MAX).contains(&waits), "{waits} waits in\n{}", frames.join("\n"));
    }
}

#[test]
fn cuda_bindings_says_to_a_recording_what_it_said_to_a_device() {
    check("python-graph", |link| {
        let mut python = over(&Stage::dev(), Way::SearchPath, link, "python3");
        python.arg(stage::repository().join("tests/clients/python/graph.py"));
        python.env("PYTHONPATH", stage::python_clients()).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    });
}

/// A program of `tests/cu`, of either major.
#[track_caller]
fn check_program(name: &str, case: &str, major: Major) {
    let recording = format!("cu-{name}-{}", format!("{major:?}").to_lowercase());
    let made = program(name, major, Streams::Legacy);
    check(&recording, |link| {
        let mut client = over(&Stage::dev(), Way::SearchPath, link, &made);
        client.arg(case);
        client
    });
}

#[test]
fn programs_with_kernels_say_to_a_recording_what_they_said_to_a_device() {
    check_program("compute", "the_threads_of_a_warp_exchange_values", Major::Twelve);
    check_program("graph", "a_graph_is_built_node_by_node", Major::Thirteen);
    check_program("symbol", "a_variable_of_the_device_is_read_and_written", Major::Thirteen);
}

#[test]
fn the_recordings_are_small_and_all_are_played() {
    let played = ["cu-compute-twelve", "cu-graph-thirteen", "cu-symbol-thirteen", "ggml-decode"];
    let played: BTreeSet<PathBuf> =
        played.iter().chain(&["python-graph"]).map(|name| recording(name)).collect();
    let directory = stage::repository().join("tests/recordings");
    let listed = std::fs::read_dir(directory).expect("a tracked directory");
    let files: BTreeSet<PathBuf> = listed
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "vgpurec"))
        .collect();
    // One that is missing fails where it is played.
    assert!(files.is_subset(&played), "a recording that nobody plays: {files:?}");
    let bytes: u64 = files.iter().map(|file| file.metadata().expect("a file").len()).sum();
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
}
