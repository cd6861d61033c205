//! Memory as a thread sees it: every access is checked.

use crate::device::sim::ptx::code::{
    Access, LOCAL_WINDOW, PARAMETER_WINDOW, RANK_SHIFT, SHARED_WINDOW, Slot, Space, WINDOW_BYTES,
};
use crate::device::sim::ptx::{Fault, GlobalMemory};

/// The memories that a thread can reach.
pub(super) struct Memories<'a> {
    pub global: &'a mut dyn GlobalMemory,
    pub shared: Cluster<'a>,
    pub local: &'a mut [u8],
    pub parameters: &'a [u8],
}

/// Shared memory of the blocks of a cluster, as one of them sees it.
pub(super) struct Cluster<'a> {
    before: &'a mut [Vec<u8>],
    own: &'a mut [u8],
    behind: &'a mut [Vec<u8>],
}

impl<'a> Cluster<'a> {
    /// Takes apart what the blocks of a cluster have, for the block of a rank.
    pub fn new(all: &'a mut [Vec<u8>], rank: usize) -> Self {
        let (before, rest) = all.split_at_mut(rank);
        let (own, behind) = rest.split_first_mut().expect("the block is one of its cluster");
        Self { before, own, behind }
    }

    /// Finds the bytes of an access in whichever block's memory the address lies.
    fn bytes(&mut self, at: u64, bytes: usize) -> Result<&mut [u8], Fault> {
        let within = at & ((1 << RANK_SHIFT) - 1);
        let Some(rank) = ((at as u32 >> RANK_SHIFT) as usize).checked_sub(1) else {
            return own(self.own, within, bytes);
        };
        let memory = match rank.checked_sub(self.before.len()) {
            None => &mut self.before[rank],
            Some(0) => &mut *self.own,
            Some(behind) => self.behind.get_mut(behind - 1).ok_or(Fault::Failed)?,
        };
        own(memory, within, bytes)
    }
}

/// Finds the bytes of an access within one of the kernel's own memories.
fn own(memory: &mut [u8], at: u64, bytes: usize) -> Result<&mut [u8], Fault> {
    let begin = at as u32 as usize;
    memory.get_mut(begin..begin + bytes).ok_or(Fault::Failed)
}

impl Memories<'_> {
    /// Borrows the bytes of an access for writing.
    #[inline]
    pub fn bytes(&mut self, space: Space, at: u64, bytes: usize) -> Result<&mut [u8], Fault> {
        if !at.is_multiple_of(bytes as u64) {
            return Err(Fault::Misaligned { address: at });
        }
        match space {
            Space::Shared => own(self.shared.own, at, bytes),
            Space::Cluster => self.shared.bytes(at, bytes),
            Space::Local => own(self.local, at, bytes),
            Space::Generic if at.wrapping_sub(SHARED_WINDOW) < WINDOW_BYTES => {
                self.shared.bytes(at - SHARED_WINDOW, bytes)
            }
            Space::Generic if at.wrapping_sub(LOCAL_WINDOW) < WINDOW_BYTES => {
                own(self.local, at - LOCAL_WINDOW, bytes)
            }
            _ => self.global.bytes(at, bytes).ok_or(Fault::IllegalAddress { address: at }),
        }
    }

    /// Borrows the bytes of an access for reading.
    fn read(&mut self, space: Space, at: u64, bytes: usize) -> Result<&[u8], Fault> {
        let parameter = at.wrapping_sub(PARAMETER_WINDOW);
        if space == Space::Generic && parameter < WINDOW_BYTES {
            if !parameter.is_multiple_of(bytes as u64) {
                return Err(Fault::Misaligned { address: at });
            }
            let begin = parameter as usize;
            return self.parameters.get(begin..begin + bytes).ok_or(Fault::Failed);
        }
        self.bytes(space, at, bytes).map(|bytes| &*bytes)
    }

    /// Loads one value.
    #[inline]
    pub fn load(&mut self, access: Access, file: &[u64]) -> Result<u64, Fault> {
        let bytes = self.read(access.space, address(access, file), width(access))?;
        Ok(value(bytes, access))
    }

    /// Stores one value.
    #[inline]
    pub fn store(&mut self, access: Access, file: &[u64], value: u64) -> Result<(), Fault> {
        let bytes = self.bytes(access.space, address(access, file), width(access))?;
        put(bytes, value);
        Ok(())
    }

    /// Loads as many values as there are slots; the whole has to be aligned.
    pub fn load_all(
        &mut self,
        access: Access,
        file: &mut [u64],
        slots: &[Slot],
    ) -> Result<(), Fault> {
        let width = width(access);
        let bytes = self.read(access.space, address(access, file), width * slots.len())?;
        for (slot, bytes) in slots.iter().zip(bytes.chunks_exact(width)) {
            file[*slot as usize] = value(bytes, access);
        }
        Ok(())
    }

    /// Stores as many values as there are slots.
    pub fn store_all(&mut self, access: Access, file: &[u64], slots: &[Slot]) -> Result<(), Fault> {
        let width = width(access);
        let bytes = self.bytes(access.space, address(access, file), width * slots.len())?;
        for (slot, bytes) in slots.iter().zip(bytes.chunks_exact_mut(width)) {
            put(bytes, file[*slot as usize]);
        }
        Ok(())
    }

    /// Copies up to 16 bytes from global to shared memory, the rest as zeros.
    pub fn copy(
        &mut self,
        access: Access,
        file: &[u64],
        from: u64,
        bytes: usize,
        count: usize,
    ) -> Result<(), Fault> {
        let (mut buffer, count) = ([0; 16], count.min(bytes));
        if !from.is_multiple_of(bytes as u64) {
            return Err(Fault::Misaligned { address: from });
        }
        if count > 0 {
            let source = self.global.bytes(from, count);
            let source = source.ok_or(Fault::IllegalAddress { address: from })?;
            buffer[..count].copy_from_slice(source);
        }
        let target = self.bytes(access.space, address(access, file), bytes)?;
        target.copy_from_slice(&buffer[..bytes]);
        Ok(())
    }
}

#[inline]
fn width(access: Access) -> usize {
    access.kind.bytes() as usize
}

/// The address of an access. Addresses within the kernel's own memories have 32 bits.
#[inline]
fn address(access: Access, file: &[u64]) -> u64 {
    let at = file[access.base as usize].wrapping_add_signed(access.offset.into());
    match access.space {
        Space::Shared | Space::Cluster | Space::Local => u64::from(at as u32),
        Space::Global | Space::Generic => at,
    }
}

/// Reads a value, widened with its sign if it has one.
#[inline]
fn value(bytes: &[u8], access: Access) -> u64 {
    let signed = access.kind.is_signed();
    match *bytes {
        [a] if signed => i64::from(a as i8) as u64,
        [a] => u64::from(a),
        [a, b] if signed => i64::from(i16::from_le_bytes([a, b])) as u64,
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] if signed => i64::from(i32::from_le_bytes([a, b, c, d])) as u64,
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => u64::from_le_bytes(bytes.try_into().expect("a value has up to 8 bytes")),
    }
}

#[inline]
fn put(bytes: &mut [u8], value: u64) {
    let value = value.to_le_bytes();
    match bytes.len() {
        1 => bytes.copy_from_slice(&value[..1]),
        2 => bytes.copy_from_slice(&value[..2]),
        4 => bytes.copy_from_slice(&value[..4]),
        _ => bytes.copy_from_slice(&value),
    }
}
