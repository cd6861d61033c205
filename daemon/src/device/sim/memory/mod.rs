//! Device memory: allocations at made-up addresses, each with memory of its own behind it that
//! costs nothing until it is written, and reserved addresses into which physical memory is mapped.

mod backing;
mod pages;
mod place;
mod reservation;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use backing::Backing;
pub(crate) use pages::Pages;
pub(crate) use place::Place;
pub(crate) use reservation::Reservation;

use std::collections::BTreeMap;

use vgpu_abi::cuda::Error;

use window::Windows;

/// Allocations begin at multiples of this, and are accounted in it: what `cuMemAlloc` keeps on
/// current devices ("suitably aligned for any kind of variable" is all it promises).
pub(crate) const ALIGNMENT: u64 = 512;

/// Most allocations and reservations that one client has: each costs the host some 100 bytes
/// beside its contents, however small those are.
const REGIONS_MAX: usize = 1 << 20;

/// Longest piece of a copy between regions that may share pages.
const PIECE_BYTES: usize = 64 << 10;

/// To whom an allocation belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The device whose memory it is.
    pub device: u32,
    /// The context that it ends with.
    pub context: u64,
    /// The pool that it came from, or 0.
    pub pool: u64,
}

/// One allocation.
#[derive(Debug)]
struct Allocation {
    bytes: u64,
    owner: Owner,
    backing: Backing,
}

/// What lies at some addresses.
#[derive(Debug)]
enum Region {
    Allocation(Allocation),
    Reservation(Reservation),
}

impl Region {
    fn bytes(&self) -> u64 {
        match self {
            Self::Allocation(allocation) => allocation.bytes,
            Self::Reservation(reservation) => reservation.bytes,
        }
    }

    fn read(&self, offset: u64, bytes: u64) -> Result<&[u8], Error> {
        match self {
            Self::Allocation(it) => Ok(&it.backing.bytes()[range(offset, bytes, it.bytes)?]),
            Self::Reservation(it) => it.read(offset, bytes),
        }
    }

    fn write(&mut self, offset: u64, bytes: u64) -> Result<&mut [u8], Error> {
        match self {
            Self::Allocation(it) => {
                Ok(&mut it.backing.bytes_mut()[range(offset, bytes, it.bytes)?])
            }
            Self::Reservation(it) => it.write(offset, bytes),
        }
    }
}

/// The memory of all devices.
#[derive(Debug)]
pub(crate) struct Memory {
    windows: Windows,
    /// What lies where: places in `regions` by first address.
    index: BTreeMap<u64, usize>,
    regions: Vec<Option<Region>>,
    vacant: Vec<usize>,
    /// Grows whenever something goes, so that a [`Place`] is known to be stale.
    version: u64,
}

/// What an allocation occupies and is accounted with.
pub(crate) fn accounted(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(ALIGNMENT)
}

impl Memory {
    /// Makes the empty memories of some devices.
    pub fn new(devices: usize) -> Self {
        Self {
            windows: Windows::new(devices),
            index: BTreeMap::new(),
            regions: Vec::new(),
            vacant: Vec::new(),
            version: 0,
        }
    }

    /// Allocates memory that was reserved before; returns its address.
    pub fn allocate(&mut self, owner: Owner, bytes: u64) -> Result<u64, Error> {
        let room = accounted(bytes).ok_or(Error::OUT_OF_MEMORY)?;
        let ends = |region: usize| self.regions[region].as_ref().map_or(0, Region::bytes);
        let address = self.windows.place(owner.device as usize, room, ALIGNMENT, |range| {
            self.index.range(range).map(|(&first, &region)| (first, ends(region)))
        })?;
        let backing = Backing::new(bytes)?;
        self.insert(address, Region::Allocation(Allocation { bytes, owner, backing }))?;
        Ok(address)
    }

