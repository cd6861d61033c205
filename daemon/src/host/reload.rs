//! A new configuration for a daemon that runs: taken over as a whole, or not at all.

use super::Host;
use super::metrics::Metrics;
use crate::config::Config;
use crate::error::DaemonError;
use crate::log;

impl Host {
    /// Reads the configuration again. No client is dropped; what cannot change while clients are
    /// served is named in the log and stays, and so does everything if the new one is wrong.
    pub(super) fn reload(&mut self) {
        self.supervisor.reloading();
        match self.reconfigure() {
            Ok(kept) if kept.is_empty() => log::event("reloaded", &[]),
            Ok(kept) => log::event("reloaded", &[("restart_for", &kept.join(","))]),
            Err(error) => {
                self.totals.failed_reloads += 1;
                let (because, hint) = (log::chain(&error), error.hint().unwrap_or_default());
                log::event("not-reloaded", &[("because", &because), ("try", &hint)]);
            }
        }
        let status = self.status();
        self.supervisor.ready(status);
    }

    fn reconfigure(&mut self) -> Result<Vec<&'static str>, DaemonError> {
        let (config, kept) = merge(&self.config, Config::load(&self.arguments)?);
        // The steps that can fail come first, and the last of them changes nothing if it does.
        let present = self.metrics.as_ref().map(Metrics::address);
        let moved = config.metrics.filter(|_| config.metrics != present);
        let moved = moved.map(Metrics::serve).transpose()?;
        self.sockets.reopen(&config)?;
        if config.metrics != present {
            self.metrics = moved;
        }
        self.workers.configure(&config);
        self.config = config;
        Ok(kept)
    }
}

/// Joins what is in force with what is wanted; the names are those of keys that need a restart.
fn merge(old: &Config, new: Config) -> (Config, Vec<&'static str>) {
    let differs = [
        ("device", old.device != new.device),
        ("mode", old.access.mode != new.access.mode),
        ("group", old.access.group != new.access.group),
        ("tenant", old.tenants != new.tenants),
        ("machine", old.machines != new.machines),
    ];
    let kept = differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect();
    // A device is that of all workers, and the ledger's, which knows tenants by their place.
    // Sockets have the bits that they were made with: changing them in place would leave a moment
    // in which the wrong ones may connect.
    let (device, tenants) = (old.device.clone(), old.tenants.clone());
    // A machine's memory is with its QEMU.
    let machines = old.machines.clone();
    let config = Config { device, tenants, machines, access: old.access, ..new };
    (config, kept)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vgpu_link::Access;

    use super::*;
    use crate::cli::Arguments;
    use crate::device::Source;

    fn config(arguments: &[&str]) -> Config {
        let all = [&["vgpud", "--device", "sim", "--config", "/dev/null"], arguments].concat();
        let arguments = Arguments::try_parse_from(all).expect("right usage");
        Config::load(&arguments).expect("right")
    }

    #[test]
    fn what_cannot_change_stays_and_is_named() {
        let old = config(&["--sim-gpus", "1", "--mode", "600"]);
        let wanted = ["--sim-gpus", "2", "--mode", "660", "--group", "7", "--clients-max", "3"];
        let (merged, kept) = merge(&old, config(&wanted));
        assert_eq!(kept, ["device", "mode", "group"]);
        assert_eq!(merged.device, Source::Sim { gpus: 1, driver: None });
        assert_eq!((merged.access, merged.clients_max), (Access { mode: 0o600, group: None }, 3));
        assert_eq!(merge(&old, old.clone()), (old, vec![]));
    }
}
