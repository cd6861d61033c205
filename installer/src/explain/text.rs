//! An explanation for people.

use super::{Answered, Explanation, Winner};

/// The lines of one explanation.
pub(super) fn lines(explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![
        explanation.subject.clone(),
        format!("  program  {}", explanation.program),
        format!("  loader   {} ({})", explanation.interpreter, explanation.libc),
    ];
    for variable in &explanation.environment {
        lines.push(format!("  {}={}", variable.name, variable.value));
    }
    if explanation.environment.is_empty() {
        lines.push("  no LD_LIBRARY_PATH, LD_PRELOAD or LD_AUDIT".into());
    }
    lines.extend(explanation.notes.iter().map(|note| format!("  note: {note}")));
    for answered in &explanation.answers {
        lines.push(String::new());
        lines.extend(answer(answered));
    }
    lines
}

fn answer(answered: &Answered) -> Vec<String> {
    let mut lines = vec![format!("{}, {}", answered.name, answered.asked_by)];
    for (index, step) in answered.steps.iter().enumerate() {
        let (rule, path, outcome) = (&step.rule, &step.path, &step.outcome);
        lines.push(format!("  {:>2}. {rule}: {path}: {outcome}", index + 1));
    }
    match &answered.winner {
        Some(winner) => {
            let rule = answered.rule.as_deref().unwrap_or_default();
            lines.push(format!("  => {} by {rule}", winner.path));
            lines.push(format!("     {}", described(winner)));
        }
        None => lines.push("  => not found".into()),
    }
    let mapped: Vec<String> = answered.mapped.iter().map(ToString::to_string).collect();
    match answered.agrees {
        Some(true) => lines.push(format!("     the process has mapped it: {}", mapped.join(", "))),
        Some(false) => {
            lines.push(format!("     BUT the process has mapped {}", mapped.join(", ")));
        }
        None => {}
    }
    lines
}

fn described(winner: &Winner) -> String {
    let mut parts = Vec::new();
    if winner.file != winner.path {
        parts.push(format!("file {}", winner.file));
    }
    parts.push(match &winner.soname {
        Some(soname) => format!("SONAME {soname}"),
        None => "no SONAME".into(),
    });
    parts.push(match &winner.build_id {
        Some(id) => format!("build id {id}"),
        None => "no build id".into(),
    });
    parts.push(if winner.ours { "ours".into() } else { "not ours".into() });
    parts.join("; ")
}