    /// Frees an allocation by its first address; returns its owner and size.
    pub fn free(&mut self, address: u64) -> Result<(Owner, u64), Error> {
        match self.region_at(address)? {
            Region::Allocation(allocation) => {
                let freed = (allocation.owner, allocation.bytes);
                self.remove(address);
                Ok(freed)
            }
            Region::Reservation(_) => Err(Error::INVALID_VALUE),
        }
    }

    /// Frees all of a context; returns the owners and sizes.
    pub fn free_all(&mut self, context: u64) -> Vec<(Owner, u64)> {
        let of_context = |region: &Region| match region {
            Region::Allocation(it) if it.owner.context == context => Some((it.owner, it.bytes)),
            _ => None,
        };
        let all = self.index.iter();
        let ended: Vec<_> = all
            .filter_map(|(&first, &region)| {
                Some((first, of_context(self.regions[region].as_ref()?)?))
            })
            .collect();
        let freed = ended.into_iter().map(|(first, freed)| {
            self.remove(first);
            freed
        });
        freed.collect()
    }

    /// Tells to whom the allocation that begins at an address belongs.
    pub fn owner_at(&self, address: u64) -> Result<Owner, Error> {
        match self.region_at(address)? {
            Region::Allocation(allocation) => Ok(allocation.owner),
            Region::Reservation(_) => Err(Error::INVALID_VALUE),
        }
    }

    /// Reserves addresses at a multiple of `alignment`, at `wish` if that is free.
    pub fn reserve(&mut self, bytes: u64, alignment: u64, wish: u64) -> Result<u64, Error> {
        let ends = |region: usize| self.regions[region].as_ref().map_or(0, Region::bytes);
        let address = self.windows.place_reservation(bytes, alignment, wish, |range| {
            self.index.range(range).map(|(&first, &region)| (first, ends(region)))
        })?;
        self.insert(address, Region::Reservation(Reservation::new(bytes)?))?;
        Ok(address)
    }

    /// Ends a reservation, by exactly what was reserved. What is still mapped there keeps it.
    pub fn end_reservation(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        match self.region_at(address)? {
            Region::Reservation(it) if it.bytes == bytes && it.is_empty() => {}
            _ => return Err(Error::INVALID_VALUE),
        }
        self.remove(address);
        Ok(())
    }

