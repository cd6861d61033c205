//! What systemd says of a unit, asked once however many checks want it.

use super::Scene;
use crate::error::Result;
use crate::facts::Manager;
use crate::systemd::{self, Shown};

/// What is asked for (org.freedesktop.systemd1(5)).
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ExecMainStatus,MainPID,\
                          NeedDaemonReload,FragmentPath,DropInPaths,Environment,After,User,\
                          ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic";

impl Scene<'_> {
    /// What a unit's own systemd says of it; in the inner error what asking needs.
    pub(in super::super) fn shown(
        &self,
        name: &str,
        manager: &Manager,
    ) -> Result<std::result::Result<Shown, String>> {
        let key = manager.command(name);
        if let Some(known) = self.shown.borrow().get(&key) {
            return Ok(known.clone());
        }
        let shown = systemd::show(self.host, name, manager, PROPERTIES)?;
        self.shown.borrow_mut().insert(key, shown.clone());
        Ok(shown)
    }
}
