//! `[[tenant]]` in host.toml: who may use the GPUs, which of them, and how much.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vgpu_link::wire::limits::DEVICES_MAX;

use super::account::{Account, GROUPS, NoAccount, USERS};
use super::machine::Machine;
use super::name::is_name;

/// The limit of `memory_mib` and `host_memory_mib`: 1 PiB, so that bytes fit into 64 bits.
const MEMORY_MIB_MAX: u64 = 1 << 30;

/// The limit of `messages_per_second`. Above it nothing is limited any more: one worker does not
/// do as many.
const MESSAGES_MAX: u32 = 100_000_000;

/// Who shares one set of limits, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// Its name, in the log and in answers.
    pub name: String,
    /// The processes that belong to it, by the user that they run as.
    pub users: Vec<u32>,
    /// The same by their primary group, where the user is named nowhere.
    pub groups: Vec<u32>,
    /// Virtual machines, by the context id of their vsock.
    pub machines: Vec<u32>,
    /// Virtual machines, by the names of their `[[machine]]`.
    pub named: Vec<String>,
    /// Names in certificates.
    pub certificates: Vec<String>,
    /// What it may use.
    pub limits: Limits,
}

/// What all clients of a tenant may use together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of device memory, on each of its GPUs; `None`: all there is.
    pub memory: Option<u64>,
    /// Bytes of this machine's memory; `None`: all there is.
    pub host_memory: Option<u64>,
    /// Clients at a time.
    pub clients: Option<usize>,
    /// Messages in a second.
    pub messages_per_second: Option<u32>,
    /// Its GPUs by the host's ordinals, in the order in which it sees them; `None`: all of them.
    pub gpus: Option<Vec<u32>>,
}

/// One table of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    #[serde(default)]
    users: Vec<Account>,
    #[serde(default)]
    groups: Vec<Account>,
    #[serde(default)]
    machines: Vec<Guest>,
    #[serde(default)]
    certificates: Vec<String>,
    memory_mib: Option<u64>,
    host_memory_mib: Option<u64>,
    clients: Option<u32>,
    messages_per_second: Option<u32>,
    gpus: Option<Vec<u32>>,
}

/// A virtual machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a vsock context id, or the name of a [[machine]] in quotes")]
enum Guest {
    Cid(u32),
    Name(String),
}

/// What is wrong with a tenant of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}, tenant \"{tenant}\": {key}", path.display())]
pub(crate) struct TenantError {
    /// The configuration file.
    pub path: PathBuf,
    /// The tenant's name.
    pub tenant: String,
    /// The key.
    pub key: &'static str,
    /// What is wrong there.
    pub source: Problem,
}

/// What can be wrong with one key of a tenant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The name is no name.
    #[error("a name has 1 to 64 letters, digits, dots, hyphens and underscores")]
    Name,
    /// Two tenants are called the same.
    #[error("another tenant has that name")]
    NameTaken,
    /// No client could ever be of this tenant.
    #[error("it names neither users nor groups, machines or certificates")]
    Nobody,
    /// An account that this machine does not have.
    #[error(transparent)]
    NoAccount(NoAccount),
    /// Somebody is named twice.
    #[error("{who} is named by tenant \"{other}\" already")]
    NamedTwice {
        /// Who, as written.
        who: String,
        /// The tenant that names them as well; it may be the same one.
        other: String,
    },
    /// A context id that no virtual machine can have.
    #[error("{cid} is no virtual machine's context id: they begin at 3 (vsock(7))")]
    NoMachine {
        /// The context id.
        cid: u32,
    },
    /// A name that no `[[machine]]` has.
    #[error("there is no [[machine]] called \"{name}\"")]
    NoNamedMachine {
        /// The name.
        name: String,
    },
    /// A limit is zero or beyond what it can be.
    #[error("{value} is not 1 to {max}")]
    OutOfRange {
        /// Its value.
        value: u64,
        /// The largest one.
        max: u64,
    },
    /// The list of GPUs names none, or one twice.
    #[error("a tenant has 1 to {DEVICES_MAX} GPUs, each named once")]
    Gpus,
    /// A GPU that is not there.
    #[error("there is no GPU {gpu}: this host has {count}, and counts from 0")]
    NoGpu {
        /// Its ordinal.
        gpu: u32,
        /// How many there are.
        count: usize,
    },
    /// A recording plays what was recorded.
    #[error("a recording is played to every client as it was recorded")]
    Replay,
}

impl TenantError {
    /// Gives the remedy, as one whole sentence.
    pub fn hint(&self) -> &'static str {
        match &self.source {
            Problem::Name | Problem::NameTaken => "Give each [[tenant]] a short name of its own.",
            Problem::Nobody => {
                "Name who it is: users = [1000], groups = [\"staff\"], machines = [3] or \
                 certificates = [\"name\"]."
            }
            Problem::NoAccount(missing) => missing.hint(),
            Problem::NamedTwice { .. } => "Leave each user, group, machine and certificate once.",
            Problem::NoMachine { .. } => "Write the guest-cid of the machine's vsock device.",
            Problem::NoNamedMachine { .. } => {
                "Write the name of a [[machine]] of the same file, or a vsock context id."
            }
            Problem::OutOfRange { .. } => {
                "Write a number within that range, or leave the key out for no limit."
            }
            Problem::Gpus => "Write for example gpus = [1, 0], or leave the key out for all GPUs.",
            Problem::NoGpu { .. } => "Name GPUs by the ordinals that nvidia-smi -L shows here.",
            Problem::Replay => "Take the [[tenant]] tables out, or serve another device.",
        }
    }
}

