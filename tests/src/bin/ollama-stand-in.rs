//! Behaves like `ollama` where the system test depends on it.

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_tests::stand_in::serve::ollama()
}
