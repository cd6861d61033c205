//! A language model over the published CUDA 13 backend and our libraries: it says on the simulated
//! GPU what it says on the CPU, and a step of it waits for the host no more often than it must.

#![forbid(unsafe_code)]

mod reload;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vgpu_tests::client::{Way, over};
use vgpu_tests::model::{self, Shape, Weights};
use vgpu_tests::{Stage, Vgpud, run, stage};

/// The simulated GPU takes seconds for a run; a busy two-core machine takes its time.
const LIMIT: Duration = Duration::from_secs(240);

/// What two probabilities may differ by: the CPU adds up in another order, and the GPU's kernels
/// round to 16 bits where the CPU's do not. Seen was a tenth of it.
const DIFFERENCE_MAX: f64 = 2e-3;

/// Messages of one step that the client may wait for (the design's number).
const WAITS_MAX: u64 = 3;

struct Run {
    directory: tempfile::TempDir,
    model: PathBuf,
}

impl Run {
    fn new(weights: Weights) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let model = directory.path().join("model.gguf");
        let mut file = BufWriter::new(File::create(&model).expect("a file"));
        model::write(&mut file, Shape::SMALL, weights).expect("written");
        drop(file);
        Self { directory, model }
    }

    /// Where the libraries are to write their counts.
    fn counts(&self, tokens: u64) -> PathBuf {
        self.directory.path().join(format!("counts-{tokens}"))
    }

    /// A program that says so many tokens with so many layers on the GPU.
    fn program(&self, host: &Vgpud, tokens: u64, layers: u32) -> Command {
        let mut node = over(&Stage::dev(), Way::Preload, &host.link(), stage::node());
        node.arg(stage::repository().join("tests/clients/node/decode.mjs")).arg(&self.model);
        node.args([tokens.to_string(), layers.to_string()]);
        node.env("VGPU_NODE_CLIENTS", stage::node_clients());
        // On two threads, what is torn down and what is begun overtake each other: it could not be
        // recorded and played.
        node.env("UV_THREADPOOL_SIZE", "1");
        node
    }

    /// Says so many tokens with so many layers on the GPU.
    #[track_caller]
    fn say(&self, host: &Vgpud, tokens: u64, layers: u32) -> Value {
        let mut node = self.program(host, tokens, layers);
        node.env("VGPU_STATS", format!("json:{}", self.counts(tokens).display()));
        let done = run(&mut node, LIMIT).expect("the client starts and ends in time");
        let all = format!("{}\n{}\nvgpud said:\n{}", done.stdout, done.stderr, host.log());
        assert!(done.status.success(), "{}\n{all}", done.status);
        let last = done.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: no JSON in\n{all}"))
    }
}

fn host() -> Vgpud {
    Vgpud::simulated(&Stage::dev(), &[]).expect("the staged vgpud starts")
}

/// The probabilities that were given to each token that was said.
fn said(run: &Value) -> Vec<(u64, f64)> {
    let tokens = run["tokens"].as_array().expect("tokens").iter();
    let given = run["probabilities"].as_array().expect("probabilities").iter();
    tokens
        .zip(given)
        .map(|(token, given)| {
            let best = &given[0];
            assert_eq!(&best[0], token, "the likeliest one is said");
            (token.as_u64().expect("a number"), best[1].as_f64().expect("a number"))
        })
        .collect()
}

#[test]
fn a_model_says_on_the_simulated_gpu_what_it_says_on_the_cpu() {
    for weights in [Weights::F32, Weights::F16, Weights::Q4_0] {
        let (host, run) = (host(), Run::new(weights));
        let cpu = said(&run.say(&host, 8, 0));
        let gpu = said(&run.say(&host, 8, 99));
        assert_eq!(cpu.len(), 8);
        for (cpu, gpu) in cpu.iter().zip(&gpu) {
            assert_eq!(cpu.0, gpu.0, "{weights:?}");
            assert!((cpu.1 - gpu.1).abs() < DIFFERENCE_MAX, "{weights:?}: {cpu:?} {gpu:?}");
        }
    }
}

