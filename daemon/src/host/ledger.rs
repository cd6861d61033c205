//! Who holds how much memory, of devices and of this machine, over all clients: what lets workers,
//! `cuMemGetInfo` and NVML agree, what keeps tenants within their shares, and what a dead worker's
//! memory is given back from.

use std::collections::{BTreeMap, HashMap};

use vgpu_link::wire::Text;
use vgpu_link::wire::control::Process;
use vgpu_link::wire::limits::EXE_BYTES_MAX;

use crate::config::tenant::Limits;
use crate::desk::{Gpu, Usage};

/// The memory of every device and the share of every session.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Bytes of each device, by ordinal; empty until the first worker has opened them.
    totals: Vec<u64>,
    /// What each tenant may have.
    tenants: Vec<Limits>,
    sessions: HashMap<u64, Account>,
}

/// What one client holds.
#[derive(Debug)]
pub(crate) struct Account {
    /// Its tenant.
    pub tenant: usize,
    /// Its process id, as the guest says; 0 before it has.
    pub pid: u32,
    /// File name of its program, as the guest says.
    pub name: Text<EXE_BYTES_MAX>,
    /// Bytes by device.
    held: BTreeMap<u32, u64>,
    /// Bytes of this machine's memory that it has pinned.
    pinned: u64,
    /// Bytes that its worker had for itself when they were measured last.
    private: u64,
}

impl Account {
    /// Bytes that it holds of a device.
    pub fn held(&self, device: u32) -> u64 {
        self.held.get(&device).copied().unwrap_or(0)
    }

    /// Bytes that it has of this machine's memory.
    pub fn host(&self) -> u64 {
        self.pinned.saturating_add(self.private)
    }
}

/// How far above its limit a tenant may be before it loses a client: an eighth. What cannot be
/// foreseen, such as what a driver takes for itself, is no reason to end anybody at once.
const GRACE: u64 = 8;

impl Ledger {
    /// Keeps tenants within these limits; a tenant is named by its place among them.
    pub fn new(tenants: Vec<Limits>) -> Self {
        Self { totals: Vec::new(), tenants, sessions: HashMap::new() }
    }

    /// Keeps tenants within other limits from now on; those of before keep their places. What is
    /// held stays held, also above a smaller limit.
    pub fn limit(&mut self, tenants: Vec<Limits>) {
        self.tenants = tenants;
    }

    /// Takes up devices of these sizes; `false` if they are not those of before, or none.
    pub fn open(&mut self, totals: Vec<u64>) -> bool {
        if !self.is_open() {
            self.totals = totals;
            return self.is_open();
        }
        self.totals == totals
    }

    /// Says whether the devices are known.
    pub fn is_open(&self) -> bool {
        !self.totals.is_empty()
    }

    /// Counts the devices.
    pub fn devices(&self) -> usize {
        self.totals.len()
    }

    /// Bytes of a device, and those that all clients together use of it.
    pub fn device(&self, device: u32) -> (u64, u64) {
        let total = self.totals.get(device as usize).copied().unwrap_or(0);
        (total, self.used(device, None))
    }

    /// Opens a session's account with a tenant; gives back how many clients the tenant has if it
    /// may have no more.
    pub fn admit(&mut self, session: u64, tenant: usize) -> Result<(), usize> {
        let clients = self.clients(tenant);
        if self.tenants[tenant].clients.is_some_and(|most| clients >= most) {
            return Err(clients);
        }
        let (name, held) = (Text::default(), BTreeMap::default());
        let account = Account { tenant, pid: 0, name, held, pinned: 0, private: 0 };
        self.sessions.insert(session, account);
        Ok(())
    }

    /// Counts a tenant's clients.
    pub fn clients(&self, tenant: usize) -> usize {
        self.sessions.values().filter(|account| account.tenant == tenant).count()
    }

    /// A session's account.
    pub fn account(&self, session: u64) -> Option<&Account> {
        self.sessions.get(&session)
    }

    /// The tenant that a session was admitted for.
    pub fn tenant(&self, session: u64) -> Option<usize> {
        self.sessions.get(&session).map(|account| account.tenant)
    }

    /// Puts the client's name on its account.
    pub fn introduce(&mut self, session: u64, pid: u32, name: Text<EXE_BYTES_MAX>) {
        if let Some(account) = self.sessions.get_mut(&session) {
            (account.pid, account.name) = (pid, name);
        }
    }

    /// The GPUs of a tenant and how much of each it may have, in the order in which it sees them.
    pub fn gpus(&self, tenant: usize) -> Vec<Gpu> {
        let gpu = |ordinal| Some(Gpu { ordinal, bytes: self.share(tenant, ordinal)? });
        match &self.tenants[tenant].gpus {
            Some(gpus) => gpus.iter().copied().filter_map(gpu).collect(),
            None => (0..self.totals.len() as u32).filter_map(gpu).collect(),
        }
    }

    /// Reserves memory if the device has it and the session's tenant may have it; one that has more
    /// than it may of this machine's memory gets none.
    pub fn reserve(&mut self, session: u64, device: u32, bytes: u64) -> bool {
        let Some(tenant) = self.tenant(session) else { return false };
        let fits = self.free(tenant, device).is_some_and(|free| bytes <= free);
        let fits = fits && self.affords(session, 0);
        if let Some(account) = self.sessions.get_mut(&session).filter(|_| fits) {
            *account.held.entry(device).or_default() += bytes;
        }
        fits
    }

