//! What `--fix` may do: the installer's own commands, and asking systemd or ldconfig to read again
//! what lies there. Nothing of anybody else's is edited.

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{Answer, Failure};
use crate::cli::{Line, Options, Verb};
use crate::error::Result;
use crate::facts::{Manager, Unit};
use crate::host::Host;
use crate::plan::Scope;
use crate::step::Step;
use crate::{commands, refresh, service};

/// Something that mends a finding and takes nothing away from anybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fix {
    /// Finishing or undoing what an interrupted run left.
    Recover,
    /// Applying again.
    Apply {
        /// The scopes in force; none for the usual one.
        scopes: Vec<Scope>,
    },
    /// Letting the cache of ld.so be written anew, links left alone.
    Ldconfig,
    /// Letting a unit's systemd read its units again.
    DaemonReload {
        /// Whose systemd it is.
        manager: Manager,
    },
    /// Restarting a service that runs.
    Restart {
        /// The unit.
        unit: String,
        /// The systemd that runs it.
        manager: Manager,
    },
}

impl Fix {
    /// The command that does the same.
    #[must_use]
    pub fn command(&self) -> String {
        match self {
            Self::Recover => "vgpu-install recover".into(),
            Self::Apply { scopes } if scopes.is_empty() => "vgpu-install".into(),
            Self::Apply { scopes } => {
                let commands = scopes.iter().map(|scope| match scope {
                    Scope::Service => "vgpu-install",
                    Scope::Bundle => "vgpu-install --scope bundle",
                    Scope::System => "vgpu-install --scope system",
                });
                commands.collect::<Vec<_>>().join(" && ")
            }
            Self::Ldconfig => "ldconfig -X".into(),
            Self::DaemonReload { manager } => manager.command("daemon-reload"),
            Self::Restart { unit, manager } => manager.command(&format!("restart {unit}")),
        }
    }

    /// Applying again; in which scopes is filled in where the check's answer is taken.
    pub(super) fn apply() -> Self {
        Self::Apply { scopes: Vec::new() }
    }

    /// Letting this unit's systemd read its units again.
    pub(super) fn reload(unit: &Unit) -> Self {
        Self::DaemonReload { manager: unit.manager.clone() }
    }

    /// Restarting this unit.
    pub(super) fn restart(unit: &Unit) -> Self {
        Self::Restart { unit: unit.name.clone(), manager: unit.manager.clone() }
    }
}

/// Takes every fix once, in the order in which they build on each other; says if one was taken.
///
/// A fix that fails is an error in the answer, and the later ones are left.
pub(super) fn take_all(
    host: &dyn Host,
    options: &Options,
    mut fixes: Vec<Fix>,
    answer: &mut Answer,
) -> Result<bool> {
    fixes.sort();
    fixes.dedup();
    if options.check {
        answer.checked_only = true;
        answer.changed = !fixes.is_empty();
        answer.lines.extend(fixes.iter().map(|fix| format!("would run: {}", fix.command())));
        return Ok(false);
    }
    let mut ran = false;
    for fix in &fixes {
        let command = fix.command();
        match take(host, options, fix, answer) {
            Ok(None) => {
                answer.lines.push(format!("ran: {command}"));
                ran = true;
            }
            Ok(Some(why)) => answer.lines.push(format!("not run: {command} ({why})")),
            Err(error) => {
                answer.lines.push(format!("failed: {command}"));
                answer.errors.push(Failure::from(&error));
                // What it did before it failed, it may have left.
                return Ok(true);
            }
        }
    }
    Ok(ran)
}

/// Takes a fix, or says why it was left out.
fn take(
    host: &dyn Host,
    options: &Options,
    fix: &Fix,
    answer: &mut Answer,
) -> Result<Option<&'static str>> {
    let user = |manager: &Manager| manager.user().map(str::to_owned);
    let step = match fix {
        Fix::Recover => return command(host, options, Verb::Recover, answer).map(|()| None),
        Fix::Apply { scopes } if scopes.is_empty() => {
            return command(host, options, Verb::Apply, answer).map(|()| None);
        }
        Fix::Apply { scopes } => {
            for scope in scopes {
                let options = Options { scope: Some(refresh::named(*scope)), ..options.clone() };
                command(host, &options, Verb::Apply, answer)?;
            }
            return Ok(None);
        }
        Fix::Restart { .. } if options.no_restart => return Ok(Some("--no-restart")),
        Fix::Restart { unit, manager } => Step::Restart { unit: unit.clone(), user: user(manager) },
        Fix::DaemonReload { manager } => Step::DaemonReload { user: user(manager) },
        Fix::Ldconfig => Step::Ldconfig,
    };
    let ran = service::take(host, &step)?;
    answer.changed |= ran;
    Ok((!ran).then_some("the root is another system's, or systemd is not running"))
}

/// Runs another command of ours and takes over what it says.
fn command(host: &dyn Host, options: &Options, verb: Verb, answer: &mut Answer) -> Result<()> {
    let line = Line { verb: Some(verb), rollback: None, options: options.clone() };
    let mut part = Answer::of(commands::name(&line));
    let outcome = commands::run(host, &line, &mut part).map(drop);
    answer.changed |= part.changed && outcome.is_ok();
    if outcome.is_ok() {
        answer.actions.extend(part.actions);
    }
    answer.checks.extend(part.checks);
    answer.left.extend(part.left);
    answer.warnings.extend(part.warnings);
    answer.lines.extend(part.lines);
    outcome
}
