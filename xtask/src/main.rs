//! The logic behind the Justfile and .ci/run: what a person or a machine runs by name.
//!
//! `cargo xtask test` is the whole truth for a newcomer. Everything it needs from outside stands in
//! `xtask/needs.toml`, everything that is shipped in `packaging/manifest.toml`.

#![forbid(unsafe_code)]

mod bench;
mod cli;
mod deb;
mod demo;
mod error;
mod fuzz;
mod gpu;
mod models;
mod paths;
mod process;
mod regen;
mod setup;
mod stage;
mod test;
mod vm;

fn main() -> std::process::ExitCode {
    cli::main()
}
