//! Reserved addresses and what is mapped there (CUDA Driver API, Virtual Memory Management).

use std::collections::BTreeMap;

use vgpu_abi::cuda::Error;

use super::pages::{Pages, Space};

/// `CU_MEM_ACCESS_FLAGS_PROT_READ`, and the bit that READWRITE has beside it.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// One mapping of physical memory.
#[derive(Debug)]
struct Mapping {
    bytes: u64,
    /// The physical memory, as its handle.
    handle: u64,
    /// `CUmemAccess_flags` by device.
    access: BTreeMap<u32, u32>,
}

impl Mapping {
    /// Says whether any device may do this here. Which one asks is not told apart: a kernel of a
    /// device without access reads what it could not on a card.
    fn allows(&self, flag: u32) -> bool {
        self.access.values().any(|flags| flags & flag != 0)
    }
}

/// Reserved addresses. Offsets count from the first.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// Length in bytes.
    pub bytes: u64,
    space: Space,
    mappings: BTreeMap<u64, Mapping>,
}

impl Reservation {
    /// Reserves that many.
    pub fn new(bytes: u64) -> Result<Self, Error> {
        let count = usize::try_from(bytes).map_err(|_| Error::OUT_OF_MEMORY)?;
        let space = Space::new(count).map_err(|_| Error::OUT_OF_MEMORY)?;
        Ok(Self { bytes, space, mappings: BTreeMap::new() })
    }

    /// Says whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// Maps physical memory; where something is mapped already, or beyond the end, INVALID_VALUE.
    pub fn map(
        &mut self,
        offset: u64,
        bytes: u64,
        handle: u64,
        (pages, start): (&Pages, u64),
    ) -> Result<(), Error> {
        let end = offset.checked_add(bytes).filter(|&end| end <= self.bytes);
        let end = end.ok_or(Error::INVALID_VALUE)?;
        let below = self.mappings.range(..end).next_back();
        if below.is_some_and(|(&first, mapping)| first + mapping.bytes > offset) {
            return Err(Error::INVALID_VALUE);
        }
        // The reservation's length fits a usize, and `end` is within it.
        let part = offset as usize..end as usize;
        self.space.map(part, pages, start).map_err(|_| Error::OUT_OF_MEMORY)?;
        self.mappings.insert(offset, Mapping { bytes, handle, access: BTreeMap::new() });
        Ok(())
    }

    /// Unmaps whole mappings that cover a range; returns their handles.
    pub fn unmap(&mut self, offset: u64, bytes: u64) -> Result<Vec<u64>, Error> {
        let firsts = self.covering(offset, bytes)?;
        let part = offset as usize..(offset + bytes) as usize;
        self.space.unmap(part).map_err(|_| Error::OUT_OF_MEMORY)?;
        let removed = firsts.iter().filter_map(|first| self.mappings.remove(first));
        Ok(removed.map(|mapping| mapping.handle).collect())
    }

    /// Changes what devices may do with a range of whole mappings.
    pub fn change_access(
        &mut self,
        offset: u64,
        bytes: u64,
        access: &[(u32, u32)],
    ) -> Result<(), Error> {
        for first in self.covering(offset, bytes)? {
            if let Some(mapping) = self.mappings.get_mut(&first) {
                mapping.access.extend(access.iter().copied());
            }
        }
        Ok(())
    }

    /// Tells what a device may do where something is mapped.
    pub fn access(&self, offset: u64, device: u32) -> Result<u32, Error> {
        let (_, mapping) = self.mapping_at(offset).ok_or(Error::INVALID_VALUE)?;
        Ok(mapping.access.get(&device).copied().unwrap_or_default())
    }

    /// Names the physical memory that is mapped at an offset.
    pub fn handle(&self, offset: u64) -> Option<u64> {
        self.mapping_at(offset).map(|(_, mapping)| mapping.handle)
    }

    /// Borrows bytes that lie together and may be read.
    pub fn read(&self, offset: u64, bytes: u64) -> Result<&[u8], Error> {
        let range = self.allowed(offset, bytes, READ)?;
        Ok(&self.space.bytes()[range])
    }

    /// The same, for writing.
    pub fn write(&mut self, offset: u64, bytes: u64) -> Result<&mut [u8], Error> {
        let range = self.allowed(offset, bytes, WRITE)?;
        Ok(&mut self.space.bytes_mut()[range])
    }

    /// Borrows all of it, for who has found with [`Reservation::run`] what may be touched.
    pub fn all(&self) -> &[u8] {
        self.space.bytes()
    }

    /// The same, for writing.
    pub fn all_mut(&mut self) -> &mut [u8] {
        self.space.bytes_mut()
    }

    /// Copies from one offset to another; the ranges may overlap.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Error> {
        let target = self.allowed(to, bytes, WRITE)?;
        let source = self.allowed(from, bytes, READ)?;
        self.space.bytes_mut().copy_within(source, target.start);
        Ok(())
    }

    /// Finds how far one may read and write around an offset.
    pub fn run(&self, offset: u64) -> Option<(u64, u64)> {
        let usable = |mapping: &&Mapping| mapping.allows(READ) && mapping.allows(WRITE);
        let (mut first, mapping) = self.mapping_at(offset)?;
        let mut end = first + usable(&mapping).then_some(mapping.bytes)?;
        while let Some(next) = self.mappings.get(&end).filter(usable) {
            end += next.bytes;
        }
        for (&start, below) in self.mappings.range(..first).rev() {
            if start + below.bytes != first || !usable(&below) {
                break;
            }
            first = start;
        }
        Some((first, end))
    }

    fn mapping_at(&self, offset: u64) -> Option<(u64, &Mapping)> {
        let (&first, mapping) = self.mappings.range(..=offset).next_back()?;
        (offset - first < mapping.bytes).then_some((first, mapping))
    }

    /// Checks that a device may do this with each byte: what is reserved and no more than that is
    /// ILLEGAL_ADDRESS, as for a kernel.
    fn allowed(&self, offset: u64, bytes: u64, flag: u32) -> Result<std::ops::Range<usize>, Error> {
        let end = offset.checked_add(bytes).filter(|&end| end <= self.bytes);
        let end = end.ok_or(Error::INVALID_VALUE)?;
        let (first, mut mapping) = self.mapping_at(offset).ok_or(Error::ILLEGAL_ADDRESS)?;
        let mut reached = first;
        loop {
            if !mapping.allows(flag) {
                return Err(Error::ILLEGAL_ADDRESS);
            }
            reached += mapping.bytes;
            if reached >= end {
                return Ok(offset as usize..end as usize);
            }
            mapping = self.mappings.get(&reached).ok_or(Error::ILLEGAL_ADDRESS)?;
        }
    }

    /// Lists the mappings that make up a range; INVALID_VALUE if it cuts one, or has a hole.
    fn covering(&self, offset: u64, bytes: u64) -> Result<Vec<u64>, Error> {
        let end = offset.checked_add(bytes).filter(|&end| bytes > 0 && end <= self.bytes);
        let end = end.ok_or(Error::INVALID_VALUE)?;
        let mut firsts = Vec::new();
        let mut reached = offset;
        while reached < end {
            let mapping = self.mappings.get(&reached).ok_or(Error::INVALID_VALUE)?;
            firsts.push(reached);
            reached += mapping.bytes;
        }
        if reached == end { Ok(firsts) } else { Err(Error::INVALID_VALUE) }
    }
}
