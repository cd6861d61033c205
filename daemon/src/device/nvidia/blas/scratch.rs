//! Places on the device for numbers that go to the client: cuBLAS writes them there behind the
//! stream's work, and a copy brings them. Written to memory of the host, cuBLAS would wait for the
//! stream, and with it all threads of the client.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use vgpu_abi::cuda::Error;

/// Size of a place: the largest number, a complex one of double precision.
pub(super) const PLACE_BYTES: u64 = 16;

/// Places of a context: 256, as many as threads wait at once.
const PLACES: u64 = 256;

/// The places of all contexts of one client.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    free: HashMap<u64, Free>,
}

type Free = Arc<Mutex<Vec<u64>>>;

/// A place that is in use until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// Its address.
    pub address: u64,
    free: Free,
}

impl Scratch {
    /// Takes a place of a context, for which `allocate` gives that many bytes at first; `None`
    /// where all are in use.
    ///
    /// # Errors
    /// Those of `allocate`.
    pub fn take(
        &mut self,
        context: u64,
        allocate: impl FnOnce(u64) -> Result<u64, Error>,
    ) -> Result<Option<Place>, Error> {
        let free = match self.free.entry(context) {
            Entry::Occupied(kept) => Arc::clone(kept.get()),
            Entry::Vacant(none) => {
                let start = allocate(PLACES * PLACE_BYTES)?;
                let all = (0..PLACES).map(|at| start + at * PLACE_BYTES).collect();
                Arc::clone(none.insert(Arc::new(Mutex::new(all))))
            }
        };
        let address = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(address.map(|address| Place { address, free }))
    }

    /// Forgets the places of a context, with which they end.
    pub fn end_context(&mut self, context: u64) {
        self.free.remove(&context);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.address);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_place_is_one_numbers_only_until_it_is_dropped() {
        let mut scratch = Scratch::default();
        let refused = scratch.take(1, |_| Err(Error::OUT_OF_MEMORY)).map(drop);
        assert_eq!(refused, Err(Error::OUT_OF_MEMORY));
        let allocate = |bytes| {
            assert_eq!(bytes, 4096);
            Ok(0x1000)
        };
        let first = scratch.take(1, allocate).expect("allocated").expect("all are free");
        let never = |_| -> Result<u64, Error> { panic!("it is there already") };
        let mut all = vec![first];
        while let Some(place) = scratch.take(1, never).expect("nothing is allocated") {
            all.push(place);
        }
        let addresses: BTreeSet<u64> = all.iter().map(|place| place.address).collect();
        assert_eq!((addresses.len(), addresses.first()), (256, Some(&0x1000)));
        assert!(addresses.iter().all(|address| address % PLACE_BYTES == 0));
        let last = all.pop().map(|place| place.address);
        let again = scratch.take(1, never).expect("nothing is allocated");
        assert_eq!(again.map(|place| place.address), last);
        scratch.end_context(1);
        assert!(scratch.take(1, |_| Ok(0)).is_ok_and(|place| place.is_some()));
    }
}
