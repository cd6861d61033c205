//! Device memory: allocations at made-up addresses, each with memory of its own behind it that
//! costs nothing until it is written.

use std::collections::BTreeMap;

use memmap2::{Advice, MmapMut, MmapOptions};
use vgpu_abi::cuda::Error;

/// Allocations begin at multiples of this, and are accounted in it: what `cuMemAlloc` keeps on
/// current devices ("suitably aligned for any kind of variable" is all it promises).
pub(crate) const ALIGNMENT: u64 = 512;

/// First address of device 0. Below it and above the windows lie the usual places of a program's
/// own memory, so no address of a guest's own can be taken for one of ours.
const FIRST_ADDRESS: u64 = 0x0300_0000_0000;

/// Addresses of each device: 1 TiB; 64 devices end at 0x4300_0000_0000, below the 0x5500… where
/// Linux puts programs.
const WINDOW: u64 = 1 << 40;

/// Smaller allocations come from the heap: the system allows some 65,000 mappings.
const MAPPED_BYTES_MIN: u64 = 64 << 10;

/// Larger mappings ask for huge pages (2 MiB), which make the first write four times as fast.
const HUGE_BYTES_MIN: u64 = 2 << 20;

/// Most allocations of a device that one client has: each costs the host some 100 bytes beside its
/// contents, however small those are.
const ALLOCATIONS_MAX: usize = 1 << 20;

/// One allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// Bytes that were asked for.
    pub bytes: u64,
    /// The context that it belongs to and ends with.
    pub context: u64,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    Heap(Box<[u8]>),
    Mapped(MmapMut),
}

