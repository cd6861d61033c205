//! Calls, launches and copies, measured both ways in one run, as ratios.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, Setting, Subject};
use crate::bench::discovery::{finds_the_device, rounds};
use crate::bench::median_ms;
use crate::system::{Result, run};

/// The program measures for about half a second each of some twenty figures.
const LIMIT: Duration = Duration::from_secs(120);

fn measure(setting: &Setting, subject: Subject) -> Result<Value> {
    let host = match subject {
        Subject::Native => setting.native_host()?,
        Subject::Ours => Some(setting.host(&[])?),
    };
    let program = setting.stage.test_program("bench-client");
    let mut client = setting.command(subject, host.as_ref(), program);
    client.args(setting.sample.then_some("--sizes=2"));
    let said = run(&mut client, LIMIT)?.success()?;
    Ok(serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or(Value::Null))
}

/// One row: a figure of both, and ours over native.
fn row(name: &str, native: Option<f64>, ours: Option<f64>, unit: &str) -> String {
    let cell =
        |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2} {unit}"));
    let ratio = native.zip(ours).map_or("–".into(), |(one, two)| format!("{:.3}", two / one));
    format!("| {name} | {} | {} | {ratio} |", cell(native), cell(ours))
}

/// The median of one discovery by the published backend, in milliseconds.
fn discovery(setting: &Setting, subject: Subject) -> Result<f64> {
    let host = match subject {
        Subject::Native => setting.native_host()?,
        Subject::Ours => Some(setting.host(&[])?),
    };
    let once = || {
        let program = setting.stage.test_program("ggml-probe");
        finds_the_device(setting.command(subject, host.as_ref(), program), "CUDA0")
    };
    // Reads the files from the disk.
    once()?;
    Ok(median_ms(rounds(&once)?))
}

/// Measures both, and writes the table.
pub(super) fn compare(setting: &Setting) -> Result<Outcome> {
    let native = measure(setting, Subject::Native)?;
    let ours = measure(setting, Subject::Ours)?;
    let mut lines =
        vec!["| what | native | ours | ours / native |".to_owned(), "|---|---|---|---|".to_owned()];
    for (name, key) in [
        ("sync call, median", "sync_call_ns"),
        ("async submit, median", "async_submit_ns"),
        ("1,000 launches, submitted and done", "launches_1000_ns"),
        ("one graph of 1,000 launches", "graph_1000_ns"),
    ] {
        let figure = |of: &Value| of["calls"][key].as_f64().map(|ns| ns / 1e3);
        lines.push(row(name, figure(&native), figure(&ours), "µs"));
    }
    let copies = native["copies"].as_array().into_iter().flatten();
    let both = copies.zip(ours["copies"].as_array().into_iter().flatten());
    for (one, two) in both {
        let size = one["bytes"].as_u64().unwrap_or_default() >> 10;
        for (name, key) in [
            ("host to device", "htod_gb_s"),
            ("device to host", "dtoh_gb_s"),
            ("pinned host to device", "pinned_htod_gb_s"),
            ("pinned device to host", "pinned_dtoh_gb_s"),
        ] {
            let name = format!("copy {size} KiB, {name}");
            lines.push(row(&name, one[key].as_f64(), two[key].as_f64(), "GB/s"));
        }
    }
    let memory = |of: &Value| of["memory_kib"].as_f64().map(|kib| kib / 1024.0);
    lines.push(row("memory added to the process", memory(&native), memory(&ours), "MiB"));
    let found = [Subject::Native, Subject::Ours].map(|subject| discovery(setting, subject));
    let [native_ms, ours_ms] = found;
    let (native_ms, ours_ms) = (native_ms?, ours_ms?);
    lines.push(row("discovery by ggml's backend", Some(native_ms), Some(ours_ms), "ms"));
    let says = format!("device {}", native["device"]);
    let held = native.is_object() && ours.is_object();
    Ok(Outcome::of(
        held,
        says,
        lines,
        json!({
            "native": { "client": native, "discovery_ms": native_ms },
            "ours": { "client": ours, "discovery_ms": ours_ms },
        }),
    ))
}
