//! Physical memory apart from addresses (CUDA Driver API, Virtual Memory Management).

use vgpu_abi::cuda::Error;

use super::handles::{Kind, Table};
use super::memory::Pages;

/// Least and best size of physical memory, and what mappings are aligned to: the 2 MiB pages that
/// the driver uses on current devices.
pub(crate) const GRANULARITY: u64 = 2 << 20;

/// Physical memory behind one handle.
#[derive(Debug)]
struct Physical {
    device: u32,
    bytes: u64,
    /// Where its pages begin.
    start: u64,
    /// How often the handle was given out and not released.
    references: u32,
    /// How often it is mapped.
    mappings: u32,
}

/// Physical memory that went, to be given back to the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Its device.
    pub device: u32,
    /// Its size.
    pub bytes: u64,
}

/// All physical memory of a client. It belongs to no context, and lives until it is neither named
/// nor mapped.
#[derive(Debug)]
pub(crate) struct PhysicalMemory {
    table: Table<Physical>,
    /// Made with the first.
    pages: Option<Pages>,
}

impl PhysicalMemory {
    /// Starts without any.
    pub fn new() -> Self {
        Self { table: Table::new(Kind::Memory), pages: None }
    }

    /// Creates physical memory that the bank has reserved; returns its handle.
    pub fn create(&mut self, device: u32, bytes: u64) -> Result<u64, Error> {
        let pages = match &mut self.pages {
            Some(pages) => pages,
            none => none.insert(Pages::new().map_err(|_| Error::OUT_OF_MEMORY)?),
        };
        let start = pages.take(bytes).map_err(|_| Error::OUT_OF_MEMORY)?;
        self.table.insert(Physical { device, bytes, start, references: 1, mappings: 0 })
    }

    /// Names physical memory once more; a handle that is mapped only comes back to life.
    pub fn retain(&mut self, handle: u64) -> Result<u64, Error> {
        let found = self.table.find_mut(handle).ok_or(Error::INVALID_VALUE)?;
        found.references = found.references.checked_add(1).ok_or(Error::OUT_OF_MEMORY)?;
        Ok(handle)
    }

    /// Releases a handle once.
    pub fn release(&mut self, handle: u64) -> Result<Option<Gone>, Error> {
        let found = self.table.find_mut(handle).ok_or(Error::INVALID_VALUE)?;
        found.references = found.references.checked_sub(1).ok_or(Error::INVALID_VALUE)?;
        Ok(self.bury(handle))
    }

    /// Finds the pages of a handle that is to be mapped: all of them, or INVALID_VALUE.
    pub fn to_map(&self, handle: u64, bytes: u64) -> Result<(&Pages, u64), Error> {
        let found = self.table.find(handle).filter(|found| found.references > 0);
        let found = found.filter(|found| found.bytes == bytes).ok_or(Error::INVALID_VALUE)?;
        Ok((self.pages.as_ref().ok_or(Error::INVALID_VALUE)?, found.start))
    }

    /// Notes that a handle is mapped once more.
    pub fn mapped(&mut self, handle: u64) {
        if let Some(found) = self.table.find_mut(handle) {
            found.mappings += 1;
        }
    }

    /// Notes that a handle is mapped once less.
    pub fn unmapped(&mut self, handle: u64) -> Option<Gone> {
        if let Some(found) = self.table.find_mut(handle) {
            found.mappings -= 1;
        }
        self.bury(handle)
    }

    /// Tells how much there is.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.table.values().map(|physical| physical.bytes).sum()
    }

    /// Ends what is neither named nor mapped.
    fn bury(&mut self, handle: u64) -> Option<Gone> {
        let found = self.table.find(handle)?;
        if found.references > 0 || found.mappings > 0 {
            return None;
        }
        let (device, bytes, start) = (found.device, found.bytes, found.start);
        self.table.remove(handle);
        if let Some(pages) = &mut self.pages {
            pages.give_back(start, bytes);
        }
        Some(Gone { device, bytes })
    }
}
