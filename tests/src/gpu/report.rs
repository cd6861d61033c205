//! What came out.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::Setting;
use crate::system::{Error, Result, at};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything was as it should be.
    Held,
    /// Something was not.
    Broken,
    /// The machine lacks something.
    NotRun,
}

/// What a step found.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub state: State,
    /// One line for people.
    pub says: String,
    /// Lines of the report.
    pub lines: Vec<String>,
    /// Everything, for machines.
    pub figures: Value,
}

impl Outcome {
    /// A step whose parts all held, or not.
    pub fn of(held: bool, says: String, lines: Vec<String>, figures: Value) -> Self {
        let state = if held { State::Held } else { State::Broken };
        Self { state, says, lines, figures }
    }

    /// A step that the machine cannot run.
    pub fn not_run(because: &str) -> Self {
        let says = because.to_owned();
        Self { state: State::NotRun, says, lines: Vec::new(), figures: Value::Null }
    }

    /// A step that could not be done.
    pub fn broken(error: &Error) -> Self {
        let says = error.to_string();
        Self { state: State::Broken, says, lines: Vec::new(), figures: Value::Null }
    }

    /// State and line together.
    pub fn line(&self) -> String {
        let state = match self.state {
            State::Held => "held",
            State::Broken => "BROKEN",
            State::NotRun => "not run",
        };
        format!("{state}: {}", self.says)
    }
}

/// Writes both reports.
pub(super) fn write(setting: &Setting, outcomes: &[(&str, Outcome)]) -> Result<()> {
    let mut text = String::from("# Native and ours on one GPU\n");
    let mut steps = serde_json::Map::new();
    for (name, outcome) in outcomes {
        let _ = writeln!(text, "\n## {name}\n\n{}\n", outcome.line());
        outcome.lines.iter().for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
        let step = json!({ "outcome": outcome.line(), "figures": outcome.figures });
        steps.insert((*name).to_owned(), step);
    }
    let document = json!({
        "device": setting.device,
        "rehearsal": setting.native.rehearsal,
        "sample": setting.sample,
        "steps": steps,
    });
    for (name, content) in [("report.md", text), ("report.json", format!("{document:#}\n"))] {
        let path = setting.out.join(name);
        fs::write(&path, content).map_err(at("writing", &path))?;
    }
    Ok(())
}
