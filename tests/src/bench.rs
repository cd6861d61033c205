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

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Way, over};
use crate::system::{Error, Result, at};
use crate::{Stage, Vgpud, run};

/// Changes with the meaning of a field.
const SCHEMA_VERSION: u32 = 3;

/// Lines of a page between which the table stands.
const FIGURES: [&str; 2] =
    ["<!-- figures: cargo xtask bench --runs 3 --markdown -->", "<!-- end -->"];

/// The whole of one client's measurements ends far below this, unless it hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// Measures everything so many times, one after the other. The JSON documents, a list of one for
/// each run, go to the file `json`, and the table into the page `markdown`, in place of the one
/// that it has; either is printed where no file is named.
///
/// # Errors
/// If the host, a client or the installer does not do its work, or a file cannot be written.
pub fn measure_and_tell(runs: u8, json: Option<&Path>, markdown: Option<&Path>) -> Result<()> {
    let runs = (0..runs).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    let table = table::render(&runs);
    match markdown {
        Some(page) => renew(page, &table)?,
        None => println!("{table}"),
    }
    let documents = format!("{:#}\n", Value::Array(runs));
    match json {
        Some(path) => fs::write(path, documents).map_err(at("writing", path)),
        None => {
            print!("{documents}");
            Ok(())
        }
    }
}

/// Measures everything and answers one JSON document.
fn measure() -> Result<Value> {
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

/// Puts a table into a page, in place of the one that stands there between two lines of its own.
///
/// # Errors
/// If the page has no such lines, or cannot be read or written.
fn renew(page: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(page).map_err(at("reading", page))?;
    let [begin, end] = FIGURES;
    let parts = text.split_once(begin).and_then(|(before, rest)| {
        let (_, behind) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n{table}{end}{behind}"))
    });
    let missing = || Error::Missing {
        what: format!("the lines {begin} and {end}"),
        place: page.display().to_string(),
        output: String::new(),
    };
    fs::write(page, parts.ok_or_else(missing)?).map_err(at("writing", page))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_stands_around_its_table() {
        let directory = tempfile::tempdir().expect("a directory");
        let page = directory.path().join("benchmarks.md");
        let [begin, end] = FIGURES;
        fs::write(&page, format!("before\n{begin}\nold\n{end}\nafter\n")).expect("written");
        renew(&page, "| new |\n").expect("it has both lines");
        let text = fs::read_to_string(&page).expect("it is there");
        assert_eq!(text, format!("before\n{begin}\n| new |\n{end}\nafter\n"));
        fs::write(&page, format!("{end}\n{begin}\n")).expect("written");
        renew(&page, "| new |\n").expect_err("nothing stands between them");
    }
}
