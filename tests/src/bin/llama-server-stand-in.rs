//! Behaves like Ollama's `llama-server --list-devices`, over the real ggml.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_tests::stand_in::serve::llama_server()
}
