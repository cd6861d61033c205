//! What `cargo xtask bench` measures, over the release stage and the simulated device.
//!
//! Every figure stands beside one of the same run that says what the machine itself does: a plain
//! `memcpy`, the loading of the same libraries without a GPU, `ldconfig -p`. The figures are
//! medians. Nothing here passes or fails by a figure; only a client that does not work fails.

pub(crate) mod discovery;
mod install;
mod links;
mod machine;
mod memory;
mod table;

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Way, over};
use crate::system::{Error, Result};
use crate::{Stage, Vgpud, run};

/// Changes with the meaning of a field.
const SCHEMA_VERSION: u32 = 2;

/// The whole of one client's measurements ends far below this, unless it hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// Measures everything and answers one JSON document.
///
/// # Errors
/// If the host, a client or the installer does not do its work.
pub fn measure() -> Result<Value> {
    let stage = Stage::release();
    let host = Vgpud::start(&stage)?;
    note("calls and copies");
    let client = client(&stage, &host)?;
    note("memory of an idle client");
    let memory = memory::measure(&stage, &host)?;
    note("discovery by the real backend");
    let discovery = discovery::measure(&stage, &host)?;
    let links = links::measure(&stage)?;
    note("scan, plan, apply and rollback on a Debian root");
    let install = install::measure(&stage)?;
    Ok(json!({
        "schema_version": SCHEMA_VERSION,
        "machine": machine::describe(),
        "link": "unix",
        "client": client,
        "memory": memory,
        "discovery": discovery,
        "links": links,
        "install": install,
    }))
}

/// Renders the document as the table that docs/benchmarks.md holds.
pub fn render(document: &Value) -> String {
    table::render(document)
}

/// Calls and copies, measured inside a client process.
fn client(stage: &Stage, host: &Vgpud) -> Result<Value> {
    let program = stage.test_program("bench-client");
    let mut command = over(stage, Way::SearchPath, &host.link(), program);
    parse("bench-client", &run(&mut command, LIMIT)?.success()?)
}

fn parse(program: &str, printed: &str) -> Result<Value> {
    serde_json::from_str(printed).map_err(|_| Error::Missing {
        what: "a JSON document".into(),
        place: program.into(),
        output: printed.into(),
    })
}

/// The median of several times, in milliseconds.
pub(crate) fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Tells on standard error what is being measured; the answer alone goes to standard output.
fn note(what: &str) {
    eprintln!("measuring {what}");
}
