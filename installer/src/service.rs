//! The service manager's steps, run on the machine itself only.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host::{Host, Program};
use crate::step::Step;

const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// How long reading the units again may take; hundreds of units take about a second.
const RELOAD_DEADLINE: Duration = Duration::from_secs(60);
/// How long a restart may take: systemd's own stop and start limits are 90 seconds each.
const RESTART_DEADLINE: Duration = Duration::from_secs(200);

/// Takes a step of the service manager. Nothing happens, and `false` is answered, where systemd is
/// not the first process of this very machine.
///
/// # Errors
/// [`Error::Program`] if systemctl fails or is not there.
pub fn take(host: &dyn Host, step: &Step) -> Result<bool> {
    let (arguments, deadline): (&[&str], _) = match step {
        Step::DaemonReload => (&["daemon-reload"], RELOAD_DEADLINE),
        Step::Restart { unit } => (&["--no-ask-password", "try-restart", unit], RESTART_DEADLINE),
        _ => return Ok(true),
    };
    if !host.has_systemd() {
        return Ok(false);
    }
    let mut path = Path::new(SYSTEMCTL[0]);
    if host.open(path)?.is_none() {
        path = Path::new(SYSTEMCTL[1]);
    }
    let program = Program {
        path: path.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
        deadline,
    };
    let outcome = host.run(&program)?;
    if outcome.status == Some(0) {
        return Ok(true);
    }
    let because = if outcome.timed_out {
        format!("no answer within {} s", deadline.as_secs())
    } else {
        String::from_utf8_lossy(&outcome.stderr).trim().to_owned()
    };
    let program = format!("{} {}", path.display(), arguments.join(" "));
    Err(Error::Program { program, because })
}