/// Sums what the libraries counted, by function: calls, posts, waits.
#[track_caller]
fn counts(path: &Path) -> BTreeMap<String, [u64; 3]> {
    let text = std::fs::read_to_string(path).expect("the libraries wrote it");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let library: Value = serde_json::from_str(line).expect("a line of JSON");
        for (name, of) in library["functions"].as_object().expect("functions") {
            let of = ["calls", "posts", "waits"].map(|key| of[key].as_u64().expect("a number"));
            let sum: &mut [u64; 3] = counts.entry(name.clone()).or_default();
            sum.iter_mut().zip(of).for_each(|(sum, of)| *sum += of);
        }
    }
    counts
}

#[test]
fn a_step_of_a_model_is_one_graph_and_waits_at_most_three_times() {
    const FEW: u64 = 6;
    const STEPS: u64 = 8;
    let (host, run) = (host(), Run::new(Weights::F32));
    for tokens in [FEW, FEW + STEPS] {
        run.say(&host, tokens, 99);
    }
    let (few, many) = (counts(&run.counts(FEW)), counts(&run.counts(FEW + STEPS)));
    let more = |name: &str, figure: usize| {
        let of = |counts: &BTreeMap<String, [u64; 3]>| counts.get(name).map_or(0, |of| of[figure]);
        of(&many) - of(&few)
    };
    assert_eq!(more("cuGraphLaunch", 0), STEPS, "each step launches one graph");
    assert_eq!(more("cuLaunchKernel", 0), 0, "and no kernel beside it");
    let waits: u64 = many.keys().map(|name| more(name, 2)).sum();
    assert!(waits <= STEPS * WAITS_MAX, "{waits} waits in {STEPS} steps: {many:?}");
    assert!(waits >= STEPS, "what a step says has to be waited for");
}

#[test]
fn a_recorded_run_is_played_without_a_device_and_what_differs_is_refused() {
    let run = Run::new(Weights::F32);
    let recording = run.directory.path().join("recording");
    let named = recording.to_str().expect("UTF-8");
    let host = Vgpud::simulated(&Stage::dev(), &["--record", named]).expect("vgpud starts");
    let recorded = run.say(&host, 4, 99);
    // Its workers add what they kept before it ends.
    drop(host);
    let replay = format!("replay={named}");
    let play = || Vgpud::launch(&Stage::dev(), &["--device", &replay], None).expect("vgpud starts");
    let host = play();
    let played = run.say(&host, 4, 99);
    assert_eq!(
        (&played["tokens"], &played["probabilities"]),
        (&recorded["tokens"], &recorded["probabilities"])
    );
    assert_eq!(counts(&run.counts(4))["cuGraphLaunch"][2], 0, "played or not, nothing more waits");
    assert!(!host.log().contains("differs"), "{}", host.log());
    drop(host);
    // Other weights are other memory contents: the first copy of them is refused by name.
    let host = play();
    let other = Run::new(Weights::F16);
    let mut node = other.program(&host, 4, 99);
    let done = vgpu_tests::run(&mut node, LIMIT).expect("the client starts and ends in time");
    assert!(!done.status.success(), "{}", done.stdout);
    let log = host.log();
    assert!(log.contains("differs in") && log.contains("recorded was"), "{log}");
}

/// Lines of a program's output as they come.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        // Nobody listens any more when the test has failed.
        BufReader::new(output).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    lines
}

/// The first line with a text in it, if it comes in time.
#[track_caller]
fn wait_for(lines: &Receiver<String>, text: &str, limit: Duration) {
    let (deadline, mut said) = (Instant::now() + limit, String::new());
    while !said.contains(text) {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => said = format!("{said}\n{line}"),
            Err(why) => panic!("no {text} within {limit:?}: {why} after{said}"),
        }
    }
}

