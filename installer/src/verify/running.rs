//! Does each service run with what the newest change gave it?

use super::{Report, Verdict};
use crate::drift;
use crate::error::Result;
use crate::host::Host;
use crate::plan::Warning;
use crate::state::Manifest;
use crate::systemd;

/// Compares the start of each unit that has a drop-in of ours with the newest change of it; users'
/// units included. Where systemd is not the first process, nothing runs that could be asked.
///
/// # Errors
/// [`crate::Error::Io`] if the machine cannot be looked at.
pub fn running(host: &dyn Host, generations: &[Manifest], report: &mut Report) -> Result<()> {
    if !host.has_systemd() {
        return Ok(());
    }
    for (served, time) in drift::units(generations) {
        let manager = served.manager();
        let name = match &served.user {
            Some(user) => format!("{} of {user}", served.unit),
            None => served.unit.clone(),
        };
        let (verdict, what) = match systemd::started(host, &served.unit, &manager)? {
            Err(needs) => (Verdict::Skipped, format!("{name}: {needs}")),
            Ok(None) => (Verdict::Ok, format!("{name} does not run; it starts with the change")),
            Ok(Some(at)) if at < time => {
                let what = format!("{name} was started before the newest change, and runs without");
                let hint = format!("run {} when it suits", manager.command(&restart(&served.unit)));
                report.warnings.push(Warning::new("restart_pending", what.clone(), hint));
                (Verdict::Warn, what)
            }
            Ok(Some(_)) => (Verdict::Ok, format!("{name} was started with the newest change")),
        };
        report.add("running", verdict, what);
    }
    Ok(())
}

fn restart(unit: &str) -> String {
    format!("restart {unit}")
}
