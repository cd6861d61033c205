//! What systemd says of a unit that it has loaded.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Scene;
use crate::error::Result;
use crate::facts::Manager;

const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// How long systemd may take to answer; it answers at once unless it is being reloaded.
const DEADLINE: Duration = Duration::from_secs(20);
/// What is asked for (org.freedesktop.systemd1(5)).
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ExecMainStatus,MainPID,\
                          NeedDaemonReload,FragmentPath,DropInPaths,Environment,After,User,\
                          ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic";

/// The properties of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown(BTreeMap<String, String>);

impl Shown {
    /// A property's text; empty if systemd does not know it.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A property that is a number other than zero.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok().filter(|number| *number != 0)
    }

    /// True if its processes are there.
    pub fn is_active(&self) -> bool {
        matches!(self.text("ActiveState"), "active" | "reloading" | "activating")
    }

    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Scene<'_> {
    /// What systemd says of a unit; none where it does not run on this very machine, or the unit
    /// belongs to somebody's own manager.
    pub(in super::super) fn shown(&self, name: &str, manager: &Manager) -> Result<Option<Shown>> {
        if !self.host.has_systemd() || *manager != Manager::System {
            return Ok(None);
        }
        if let Some(known) = self.shown.borrow().get(name) {
            return Ok(known.clone());
        }
        let arguments = ["show", "--no-pager", "-p", PROPERTIES, "--", name];
        let outcome = self.ask(&SYSTEMCTL, &arguments, DEADLINE)?;
        let shown = outcome
            .filter(|outcome| outcome.status == Some(0))
            .map(|outcome| Shown::parse(&String::from_utf8_lossy(&outcome.stdout)));
        self.shown.borrow_mut().insert(name.into(), shown.clone());
        Ok(shown)
    }
}
