//! Handles: numbers that name one thing of one kind, once. They are never reused, so a stale one
//! is recognised, and never followed as pointers, so a forged one is harmless.

use std::collections::BTreeMap;

use vgpu_abi::cuda::Error;

/// What a handle names. The kind stands in a handle's top byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A context.
    Context = 1,
    /// A stream.
    Stream = 2,
    /// An event.
    Event = 3,
    /// A graph.
    Graph = 4,
    /// A node of a graph.
    GraphNode = 5,
    /// An executable graph.
    GraphExec = 6,
    /// A module.
    Module = 0x10,
    /// A library.
    Library = 0x11,
    /// A function.
    Function = 0x12,
    /// A kernel of a library.
    Kernel = 0x13,
    /// A link.
    Link = 0x14,
    /// Physical memory (`cuMemCreate`).
    Memory = 0x20,
    /// A handle of cuBLAS.
    Blas = 0x40,
    /// A pool of memory.
    Pool = 0x21,
    /// An array.
    Array = 0x22,
}

/// Bits below the kind.
const NUMBER_BITS: u32 = 56;

/// Most living things of one kind: about a million, a thousand times what the largest models ask
/// for, and some 100 MiB of a worker.
const LIVING_MAX: usize = 1 << 20;

/// All living things of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    kind: Kind,
    next: u64,
    living: BTreeMap<u64, T>,
}

impl<T> Table<T> {
    /// Starts without any.
    pub fn new(kind: Kind) -> Self {
        Self { kind, next: 1, living: BTreeMap::new() }
    }

    /// Takes a handle for something that may come to life later, and again and again.
    pub fn take_handle(&mut self) -> u64 {
        let handle = (self.kind as u64) << NUMBER_BITS | self.next;
        self.next += 1;
        handle
    }

    /// Brings something to life under a handle that was taken.
    pub fn put(&mut self, handle: u64, value: T) {
        self.living.insert(handle, value);
    }

    /// Brings something to life under a handle of its own.
    ///
    /// # Errors
    /// OUT_OF_MEMORY if a client has more than it can have use for.
    pub fn insert(&mut self, value: T) -> Result<u64, Error> {
        if self.living.len() >= LIVING_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let handle = self.take_handle();
        self.put(handle, value);
        Ok(handle)
    }

    /// Finds what a handle names.
    pub fn find(&self, handle: u64) -> Option<&T> {
        self.living.get(&handle)
    }

    /// Finds what a handle names, to change it.
    pub fn find_mut(&mut self, handle: u64) -> Option<&mut T> {
        self.living.get_mut(&handle)
    }

    /// Ends what a handle names.
    pub fn remove(&mut self, handle: u64) -> Option<T> {
        self.living.remove(&handle)
    }

    /// Ends all that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.living.retain(|_, value| keep(value));
    }

    /// Ends all that `is_meant`; returns their handles.
    pub fn extract_if(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<u64> {
        let ended = self.living.extract_if(.., |_, value| is_meant(value));
        ended.map(|(handle, _)| handle).collect()
    }

    /// Returns the handles of all that `is_meant`, which live on.
    pub fn handles_of(&self, is_meant: impl Fn(&T) -> bool) -> Vec<u64> {
        let meant = self.living.iter().filter(|(_, value)| is_meant(value));
        meant.map(|(handle, _)| *handle).collect()
    }

    /// Lists what lives.
    #[cfg(test)]
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.living.values()
    }

    /// Says whether a handle named something once.
    pub fn was_taken(&self, handle: u64) -> bool {
        let (kind, number) = (handle >> NUMBER_BITS, handle & ((1 << NUMBER_BITS) - 1));
        kind == self.kind as u64 && (1..self.next).contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_one_thing_of_one_kind_once() {
        let mut streams = Table::new(Kind::Stream);
        let mut events = Table::new(Kind::Event);
        let stream = streams.insert("stream").expect("room");
        let event = events.insert("event").expect("room");
        assert_ne!(stream, event);
        assert_eq!((streams.find(stream), streams.find(event)), (Some(&"stream"), None));
        assert_eq!(streams.remove(stream), Some("stream"));
        assert_eq!(streams.find(stream), None);
        assert_eq!(streams.remove(stream), None);
        assert!(streams.was_taken(stream) && !streams.was_taken(event));
        assert!(!streams.was_taken(stream + 1) && !streams.was_taken(0));
        assert_ne!(streams.insert("another"), Ok(stream));
    }
}