    /// Finds the reservation that holds an address, and the address's offset in it.
    pub fn reservation(&self, address: u64) -> Result<(u64, &Reservation), Error> {
        match self.find(address)? {
            (first, Region::Reservation(reservation)) => Ok((address - first, reservation)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// The same, to change it.
    pub fn reservation_mut(&mut self, address: u64) -> Result<(u64, &mut Reservation), Error> {
        self.version += 1;
        match self.find_mut(address)? {
            (first, Region::Reservation(reservation)) => Ok((address - first, reservation)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// Tells on which device and for which context the memory at an address was allocated; nothing
    /// of memory that is mapped, which belongs to no context.
    ///
    /// # Errors
    /// INVALID_VALUE if nothing lies there.
    pub fn owner(&self, address: u64) -> Result<Option<(u32, u64)>, Error> {
        let (first, region) = self.find(address)?;
        match region {
            Region::Allocation(it) => {
                range(address - first, 1, it.bytes)?;
                Ok(Some((it.owner.device, it.owner.context)))
            }
            Region::Reservation(it) => it.read(address - first, 1).map(|_| None),
        }
    }

    /// Reads device memory.
    pub fn read(&self, address: u64, bytes: u64) -> Result<&[u8], Error> {
        if bytes == 0 {
            return Ok(&[]);
        }
        let (first, region) = self.find(address)?;
        region.read(address - first, bytes)
    }

    /// Borrows device memory for writing.
    pub fn write(&mut self, address: u64, bytes: u64) -> Result<&mut [u8], Error> {
        if bytes == 0 {
            return Ok(&mut []);
        }
        let (first, region) = self.find_mut(address)?;
        region.write(address - first, bytes)
    }

    /// Copies within device memory; the ranges may overlap.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.write(to, bytes)?;
        self.read(from, bytes)?;
        let ((source, _), (target, _)) = (self.find(from)?, self.find(to)?);
        if source == target {
            return match self.find_mut(to)?.1 {
                Region::Reservation(it) => it.copy(to - target, from - source, bytes),
                Region::Allocation(it) => {
                    let from = range(from - source, bytes, it.bytes)?;
                    it.backing.bytes_mut().copy_within(from, (to - target) as usize);
                    Ok(())
                }
            };
        }
        let (source_at, target_at) = (self.index[&source], self.index[&target]);
        let both_mapped = [source_at, target_at]
            .iter()
            .all(|&at| matches!(self.regions[at], Some(Region::Reservation(_))));
        if both_mapped {
            return self.copy_in_pieces(to, from, bytes);
        }
        // Taken out for the moment, so that source and target can be borrowed at once.
        let taken = self.regions[source_at].take().ok_or(Error::INVALID_VALUE)?;
        let copied = taken
            .read(from - source, bytes)
            .and_then(|contents| self.write(to, bytes).map(|out| out.copy_from_slice(contents)));
        self.regions[source_at] = Some(taken);
        copied
    }

    /// Copies between two reservations, which may share pages: no slice of one is borrowed while
    /// the other is written.
    fn copy_in_pieces(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Error> {
        let mut piece = [0; PIECE_BYTES];
        let mut done = 0;
        while done < bytes {
            let count = (bytes - done).min(PIECE_BYTES as u64);
            let held = &mut piece[..count as usize];
            held.copy_from_slice(self.read(from + done, count)?);
            self.write(to + done, count)?.copy_from_slice(held);
            done += count;
        }
        Ok(())
    }

    /// Sets memory to zero without touching what is zero already: a cache of many gigabytes that
    /// is cleared at its start must not become as many gigabytes of this process.
    pub fn clear(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        let (first, region) = self.find_mut(address)?;
        if let Region::Allocation(allocation) = region
            && first == address
            && bytes == allocation.bytes
        {
            allocation.backing = Backing::new(bytes)?;
            return Ok(());
        }
        for page in region.write(address - first, bytes)?.chunks_mut(4096) {
            if page.iter().any(|&byte| byte != 0) {
                page.fill(0);
            }
        }
        Ok(())
    }

    fn insert(&mut self, address: u64, region: Region) -> Result<(), Error> {
        if self.index.len() >= REGIONS_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.regions.push(None);
            self.regions.len() - 1
        });
        self.regions[at] = Some(region);
        self.index.insert(address, at);
        Ok(())
    }

    fn remove(&mut self, address: u64) {
        self.version += 1;
        if let Some(at) = self.index.remove(&address) {
            self.regions[at] = None;
            self.vacant.push(at);
        }
    }

    fn region_at(&self, first: u64) -> Result<&Region, Error> {
        let at = self.index.get(&first).ok_or(Error::INVALID_VALUE)?;
        self.regions[*at].as_ref().ok_or(Error::INVALID_VALUE)
    }

    fn find(&self, address: u64) -> Result<(u64, &Region), Error> {
        let (&first, &at) = self.index.range(..=address).next_back().ok_or(Error::INVALID_VALUE)?;
        let region = self.regions[at].as_ref().ok_or(Error::INVALID_VALUE)?;
        Ok((first, region))
    }

    fn find_mut(&mut self, address: u64) -> Result<(u64, &mut Region), Error> {
        let (&first, &at) = self.index.range(..=address).next_back().ok_or(Error::INVALID_VALUE)?;
        let region = self.regions[at].as_mut().ok_or(Error::INVALID_VALUE)?;
        Ok((first, region))
    }
}

/// Checks that a range lies within an allocation.
fn range(offset: u64, bytes: u64, within: u64) -> Result<std::ops::Range<usize>, Error> {
    match offset.checked_add(bytes) {
        // An allocation's size fits a usize: it is backed by as many bytes.
        Some(end) if end <= within => Ok(offset as usize..end as usize),
        _ => Err(Error::INVALID_VALUE),
    }
}
