//! The last screen of `cargo xtask demo`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vgpu_tests::system::demo()
}
