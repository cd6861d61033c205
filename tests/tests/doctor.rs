//! The doctor over the staged libraries and a host with the simulated device: what its children
//! see there is what its checks call fine, and what they see of a host that is not as it should be
//! is named.

#![forbid(unsafe_code)]

use std::time::Duration;

use vgpu_install::cli::{Line, Options};
use vgpu_install::doctor::{self, Finding, Verdict};
use vgpu_install::host::Outcome;
use vgpu_install::host::memory::Memory;
use vgpu_link::tls::Files;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role};
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Finished, Stage, Vgpud, run, stage};

/// A child allocates 64 MiB and copies it four times, unoptimised, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn options() -> Options {
    let line: Line = clap::Parser::parse_from(["vgpu-install", "doctor"]);
    line.options
}

/// What one of the doctor's children prints, run over the staged libraries.
#[track_caller]
fn child(way: Way, link: &str, arguments: &[&str]) -> Outcome {
    let stage = Stage::dev();
    let mut command = over(&stage, way, link, stage.installer());
    command.args(arguments).env("VGPU_STATS", "1");
    let Finished { stdout, stderr, status, .. } = run(&mut command, LIMIT).expect("a child ends");
    assert!(status.success(), "{arguments:?}: {status}\n{stderr}");
    Outcome {
        status: Some(0),
        stdout: stdout.into_bytes(),
        stderr: stderr.into_bytes(),
        ..Outcome::default()
    }
}

/// The findings of a guest whose children see this link.
#[track_caller]
fn findings(way: Way, link: &str) -> Vec<Finding> {
    let guest = Memory::described(
        "file /etc/systemd/system/ollama.service [Service]\\nExecStart=/usr/local/bin/ollama serve
         file /usr/local/bin/ollama x
         file /usr/local/lib/ollama/cuda_v12/libggml-cuda.so x
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x",
    )
    .running()
    .answering("examine link", child(way, link, &["examine", "link"]))
    .answering("--major 12", child(way, link, &["examine", "api", "--major", "12"]))
    .answering("--major 13", child(way, link, &["examine", "api", "--major", "13"]));
    let findings = doctor::findings(&guest, &options()).expect("the machine can be looked at");
    let ours = ["transport.", "host.", "api."];
    findings
        .into_iter()
        .filter(|one| ours.iter().any(|group| one.check.starts_with(group)))
        .collect()
}

#[test]
fn everything_is_fine_over_the_simulated_device() {
    let host = Vgpud::simulated(&Stage::dev(), &[]).expect("the staged vgpud starts");
    for way in Way::ALL {
        let findings = findings(way, &host.link());
        let checks: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
        assert!(checks.contains(&"api.graph") && checks.contains(&"host.worker"), "{checks:?}");
        for finding in findings {
            // How fast a busy machine is says nothing about the doctor.
            let is_pace = finding.check == "transport.latency";
            assert!(is_pace || finding.verdict == Verdict::Ok, "{way:?}: {finding:#?}");
        }
    }
}

#[test]
fn the_evidence_is_that_of_the_host() {
    let host = Vgpud::simulated(&Stage::dev(), &[]).expect("the staged vgpud starts");
    let findings = findings(Way::SearchPath, &host.link());
    let seen = |check: &str, part: &str| {
        let mut lines =
            findings.iter().filter(|one| one.check == check).flat_map(|one| &one.evidence);
        assert!(lines.any(|line| line.contains(part)), "{check}: {part}\n{findings:#?}");
    };
    seen("host.driver", vgpu_tests::profile::NAME);
    seen("host.driver", "compute capability 9.0");
    seen("transport.handshake", "sessions ");
    seen("transport.latency", "MB/s to the device");
    seen("api.kernel", "a kernel that is in no module answers 500");
    seen("api.kernel", "freeing what was never allocated answers 1");
    seen("api.blas", "largest difference 0 millionths");
}

#[test]
fn a_host_that_went_is_named_and_the_api_is_left_unjudged() {
    let host = Vgpud::simulated(&Stage::dev(), &[]).expect("the staged vgpud starts");
    let link = host.link();
    drop(host);
    let findings = findings(Way::SearchPath, &link);
    let of = |check: &str| findings.iter().filter(|one| one.check == check).collect::<Vec<_>>();
    assert_eq!(of("transport.present")[0].rows, ["F49"], "{findings:#?}");
    for finding in of("api.memory") {
        assert_eq!(finding.verdict, Verdict::Skipped, "{finding:#?}");
        assert!(finding.evidence.iter().any(|line| line.contains("vgpu: no GPU")), "{finding:#?}");
    }
}

