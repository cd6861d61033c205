//! What every changing step of a machine in memory has in common: it is counted, and may be the one
//! that fails.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::tree::{Kind, Node};
use super::{Fault, Memory};
use crate::error::{Error, Result};

impl Memory {
    /// Lets the given changing step, counted from now, meet a fault.
    pub fn fault_at(&self, step: u64, fault: Fault) {
        self.steps.set(0);
        self.faults.replace(vec![(step, fault)]);
    }

    /// Lets a further step, counted as the first one was, meet a fault as well.
    pub fn then_at(&self, step: u64, fault: Fault) {
        self.faults.borrow_mut().push((step, fault));
    }

    /// Lets all steps work again; gives how many there were since the fault was chosen.
    pub fn revive(&self) -> u64 {
        self.faults.borrow_mut().clear();
        self.steps.replace(0)
    }

    /// Cuts the power: what was not synced is gone.
    pub fn cut_power(&self) {
        for node in self.nodes.borrow_mut().iter_mut() {
            match &node.durable {
                Some(durable) => node.live = durable.clone(),
                None => match &mut node.live.kind {
                    Kind::Dir(entries) => entries.clear(),
                    Kind::File(content) => content.clear(),
                    Kind::Link(_) | Kind::Fifo => {}
                },
            }
        }
    }

    /// Counts a changing step and meets the fault if it is due.
    pub(super) fn step(&self, verb: &'static str, path: &Path) -> Result<()> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        let met = self.faults.borrow().iter().find_map(|fault| match *fault {
            (at, Fault::Dies) if step >= at => Some(io::ErrorKind::ConnectionAborted),
            (at, Fault::Fails(kind)) if step == at => Some(kind),
            _ => None,
        });
        met.map_or(Ok(()), |kind| Err(Error::io(verb, path, kind.into())))
    }

    pub(super) fn parent<'p>(
        &self,
        verb: &'static str,
        path: &'p Path,
    ) -> Result<(usize, &'p OsStr)> {
        let missing = || Error::io(verb, path, io::ErrorKind::NotFound.into());
        let name = path.file_name().ok_or_else(missing)?;
        let dir = path.parent().ok_or_else(missing)?;
        Ok((self.walk(dir, true).ok_or_else(missing)?.0, name))
    }

    pub(super) fn add_new(
        &self,
        verb: &'static str,
        path: &Path,
        kind: Kind,
        mode: u32,
    ) -> Result<usize> {
        self.step(verb, path)?;
        let (dir, name) = self.parent(verb, path)?;
        if self.child(dir, name).is_some() {
            return Err(Error::io(verb, path, io::ErrorKind::AlreadyExists.into()));
        }
        Ok(self.add(dir, name, kind, mode))
    }

    pub(super) fn with_inode<T>(
        &self,
        verb: &'static str,
        path: &Path,
        change: impl FnOnce(&mut Node) -> T,
    ) -> Result<T> {
        self.step(verb, path)?;
        let found = self.walk(path, false);
        let (id, _) = found.ok_or_else(|| Error::io(verb, path, io::ErrorKind::NotFound.into()))?;
        Ok(change(&mut self.nodes.borrow_mut()[id]))
    }

    pub(super) fn take(&self, verb: &'static str, path: &Path) -> Result<(usize, usize)> {
        self.step(verb, path)?;
        let (dir, name) = self.parent(verb, path)?;
        let missing = || Error::io(verb, path, io::ErrorKind::NotFound.into());
        Ok((dir, self.child(dir, name).ok_or_else(missing)?))
    }
}
