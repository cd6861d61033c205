//! What is known of a server that runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Manager;
use crate::location::Location;

/// One `ollama serve` that runs on this very machine.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Running {
    /// Its process id.
    pub pid: u32,
    /// Its program, as the kernel names it: inside of a container that is the container's path.
    pub executable: Location,
    /// True if that file was removed or replaced since: the old program runs on.
    pub deleted: bool,
    /// The user id that it runs as.
    pub uid: u32,
    /// That user's name, if the system knows one.
    pub user: Option<String>,
    /// The unit that started it.
    pub unit: Option<String>,
    /// The service manager of that unit.
    pub manager: Manager,
    /// True if it runs in a container.
    pub contained: bool,
    /// When it started, in seconds since 1970.
    pub started: u64,
}

impl Running {
    /// Says in a few words which process of whom it is: `process 9 (/usr/bin/ollama) of a.service`.
    #[must_use]
    pub fn describe(&self) -> String {
        let of = self.unit.as_ref().or(self.user.as_ref());
        let of = of.map_or_else(|| format!("user id {}", self.uid), Clone::clone);
        let gone = if self.deleted { ", which was replaced since" } else { "" };
        format!("process {} ({}{gone}) of {of} serves", self.pid, self.executable)
    }
}
