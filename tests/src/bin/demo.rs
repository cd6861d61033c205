//! The last screen of `cargo xtask demo`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_tests::system::demo()
}
