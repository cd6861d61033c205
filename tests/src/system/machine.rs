use std::time::Duration;

use super::{Finished, Result};

/// Longest time for a script: a restart of Ollama took 4 s on 2 cores under a load of 10.
pub(super) const SCRIPT: Duration = Duration::from_secs(180);

/// Runs programs in a guest, as root and with a plain environment.
pub trait Machine {
    /// Runs a program inside to its end.
    ///
    /// # Errors
    /// If it cannot be started or does not end in time; its own failure is in the answer.
    fn run(&self, words: &[&str], limit: Duration) -> Result<Finished>;

    /// Runs a script inside that has to succeed; answers its standard output.
    ///
    /// # Errors
    /// With everything that it said, if it fails or does not end in time.
    fn sh(&self, script: &str) -> Result<String> {
        let mut done = self.run(&["/bin/sh", "-ec", script], SCRIPT)?;
        done.command = script.to_owned();
        done.success()
    }
}
