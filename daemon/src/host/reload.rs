//! A new configuration for a daemon that runs: taken over as a whole, or not at all.

use super::Host;
use super::metrics::{Answering, Door};
use crate::config::{Config, tenant};
use crate::device::Source;
use crate::error::DaemonError;
use crate::log;

impl Host {
    /// Reads the configuration again. No client is dropped; what cannot change while clients are
    /// served is named in the log and stays, and so does everything if the new one is wrong.
    pub(super) fn reload(&mut self) {
        self.supervisor.reloading();
        match self.reconfigure() {
            Ok(Reloaded { tenants, for_new_clients, restart_for }) => {
                let lists = [
                    ("tenants", tenants.join(",")),
                    ("for_new_clients", for_new_clients.join(",")),
                    ("restart_for", restart_for.join(",")),
                ];
                let fields: Vec<(&str, &dyn std::fmt::Display)> = (lists.iter())
                    .filter(|(_, list)| !list.is_empty())
                    .map(|(key, list)| (*key, list as &dyn std::fmt::Display))
                    .collect();
                log::event("reloaded", &fields);
            }
            Err(error) => {
                self.totals.failed_reloads += 1;
                let (because, hint) = (log::chain(&error), error.hint().unwrap_or_default());
                log::event("not-reloaded", &[("because", &because), ("try", &hint)]);
            }
        }
        let status = self.status();
        self.supervisor.ready(status);
    }

    fn reconfigure(&mut self) -> Result<Reloaded, DaemonError> {
        let (config, restart_for) = merge(&self.config, Config::load(&self.arguments)?);
        tenant::check_gpus(&config.file, &config.tenants, self.ledger.devices())?;
        // The steps that can fail come first, and the last of them changes nothing if it does.
        let tenants = self.tenants.prepare(config.tenants.clone())?;
        let metrics = (config.metrics != self.config.metrics || self.metrics.is_none())
            .then(|| {
                config.metrics.map(Door::metrics).transpose()?.map(Answering::start).transpose()
            })
            .transpose()?;
        let status = (config.status != self.config.status || self.status.is_none())
            .then(|| {
                let door = config.status.as_deref().map(Door::status).transpose()?;
                door.map(Answering::start).transpose()
            })
            .transpose()?;
        self.sockets.reopen(&config)?;
        if let Some(metrics) = metrics {
            self.metrics = metrics;
        }
        if let Some(status) = status {
            self.status = status;
        }
        let (changed, for_new_clients) = (tenants.changed.clone(), tenants.for_new_clients.clone());
        self.tenants.take_over(tenants);
        self.ledger.limit(self.tenants.limits());
        self.workers.configure(&config);
        // Whoever changed what a GPU is allowed to do says so in this way.
        self.workers.know(None);
        self.config = config;
        Ok(Reloaded { tenants: changed, for_new_clients, restart_for })
    }
}

/// What a reload says that it did.
#[derive(Debug)]
struct Reloaded {
    /// What is different about tenants.
    tenants: Vec<String>,
    /// What of that is kept from clients that are there.
    for_new_clients: Vec<String>,
    /// Keys that need a restart.
    restart_for: Vec<&'static str>,
}

/// Joins what is in force with what is wanted; the names are those of keys that need a restart.
fn merge(old: &Config, new: Config) -> (Config, Vec<&'static str>) {
    // A recording is played to everybody, whoever it is.
    let played = matches!(old.device, Source::Replay { .. });
    let differs = [
        ("device", old.device != new.device),
        ("mode", old.access.mode != new.access.mode),
        ("group", old.access.group != new.access.group),
        ("tenant", played && old.tenants != new.tenants),
        ("machine", old.machines != new.machines),
    ];
    let kept = differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect();
    // A device is that of all workers. Sockets have the bits that they were made with: changing
    // them in place would leave a moment in which the wrong ones may connect. A machine's memory is
    // with its QEMU.
    let (device, machines) = (old.device.clone(), old.machines.clone());
    let tenants = if played { old.tenants.clone() } else { new.tenants };
    let config = Config { device, tenants, machines, access: old.access, ..new };
    (config, kept)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vgpu_link::Access;

    use super::*;
    use crate::cli::Arguments;

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
