//! Writes exports, messages, dispatch and docs from one description.

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_codegen::command::run()
}
