//! `vgpu-smi` and the name `nvidia-smi` that leads to it: our program, over documented NVML.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;
use vgpu_tests::client::clean;
use vgpu_tests::{Finished, Stage, Vgpud, profile};

use crate::{finish, host};

/// The program over a link, with nothing that leads to our libraries.
fn smi(link: &str) -> Command {
    let mut command = clean(Stage::dev().smi());
    command.env("VGPU_LINK", link).env("TZ", "UTC");
    command
}

#[track_caller]
fn told(host: &Vgpud, arguments: &[&str]) -> String {
    let Finished { status, stdout, stderr, .. } = finish(smi(&host.link()).args(arguments));
    assert!(status.success(), "{arguments:?}: {status}\n{stderr}\n{}", host.log());
    assert_eq!(stderr, "", "{arguments:?}");
    stdout
}

#[test]
fn vgpu_smi_shows_the_hosts_gpu_on_its_first_screen_and_in_its_list() {
    let host = host();
    let screen = told(&host, &[]);
    for text in ["VGPU-SMI", "Driver Version: ", "CUDA Version: 13.", "NVIDIA H100", "(Simulated)"]
    {
        assert!(screen.contains(text), "{text} in\n{screen}");
    }
    let widths = screen.lines().skip(1).filter(|line| !line.is_empty()).map(|l| l.chars().count());
    assert!(widths.clone().all(|width| width == 91), "{:?}\n{screen}", widths.collect::<Vec<_>>());
    let list = told(&host, &["-L"]);
    assert!(list.starts_with(&format!("GPU 0: {} (UUID: GPU-", profile::NAME)), "{list}");
    assert_eq!(list.lines().count(), 1, "{list}");
}

#[test]
fn vgpu_smi_answers_queries_as_csv_and_everything_as_json() {
    let host = Vgpud::start_with(&Stage::dev(), &["--sim-gpus", "2"]).expect("the staged vgpud");
    let query = "--query-gpu=index,name,memory.total,memory.used,compute_cap,serial";
    let csv = told(&host, &[query, "--format=csv,noheader,nounits"]);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(", ").collect()).collect();
    assert_eq!(rows.len(), 2, "{csv}");
    let all: Value = serde_json::from_str(&told(&host, &["--json"])).expect("JSON");
    for (index, row) in rows.iter().enumerate() {
        let gpu = &all["gpus"][index];
        assert_eq!(row[0], index.to_string());
        assert_eq!(row[1], gpu["name"], "{csv}");
        let mib = gpu["memory_total"].as_u64().expect("bytes") >> 20;
        assert_eq!(row[2], mib.to_string(), "{csv}");
        assert_eq!(row[4], "9.0", "{csv}");
    }
    let uuid = all["gpus"][1]["uuid"].as_str().expect("text");
    let one = told(&host, &["-i", uuid, "--query-gpu=index", "--format=csv,noheader"]);
    assert_eq!(one, "1\n");
}

#[test]
fn vgpu_smi_says_what_is_wrong_with_the_usual_exit_codes() {
    let host = host();
    for (arguments, code, text) in [
        (&["-i", "7"][..], 6, "No devices were found"),
        (&["--query-gpu=nonsense", "--format=csv"], 2, "\"nonsense\" is not a valid field"),
        (&["--query-gpu=name"], 2, "--format"),
        (&["--nonsense"], 2, "--nonsense"),
        (&["top"], 2, "standard input is none"),
        (&["top", "--json"], 2, "cannot be used with"),
    ] {
        let done = finish(smi(&host.link()).args(arguments));
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains(text), "{arguments:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let nobody = format!("unix:{}", directory.path().join("nobody.sock").display());
    let done = finish(&mut smi(&nobody));
    assert_eq!(done.status.code(), Some(9), "{}", done.stderr);
    for text in ["nobody.sock", "vgpu-install doctor"] {
        assert!(done.stderr.contains(text), "{text} in {}", done.stderr);
    }
}

#[test]
fn the_name_nvidia_smi_leads_to_the_same_program_and_the_same_library() {
    let host = host();
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("nvidia-smi");
    symlink(Stage::dev().smi(), &link).expect("a link");
    let mut command = clean(&link);
    command.env("VGPU_LINK", host.link()).arg("-L");
    let done = finish(&mut command);
    assert!(done.status.success(), "{}", done.stderr);
    assert_eq!(done.stdout, told(&host, &["-L"]));
}
