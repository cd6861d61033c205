//! The programs of `tests/cu`, compiled by nvcc for each major and linked with our runtime.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::stage::{self, repository};
use crate::{Major, Stage};

/// The programs.
pub const NAMES: [&str; 7] =
    ["compute", "function", "graph", "launch", "memory", "order", "symbol"];

/// What stream 0 means to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// The default stream that waits for all others.
    Legacy,
    /// One of each thread: the headers then call the `_ptsz` and `_ptds` functions.
    PerThread,
}

/// The path of a program, compiled if it is older than its source.
///
/// # Panics
/// If the compiler or the stage is not there, or the program cannot be compiled.
pub fn program(name: &str, major: Major, streams: Streams) -> PathBuf {
    // PTX alone, of the oldest architecture that the compiler knows: every device of today takes
    // it, the simulated one too.
    let mut options = vec!["-arch=compute_75"];
    if streams == Streams::PerThread {
        options.extend(["--default-stream", "per-thread"]);
    }
    made(name, major, &format!("{streams:?}"), &options)
}

/// The path of a program that has machine code for compute capability 9.0, and nothing else.
///
/// # Panics
/// As [`program`].
pub fn machine_code(name: &str, major: Major) -> PathBuf {
    made(name, major, "MachineCode", &["-gencode", "arch=compute_90,code=sm_90"])
}

fn made(name: &str, major: Major, variant: &str, options: &[&str]) -> PathBuf {
    static COMPILING: Mutex<()> = Mutex::new(());
    let directory = stage::scratch("cu");
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    // The linker looks for the name without a version.
    let libraries = directory.join(format!("{major:?}"));
    std::fs::create_dir_all(&libraries).expect("a directory for the library's name");
    let link = libraries.join("libcudart.so");
    let _ = std::fs::remove_file(&link);
    symlink(Stage::dev().library(major.soname()), &link).expect("a link");
    let sources = repository().join("tests/cu");
    let source = sources.join(name).with_extension("cu");
    let made = directory.join(format!("{name}-{major:?}-{variant}"));
    if changed(&made) < changed(&source).max(changed(&sources.join("check.cuh"))) {
        compile(&source, &libraries, &made, major, options);
    }
    made
}

/// Where the headers of a major lie. Those of C++ must be of the same major; the compiler is that
/// of 13 for both, for none of 12 is published as a Python package.
fn headers(major: Major) -> Vec<PathBuf> {
    let runtime = major.package().join("include");
    match major {
        Major::Twelve => vec![stage::cache().join("nvcc/nvidia/cuda_cccl/include"), runtime],
        Major::Thirteen => vec![runtime],
    }
}

fn compile(source: &Path, libraries: &Path, made: &Path, major: Major, options: &[&str]) {
    let mut nvcc = Command::new(stage::nvcc());
    for headers in headers(major) {
        nvcc.arg("-I").arg(headers);
    }
    let output = nvcc
        .args(options)
        .args(["-std=c++17", "-cudart", "shared", "-cudadevrt", "none"])
        .args(["-Werror", "all-warnings", "-Xcompiler", "-Wall", "-L"])
        .arg(libraries)
        .arg(source)
        .arg("-o")
        .arg(made)
        .output()
        .expect("nvcc runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "compiling {} for {major:?}:\n{text}", source.display());
}

fn changed(path: &Path) -> SystemTime {
    let changed = std::fs::metadata(path).and_then(|data| data.modified());
    changed.unwrap_or(SystemTime::UNIX_EPOCH)
}
