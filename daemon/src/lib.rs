//! `vgpud`, the host daemon: gives guests without a GPU the use of this machine's.
//!
//! The **host** process (`host`) listens, hands every connection to a **worker** process of its
//! own (`worker`) and keeps the ledger of device memory. A worker speaks with its one client and
//! with a `device`. The host process never touches a device: a fault there ends one worker.

#![deny(unsafe_code)]

mod ca;
mod cli;
mod config;
mod counts;
mod desk;
mod device;
pub mod dispatch;
mod error;
mod figures;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod image;
mod inspect;
mod log;
pub mod mark;
mod narrow;
mod recording;
mod smi;
mod store;
mod worker;

use std::process::ExitCode;

use clap::Parser;

/// The description of the command line, for its manual page and completions.
#[must_use]
pub fn command_line() -> clap::Command {
    <cli::Arguments as clap::CommandFactory>::command()
}

/// Reads the command line and runs as host or as worker.
///
/// Exit codes: 0 ended as asked, 1 failed, 64 wrong usage (sysexits(3)).
pub fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let ended = match arguments.command {
        Some(cli::Command::Worker(options)) => worker::run(&options),
        Some(cli::Command::Porter) => host::gather(),
        Some(cli::Command::Kernels(options)) => inspect::run(&options),
        Some(cli::Command::Recording(options)) => recording::list(&options),
        Some(cli::Command::Ca(command)) => ca::run(&command),
        Some(cli::Command::Smi(options)) => smi::run(&options),
        None => config::Config::load(&arguments).and_then(|config| host::run(config, arguments)),
    };
    log::end();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::failure(&error);
            ExitCode::FAILURE
        }
    }
}
