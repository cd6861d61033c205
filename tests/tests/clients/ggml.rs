//! ggml's public C interface, in the two published builds: in parts for CUDA 13, as Ollama ships
//! it, and in one piece for CUDA 12.

use std::path::{Path, PathBuf};
use std::process::Command;

use vgpu_tests::client::{Way, over};
use vgpu_tests::{Finished, Stage, Vgpud, profile, stage};

use crate::{finish, host};

/// More than one frame's worth, and no multiple of a row or a page.
const BYTES: &str = "5000011";

/// The probe over the CUDA 13 build.
pub fn cuda13(command: &mut Command) -> &mut Command {
    let ggml = stage::ggml_cuda13();
    command
        .arg(ggml.join("libggml-base.so"))
        .arg(ggml.join("libggml.cuda.v0.5.0.so"))
        .arg("--backend")
        .arg(ggml.join("libggml-cuda.so"))
}

/// The line that llama-server prints for the simulated device.
pub fn line_of_the_device() -> String {
    format!("  CUDA0: {} (81920 MiB, ", profile::NAME)
}

#[track_caller]
fn lists_and_keeps(done: &Finished, host: &Vgpud) {
    let said = format!("{}\n{}\nvgpud said:\n{}", done.stdout, done.stderr, host.log());
    assert!(done.status.success(), "{} ended with {}\n{said}", done.command, done.status);
    assert!(done.stdout.contains(&line_of_the_device()), "{said}");
    let kept = format!("  CUDA0: {BYTES} bytes written and read back equal");
    assert!(done.stdout.contains(&kept), "{said}");
    // Its pool of temporary memory then grows by mapping, at addresses that it reserved.
    assert!(done.stderr.contains("VMM: yes"), "{said}");
}

#[test]
fn the_cuda_13_backend_lists_the_device_and_keeps_what_is_written() {
    let (stage, host) = (Stage::dev(), host());
    for way in Way::ALL {
        let mut probe = over(&stage, way, &host.link(), env!("CARGO_BIN_EXE_ggml-probe"));
        let done = finish(cuda13(&mut probe).args(["--list-devices", "--roundtrip", BYTES]));
        lists_and_keeps(&done, &host);
    }
}

#[test]
fn the_cuda_13_backend_multiplies_matrices_by_cublas() {
    let (stage, host) = (Stage::dev(), host());
    let mut probe = over(&stage, Way::SearchPath, &host.link(), env!("CARGO_BIN_EXE_ggml-probe"));
    let done = finish(cuda13(&mut probe).args(["--multiply", "96", "80", "128"]));
    let said = format!("{}\n{}\nvgpud said:\n{}", done.stdout, done.stderr, host.log());
    assert!(done.stdout.contains("CUDA0: the product of 96x128 and 128x80 is right"), "{said}");
}

#[test]
fn the_cuda_12_backend_lists_the_device_and_keeps_what_is_written() {
    let (stage, host) = (Stage::dev(), host());
    let nccl = nccl_stub();
    for way in Way::ALL {
        let mut probe = over(&stage, way, &host.link(), env!("CARGO_BIN_EXE_ggml-probe"));
        // Opened first and globally, the stub answers the addon's need by its SONAME.
        probe.arg(nccl.library()).arg(stage::ggml_cuda12());
        let done = finish(probe.args(["--list-devices", "--roundtrip", BYTES]));
        lists_and_keeps(&done, &host);
    }
}

/// A library with NCCL's name for a machine with one GPU, where nobody calls it.
pub struct Nccl(tempfile::TempDir);

impl Nccl {
    pub fn library(&self) -> PathBuf {
        self.0.path().join("libnccl.so.2")
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// Compiles it. Every function answers `ncclSystemError`, 2: a call would fail, and be seen.
pub fn nccl_stub() -> Nccl {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("nccl.c");
    let names = ["AllReduce", "CommDestroy", "CommInitAll", "GroupEnd", "GroupStart"];
    let functions: String =
        names.iter().map(|name| format!("int nccl{name}(void) {{ return 2; }}\n")).collect();
    let text = "const char *ncclGetErrorString(int code) { return \"no NCCL here\"; }\n";
    std::fs::write(&source, functions + text).expect("a file in a new directory");
    let stub = Nccl(directory);
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-Wl,-soname,libnccl.so.2", "-o"]);
    let done = finish(gcc.arg(stub.library()).arg(source));
    assert!(done.status.success(), "{}", done.stderr);
    stub
}