/// Checks all tenants of a file.
///
/// # Errors
/// [`TenantError`] for the first that cannot be.
pub(super) fn check(path: &Path, entries: Vec<Entry>) -> Result<Vec<Tenant>, TenantError> {
    let mut seen = Seen::default();
    let mut tenants = Vec::new();
    for entry in entries {
        let tenant = entry.name.clone();
        let checked = entry.check(&mut seen).map_err(|(key, source)| TenantError {
            path: path.into(),
            tenant,
            key,
            source,
        })?;
        tenants.push(checked);
    }
    Ok(tenants)
}

/// Refuses tenants that name machines which the file does not.
///
/// # Errors
/// [`TenantError`] for the first that does.
pub(super) fn check_machines(
    path: &Path,
    tenants: &[Tenant],
    machines: &[Machine],
) -> Result<(), TenantError> {
    for tenant in tenants {
        let known = |name: &String| machines.iter().any(|machine| machine.name == *name);
        if let Some(name) = tenant.named.iter().find(|name| !known(name)) {
            let source = Problem::NoNamedMachine { name: name.clone() };
            let (path, tenant) = (path.into(), tenant.name.clone());
            return Err(TenantError { path, tenant, key: "machines", source });
        }
    }
    Ok(())
}

/// Refuses tenants that name GPUs which the host does not have.
///
/// # Errors
/// [`TenantError`] for the first that does.
pub(crate) fn check_gpus(path: &Path, tenants: &[Tenant], count: usize) -> Result<(), TenantError> {
    for tenant in tenants {
        let gpus = tenant.limits.gpus.as_deref().unwrap_or_default();
        if let Some(&gpu) = gpus.iter().find(|&&gpu| gpu as usize >= count) {
            return Err(TenantError {
                path: path.into(),
                tenant: tenant.name.clone(),
                key: "gpus",
                source: Problem::NoGpu { gpu, count },
            });
        }
    }
    Ok(())
}

/// Who was named so far: the key and the name, and by which tenant.
#[derive(Default)]
struct Seen(HashMap<(&'static str, String), String>);

impl Seen {
    /// Notes that a tenant names somebody.
    fn note(
        &mut self,
        key: &'static str,
        who: String,
        tenant: &str,
    ) -> Result<(), (&'static str, Problem)> {
        match self.0.insert((key, who.clone()), tenant.to_owned()) {
            None => Ok(()),
            Some(other) => Err((key, Problem::NamedTwice { who, other })),
        }
    }
}

impl Entry {
    fn check(self, seen: &mut Seen) -> Result<Tenant, (&'static str, Problem)> {
        if !is_name(&self.name) {
            return Err(("name", Problem::Name));
        }
        seen.note("name", self.name.clone(), &self.name)
            .map_err(|_| ("name", Problem::NameTaken))?;
        let numbers = |key, file, accounts: &[Account]| {
            let number = |account: &Account| {
                account.number(file).map_err(|missing| (key, Problem::NoAccount(missing)))
            };
            accounts.iter().map(number).collect::<Result<Vec<u32>, _>>()
        };
        let users = numbers("users", USERS, &self.users)?;
        let groups = numbers("groups", GROUPS, &self.groups)?;
        let (mut machines, mut named) = (Vec::new(), Vec::new());
        for guest in self.machines.iter().cloned() {
            match guest {
                Guest::Cid(cid @ ..3) => return Err(("machines", Problem::NoMachine { cid })),
                Guest::Cid(cid) => machines.push(cid),
                Guest::Name(name) => named.push(name),
            }
        }
        for name in &named {
            seen.note("machines", format!("\"{name}\""), &self.name)?;
        }
        for (key, numbers) in [("users", &users), ("groups", &groups), ("machines", &machines)] {
            for number in numbers {
                seen.note(key, number.to_string(), &self.name)?;
            }
        }
        for certificate in &self.certificates {
            seen.note("certificates", certificate.clone(), &self.name)?;
        }
        let count = users.len() + groups.len() + self.machines.len() + self.certificates.len();
        if count == 0 {
            return Err(("users", Problem::Nobody));
        }
        let limits = self.limits()?;
        let Self { name, certificates, .. } = self;
        Ok(Tenant { name, users, groups, machines, named, certificates, limits })
    }

    fn limits(&self) -> Result<Limits, (&'static str, Problem)> {
        let mib =
            |key, mib: Option<u64>| within(key, mib, MEMORY_MIB_MAX).map(|mib| Some(mib? << 20));
        let clients = within("clients", self.clients.map(u64::from), super::CLIENTS_MAX.into())?;
        let rate = self.messages_per_second.map(u64::from);
        within("messages_per_second", rate, MESSAGES_MAX.into())?;
        if let Some(gpus) = &self.gpus {
            let once: HashSet<u32> = gpus.iter().copied().collect();
            if !(1..=DEVICES_MAX).contains(&gpus.len()) || once.len() < gpus.len() {
                return Err(("gpus", Problem::Gpus));
            }
        }
        Ok(Limits {
            memory: mib("memory_mib", self.memory_mib)?,
            host_memory: mib("host_memory_mib", self.host_memory_mib)?,
            clients: clients.map(|clients| clients as usize),
            messages_per_second: self.messages_per_second,
            gpus: self.gpus.clone(),
        })
    }
}

fn within(
    key: &'static str,
    value: Option<u64>,
    max: u64,
) -> Result<Option<u64>, (&'static str, Problem)> {
    match value {
        Some(value) if !(1..=max).contains(&value) => {
            Err((key, Problem::OutOfRange { value, max }))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests;
