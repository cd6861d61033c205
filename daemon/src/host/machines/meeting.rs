//! The QEMU of a machine with a doorbell: it comes, it is given a memory, it goes.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use vgpu_link::pci::ivshmem::{Keeper, Refused, introduce};

use super::making::{self, Making, give_back};
use super::shared::{self, Shared};
use super::{Known, plain};
use crate::config::machine::{Device, kept};
use crate::log;

/// A QEMU that waits for its memory.
#[derive(Debug)]
pub(super) struct Coming {
    pub qemu: OwnedFd,
    pub making: Making,
}

impl Known {
    /// Finds the memory again that a QEMU has of the daemon before us. Its bells are lost, so we
    /// look as with a plain file, until a QEMU comes.
    pub(super) fn resume(&mut self) {
        let Device::Doorbell { socket, .. } = &self.machine.device else { return };
        match plain::find(&kept(socket), None) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            found => {
                let found = found.and_then(|memory| Shared::of(memory, self.machine.slots));
                self.take(found);
            }
        }
    }

    /// Meets a QEMU that came, and notices one that went.
    pub(super) fn meet(&mut self) {
        let Device::Doorbell { socket, bytes } = &self.machine.device else { return };
        let (path, bytes) = (kept(socket), *bytes);
        if self.qemu.as_ref().is_some_and(shared::hung_up) {
            // Nobody has it any more; a file that stays is replaced by the next one's.
            let _ = std::fs::remove_file(&path);
            self.forget();
            log::event("machine-gone", &[("machine", &self.machine.name)]);
        }
        if let Some(came) = self.accept() {
            self.receive(came, &path, bytes);
        }
        if let Some(made) = self.coming.as_ref().and_then(|coming| coming.making.take())
            && let Some(Coming { qemu, .. }) = self.coming.take()
        {
            self.introduce(qemu, made, &path);
        }
    }

    /// Accepts a QEMU, if one waits that may come.
    fn accept(&mut self) -> Option<OwnedFd> {
        match self.server.as_mut()?.accept() {
            Ok(None) => None,
            Ok(Some(Ok(qemu))) => Some(qemu),
            Ok(Some(Err(Refused(other)))) => {
                self.left.push(other);
                None
            }
            Err(error) => {
                let name = &self.machine.name;
                log::event("cannot-accept", &[("machine", name), ("because", &error)]);
                self.lacks = true;
                None
            }
        }
    }

    /// Has a memory made for a QEMU.
    fn receive(&mut self, came: OwnedFd, path: &Path, bytes: u64) {
        match &mut self.coming {
            // Nobody has seen it yet, so it is as good for the next one.
            Some(coming) if shared::hung_up(&coming.qemu) => {
                self.left.push(std::mem::replace(&mut coming.qemu, came));
            }
            None if self.qemu.is_none() => {
                let (path, slots) = (path.to_owned(), self.machine.slots);
                let make = move || making::memory_at(&path, bytes, slots);
                match Making::start(make) {
                    Ok(making) => self.coming = Some(Coming { qemu: came, making }),
                    Err(error) => {
                        self.left.push(came);
                        self.take(Err(error));
                    }
                }
            }
            // Memory is one machine's: whoever comes second is another.
            _ => {
                self.left.push(came);
                let name = &self.machine.name;
                log::event("machine-refused", &[("machine", name), ("because", &"taken")]);
            }
        }
    }

    /// Gives a QEMU the memory that was made for it.
    fn introduce(&mut self, qemu: OwnedFd, made: std::io::Result<Keeper>, path: &Path) {
        self.forget();
        if shared::hung_up(&qemu) {
            let _ = std::fs::remove_file(path);
            self.left.push(qemu);
            made.into_iter().for_each(give_back);
            return log::event("machine-gone", &[("machine", &self.machine.name)]);
        }
        let made = made.and_then(Shared::rung).and_then(|shared| {
            introduce(&qemu, shared.keeper.as_fd(), shared.bells())?;
            Ok(shared)
        });
        match made {
            Ok(_) => self.qemu = Some(qemu),
            Err(_) => self.left.push(qemu),
        }
        self.take(made);
    }

    /// Forgets a machine's memory, and who had it; its workers end.
    pub(super) fn forget(&mut self) {
        self.left.extend(self.qemu.take());
        if let Some(shared) = self.shared.take() {
            give_back(shared.into_keeper());
        }
    }
}
