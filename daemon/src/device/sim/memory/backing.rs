//! What stands behind one allocation: memory of this process that costs nothing until written.

use memmap2::{Advice, MmapMut, MmapOptions};
use vgpu_abi::cuda::Error;

/// Smaller allocations come from the heap: the system allows some 65,000 mappings.
const MAPPED_BYTES_MIN: u64 = 64 << 10;

/// Larger mappings ask for huge pages (2 MiB), which make the first write four times as fast.
const HUGE_BYTES_MIN: u64 = 2 << 20;

/// Zeroed bytes.
#[derive(Debug)]
pub(crate) enum Backing {
    /// On the heap.
    Heap(Box<[u8]>),
    /// Pages of their own.
    Mapped(MmapMut),
}

impl Backing {
    /// Takes that many zeros; OUT_OF_MEMORY if the system has no such address range.
    pub fn new(bytes: u64) -> Result<Self, Error> {
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

    /// Borrows all of them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }

    /// The same, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}
