//! What `--fix` may do: the installer's own commands, and asking systemd or ldconfig to read again
//! what lies there. Nothing of anybody else's is edited.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{Answer, Failure};
use crate::cli::{Line, Options, ScopeName, Verb};
use crate::error::{Error, Result};
use crate::host::{Host, Program};
use crate::plan::Scope;
use crate::step::Step;
use crate::{commands, service, state};

const LDCONFIG: [&str; 2] = ["/usr/sbin/ldconfig", "/sbin/ldconfig"];
/// How long ldconfig may take; with its own cache cold and a thousand libraries it takes seconds.
const LDCONFIG_DEADLINE: Duration = Duration::from_secs(60);

/// Something that mends a finding and takes nothing away from anybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fix {
    /// Finishing or undoing what an interrupted run left.
    Recover,
    /// Applying again, with the scope in force.
    Apply,
    /// Letting the cache of ld.so be written anew, links left alone.
    Ldconfig,
    /// Letting systemd read its units again.
    DaemonReload,
    /// Restarting a service that runs.
    Restart {
        /// The unit.
        unit: String,
    },
}

impl Fix {
    /// The command that does the same.
    #[must_use]
    pub fn command(&self) -> String {
        match self {
            Self::Recover => "vgpu-install recover".into(),
            Self::Apply => "vgpu-install".into(),
            Self::Ldconfig => "ldconfig -X".into(),
            Self::DaemonReload => "systemctl daemon-reload".into(),
            Self::Restart { unit } => format!("systemctl restart {unit}"),
        }
    }
}

/// Takes every fix once, in the order in which they build on each other; says if there was one.
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
    for fix in &fixes {
        if options.check {
            answer.checked_only = true;
            answer.lines.push(format!("would run: {}", fix.command()));
            continue;
        }
        answer.lines.push(format!("ran: {}", fix.command()));
        if let Err(error) = take(host, options, fix, answer) {
            answer.errors.push(Failure::from(&error));
            break;
        }
    }
    Ok(!fixes.is_empty() && !options.check)
}

fn take(host: &dyn Host, options: &Options, fix: &Fix, answer: &mut Answer) -> Result<()> {
    match fix {
        Fix::Recover => command(host, options, Verb::Recover, answer),
        Fix::Apply => command(host, options, Verb::Apply, answer),
        Fix::Ldconfig => ldconfig(host),
        Fix::DaemonReload => service::take(host, &Step::DaemonReload { user: None }).map(drop),
        Fix::Restart { unit } if !options.no_restart => {
            service::take(host, &Step::Restart { unit: unit.clone(), user: None }).map(drop)
        }
        Fix::Restart { .. } => Ok(()),
    }
}

/// Runs another command of ours, in the scope that is in force, and takes over what it says.
fn command(host: &dyn Host, options: &Options, verb: Verb, answer: &mut Answer) -> Result<()> {
    let mut options = options.clone();
    if let Some(last) = state::generations(host)?.last() {
        options.scope = Some(match last.scope {
            Scope::Service => ScopeName::Service,
            Scope::Bundle => ScopeName::Bundle,
            Scope::System => ScopeName::System,
        });
    }
    let line = Line { verb: Some(verb), rollback: None, options };
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

fn ldconfig(host: &dyn Host) -> Result<()> {
    let mut path = Path::new(LDCONFIG[0]);
    if host.open(path)?.is_none() {
        path = Path::new(LDCONFIG[1]);
    }
    let program = Program {
        path: path.into(),
        arguments: vec!["-X".into()],
        environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
        deadline: LDCONFIG_DEADLINE,
    };
    let outcome = host.run(&program)?;
    if outcome.status == Some(0) {
        return Ok(());
    }
    let because = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
    Err(Error::Program { program: format!("{} -X", path.display()), because })
}
