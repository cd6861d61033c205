//! What a command answers: one value, printed as text or as one JSON document.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Error;
use crate::plan::{Plan, Scope, Warning};
use crate::step::Step;
use crate::verify::Check;

/// The version of the answer's form.
pub const SCHEMA_VERSION: u32 = 1;

/// One action of a plan or of a rollback.
#[derive(Debug, Clone, JsonSchema, Serialize)]
pub struct Action {
    /// The kind of action.
    pub op: &'static str,
    /// The path it changes; none for the service manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<crate::location::Location>,
    /// What is there before.
    pub before: String,
    /// What is there after.
    pub after: String,
    /// Why.
    pub reason: String,
    /// The whole action in a sentence.
    pub sentence: String,
    /// The change as a unified diff, where `--diff` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The text to be written, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Action {
    /// The action of taking a step.
    #[must_use]
    pub fn doing(step: &Step) -> Self {
        let content = step.content();
        let text = match &content {
            Some(crate::object::Content::File { text, .. }) => Some(text.clone()),
            _ => None,
        };
        let after = match (&content, step) {
            (Some(content), _) => content.describe(),
            (None, Step::MakeDir { .. }) => "a directory".into(),
            (None, Step::RemoveFile { .. }) => "nothing".into(),
            _ => String::new(),
        };
        let before = if step.path().is_some() { step.before().describe() } else { String::new() };
        Self {
            op: step.op(),
            path: step.path().cloned(),
            before,
            after,
            reason: step.reason().into(),
            sentence: step.doing(),
            diff: None,
            text,
        }
    }

    /// An action that is no step of a plan.
    #[must_use]
    pub fn told(op: &'static str, sentence: String, reason: String) -> Self {
        let (before, after) = (String::new(), String::new());
        Self { op, path: None, before, after, reason, sentence, diff: None, text: None }
    }

    /// The action of taking a step of a generation back.
    #[must_use]
    pub fn undoing(step: &Step, generation: u64) -> Self {
        let forward = Self::doing(step);
        let op = match step {
            Step::MakeDir { .. } => "remove_dir",
            Step::WriteFile { .. } | Step::MakeLink { .. } => "remove",
            Step::Replace { .. } | Step::RemoveFile { .. } => "restore",
            Step::DaemonReload { .. } | Step::Ldconfig | Step::Restart { .. } => forward.op,
        };
        Self {
            op,
            before: forward.after,
            after: forward.before,
            reason: match forward.path {
                Some(_) => format!("generation {generation} made this change"),
                None => forward.reason,
            },
            sentence: step.undoing(),
            diff: None,
            text: None,
            path: forward.path,
        }
    }
}

/// An error in an answer.
#[derive(Debug, Clone, JsonSchema, Serialize)]
pub struct Failure {
    /// A short name.
    pub code: &'static str,
    /// What was being done, to what.
    pub what: String,
    /// The causes, outermost first.
    pub because: Vec<String>,
    /// What to try.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let mut because = Vec::new();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            because.push(cause.to_string());
            next = cause.source();
        }
        Self { code: error.code(), what: error.to_string(), because, hint: error.hint() }
    }
}

/// One generation in a history.
#[derive(Debug, Clone, JsonSchema, Serialize)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// The version of the program that made it.
    pub program_version: String,
    /// How far it reaches.
    pub scope: Scope,
    /// The other scopes of the generations that were joined into it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joined_scopes: Vec<Scope>,
    /// The paths that it changed.
    pub paths: Vec<crate::location::Location>,
}

impl Generation {
    /// The names of all its scopes.
    fn scopes(&self) -> String {
        let all = self.joined_scopes.iter().chain([&self.scope]);
        all.map(|scope| scope.name()).collect::<Vec<_>>().join(", ")
    }
}

/// The answer of a command.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub struct Answer {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The command.
    pub command: &'static str,
    /// The generation in force afterwards; 0 if there is none.
    pub generation: u64,
    /// True if the machine was changed; with `--check`, if it would be.
    pub changed: bool,
    /// True if nothing was done because of `--check`.
    pub checked_only: bool,
    /// What was done, or would be.
    pub actions: Vec<Action>,
    /// The generations, for `history` and `status`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Generation>,
    /// What the verification saw.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What the doctor found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<crate::doctor::Finding>,
    /// Which file programs get for a name, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explanations: Vec<crate::explain::Explanation>,
    /// What a rollback left alone because others changed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// What went wrong.
    pub errors: Vec<Failure>,
    /// Lines for the text form only.
    #[serde(skip)]
    pub lines: Vec<String>,
}

