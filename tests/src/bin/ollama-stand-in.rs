//! Behaves like `ollama` where the system test depends on it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_tests::stand_in::serve::ollama()
}
