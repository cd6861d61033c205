//! Pools of memory (CUDA Driver API, Stream Ordered Memory Allocator).
//!
//! A pool here holds no memory beyond what is allocated from it: what is freed goes back at once,
//! which a release threshold allows and never asks for.

use std::collections::BTreeMap;

use vgpu_abi::cuda::{CUmemAccess_flags, CUmemPool_attribute as Attribute, Error};

use super::handles::{Kind, Table};

/// One pool.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Ordinal of its device.
    pub device: u32,
    /// Most bytes that it hands out; 0 for no limit of its own.
    bytes_max: u64,
    used: u64,
    used_high: u64,
    /// The three ways to use memory again, all of them on at first.
    reuse: [u64; 3],
    release_threshold: u64,
    /// `CUmemAccess_flags` by device, beside its own.
    access: BTreeMap<u32, u32>,
    /// Destroyed, and gone with the last of its memory.
    is_destroyed: bool,
}

/// All pools of a client.
#[derive(Debug)]
pub(crate) struct Pools {
    table: Table<Pool>,
    /// By device: the default pool, and the one that is allocated from.
    defaults: Vec<u64>,
    chosen: Vec<u64>,
}

impl Pools {
    /// Makes the default pools.
    pub fn new(devices: usize) -> Self {
        let mut table = Table::new(Kind::Pool);
        let pool = |device: usize| {
            let handle = table.take_handle();
            table.put(handle, Pool::new(device as u32, 0));
            handle
        };
        let defaults: Vec<u64> = (0..devices).map(pool).collect();
        Self { table, chosen: defaults.clone(), defaults }
    }

    /// Names a device's default pool.
    pub fn default_of(&self, device: u32) -> Result<u64, Error> {
        self.defaults.get(device as usize).copied().ok_or(Error::INVALID_DEVICE)
    }

    /// Names the pool that a device allocates from.
    pub fn chosen_of(&self, device: u32) -> Result<u64, Error> {
        self.chosen.get(device as usize).copied().ok_or(Error::INVALID_DEVICE)
    }

    /// Chooses the pool that a device allocates from, which must be its own.
    pub fn choose(&mut self, device: u32, pool: u64) -> Result<(), Error> {
        if self.find(pool)?.device != device {
            return Err(Error::INVALID_VALUE);
        }
        *self.chosen.get_mut(device as usize).ok_or(Error::INVALID_DEVICE)? = pool;
        Ok(())
    }

    /// Makes a pool.
    pub fn create(&mut self, device: u32, bytes_max: u64) -> Result<u64, Error> {
        self.table.insert(Pool::new(device, bytes_max))
    }

    /// Ends a pool; what was allocated from it stays until it is freed. The default one cannot be
    /// ended, and stands in where the one that goes was chosen.
    pub fn destroy(&mut self, pool: u64) -> Result<(), Error> {
        let device = self.find(pool)?.device as usize;
        if self.defaults.contains(&pool) {
            return Err(Error::INVALID_VALUE);
        }
        if self.chosen[device] == pool {
            self.chosen[device] = self.defaults[device];
        }
        if let Some(found) = self.table.find_mut(pool) {
            found.is_destroyed = true;
        }
        self.give_back(pool, 0);
        Ok(())
    }

    /// Finds a pool that lives.
    pub fn find(&self, pool: u64) -> Result<&Pool, Error> {
        self.table.find(pool).filter(|found| !found.is_destroyed).ok_or(Error::INVALID_VALUE)
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, pool: u64) -> Result<&mut Pool, Error> {
        self.table.find_mut(pool).filter(|found| !found.is_destroyed).ok_or(Error::INVALID_VALUE)
    }

    /// Notes that memory of a pool is free again.
    pub fn give_back(&mut self, pool: u64, bytes: u64) {
        let Some(found) = self.table.find_mut(pool) else { return };
        found.used = found.used.saturating_sub(bytes);
        if found.is_destroyed && found.used == 0 {
            self.table.remove(pool);
        }
    }
}

impl Pool {
    fn new(device: u32, bytes_max: u64) -> Self {
        Self {
            device,
            bytes_max,
            used: 0,
            used_high: 0,
            reuse: [1; 3],
            release_threshold: 0,
            access: BTreeMap::new(),
            is_destroyed: false,
        }
    }

    /// Takes memory; OUT_OF_MEMORY beyond the pool's own limit.
    pub fn take(&mut self, bytes: u64) -> Result<(), Error> {
        let used = self.used.checked_add(bytes).ok_or(Error::OUT_OF_MEMORY)?;
        if self.bytes_max > 0 && used > self.bytes_max {
            return Err(Error::OUT_OF_MEMORY);
        }
        self.used = used;
        self.used_high = self.used_high.max(used);
        Ok(())
    }

    /// Reads an attribute.
    pub fn attribute(&self, attribute: u32) -> Result<u64, Error> {
        Ok(match Attribute(attribute) {
            Attribute::REUSE_FOLLOW_EVENT_DEPENDENCIES => self.reuse[0],
            Attribute::REUSE_ALLOW_OPPORTUNISTIC => self.reuse[1],
            Attribute::REUSE_ALLOW_INTERNAL_DEPENDENCIES => self.reuse[2],
            Attribute::RELEASE_THRESHOLD => self.release_threshold,
            Attribute::RESERVED_MEM_CURRENT | Attribute::USED_MEM_CURRENT => self.used,
            Attribute::RESERVED_MEM_HIGH | Attribute::USED_MEM_HIGH => self.used_high,
            _ => return Err(Error::INVALID_VALUE),
        })
    }

    /// Changes an attribute; a high mark only goes back to what is used now.
    pub fn change(&mut self, attribute: u32, value: u64) -> Result<(), Error> {
        let (place, values) = match Attribute(attribute) {
            Attribute::REUSE_FOLLOW_EVENT_DEPENDENCIES => (&mut self.reuse[0], 0..=1),
            Attribute::REUSE_ALLOW_OPPORTUNISTIC => (&mut self.reuse[1], 0..=1),
            Attribute::REUSE_ALLOW_INTERNAL_DEPENDENCIES => (&mut self.reuse[2], 0..=1),
            Attribute::RELEASE_THRESHOLD => (&mut self.release_threshold, 0..=u64::MAX),
            Attribute::RESERVED_MEM_HIGH | Attribute::USED_MEM_HIGH if value == 0 => {
                self.used_high = self.used;
                return Ok(());
            }
            _ => return Err(Error::INVALID_VALUE),
        };
        if !values.contains(&value) {
            return Err(Error::INVALID_VALUE);
        }
        *place = value;
        Ok(())
    }

    /// Changes what a device may do; its own keeps all.
    pub fn change_access(&mut self, device: u32, flags: u32) -> Result<(), Error> {
        let known =
            [CUmemAccess_flags::NONE, CUmemAccess_flags::READ, CUmemAccess_flags::READWRITE];
        let is_revoked = device == self.device && flags != CUmemAccess_flags::READWRITE.0;
        if !known.contains(&CUmemAccess_flags(flags)) || is_revoked {
            return Err(Error::INVALID_VALUE);
        }
        self.access.insert(device, flags);
        Ok(())
    }

    /// Tells what a device may do.
    pub fn access(&self, device: u32) -> u32 {
        if device == self.device {
            return CUmemAccess_flags::READWRITE.0;
        }
        self.access.get(&device).copied().unwrap_or_default()
    }
}
