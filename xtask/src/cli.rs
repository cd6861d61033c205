//! The command line: names, help texts and dispatch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, report};
use crate::paths::Paths;
use crate::stage::Profile;
use crate::{bench, deb, demo, fuzz, gpu, regen, setup, stage, test};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests, measures and shows vgpu-ollama")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the main job end to end in a container: install, find the GPU, roll back.
    Demo,
    /// Run the tests: everything but vm, or only what is named (lint, unit, a test file, a test's
    /// name).
    Test {
        /// Names: lint, unit, models, a file of tests/tests (tidy, clients, ...), or part of a
        /// test's name.
        names: Vec<String>,
        /// Fail, too, if this machine has no tools for a part; else the summary only says so.
        #[arg(long)]
        whole: bool,
    },
    /// Build what the packages ship and lay it out under target/stage (or stage-release).
    Stage {
        /// Build with cargo-zigbuild for glibc 2.28, optimised: what the packages ship.
        #[arg(long)]
        release: bool,
    },
    /// Pack the release stage into debs under target/deb.
    Deb,
    /// Install what the tests need from outside (xtask/needs.toml says what and why).
    Setup {
        /// Groups: headers compiler clients release system vm pages loaders fuzz; all of them when
        /// none is named.
        groups: Vec<setup::Group>,
    },
    /// Measure, and print a table and a JSON document.
    Bench {
        /// Measure so often, one after the other: a column of the table for each.
        #[arg(long, value_name = "N", default_value = "1")]
        runs: std::num::NonZeroU8,
        /// Write the JSON documents, a list of one for each run, to this file instead of standard
        /// output.
        #[arg(long, value_name = "FILE")]
        json: Option<std::path::PathBuf>,
        /// Put the table into this page, such as docs/benchmarks.md, in place of the one that it
        /// has.
        #[arg(long, value_name = "FILE")]
        markdown: Option<std::path::PathBuf>,
    },
    /// Feed every reader hostile bytes, the model of the loaders random trees, and the ring a
    /// hostile peer.
    Fuzz {
        /// How long each reader is fed, in seconds.
        #[arg(default_value_t = 60)]
        seconds: u64,
        /// Readers: programs of fuzz/targets; all of them, and trees and games, when none is named.
        readers: Vec<String>,
        /// Keep the least of what reaches everything that was reached, in fuzz/corpus.
        #[arg(long)]
        keep: bool,
    },
    /// Pack all that the comparison on a GPU machine needs into parts under target/gpu-kit.
    GpuKit,
    /// Compare NVIDIA's driver with ours on this machine's GPU; the report is target/gpu/report.md.
    TestGpu {
        /// Without a GPU: both sides are ours, on the simulated device.
        #[arg(long)]
        rehearsal: bool,
    },
    /// Regenerate the committed generated files from the headers and shims/api.
    Regen,
}

/// Runs the task that the command line names and turns its outcome into an exit code.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            let help = !usage.use_stderr();
            // Nothing is left to tell when even the usage text cannot be printed.
            let _ = usage.print();
            return if help { ExitCode::SUCCESS } else { ExitCode::from(64) };
        }
    };
    match dispatch(arguments.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> Result<(), Error> {
    let paths = Paths::of_this_checkout();
    match task {
        Task::Demo => demo::run(&paths),
        Task::Test { names, whole } => test::run(&paths, &names, whole),
        Task::Stage { release } => {
            let profile = if release { Profile::Release } else { Profile::Dev };
            if release {
                setup::run(&paths, &[setup::Group::Release])?;
            }
            stage::run(&paths, profile).map(drop)
        }
        Task::Deb => {
            setup::run(&paths, &[setup::Group::Release, setup::Group::System])?;
            stage::run(&paths, Profile::Release)?;
            deb::run(&paths)
        }
        Task::Setup { groups } => setup::run(&paths, &groups),
        Task::Bench { runs, json, markdown } => {
            bench::run(&paths, runs, [("--json", json), ("--markdown", markdown)])
        }
        Task::Fuzz { seconds, readers, keep } => fuzz::run(&paths, seconds, &readers, keep),
        Task::GpuKit => gpu::kit(&paths),
        Task::TestGpu { rehearsal } => gpu::run(&paths, rehearsal),
        Task::Regen => regen::run(&paths),
    }
}
