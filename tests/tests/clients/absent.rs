//! Clients on a machine whose host is away: they are told quickly, once, and carry on.

use std::time::Duration;

use vgpu_tests::client::{Way, over};
use vgpu_tests::{Finished, Stage, profile, stage};

use crate::finish;
use crate::ggml::cuda13;

/// design.md: with no host reachable `cuInit` answers NO_DEVICE within a second.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Lines that our libraries wrote: all begin with our name.
fn our_lines(done: &Finished) -> Vec<&str> {
    done.stderr.lines().filter(|line| line.starts_with("vgpu")).collect()
}

#[test]
fn without_a_host_a_client_is_told_that_there_is_no_device() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = format!("unix:{}", directory.path().join("nobody.sock").display());
    for way in Way::ALL {
        let program = env!("CARGO_BIN_EXE_cudarc-client");
        let done = finish(over(&Stage::dev(), way, &link, program).arg("--count-only"));
        assert!(done.stderr.contains("CUDA_ERROR_NO_DEVICE"), "{way:?}: {}", done.stderr);
        assert!(!done.status.success(), "{way:?}");
        assert!(done.took < ANSWER_LIMIT, "{way:?}: told after {:?}", done.took);
        let lines = our_lines(&done);
        assert_eq!(lines.len(), 1, "{way:?}: one line says why\n{}", done.stderr);
        assert!(lines[0].contains("nobody.sock"), "{way:?}: it names the link: {}", lines[0]);
    }
}

#[test]
fn without_a_host_the_cuda_13_backend_reports_no_device_and_carries_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = format!("unix:{}", directory.path().join("nobody.sock").display());
    for way in Way::ALL {
        let mut probe = over(&Stage::dev(), way, &link, env!("CARGO_BIN_EXE_ggml-probe"));
        let done = finish(cuda13(&mut probe).arg("--list-devices"));
        assert!(done.status.success(), "{way:?}: {}\n{}", done.status, done.stderr);
        assert!(!done.stdout.contains(profile::NAME), "{way:?}: {}", done.stdout);
        assert!(
            done.stderr.contains("no CUDA-capable device is detected"),
            "{way:?}: ggml says why\n{}",
            done.stderr
        );
        assert_eq!(our_lines(&done).len(), 1, "{way:?}: one line says why\n{}", done.stderr);
    }
}

#[test]
fn without_a_host_nvml_says_so_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = format!("unix:{}", directory.path().join("nobody.sock").display());
    for way in Way::ALL {
        let mut python = over(&Stage::dev(), way, &link, "python3");
        python.arg(stage::repository().join("tests/clients/python/nvml.py"));
        python.env("PYTHONPATH", stage::python_clients()).env("PYTHONDONTWRITEBYTECODE", "1");
        let done = finish(&mut python);
        assert!(!done.status.success(), "{way:?}: {}", done.stdout);
        assert!(done.stderr.contains("NVMLError_DriverNotLoaded"), "{way:?}: {}", done.stderr);
        assert_eq!(our_lines(&done).len(), 1, "{way:?}: one line says why\n{}", done.stderr);
    }
}

#[test]
fn a_silent_host_counts_as_no_host() {
    // A listener that accepts by its backlog and never answers: the handshake's deadline decides.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("silent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a new socket");
    let link = format!("unix:{}", socket.display());
    let program = env!("CARGO_BIN_EXE_cudarc-client");
    let done = finish(over(&Stage::dev(), Way::SearchPath, &link, program).arg("--count-only"));
    drop(listener);
    assert!(done.stderr.contains("CUDA_ERROR_NO_DEVICE"), "{}", done.stderr);
    // The deadline itself is one second, and the program has to start and end around it.
    assert!(done.took < 2 * ANSWER_LIMIT, "told after {:?}", done.took);
}
