//! Who holds how much device memory, over all clients: what lets workers, `cuMemGetInfo` and NVML
//! agree, and what a dead worker's memory is given back from.

use std::collections::{BTreeMap, HashMap};

use vgpu_link::wire::Text;
use vgpu_link::wire::control::Process;
use vgpu_link::wire::limits::EXE_BYTES_MAX;

use crate::desk::Usage;

/// The memory of every device and the share of every session.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Bytes of each device, by ordinal; empty until the first worker has opened them.
    totals: Vec<u64>,
    sessions: HashMap<u64, Account>,
}

/// One client's share.
#[derive(Debug, Default)]
struct Account {
    pid: u32,
    name: Text<EXE_BYTES_MAX>,
    /// Bytes by device.
    held: BTreeMap<u32, u64>,
}

impl Ledger {
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

    /// Opens a session's account under its client's name.
    pub fn introduce(&mut self, session: u64, pid: u32, name: Text<EXE_BYTES_MAX>) {
        let account = self.sessions.entry(session).or_default();
        (account.pid, account.name) = (pid, name);
    }

    /// Reserves memory if there is that much of it.
    pub fn reserve(&mut self, session: u64, device: u32, bytes: u64) -> bool {
        let Some(total) = self.totals.get(device as usize) else { return false };
        let fits = self.used(device).checked_add(bytes).is_some_and(|used| used <= *total);
        if fits {
            *self.sessions.entry(session).or_default().held.entry(device).or_default() += bytes;
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

    /// Closes a session's account; returns the bytes that it still held.
    pub fn close(&mut self, session: u64) -> u64 {
        self.sessions.remove(&session).map_or(0, |account| account.held.values().sum())
    }

    /// Says what a device's memory is used for; a device that is not there has none.
    pub fn usage(&self, device: u32) -> Usage {
        let mut processes: Vec<Process> = self
            .sessions
            .values()
            .filter_map(|account| {
                let bytes = account.held.get(&device).copied().filter(|&bytes| bytes > 0)?;
                Some(Process { pid: account.pid, bytes, name: account.name.clone() })
            })
            .collect();
        processes.sort_by_key(|process| (std::cmp::Reverse(process.bytes), process.pid));
        let total = self.totals.get(device as usize).copied().unwrap_or(0);
        Usage { total, used: self.used(device), processes }
    }

    fn used(&self, device: u32) -> u64 {
        self.sessions.values().filter_map(|account| account.held.get(&device)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_granted_up_to_the_last_byte_and_comes_back_with_its_session() {
        let mut ledger = Ledger::default();
        assert!(!ledger.is_open() && !ledger.open(vec![]) && ledger.open(vec![100, 10]));
        assert!(ledger.open(vec![100, 10]) && !ledger.open(vec![100]), "devices do not change");
        ledger.introduce(1, 41, Text::cut("one"));
        ledger.introduce(2, 42, Text::cut("two"));
        assert!(ledger.reserve(1, 0, 60) && ledger.reserve(2, 0, 40) && ledger.reserve(2, 1, 10));
        assert!(!ledger.reserve(1, 0, 1) && !ledger.reserve(1, 0, u64::MAX));
        assert!(!ledger.reserve(1, 2, 0), "there is no third device");
        let usage = ledger.usage(0);
        assert_eq!((usage.total, usage.used), (100, 100));
        let pids: Vec<u32> = usage.processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [41, 42]);
        assert_eq!(ledger.close(2), 50);
        assert_eq!((ledger.usage(0).used, ledger.usage(1).used), (60, 0));
        assert!(ledger.reserve(1, 0, 40));
    }

    #[test]
    fn more_than_is_held_is_not_given_back() {
        let mut ledger = Ledger::default();
        assert!(ledger.open(vec![100]));
        assert!(ledger.reserve(1, 0, 60) && ledger.reserve(2, 0, 30));
        assert!(!ledger.release(1, 0, 61) && !ledger.release(3, 0, 1) && !ledger.release(1, 1, 1));
        assert!(ledger.release(1, 0, 60));
        assert_eq!(ledger.usage(0).used, 30);
    }
}