/// Kills the worker of a model that is speaking; how long until ggml says that CUDA failed.
fn told_after_its_worker_died(run: &Run, host: &Vgpud) -> Duration {
    let mut node = run.program(host, 200, 99);
    let mut node = node.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = lines(node.stderr.take().expect("a pipe"));
    wait_for(&lines, "token 2", LIMIT);
    let log = host.log();
    let worker = log.lines().rfind(|line| line.starts_with("vgpud: client ")).expect("a client");
    let worker = worker.rsplit('=').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    kill_process(worker.expect("its process id"), Signal::KILL).expect("it runs");
    let began = Instant::now();
    // What ggml says before it aborts.
    wait_for(&lines, "CUDA error", LIMIT);
    let told = began.elapsed();
    while lines.recv_timeout(LIMIT).is_ok() {}
    assert!(!node.wait().expect("it has ended").success(), "without a device it cannot go on");
    told
}

#[test]
fn a_model_whose_worker_dies_is_told_within_a_second_and_the_next_one_works() {
    let (host, run) = (host(), Run::new(Weights::F32));
    // A busy machine may be slow for a while; what waits by design is slow every time.
    let is_quick = |_| told_after_its_worker_died(&run, &host) < Duration::from_secs(1);
    assert!((0..3).any(is_quick), "none of three was told within a second");
    let next = run.say(&host, 4, 99);
    assert_eq!(next["tokens"].as_array().map(Vec::len), Some(4), "{next}");
}

#[test]
fn a_model_in_shared_memory_is_not_loaded_and_ggml_says_why() {
    let (host, run) = (host(), Run::new(Weights::F32));
    let mut node = run.program(&host, 4, 99);
    node.env("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "1");
    let done = vgpu_tests::run(&mut node, LIMIT).expect("the client starts and ends in time");
    assert_eq!(done.status.code(), Some(1), "an error of the program, no crash: {}", done.stderr);
    for text in ["operation not supported", "unset GGML_CUDA_ENABLE_UNIFIED_MEMORY"] {
        assert!(done.stderr.contains(text), "{text} in {}", done.stderr);
    }
}

/// A model that is speaking: what it prints, and what it says of itself.
struct Speaking {
    node: std::process::Child,
    lines: Receiver<String>,
    printed: Receiver<String>,
}

impl Speaking {
    /// Starts one, and waits for its second token.
    fn start(run: &Run, host: &Vgpud, tokens: u64) -> Self {
        let mut node = run.program(host, tokens, 99);
        let node = node.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut node = node.spawn().expect("it starts");
        let said = lines(node.stderr.take().expect("a pipe"));
        let printed = lines(node.stdout.take().expect("a pipe"));
        wait_for(&said, "token 2", LIMIT);
        Self { node, lines: said, printed }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.node.id() as i32).expect("its process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end, and returns the tokens if it came to all of them.
    fn ended(mut self) -> Option<Value> {
        let mut last = String::new();
        while let Ok(line) = self.printed.recv_timeout(LIMIT) {
            last = line;
        }
        while self.lines.recv_timeout(LIMIT).is_ok() {}
        let status = self.node.wait().expect("it has ended");
        status.success().then(|| {
            let run: Value = serde_json::from_str(&last).expect("its last line is JSON");
            run["tokens"].clone()
        })
    }
}

/// A guest that is suspended stops its processes; the host's end waits, for nobody has gone.
#[test]
fn a_model_that_was_stopped_for_a_while_goes_on_and_says_the_same() {
    let (host, run) = (host(), Run::new(Weights::F32));
    let expected = run.say(&host, 12, 99)["tokens"].clone();
    let speaking = Speaking::start(&run, &host, 12);
    speaking.signal(Signal::STOP);
    let silence = speaking.lines.recv_timeout(Duration::from_secs(3));
    assert!(silence.is_err(), "it is stopped: {silence:?}");
    speaking.signal(Signal::CONT);
    assert_eq!(speaking.ended(), Some(expected));
}
