//! Contexts: one primary context for each device, and those that clients create.

use std::collections::{BTreeMap, BTreeSet};

use vgpu_abi::cuda::Error;

use super::handles::{Kind, Table};

/// Flags that `cuCtxCreate` and primary contexts take (CUctx_flags): scheduling 0 to 4, map host
/// memory 8, local memory 16, and what CUDA 12 added up to 0x80.
const FLAGS: u32 = 0xff;

/// Limits and their values in a new context (CUlimit: CUDA Driver API, `cuCtxSetLimit`; CUDA C++
/// Programming Guide). Synchronisation depth (3) ended with compute capability 9.0, and persisting
/// L2 (6) is not simulated.
const LIMITS: [(u32, u64); 5] = [(0, 1024), (1, 1 << 20), (2, 8 << 20), (4, 2048), (5, 64)];

/// Largest values of limits: 512 KiB of local memory for each thread, 80 GiB for the heap (and the
/// printf buffer, which lies there, too), and the widest fetch.
const LIMITS_MAX: [(u32, u64); 4] = [(0, 512 << 10), (1, 80 << 30), (2, 80 << 30), (5, 128)];

/// One context.
#[derive(Debug)]
pub(crate) struct Context {
    /// Ordinal of its device.
    pub device: u32,
    limits: BTreeMap<u32, u64>,
    /// Preferred split of cache and shared memory (CUfunc_cache).
    pub cache_config: u32,
    /// The contexts of other devices whose memory it may reach.
    pub peers: BTreeSet<u64>,
}

impl Context {
    fn new(device: u32) -> Self {
        Self { device, limits: LIMITS.into(), cache_config: 0, peers: BTreeSet::new() }
    }

    /// Reads a limit.
    pub fn limit(&self, limit: u32) -> Result<u64, Error> {
        self.limits.get(&limit).copied().ok_or(Error::UNSUPPORTED_LIMIT)
    }

    /// Changes a limit.
    pub fn change_limit(&mut self, limit: u32, value: u64) -> Result<(), Error> {
        let place = self.limits.get_mut(&limit).ok_or(Error::UNSUPPORTED_LIMIT)?;
        if LIMITS_MAX.iter().any(|&(of, largest)| of == limit && value > largest) {
            return Err(Error::INVALID_VALUE);
        }
        *place = value;
        Ok(())
    }
}

/// Refuses flags that no context has.
pub(crate) fn check_flags(flags: u32) -> Result<(), Error> {
    if flags & !FLAGS == 0 { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

#[derive(Debug)]
struct Primary {
    handle: u64,
    retained: u32,
}

/// All contexts of a client.
#[derive(Debug)]
pub(crate) struct Contexts {
    table: Table<Context>,
    /// By ordinal. A primary context keeps its handle over all its lives, as the driver's does.
    primaries: Vec<Primary>,
}

impl Contexts {
    /// Prepares for some devices; none has a context yet.
    pub fn new(devices: usize) -> Self {
        let mut table = Table::new(Kind::Context);
        let primaries =
            (0..devices).map(|_| Primary { handle: table.take_handle(), retained: 0 }).collect();
        Self { table, primaries }
    }

    /// Finds a context: none is INVALID_CONTEXT, one that was is CONTEXT_IS_DESTROYED.
    pub fn find(&self, handle: u64) -> Result<&Context, Error> {
        self.table.find(handle).ok_or(self.missing(handle))
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, handle: u64) -> Result<&mut Context, Error> {
        let missing = self.missing(handle);
        self.table.find_mut(handle).ok_or(missing)
    }

    fn missing(&self, handle: u64) -> Error {
        // A primary context that was never retained has a handle, but nobody was told.
        if self.table.was_taken(handle) {
            Error::CONTEXT_IS_DESTROYED
        } else {
            Error::INVALID_CONTEXT
        }
    }

    fn primary(&mut self, device: i32) -> Result<(u32, &mut Primary), Error> {
        let ordinal = u32::try_from(device).map_err(|_| Error::INVALID_DEVICE)?;
        let primary = self.primaries.get_mut(ordinal as usize).ok_or(Error::INVALID_DEVICE)?;
        Ok((ordinal, primary))
    }

    /// Retains a device's primary context, making it if need be.
    pub fn retain_primary(&mut self, device: i32) -> Result<u64, Error> {
        let (ordinal, primary) = self.primary(device)?;
        primary.retained += 1;
        let handle = primary.handle;
        if self.table.find(handle).is_none() {
            self.table.put(handle, Context::new(ordinal));
        }
        Ok(handle)
    }

    /// Releases a primary context; returns its handle if that was the last time.
    pub fn release_primary(&mut self, device: i32) -> Result<Option<u64>, Error> {
        let (_, primary) = self.primary(device)?;
        primary.retained = primary.retained.checked_sub(1).ok_or(Error::INVALID_CONTEXT)?;
        let last = (primary.retained == 0).then_some(primary.handle);
        Ok(last.filter(|&handle| self.table.remove(handle).is_some()))
    }

    /// Ends a primary context, however often it is retained; returns its handle if it lived.
    pub fn reset_primary(&mut self, device: i32) -> Result<Option<u64>, Error> {
        let (_, primary) = self.primary(device)?;
        primary.retained = 0;
        let handle = primary.handle;
        Ok(self.table.remove(handle).map(|_| handle))
    }

    /// Creates a context.
    pub fn create(&mut self, device: i32, flags: u32) -> Result<u64, Error> {
        let (ordinal, _) = self.primary(device)?;
        check_flags(flags)?;
        self.table.insert(Context::new(ordinal))
    }

    /// Takes from all contexts the access to the memory of one that has ended: a primary one comes
    /// back under the same handle.
    pub fn forget_peer(&mut self, ended: u64) {
        for handle in self.table.handles_of(|context| context.peers.contains(&ended)) {
            if let Some(context) = self.table.find_mut(handle) {
                context.peers.remove(&ended);
            }
        }
    }

    /// Destroys a created context. A primary one is released, not destroyed.
    pub fn destroy(&mut self, handle: u64) -> Result<(), Error> {
        self.find(handle)?;
        if self.primaries.iter().any(|primary| primary.handle == handle) {
            return Err(Error::INVALID_CONTEXT);
        }
        self.table.remove(handle);
        Ok(())
    }
}