impl Backing {
    fn new(bytes: u64) -> Result<Self, Error> {
        let count = usize::try_from(bytes).map_err(|_| Error::OUT_OF_MEMORY)?;
        if bytes < MAPPED_BYTES_MIN {
            return Ok(Self::Heap(vec![0; count].into()));
        }
        // Not reserved: 80 GiB of address space are no 80 GiB of memory until written.
        let mapped = MmapOptions::new()
            .len(count)
            .no_reserve_swap()
            .map_anon()
            .map_err(|_| Error::OUT_OF_MEMORY)?;
        if bytes >= HUGE_BYTES_MIN {
            // Only slower where the system has none.
            let _ = mapped.advise(Advice::HugePage);
        }
        Ok(Self::Mapped(mapped))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// The memory of all devices.
#[derive(Debug)]
pub(crate) struct Memory {
    devices: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    first: u64,
    /// Where the next allocation is looked for: behind the latest, so that a freed address is not
    /// soon handed out again and a stale pointer is noticed.
    cursor: u64,
    /// By first address.
    allocations: BTreeMap<u64, Allocation>,
}

/// What an allocation occupies and is accounted with.
pub(crate) fn accounted(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(ALIGNMENT)
}

impl Memory {
    /// Makes the empty memories of some devices.
    pub fn new(devices: usize) -> Self {
        let window = |ordinal: usize| {
            let first = FIRST_ADDRESS + ordinal as u64 * WINDOW;
            Window { first, cursor: first, allocations: BTreeMap::new() }
        };
        Self { devices: (0..devices).map(window).collect() }
    }

    /// Allocates memory that was reserved before; returns its address.
    pub fn allocate(&mut self, device: u32, context: u64, bytes: u64) -> Result<u64, Error> {
        let window = self.devices.get_mut(device as usize).ok_or(Error::INVALID_DEVICE)?;
        if window.allocations.len() >= ALLOCATIONS_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let room = accounted(bytes).ok_or(Error::OUT_OF_MEMORY)?;
        let address = window.place(room).ok_or(Error::OUT_OF_MEMORY)?;
        let backing = Backing::new(bytes)?;
        window.allocations.insert(address, Allocation { bytes, context, backing });
        window.cursor = address + room;
        Ok(address)
    }

    /// Frees an allocation by its first address; returns its device and size.
    pub fn free(&mut self, address: u64) -> Result<(u32, u64), Error> {
        let device = self.device_of(address)?;
        let freed = self.devices[device].allocations.remove(&address);
        freed.map(|freed| (device as u32, freed.bytes)).ok_or(Error::INVALID_VALUE)
    }

    /// Frees all of a context; returns the devices and sizes.
    pub fn free_all(&mut self, context: u64) -> Vec<(u32, u64)> {
        let mut freed = Vec::new();
        for (device, window) in self.devices.iter_mut().enumerate() {
            window.allocations.retain(|_, allocation| {
                if allocation.context == context {
                    freed.push((device as u32, allocation.bytes));
                }
                allocation.context != context
            });
        }
        freed
    }

    /// Reads device memory.
    pub fn read(&self, address: u64, bytes: u64) -> Result<&[u8], Error> {
        if bytes == 0 {
            return Ok(&[]);
        }
        let (first, allocation) = self.find(address)?;
        let range = range(address - first, bytes, allocation.bytes)?;
        Ok(&allocation.backing.bytes()[range])
    }

    /// Borrows device memory for writing.
    pub fn write(&mut self, address: u64, bytes: u64) -> Result<&mut [u8], Error> {
        if bytes == 0 {
            return Ok(&mut []);
        }
        let (first, allocation) = self.find_mut(address)?;
        let range = range(address - first, bytes, allocation.bytes)?;
        Ok(&mut allocation.backing.bytes_mut()[range])
    }

    /// Copies within device memory; the ranges may overlap.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.read(to, bytes)?;
        let (source, allocation) = self.find(from)?;
        let range = range(from - source, bytes, allocation.bytes)?;
        let (target, _) = self.find(to)?;
        if source == target {
            let (_, allocation) = self.find_mut(to)?;
            allocation.backing.bytes_mut().copy_within(range, (to - target) as usize);
            return Ok(());
        }
        // Taken out for the moment, so that source and target can be borrowed at once.
        let nothing = Backing::Heap(Box::default());
        let taken = std::mem::replace(&mut self.find_mut(from)?.1.backing, nothing);
        let copied = self.write(to, bytes).map(|out| out.copy_from_slice(&taken.bytes()[range]));
        self.find_mut(from)?.1.backing = taken;
        copied
    }

    /// Sets memory to zero without touching what is zero already: a cache of many gigabytes that
    /// is cleared at its start must not become as many gigabytes of this process.
    pub fn clear(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        let (first, allocation) = self.find_mut(address)?;
        if first == address && bytes == allocation.bytes {
            allocation.backing = Backing::new(bytes)?;
            return Ok(());
        }
        for page in self.write(address, bytes)?.chunks_mut(4096) {
            if page.iter().any(|&byte| byte != 0) {
                page.fill(0);
            }
        }
        Ok(())
    }

    fn device_of(&self, address: u64) -> Result<usize, Error> {
        let window = address.checked_sub(FIRST_ADDRESS).ok_or(Error::INVALID_VALUE)? / WINDOW;
        usize::try_from(window)
            .ok()
            .filter(|&device| device < self.devices.len())
            .ok_or(Error::INVALID_VALUE)
    }

    fn find(&self, address: u64) -> Result<(u64, &Allocation), Error> {
        let window = &self.devices[self.device_of(address)?];
        let below = window.allocations.range(..=address).next_back();
        below.map(|(&first, allocation)| (first, allocation)).ok_or(Error::INVALID_VALUE)
    }

    fn find_mut(&mut self, address: u64) -> Result<(u64, &mut Allocation), Error> {
        let device = self.device_of(address)?;
        let below = self.devices[device].allocations.range_mut(..=address).next_back();
        below.map(|(&first, allocation)| (first, allocation)).ok_or(Error::INVALID_VALUE)
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

impl Window {
    /// Finds room: behind the cursor, else in the first gap.
    fn place(&self, room: u64) -> Option<u64> {
        let end = self.first + WINDOW;
        let free = |from: u64, until: u64| until.checked_sub(from).is_some_and(|gap| gap >= room);
        let mut from = self.cursor;
        for pass in 0..2 {
            for (&address, allocation) in self.allocations.range(from..) {
                if free(from, address) {
                    return Some(from);
                }
                from = address + accounted(allocation.bytes)?;
            }
            if free(from, end) {
                return Some(from);
            }
            if pass == 0 {
                from = self.first;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_aligned_distinct_and_not_soon_reused() {
        let mut memory = Memory::new(2);
        let mut seen = std::collections::HashSet::new();
        for bytes in [1, 511, 512, 513, 1 << 20] {
            for device in 0..2 {
                let address = memory.allocate(device, 1, bytes).expect("room");
                assert_eq!(address % ALIGNMENT, 0);
                assert!(seen.insert(address));
                memory.free(address).expect("it is there");
                assert_eq!(memory.free(address), Err(Error::INVALID_VALUE));
            }
        }
    }

    #[test]
    fn eighty_gibibytes_cost_nothing_until_written() {
        let mut memory = Memory::new(1);
        let bytes = 80 << 30;
        let address = memory.allocate(0, 1, bytes).expect("room");
        memory.write(address + bytes - 4, 4).expect("in range").copy_from_slice(b"last");
        assert_eq!(memory.read(address + bytes - 4, 4).expect("in range"), b"last");
        memory.clear(address, bytes).expect("in range");
        assert_eq!(memory.read(address + bytes - 4, 4).expect("in range"), [0; 4]);
    }

    #[test]
    fn ranges_outside_an_allocation_are_refused() {
        let mut memory = Memory::new(1);
        let address = memory.allocate(0, 1, 1000).expect("room");
        let after = memory.allocate(0, 1, 1000).expect("room");
        for (at, bytes) in [
            (address, 1001),
            (address + 1000, 1),
            (address + 999, 2),
            (address - 1, 1),
            (address, u64::MAX),
            (address + 500, u64::MAX),
            (u64::MAX, 1),
            (0, 1),
            (after + 1024, 1),
        ] {
            assert_eq!(memory.read(at, bytes), Err(Error::INVALID_VALUE), "{at:#x} {bytes}");
            assert!(memory.write(at, bytes).is_err(), "{at:#x} {bytes}");
            assert!(memory.copy(address, at, bytes).is_err(), "{at:#x} {bytes}");
            assert!(memory.copy(at, address, bytes).is_err(), "{at:#x} {bytes}");
            assert!(memory.clear(at, bytes).is_err(), "{at:#x} {bytes}");
        }
        assert_eq!(memory.read(address + 999, 1).map(<[u8]>::len), Ok(1));
        assert_eq!(memory.read(0, 0).map(<[u8]>::len), Ok(0));
    }

    #[test]
    fn copies_between_and_within_allocations_keep_every_byte() {
        let mut memory = Memory::new(1);
        let (small, large) = (
            memory.allocate(0, 1, 1000).expect("room"),
            memory.allocate(0, 1, 100_000).expect("room"),
        );
        let pattern: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
        memory.write(small, 1000).expect("in range").copy_from_slice(&pattern);
        memory.copy(large + 99_000, small, 1000).expect("in range");
        assert_eq!(memory.read(large + 99_000, 1000), Ok(&pattern[..]));
        memory.copy(large + 98_999, large + 99_000, 1000).expect("overlapping");
        assert_eq!(memory.read(large + 98_999, 1000), Ok(&pattern[..]));
        assert_eq!(memory.read(small, 1000), Ok(&pattern[..]), "the source is untouched");
    }

    #[test]
    fn freed_room_is_found_again_when_the_window_is_used_up() {
        let mut memory = Memory::new(1);
        let half = WINDOW / 2;
        let first = memory.allocate(0, 1, half).expect("room");
        let second = memory.allocate(0, 2, half).expect("room");
        assert_eq!(memory.allocate(0, 1, 1), Err(Error::OUT_OF_MEMORY));
        assert_eq!(memory.free_all(1), [(0, half)]);
        assert_eq!(memory.allocate(0, 1, 1).expect("room again"), first);
        assert!(memory.read(second, 1).is_ok());
    }
}
