//! Unmodified clients from the public registries over our libraries and the simulated device.
//!
//! What they must show is issue 2's table. Each runs in a process of its own, both with our private
//! directory in LD_LIBRARY_PATH and with our libraries in LD_PRELOAD.

#![forbid(unsafe_code)]

mod absent;
mod behaviour;
mod ggml;
mod graphs;
mod images;
mod memory;
mod modules;
mod node;
mod nulls;
mod operations;
mod python;
mod rust;
mod smi;
mod visible;
mod waits;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vgpu_tests::{Finished, Stage, Vgpud, run};

/// Longer than any client needs on a busy two-core machine; the point is that it ends.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a client to its end.
#[track_caller]
fn finish(command: &mut Command) -> Finished {
    run(command, LIMIT).expect("a client starts and ends in time")
}

/// Runs a client that prints one JSON document as its last line, and succeeds.
#[track_caller]
fn answer(command: &mut Command, host: &Vgpud) -> Value {
    let done = finish(command);
    let said = format!("{}\n{}\nvgpud said:\n{}", done.stdout, done.stderr, host.log());
    assert!(done.status.success(), "{} ended with {}\n{said}", done.command, done.status);
    let last = done.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: no JSON in\n{said}"))
}

/// Starts a host for one test.
#[track_caller]
fn host() -> Vgpud {
    Vgpud::start(&Stage::dev()).expect("the staged vgpud starts")
}
