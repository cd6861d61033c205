//! `vgpud --device nvidia`: which file it takes for NVIDIA's driver, and that it does with it what
//! the simulated device does. No GPU is needed: the driver is our own library without its mark, in
//! front of a second host (`Vgpud::chain`). `cargo xtask test chain` runs the clients over it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vgpu_tests::client::{Way, over};
use vgpu_tests::host::unmarked;
use vgpu_tests::stage::repository;
use vgpu_tests::{Stage, Vgpud, run};

const LIMIT: Duration = Duration::from_secs(120);

/// Some 300 cases, each in a process of its own, on a busy machine.
const RULES_LIMIT: Duration = Duration::from_secs(400);

/// Runs the rules that clients punish over a host; returns each case with what became of it.
#[track_caller]
fn rules_over(host: &Vgpud) -> BTreeMap<String, Value> {
    let mut python = over(&Stage::dev(), Way::SearchPath, &host.link(), "python3");
    python.arg(repository().join("tests/compliance/run.py"));
    python.args(["--driver", "libcuda.so.1", "--runtime", "libcudart.so.13"]);
    let done = run(&mut python, RULES_LIMIT).expect("all cases end");
    let lines = done.stdout.lines().map(serde_json::from_str::<Value>);
    let cases = lines.map(|case| case.expect("one JSON document a case"));
    cases.map(|case| (case["case"].as_str().expect("a name").to_owned(), case)).collect()
}

/// Starts a host that is expected not to come up; returns what it said.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    match Vgpud::launch(&Stage::dev(), arguments, Some("unix:/nonexistent/vgpud.sock")) {
        Err(error) => error.to_string(),
        Ok(host) => panic!("it came up:\n{}", host.log()),
    }
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
}

/// Compiles a library whose `cuInit` answers a code, beside an NVML that is never reached.
fn driver_that_answers(directory: &Path, code: u32) {
    let source = directory.join("driver.c");
    let text = format!("int cuInit(unsigned flags) {{ return flags ? 1 : {code}; }}\n");
    std::fs::write(&source, text).expect("a file in a new directory");
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o"]).arg(directory.join(name)).arg(&source);
        let done = run(&mut gcc, LIMIT).and_then(|done| done.success());
        done.expect("gcc compiles it (Debian package gcc)");
    }
}

#[test]
fn our_own_library_is_refused_as_a_driver_and_without_its_mark_it_is_not() {
    let libraries = Stage::dev().libraries();
    let path = libraries.to_str().expect("UTF-8");
    let said = refusal(&["--device", "nvidia", "--driver-dir", path]);
    let file = libraries.join("libcuda.so.1").display().to_string();
    assert_says(&said, &[&file, "vgpu-ollama installs for guests", "try:", "driver_dir"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        unmarked(&libraries.join(name), &directory.path().join(name)).expect("it has a mark");
    }
    let path = directory.path().to_str().expect("UTF-8");
    let said = refusal(&["--device", "nvidia", "--driver-dir", path]);
    assert_says(&said, &["initialising the driver", "CUDA_ERROR_NO_DEVICE", "nvidia-smi"]);
}

#[test]
fn without_a_driver_the_simulated_device_is_named_and_not_taken() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_str().expect("UTF-8");
    let file = directory.path().join("libcuda.so.1").display().to_string();
    for arguments in [&["--driver-dir", path][..], &["--device", "nvidia", "--driver-dir", path]] {
        assert_says(&refusal(arguments), &[&file, "driver_dir", "--device sim"]);
    }
}

#[test]
fn a_library_for_linking_only_is_told_from_a_driver_by_its_answer_and_by_its_place() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stubs = directory.path().join("stubs");
    std::fs::create_dir(&stubs).expect("a new directory");
    for (place, code) in [(directory.path(), 34), (stubs.as_path(), 0)] {
        driver_that_answers(place, code);
        let path = place.to_str().expect("UTF-8");
        let said = refusal(&["--device", "nvidia", "--driver-dir", path]);
        let file = place.join("libcuda.so.1").display().to_string();
        assert_says(&said, &[&file, "stub of the CUDA toolkit", "driver_dir"]);
    }
}

#[test]
fn the_first_worker_opens_the_driver_and_the_host_process_never_does() {
    let host = Vgpud::chain(&Stage::dev(), &["--sim-gpus", "3"]).expect("a chain starts");
    assert_says(&host.log(), &["ready device=nvidia gpus=3"]);
    let maps = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let pid = host.pid().to_string();
    assert!(!maps(&pid).contains("libcuda"), "the host process never loads a driver");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("it runs");
    let loaded = children.split_whitespace().filter(|pid| maps(pid).contains("libcuda.so.1"));
    assert!(loaded.count() > 0, "workers wait with the driver loaded");
}

#[test]
fn a_client_is_answered_through_the_driver_as_by_the_simulated_device() {
    let stage = Stage::dev();
    let answers = [
        Vgpud::simulated(&stage, &[]).expect("a host"),
        Vgpud::chain(&stage, &[]).expect("a chain"),
    ]
    .map(|host| {
        let program = env!("CARGO_BIN_EXE_cudarc-client");
        let mut client = over(&stage, Way::SearchPath, &host.link(), program);
        let done = run(&mut client, LIMIT).and_then(|done| done.success());
        done.unwrap_or_else(|error| panic!("{error}\n{}", host.log()))
    });
    assert_eq!(answers[0], answers[1]);
}

/// Every C function that the host calls, with its arguments: what a case sees through the driver is
/// what it sees on the simulated device, be it right or not.
#[test]
fn the_rules_come_out_the_same_through_the_driver() {
    let stage = Stage::dev();
    let plain = Vgpud::simulated(&stage, &["--clients-max", "400"]).expect("a host");
    let chain = Vgpud::chain(&stage, &["--clients-max", "400"]).expect("a chain");
    let (expected, seen) = (rules_over(&plain), rules_over(&chain));
    assert!(expected.len() >= 150, "{} cases", expected.len());
    for (name, case) in &expected {
        assert_eq!(seen.get(name), Some(case), "{name}\n{}", chain.log());
    }
}
