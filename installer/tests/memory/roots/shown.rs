//! Facts, plans and trees as short texts that are the same on every machine.

use std::error::Error as _;
use std::fmt::Write;

use serde_json::Value;
use vgpu_install::answer::Action;
use vgpu_install::error::Error;
use vgpu_install::facts::{Copy, Facts};
use vgpu_install::plan::Plan;

/// What differs between machines, or says nothing in a described root.
const LEFT_OUT: [&str; 6] = ["identity", "mtime", "uid", "gid", "schema_version", "sha256"];

/// Writes the facts, a line for each thing; what is empty, false or nothing is left out.
pub fn facts(facts: &Facts) -> String {
    let mut value = serde_json::to_value(facts).unwrap();
    value.as_object_mut().unwrap().remove("libraries");
    value["shims"]["libraries"] = facts.shims.libraries.len().into();
    let mut out = String::new();
    write_value(&value, 0, &mut out);
    writeln!(out, "libraries:").unwrap();
    // Ours in their own place say the same in every root.
    let at_home = |copy: &&Copy| {
        copy.ours && copy.aliases.is_empty() && copy.path.starts_with(&facts.shims.dir)
    };
    for copy in facts.libraries.iter().filter(|copy| !at_home(copy)) {
        write_copy(copy, &mut out);
    }
    let count = facts.libraries.iter().filter(at_home).count();
    writeln!(out, "  and {count} of ours in {}", facts.shims.dir).unwrap();
    out
}

fn write_copy(copy: &Copy, out: &mut String) {
    let value = serde_json::to_value(copy).unwrap();
    let word = |name: &str| value[name].as_str().unwrap_or("-").to_owned();
    let (kind, asked, version) = (word("kind"), word("asked"), word("version"));
    writeln!(out, "  {} {kind} {asked} {version} {:?}", copy.name, &*copy.path).unwrap();
    let named = [("by", &copy.links), ("also", &copy.aliases)];
    for (what, paths) in named {
        for path in paths.iter().filter(|path| **path != copy.path) {
            writeln!(out, "    {what} {:?}", &**path).unwrap();
        }
    }
    if copy.file != copy.path {
        writeln!(out, "    is {:?}", &*copy.file).unwrap();
    }
    let own = copy.soname.as_deref().unwrap_or("-");
    if copy.name != own {
        writeln!(out, "    calls itself {own}").unwrap();
    }
    match copy.elf {
        None => writeln!(out, "    is no library").unwrap(),
        Some(elf) if (elf.class, elf.machine) != (64, 62) => {
            writeln!(out, "    has {} bits, for machine {}", elf.class, elf.machine).unwrap();
        }
        Some(_) => {}
    }
}

fn write_value(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, field) in fields
                .iter()
                .filter(|(name, field)| !LEFT_OUT.contains(&name.as_str()) && !is_nothing(field))
            {
                match in_line(field) {
                    Some(text) => writeln!(out, "{pad}{name}: {text}").unwrap(),
                    None => {
                        writeln!(out, "{pad}{name}:").unwrap();
                        write_value(field, depth + 1, out);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match in_line(item) {
                    Some(text) => writeln!(out, "{pad}- {text}").unwrap(),
                    None => {
                        writeln!(out, "{pad}-").unwrap();
                        write_value(item, depth + 1, out);
                    }
                }
            }
        }
        other => writeln!(out, "{pad}{other}").unwrap(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => {
            fields.is_empty() || fields.get("type").is_some_and(|kind| kind == "absent")
        }
        Value::Number(_) => false,
    }
}

/// What fits into a line: plain values, and small objects and lists of them.
fn in_line(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.escape_debug().to_string(),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(in_line).collect();
            items?.join(", ")
        }
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
            let shown = shown.filter(|(_, field)| !is_nothing(field));
            let words: Option<Vec<String>> =
                shown.map(|(name, field)| Some(format!("{name} {}", in_line(field)?))).collect();
            words?.join(" ")
        }
        other => other.to_string(),
    };
    (text.len() <= 80).then_some(text)
}

/// Writes a plan: the steps, the lines that files get, the warnings.
pub fn plan(plan: &Result<Plan, Error>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return format!("refused: {}\n", chain(error)),
    };
    let mut out = String::new();
    for action in plan.steps.iter().map(Action::doing) {
        writeln!(out, "{}: {}", action.op, action.sentence).unwrap();
        let lines = action.text.iter().flat_map(|text| text.lines());
        for line in lines.filter(|line| !line.starts_with('#')) {
            writeln!(out, "    {line}").unwrap();
        }
    }
    for warning in &plan.warnings {
        writeln!(out, "warning {}: {}", warning.code, warning.what).unwrap();
    }
    if out.is_empty() { "nothing\n".into() } else { out }
}

/// An error with its causes.
pub fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