impl Answer {
    /// An empty answer of a command.
    #[must_use]
    pub fn of(command: &'static str) -> Self {
        Self { schema_version: SCHEMA_VERSION, command, ..Self::default() }
    }

    /// Takes over what a plan says.
    #[must_use]
    pub fn planned(mut self, plan: &Plan) -> Self {
        self.actions = plan.steps.iter().map(Action::doing).collect();
        self.warnings.extend(plan.warnings.iter().cloned());
        self.changed = !plan.is_empty();
        self
    }

    /// Takes the steps of programs out that have no meaning here: they were not done.
    pub fn left_out(&mut self, skipped: &[Step]) {
        self.actions.retain(|action| {
            action.path.is_some() || !skipped.iter().any(|step| step.doing() == action.sentence)
        });
    }

    /// Writes the answer to standard output, and what a person should know to standard error.
    /// A closed pipe is no reason to fail: the work is done by then.
    pub fn print(&self, json: bool, out: &mut dyn Write, err: &mut dyn Write) {
        let _ = if json {
            // In one piece: standard output would pass on each line by itself.
            serde_json::to_string_pretty(self)
                .map_err(std::io::Error::from)
                .and_then(|text| writeln!(out, "{text}"))
        } else {
            let mut text = Vec::new();
            self.print_text(&mut text)
                .and_then(|()| out.write_all(shown(&String::from_utf8_lossy(&text)).as_bytes()))
        };
        let _ = out.flush();
        for warning in &self.warnings {
            let (what, hint) = (shown(&warning.what), shown(&warning.hint));
            let _ = writeln!(err, "warning: {what}\n  try:     {hint}");
        }
        for failure in &self.errors {
            let _ = writeln!(err, "error: {}", shown(&failure.what));
            for cause in &failure.because {
                let _ = writeln!(err, "  because: {}", shown(cause));
            }
            if let Some(hint) = failure.hint {
                let _ = writeln!(err, "  try:     {hint}");
            }
        }
    }

    fn print_text(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut told = "";
        // What failed was undone: listing it as done would be wrong.
        for action in self.actions.iter().filter(|_| self.errors.is_empty()) {
            let mark = if self.checked_only { "would " } else { "" };
            writeln!(out, "  {mark}{}", action.sentence)?;
            // Once for those that have it in common.
            if action.reason != told {
                writeln!(out, "      because {}", action.reason)?;
            }
            told = &action.reason;
            write!(out, "{}", action.diff.as_deref().unwrap_or_default())?;
        }
        for check in &self.checks {
            writeln!(out, "  {:<8} {}: {}", check.verdict.word(), check.name, check.what)?;
        }
        for generation in &self.generations {
            let Generation { generation: number, time, program_version, paths, .. } = generation;
            let (time, scopes) = (moment(*time), generation.scopes());
            writeln!(out, "  generation {number}  {time}  {scopes}  by {program_version}")?;
            for path in paths {
                writeln!(out, "    {path}")?;
            }
        }
        // A command that only looks leaves nothing, and one that would act has not left it yet.
        let word = match (self.command, self.checked_only) {
            ("status", _) => "changed by others",
            (_, true) => "would be left",
            _ => "left",
        };
        for left in &self.left {
            writeln!(out, "  {word}: {left}")?;
        }
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// Text that may come from somebody else's file or process, without what a terminal would obey.
fn shown(text: &str) -> String {
    let is_obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match is_obeyed(character) {
            true => safe.push_str(&format!("\\x{:02x}", u32::from(character))),
            false => safe.push(character),
        }
    }
    safe
}

/// A time in seconds since 1970 as people read it, in UTC.
fn moment(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the day that comes and goes is the last (Howard Hinnant,
    // "chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_text() {
        let mut answer = Answer::of("explain");
        answer.lines.push("  X=\u{1b}]0;theirs\u{7}\u{9b}1m\tä".into());
        answer.warnings.push(Warning::new("x", "a\u{1b}[2Jb", "c\rd"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        answer.print(false, &mut out, &mut err);
        assert_eq!(String::from_utf8(out).unwrap(), "  X=\\x1b]0;theirs\\x07\\x9b1m\tä\n");
        let err = String::from_utf8(err).unwrap();
        assert_eq!(err, "warning: a\\x1b[2Jb\n  try:     c\\x0dd\n");
    }

    #[test]
    fn a_time_is_written_as_a_date() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(1_798_761_600), "2027-01-01 00:00:00 UTC");
        assert_eq!(moment(4_107_542_399), "2100-02-28 23:59:59 UTC");
    }
}
