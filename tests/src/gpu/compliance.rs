//! The rules that clients punish, over both subjects.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, Setting, Subject};
use crate::system::{Result, run};

/// All cases take seconds; a driver that has to be woken for each of 300 processes takes minutes.
const LIMIT: Duration = Duration::from_secs(400);

/// Cases that the whole suite must have at least: what was asked for.
const CASES_MIN: usize = 150;

/// Runs the suite over one subject: each case with its outcome, and what was seen.
fn suite(setting: &Setting, subject: Subject) -> Result<BTreeMap<String, Value>> {
    let host = match subject {
        Subject::Native => setting.native_host()?,
        Subject::Ours => Some(setting.host(&[])?),
    };
    let mut python = setting.command(subject, host.as_ref(), "python3");
    python.arg(setting.file("tests/compliance/run.py"));
    python.args(["--driver", "libcuda.so.1", "--runtime", "libcudart.so.13"]);
    python.args(setting.sample.then_some("--noun=memory"));
    let done = run(&mut python, LIMIT)?;
    let cases = done.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(cases.filter_map(|case| Some((case["case"].as_str()?.to_owned(), case.clone()))).collect())
}

/// What a case saw, if it did not hold.
fn saw(case: &Value) -> &str {
    case["saw"].as_str().unwrap_or_default()
}

/// Both subjects must hold every rule; one that the genuine driver breaks is our mistake about it.
pub(super) fn compare(setting: &Setting) -> Result<Outcome> {
    let native = suite(setting, Subject::Native)?;
    let ours = suite(setting, Subject::Ours)?;
    let mut lines = Vec::new();
    for (name, theirs) in &native {
        let of_ours = ours.get(name).map_or(&Value::Null, |case| &case["outcome"]);
        if theirs["outcome"] != "held" || of_ours != "held" {
            lines.push(format!(
                "- {name}: native {} {}; ours {of_ours} {}",
                theirs["outcome"],
                saw(theirs),
                saw(ours.get(name).unwrap_or(&Value::Null))
            ));
        }
    }
    let broken = |cases: &BTreeMap<String, Value>| {
        let bad = |case: &&Value| case["outcome"] != "held" && case["outcome"] != "unfit";
        cases.values().filter(bad).count()
    };
    let says = format!(
        "{} cases; native breaks {}, ours {}",
        native.len(),
        broken(&native),
        broken(&ours)
    );
    let held = native.len() >= if setting.sample { 1 } else { CASES_MIN }
        && native.len() == ours.len()
        && broken(&native) == 0
        && broken(&ours) == 0;
    Ok(Outcome::of(held, says, lines, json!({ "native": native, "ours": ours })))
}
