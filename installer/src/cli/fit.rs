//! Which command heeds which option: one that would be ignored is refused.

use super::{Line, Verb};

/// The commands in their short form; `rollback` is one of them here.
const CHANGING: &[&str] = &["apply", "rollback", "refresh", "doctor"];

/// An option with the commands that heed it. Those that every command heeds, or that promise
/// nothing which a command does not keep, are not listed: `--root`, `--json`, `--yes`,
/// `--wait-lock`, `--detailed-exitcode`.
struct Rule {
    option: &'static str,
    is_given: fn(&Line) -> bool,
    heeded_by: &'static [&'static [&'static str]],
}

const RULES: &[Rule] = &[
    Rule {
        option: "--check",
        is_given: |line| line.options.check,
        heeded_by: &[CHANGING, LOOKING, &["recover", "gc"]],
    },
    Rule {
        option: "--diff",
        is_given: |line| line.options.diff,
        heeded_by: &[&["apply", "plan", "rollback", "refresh"]],
    },
    Rule {
        option: "--driver-root",
        is_given: |line| line.options.driver_root.is_some(),
        heeded_by: &[&["apply", "scan", "plan", "status", "doctor", "report", "refresh"]],
    },
    Rule {
        option: "--scope",
        is_given: |line| line.options.scope.is_some(),
        heeded_by: &[&["apply", "plan", "verify", "status", "report"]],
    },
    Rule {
        option: "--facts",
        is_given: |line| line.options.facts.is_some(),
        heeded_by: &[&["plan"]],
    },
    Rule {
        option: "--link",
        is_given: |line| line.options.link.is_some(),
        heeded_by: &[&["apply", "plan", "refresh", "doctor", "status", "report"]],
    },
    Rule {
        option: "--no-restart",
        is_given: |line| line.options.no_restart,
        heeded_by: &[CHANGING, &["plan"]],
    },
    Rule {
        option: "--require-gpu",
        is_given: |line| line.options.require_gpu,
        heeded_by: &[&["apply", "verify", "refresh", "doctor"]],
    },
    Rule {
        option: "--force",
        is_given: |line| line.options.force,
        heeded_by: &[CHANGING, &["plan", "recover", "status", "report"]],
    },
];

/// What changes nothing anyway, so that `--check` is kept.
const LOOKING: &[&str] = &["scan", "plan", "verify", "status", "history", "explain"];

/// Says what does not fit together in a command line; none if all is heeded.
#[must_use]
pub fn misfit(line: &Line, command: &str) -> Option<String> {
    if line.rollback.is_some() && line.verb.is_some() {
        return Some("--rollback stands alone, without a command".into());
    }
    if matches!(line.verb, Some(Verb::Probe(_) | Verb::Examine(_))) {
        return None;
    }
    if let (Some(Verb::Doctor(asked)), true) = (&line.verb, line.options.json)
        && asked.list
    {
        return Some("doctor --list is text only; doctor --json names every check, too".into());
    }
    let heeds = |rule: &Rule| rule.heeded_by.iter().any(|commands| commands.contains(&command));
    let rule = RULES.iter().find(|rule| (rule.is_given)(line) && !heeds(rule))?;
    let commands = rule.heeded_by.concat();
    let what = format!("{} has no meaning for {command}", rule.option);
    if commands.len() > 7 {
        return Some(what);
    }
    Some(format!("{what}; it is for {}", commands.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn misfit_of(arguments: &[&str]) -> Option<String> {
        let line = Line::try_parse_from([&["vgpu-install"], arguments].concat()).unwrap();
        misfit(&line, crate::commands::name(&line))
    }

    #[test]
    fn an_option_that_a_command_would_ignore_is_refused() {
        let refused: &[&[&str]] = &[
            &["scan", "--facts", "x"],
            &["history", "--diff"],
            &["report", "--check"],
            &["verify", "--driver-root", "/x"],
            &["doctor", "--scope", "bundle"],
            &["verify", "--link", "pci:auto"],
            &["gc", "--force"],
            &["status", "--no-restart"],
            &["recover", "--require-gpu"],
            &["--rollback", "--scope", "bundle"],
            &["--rollback", "scan"],
            &["doctor", "--list", "--json"],
        ];
        for arguments in refused {
            assert!(misfit_of(arguments).is_some(), "{arguments:?}");
        }
        let said = misfit_of(&["history", "--diff"]).unwrap();
        assert_eq!(
            said,
            "--diff has no meaning for history; it is for apply, plan, rollback, refresh"
        );
    }

    #[test]
    fn what_a_command_heeds_is_taken() {
        let taken: &[&[&str]] = &[
            &["--check", "--diff", "--scope", "bundle", "--link", "pci:auto", "--force", "-y"],
            &["--rollback", "--check", "--diff", "--no-restart", "--force"],
            &["scan", "--check", "--json", "--driver-root", "/run/nvidia/driver"],
            &["doctor", "--fix", "--check", "--no-restart", "--link", "unix:/x"],
            &["verify", "--require-gpu", "--scope", "system"],
            &["plan", "--facts", "x", "--scope", "bundle", "--detailed-exitcode"],
            &["recover", "--check", "--force", "--wait-lock", "60"],
            &["refresh", "--no-restart", "--wait-lock", "60"],
        ];
        for arguments in taken {
            assert_eq!(misfit_of(arguments), None, "{arguments:?}");
        }
    }
}
