use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{LIMIT, median_ms};
use crate::client::{Way, clean, over};
use crate::system::{Error, Result};
use crate::{Stage, Vgpud, profile, run, stage};

/// Rounds behind each median.
const ROUNDS: usize = 7;

/// The child processes of one Ollama start with two directories of backends and one GPU.
const CHILDREN: usize = 12;

/// Times the published CUDA 13 backend from the start of its process to its end, with the list of
/// devices printed: alone, twelve one after the other, twelve at once; and, as what the machine
/// itself does, the same program over the same libraries without the CUDA backend.
pub(super) fn measure(stage: &Stage, host: &Vgpud) -> Result<Value> {
    let with = || {
        let program = stage.test_program("ggml-probe");
        finds_the_device(over(stage, Way::SearchPath, &host.link(), program), profile::NAME)
    };
    with()?; // Reads the files of the backend from the disk, once for all rounds.
    let alone = rounds(&with)?;
    let without = rounds(&|| {
        let mut probe = clean(stage.test_program("ggml-probe"));
        ggml(&mut probe);
        Ok(run(&mut probe, LIMIT)?.took)
    })?;
    let begun = Instant::now();
    for _ in 0..CHILDREN {
        with()?;
    }
    let serial = begun.elapsed();
    let begun = Instant::now();
    thread::scope(|scope| {
        let children: Vec<_> = (0..CHILDREN).map(|_| scope.spawn(with)).collect();
        children.into_iter().try_for_each(|child| {
            child.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(drop)
        })
    })?;
    let parallel = begun.elapsed();
    Ok(json!({
        "one_process_ms": median_ms(alone),
        "without_cuda_backend_ms": median_ms(without),
        "processes": CHILDREN,
        "serial_ms": serial.as_secs_f64() * 1e3,
        "parallel_ms": parallel.as_secs_f64() * 1e3,
    }))
}

fn ggml(probe: &mut Command) -> &mut Command {
    let ggml = stage::ggml_cuda13();
    probe.arg(ggml.join("libggml-base.so")).arg(ggml.join("libggml.cuda.v0.5.0.so"));
    probe.arg("--list-devices")
}

pub(crate) fn rounds(one: &dyn Fn() -> Result<Duration>) -> Result<Vec<Duration>> {
    (0..ROUNDS).map(|_| one()).collect()
}

/// Times one discovery by `ggml-probe`, whose environment leads to the libraries. One that did not
/// find the device is no measurement.
pub(crate) fn finds_the_device(mut probe: Command, device: &str) -> Result<Duration> {
    ggml(&mut probe).arg("--backend").arg(stage::ggml_cuda13().join("libggml-cuda.so"));
    let done = run(&mut probe, LIMIT)?;
    let took = done.took;
    let output = format!("{}{}", done.stdout, done.stderr);
    if done.success()?.contains(device) {
        Ok(took)
    } else {
        let place = "the backend's list of devices".into();
        Err(Error::Missing { what: device.into(), place, output })
    }
}
