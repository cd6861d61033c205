//! Writes exports, messages, dispatch and docs from one description.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_codegen::command::run()
}
