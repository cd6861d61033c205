//! Changes as unified diffs, for people and for `patch`.

use std::path::Path;

use similar::TextDiff;

use crate::answer::Answer;
use crate::discover::TEXT_BYTES_MAX;
use crate::error::Result;
use crate::host::Host;
use crate::journal::Change;
use crate::object::{Content, Object};
use crate::plan::Plan;

/// Lines that are shown around a change, as diff(1) does.
const CONTEXT_LINES: usize = 3;

/// Adds to each action of a planned answer what its step changes.
///
/// # Errors
/// [`crate::Error::Io`] if what is there cannot be read.
pub fn of_plan(host: &dyn Host, plan: &Plan, answer: &mut Answer) -> Result<()> {
    for (step, action) in plan.steps.iter().zip(&mut answer.actions) {
        let (Some(path), before) = (step.path(), step.before()) else { continue };
        let after = step.content().map(|content| made(&content));
        action.diff = unified(path, found(host, path, &before)?, after);
    }
    Ok(())
}

/// What the inverse of a change changes.
///
/// # Errors
/// [`crate::Error::Io`] if the original cannot be read.
pub fn of_undo(host: &dyn Host, change: &Change) -> Result<Option<String>> {
    let (Some(path), Some(aside)) = (change.step.path(), change.aside()) else { return Ok(None) };
    let ours = change.step.content().map(|content| made(&content));
    Ok(unified(path, ours, found(host, &aside, &change.before)?))
}

/// What lies at a path, as text: a file that is no text, and a link, are one line that says so.
fn found(host: &dyn Host, path: &Path, object: &Object) -> Result<Option<String>> {
    let is_text = matches!(object, Object::File { bytes, .. } if *bytes <= TEXT_BYTES_MAX);
    let content = if is_text { host.read(path, TEXT_BYTES_MAX)? } else { None };
    let text = content.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(match object {
        Object::Absent | Object::Dir { .. } => None,
        object => Some(text.unwrap_or_else(|| format!("{}\n", object.describe()))),
    })
}

fn made(content: &Content) -> String {
    match content {
        Content::File { text, .. } => text.clone(),
        Content::Link { .. } => format!("{}\n", content.describe()),
    }
}

fn unified(path: &Path, before: Option<String>, after: Option<String>) -> Option<String> {
    if before.is_none() && after.is_none() {
        return None;
    }
    let name = |side: &str, text: &Option<String>| match text {
        Some(_) => format!("{side}{}", path.display()),
        None => "/dev/null".into(),
    };
    let (old, new) = (name("a", &before), name("b", &after));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let diff = TextDiff::from_lines(&before, &after);
    Some(diff.unified_diff().context_radius(CONTEXT_LINES).header(&old, &new).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_line_is_shown_with_its_surroundings() {
        let lines = |middle: &str| Some(format!("1\n2\n3\n4\n{middle}\n6\n7\n8\n9\n"));
        let diff = unified(Path::new("/etc/a"), lines("five"), lines("5")).unwrap();
        let expected =
            "--- a/etc/a\n+++ b/etc/a\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-five\n+5\n 6\n 7\n 8\n";
        assert_eq!(diff, expected);
    }

    #[test]
    fn a_file_that_comes_or_goes_is_compared_with_nothing() {
        let text = || Some("one".into());
        let made = unified(Path::new("/a"), None, text()).unwrap();
        let gone = unified(Path::new("/a"), text(), None).unwrap();
        let end = "\\ No newline at end of file\n";
        assert_eq!(made, format!("--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+one\n{end}"));
        assert_eq!(gone, format!("--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n{end}"));
        assert_eq!(unified(Path::new("/a"), None, None), None);
    }
}
