//! Stretches of device memory that are found once and used many times.

use vgpu_abi::cuda::Error;

use super::{Memory, Region};

/// A stretch of device memory that can be read and written, found once and used many times: for
/// who touches the same memory again and again, such as a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its first address.
    pub first: u64,
    /// Its length in bytes.
    pub bytes: u64,
    region: usize,
    region_first: u64,
    version: u64,
}

impl Memory {
    /// Finds the stretch around an address that can be read and written.
    pub fn locate(&self, address: u64) -> Result<Place, Error> {
        let (region_first, region) = self.find(address)?;
        let offset = address - region_first;
        let (from, to) = match region {
            Region::Allocation(it) if offset < it.bytes => (0, it.bytes),
            Region::Allocation(_) => return Err(Error::INVALID_VALUE),
            Region::Reservation(it) => it.run(offset).ok_or(Error::ILLEGAL_ADDRESS)?,
        };
        Ok(Place {
            first: region_first + from,
            bytes: to - from,
            region: self.index[&region_first],
            region_first,
            version: self.version,
        })
    }

    /// Reads within a place; `None` if it is stale or does not hold the range.
    pub fn read_in(&self, place: &Place, address: u64, bytes: u64) -> Option<&[u8]> {
        let range = self.within(place, address, bytes)?;
        match self.regions[place.region].as_ref()? {
            Region::Allocation(it) => it.backing.bytes().get(range),
            Region::Reservation(it) => it.all().get(range),
        }
    }

    /// The same, for writing.
    pub fn write_in(&mut self, place: &Place, address: u64, bytes: u64) -> Option<&mut [u8]> {
        let range = self.within(place, address, bytes)?;
        match self.regions[place.region].as_mut()? {
            Region::Allocation(it) => it.backing.bytes_mut().get_mut(range),
            Region::Reservation(it) => it.all_mut().get_mut(range),
        }
    }

    fn within(&self, place: &Place, address: u64, bytes: u64) -> Option<std::ops::Range<usize>> {
        let end = address.checked_add(bytes)?;
        let holds = address >= place.first && end <= place.first + place.bytes;
        (holds && place.version == self.version)
            .then(|| (address - place.region_first) as usize..(end - place.region_first) as usize)
    }
}
