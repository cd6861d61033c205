//! One line on a terminal for as long as a program runs; a pipe or a file gets nothing.

use std::io::{IsTerminal, Write};

use crate::host::Program;

/// Goes back to the line's beginning and clears it (ECMA-48, EL).
const CLEAR: &str = "\r\x1b[K";
/// Longest line: what is longer would wrap, and a wrapped line is not cleared as a whole.
const CHARACTERS_MAX: usize = 72;

/// A line that goes when this does.
pub(super) struct Progress<W: Write>(Option<W>);

/// Says on standard error, if a person looks at it, what is waited for.
pub(super) fn of(program: &Program) -> Progress<std::io::Stderr> {
    let stderr = std::io::stderr();
    let is_seen =
        stderr.is_terminal() && std::env::var_os("TERM").is_some_and(|kind| kind != "dumb");
    Progress::begin(is_seen.then_some(stderr), &words(program))
}

impl<W: Write> Progress<W> {
    fn begin(mut to: Option<W>, words: &str) -> Self {
        if let Some(to) = &mut to {
            // Nothing depends on whether it is seen.
            let _ = write!(to, "{CLEAR}{words} ...").and_then(|()| to.flush());
        }
        Self(to)
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if let Some(to) = &mut self.0 {
            let _ = write!(to, "{CLEAR}").and_then(|()| to.flush());
        }
    }
}

/// The program by its last name and its arguments, without what a terminal would obey.
fn words(program: &Program) -> String {
    let name = program.path.file_name().unwrap_or("vgpu-install".as_ref());
    let all = std::iter::once(name).chain(program.arguments.iter().map(AsRef::as_ref));
    let all: Vec<_> = all.map(|word| word.to_string_lossy()).collect();
    let safe = all.join(" ").replace(char::is_control, "?");
    format!("waiting for {safe}").chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str, arguments: &[&str]) -> Program {
        Program {
            path: path.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            environment: Vec::new(),
            deadline: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn a_terminal_sees_what_is_waited_for_while_it_lasts() {
        let mut seen = Vec::new();
        let restart = program("/bin/systemctl", &["try-restart", "--", "o.service"]);
        drop(Progress::begin(Some(&mut seen), &words(&restart)));
        let waited = "\r\x1b[Kwaiting for systemctl try-restart -- o.service ...\r\x1b[K";
        assert_eq!(String::from_utf8(seen).unwrap(), waited);
    }

    #[test]
    fn a_line_is_short_and_holds_nothing_that_a_terminal_obeys() {
        let long = "x".repeat(200);
        let said = words(&program("/", &["probe", "a\x1b[2J", &long]));
        assert!(said.starts_with("waiting for vgpu-install probe a?[2J xx"), "{said}");
        assert_eq!(said.chars().count(), CHARACTERS_MAX);
    }
}