    /// Gives memory back; `false` if the session does not hold that much, which only a worker
    /// that miscounts can ask for.
    pub fn release(&mut self, session: u64, device: u32, bytes: u64) -> bool {
        let held =
            self.sessions.get_mut(&session).and_then(|account| account.held.get_mut(&device));
        match held.map(|held| held.checked_sub(bytes).map(|left| *held = left)) {
            Some(Some(())) => true,
            _ => bytes == 0,
        }
    }

    /// Says whether a session's tenant may have so many bytes more of this machine's memory.
    pub fn affords(&self, session: u64, bytes: u64) -> bool {
        let Some(tenant) = self.tenant(session) else { return false };
        let Some(most) = self.tenants[tenant].host_memory else { return true };
        self.host_used(tenant).checked_add(bytes).is_some_and(|after| after <= most)
    }

    /// Reserves memory of this machine that a session pins, if its tenant may have it.
    pub fn pin(&mut self, session: u64, bytes: u64) -> bool {
        let affords = self.affords(session, bytes);
        let account = self.sessions.get_mut(&session).filter(|_| affords);
        let after = account.as_ref().and_then(|account| account.pinned.checked_add(bytes));
        account.zip(after).map(|(account, after)| account.pinned = after).is_some()
    }

    /// Gives pinned memory back; `false` as of [`Ledger::release`].
    pub fn unpin(&mut self, session: u64, bytes: u64) -> bool {
        let account = self.sessions.get_mut(&session);
        let left = account.as_ref().and_then(|account| account.pinned.checked_sub(bytes));
        match account.zip(left) {
            Some((account, left)) => {
                account.pinned = left;
                true
            }
            None => false,
        }
    }

    /// Takes down what a session's worker has for itself. Device memory that lies `within` it is
    /// not counted twice.
    pub fn measure(&mut self, session: u64, private: u64, within: bool) {
        if let Some(account) = self.sessions.get_mut(&session) {
            let held: u64 = account.held.values().sum();
            account.private = if within { private.saturating_sub(held) } else { private };
        }
    }

    /// Says whether anybody is served whose tenant is limited in this machine's memory.
    pub fn is_host_limited(&self) -> bool {
        self.sessions.values().any(|account| self.tenants[account.tenant].host_memory.is_some())
    }

    /// Bytes of this machine's memory that a tenant's clients have.
    pub fn host_used(&self, tenant: usize) -> u64 {
        let accounts = self.sessions.values().filter(|account| account.tenant == tenant);
        accounts.fold(0, |sum, account| sum.saturating_add(account.host()))
    }

    /// Of each tenant that is far above its limit of this machine's memory, the session that has
    /// most.
    pub fn too_large(&self) -> Vec<u64> {
        let is_over = |tenant: &usize| {
            let most = self.tenants[*tenant].host_memory;
            most.is_some_and(|most| self.host_used(*tenant) > most.saturating_add(most / GRACE))
        };
        let largest = |tenant| {
            let accounts = self.sessions.iter().filter(|(_, account)| account.tenant == tenant);
            accounts.max_by_key(|(_, account)| account.host()).map(|(session, _)| *session)
        };
        (0..self.tenants.len()).filter(is_over).filter_map(largest).collect()
    }

    /// Closes a session's account; returns the bytes that it still held.
    pub fn close(&mut self, session: u64) -> u64 {
        self.sessions.remove(&session).map_or(0, |account| account.held.values().sum())
    }

    /// Says what a device's memory is used for, as a session's tenant sees it; a device that it
    /// does not have has none.
    pub fn usage(&self, session: u64, device: u32) -> Usage {
        let tenant = self.tenant(session);
        let accounts = || {
            self.sessions
                .values()
                .filter(|account| tenant == Some(account.tenant) && account.held(device) > 0)
        };
        let mut processes: Vec<Process> = accounts()
            .map(|account| Process {
                pid: account.pid,
                bytes: account.held(device),
                name: account.name.clone(),
            })
            .collect();
        processes.sort_by_key(|process| (std::cmp::Reverse(process.bytes), process.pid));
        Usage {
            total: tenant.and_then(|tenant| self.share(tenant, device)).unwrap_or(0),
            free: tenant.and_then(|tenant| self.free(tenant, device)).unwrap_or(0),
            used: accounts().map(|account| account.held(device)).sum(),
            processes,
        }
    }

    /// The part of a device that a tenant may have; `None` if it has none of it.
    fn share(&self, tenant: usize, device: u32) -> Option<u64> {
        let limits = &self.tenants[tenant];
        let total = *self.totals.get(device as usize)?;
        let is_its = limits.gpus.as_ref().is_none_or(|gpus| gpus.contains(&device));
        is_its.then(|| limits.memory.map_or(total, |most| most.min(total)))
    }

    /// What a tenant may still have of a device.
    fn free(&self, tenant: usize, device: u32) -> Option<u64> {
        let of_share = self.share(tenant, device)?.saturating_sub(self.used(device, Some(tenant)));
        let of_device = self.totals[device as usize].saturating_sub(self.used(device, None));
        Some(of_share.min(of_device))
    }

    /// Bytes in use on a device, by one tenant or by all.
    pub fn used(&self, device: u32, tenant: Option<usize>) -> u64 {
        let counts = |account: &&Account| tenant.is_none_or(|tenant| account.tenant == tenant);
        self.sessions.values().filter(counts).map(|account| account.held(device)).sum()
    }
}

#[cfg(test)]
mod tests;
