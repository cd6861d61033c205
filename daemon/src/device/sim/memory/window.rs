//! Which addresses are whose, and where the next allocation goes.

use std::ops::Range;

use vgpu_abi::cuda::Error;

/// First address of device 0. Nothing that Linux puts into a program by itself lies between here
/// and the end of the windows, nor do the shadows of the sanitizers that programs are tested with
/// (AddressSanitizer's ends at 0x1000_8000_0000), so hardly an address of a guest's own is ever
/// taken for one of ours; the guest checks each.
const FIRST_ADDRESS: u64 = 0x1100_0000_0000;

/// Addresses of each device: 1 TiB; 64 devices end at 0x5100_0000_0000.
const WINDOW: u64 = 1 << 40;

/// Devices that there are addresses for.
const DEVICES_MAX: u64 = 64;

/// Addresses to reserve, of all devices: 4 TiB behind the last device's, which end at
/// 0x5500_0000_0000, where Linux begins to put programs.
const RESERVABLE: u64 = 4 * WINDOW;

/// One range of addresses.
#[derive(Debug)]
struct Window {
    range: Range<u64>,
    /// Where the next allocation is looked for: behind the latest, so that a freed address is not
    /// soon handed out again and a stale pointer is noticed.
    cursor: u64,
}

/// The addresses of all devices, and those to reserve.
#[derive(Debug)]
pub(super) struct Windows {
    devices: Vec<Window>,
    reservable: Window,
}

impl Windows {
    /// Lays out the addresses of some devices.
    pub fn new(devices: usize) -> Self {
        let window = |first: u64, bytes| Window { range: first..first + bytes, cursor: first };
        let device = |ordinal: usize| window(FIRST_ADDRESS + ordinal as u64 * WINDOW, WINDOW);
        Self {
            devices: (0..devices).map(device).collect(),
            reservable: window(FIRST_ADDRESS + DEVICES_MAX * WINDOW, RESERVABLE),
        }
    }

    /// Finds addresses of a device. `occupied` lists first addresses and lengths in a range.
    pub fn place<I: Iterator<Item = (u64, u64)>>(
        &mut self,
        device: usize,
        bytes: u64,
        alignment: u64,
        occupied: impl Fn(Range<u64>) -> I,
    ) -> Result<u64, Error> {
        let window = self.devices.get_mut(device).ok_or(Error::INVALID_DEVICE)?;
        window.place(bytes, alignment, occupied).ok_or(Error::OUT_OF_MEMORY)
    }

    /// Finds addresses to reserve: those wished for, if they are free and aligned.
    pub fn place_reservation<I: DoubleEndedIterator<Item = (u64, u64)>>(
        &mut self,
        bytes: u64,
        alignment: u64,
        wish: u64,
        occupied: impl Fn(Range<u64>) -> I,
    ) -> Result<u64, Error> {
        let window = &mut self.reservable;
        if wish.is_multiple_of(alignment) && window.is_free(wish, bytes, &occupied) {
            window.cursor = wish + bytes;
            return Ok(wish);
        }
        window.place(bytes, alignment, occupied).ok_or(Error::OUT_OF_MEMORY)
    }
}

impl Window {
    fn is_free<I: DoubleEndedIterator<Item = (u64, u64)>>(
        &self,
        first: u64,
        bytes: u64,
        occupied: impl Fn(Range<u64>) -> I,
    ) -> bool {
        let end = first.checked_add(bytes).filter(|&end| end <= self.range.end);
        let Some(end) = end.filter(|_| first >= self.range.start) else { return false };
        occupied(self.range.start..end).next_back().is_none_or(|(at, bytes)| at + bytes <= first)
    }

    /// Finds room: behind the cursor, else in the first gap.
    fn place<I: Iterator<Item = (u64, u64)>>(
        &mut self,
        bytes: u64,
        alignment: u64,
        occupied: impl Fn(Range<u64>) -> I,
    ) -> Option<u64> {
        let fits = |from: u64, until: u64| until.checked_sub(from).is_some_and(|gap| gap >= bytes);
        for start in [self.cursor, self.range.start] {
            let mut from = start.checked_next_multiple_of(alignment)?;
            for (at, taken) in occupied(start..self.range.end) {
                if fits(from, at) {
                    break;
                }
                from = at.checked_add(taken)?.checked_next_multiple_of(alignment)?;
            }
            if fits(from, self.range.end) {
                self.cursor = from + bytes;
                return Some(from);
            }
        }
        None
    }
}