#[test]
fn a_listener_that_says_nothing_is_told_from_a_host() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("silent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a new socket");
    let findings = findings(Way::SearchPath, &format!("unix:{}", socket.display()));
    drop(listener);
    let found = findings.iter().find(|one| one.check == "transport.handshake").expect("it ran");
    assert_eq!(found.rows, ["F58"], "{findings:#?}");
}

#[test]
fn a_host_that_is_full_is_named_as_such() {
    let host = Vgpud::simulated(&Stage::dev(), &["--clients-max", "1"]);
    let host = host.expect("the staged vgpud starts");
    let hello = Hello { role: Role::Observer, pid: std::process::id(), exe: Text::cut("test") };
    let uri = host.link().parse().expect("a link of the host");
    let held = vgpu_link::connect(&uri, &Files::default(), &hello, LIMIT)
        .expect("the one client is served");
    let findings = findings(Way::SearchPath, &host.link());
    drop(held);
    let found = findings.iter().find(|one| one.check == "host.worker").expect("it ran");
    assert_eq!(found.rows, ["F66"], "{findings:#?}");
}

/// What asking a runner of the stand-in gives, over a ggml as Ollama lays it out.
#[track_caller]
fn asked_runner(way: Way, link: &str, more: &[(&str, &str)]) -> Outcome {
    let ggml = stage::ggml_cuda13();
    let layout = tempfile::tempdir().expect("a temporary directory");
    let cuda = layout.path().join("cuda_v13");
    std::fs::create_dir(&cuda).expect("a new directory");
    for (name, file) in [
        ("libggml-base.so", "libggml-base.so"),
        ("libggml.so", "libggml.cuda.v0.5.0.so"),
        ("cuda_v13/libggml-cuda.so", "libggml-cuda.so"),
    ] {
        let made = std::os::unix::fs::symlink(ggml.join(file), layout.path().join(name));
        made.expect("a new link");
    }
    let stage = Stage::dev();
    let mut command = over(&stage, way, link, stage.installer());
    command.args(["examine", "runner", "--program", env!("CARGO_BIN_EXE_ollama-stand-in")]);
    let dirs = format!("{}:{}", layout.path().display(), cuda.display());
    command.env("OLLAMA_LIBRARY_PATH", dirs).envs(more.iter().copied());
    let Finished { stdout, stderr, status, .. } = run(&mut command, LIMIT).expect("a child ends");
    assert!(status.success(), "{status}\n{stderr}");
    let (stdout, stderr) = (stdout.into_bytes(), stderr.into_bytes());
    Outcome { status: Some(0), stdout, stderr, ..Outcome::default() }
}

/// What the doctor makes of it for an Ollama of that time.
#[track_caller]
fn discovery(way: Way, link: &str) -> Finding {
    let guest = Memory::described(
        "file /usr/bin/ollama x
         file /usr/lib/ollama/cuda_v13/libggml-cuda.so x
         dir /var/lib/pacman/local/ollama-0.24.0-1",
    )
    .running()
    .answering("examine runner", asked_runner(way, link, &[]));
    let findings = doctor::findings(&guest, &options()).expect("the machine can be looked at");
    findings.into_iter().find(|one| one.check == "ollama.discovery").expect("it ran")
}

#[test]
fn a_runner_of_an_older_ollama_tells_what_the_published_backend_finds() {
    let host = Vgpud::simulated(&Stage::dev(), &[]).expect("the staged vgpud starts");
    for way in Way::ALL {
        let found = discovery(way, &host.link());
        assert_eq!(found.verdict, Verdict::Ok, "{way:?}: {found:#?}");
        assert!(found.cause.contains(vgpu_tests::profile::NAME), "{found:#?}");
    }
    // The device by itself, as Ollama asks again; and none where a variable hides it.
    let seen = |id: &str| {
        let more = [("CUDA_VISIBLE_DEVICES", id), ("GGML_CUDA_INIT", "1")];
        let outcome = asked_runner(Way::SearchPath, &host.link(), &more);
        String::from_utf8(outcome.stdout).expect("JSON is text")
    };
    assert!(seen("0").contains(vgpu_tests::profile::NAME), "{}", seen("0"));
    assert!(!seen("-1").contains(vgpu_tests::profile::NAME), "{}", seen("-1"));
    let link = host.link();
    drop(host);
    let found = discovery(Way::SearchPath, &link);
    assert_eq!(found.rows, ["F03", "U39"], "{found:#?}");
    assert!(found.evidence.iter().any(|line| line.contains("vgpu: no GPU")), "{found:#?}");
}
