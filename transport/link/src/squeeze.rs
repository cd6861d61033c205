//! A stream whose larger writes go through LZ4 where that makes them smaller.
//!
//! Each write is a block: four bytes of head, little-endian, whose lower 31 bits count the bytes
//! that follow. If the top bit is set, these are the block's plain length (four bytes) and what
//! LZ4's block format holds of it. What is chosen, and why, is decision 0044.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use crate::Stream;

const HEAD_BYTES: usize = 4;

/// Most plain bytes of a block: with its heads 64 KiB, which TLS takes at once.
const BLOCK_BYTES_MAX: usize = (64 << 10) - 2 * HEAD_BYTES;

/// Shorter writes are not tried: 4 KiB travel in a few packets anyway.
const TRIED_BYTES_MIN: usize = 4 << 10;

/// How many blocks are sent as they are, at most, between two that are tried: after one that did
/// not shrink the next is not tried, then two, then four, as weights of models never shrink.
const UNTRIED_MAX: u32 = 32;

/// Marks a block that went through LZ4.
const SQUEEZED: u32 = 1 << 31;

/// A stream over another one.
#[derive(Debug)]
pub struct Squeezed<S> {
    inner: S,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
}

/// What came and was not read yet.
#[derive(Debug)]
struct Incoming {
    /// Bytes of the inner stream.
    ahead: Box<[u8]>,
    unread: Range<usize>,
    /// Bytes of a block as it is that are still to come.
    rest: usize,
    /// The contents of a block that went through LZ4, and what of them is unread.
    plain: Vec<u8>,
    unread_plain: Range<usize>,
}

#[derive(Debug, Default)]
struct Outgoing {
    plain: Vec<u8>,
    block: Vec<u8>,
    /// Blocks that still go untried, and how many go so after the next that does not shrink.
    untried: u32,
    next: u32,
}

/// Takes a lock whose holder may have panicked: what it left is an order of bytes at worst, which
/// the peer's checks refuse.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

impl<S: Stream> Squeezed<S> {
    /// Begins with the next byte of `inner`; the peer does the same.
    pub fn new(inner: S) -> Self {
        let incoming = Incoming {
            ahead: vec![0; BLOCK_BYTES_MAX].into(),
            unread: 0..0,
            rest: 0,
            plain: Vec::new(),
            unread_plain: 0..0,
        };
        Self { inner, incoming: Mutex::new(incoming), outgoing: Mutex::default() }
    }
}

impl Incoming {
    /// Waits until `into` is full; says `false` if the peer closed before.
    fn fill<S: Stream>(
        &mut self,
        inner: &S,
        into: &mut [u8],
        limit: Option<Instant>,
    ) -> io::Result<bool> {
        let mut done = 0;
        while done < into.len() {
            if self.unread.is_empty() {
                let count = inner.read(&mut self.ahead, limit)?;
                if count == 0 {
                    return Ok(false);
                }
                self.unread = 0..count;
            }
            done += take(&self.ahead, &mut self.unread, &mut into[done..]);
        }
        Ok(true)
    }

    /// Reads the head of the next block, and what follows if that went through LZ4; says `false` if
    /// the peer closed.
    fn open<S: Stream>(&mut self, inner: &S, limit: Option<Instant>) -> io::Result<bool> {
        let mut head = [0; HEAD_BYTES];
        if !self.fill(inner, &mut head, limit)? {
            return Ok(false);
        }
        let head = u32::from_le_bytes(head);
        let bytes = (head & !SQUEEZED) as usize;
        if bytes == 0 || bytes > BLOCK_BYTES_MAX {
            return Err(invalid("a block of an impossible length"));
        }
        if head & SQUEEZED == 0 {
            self.rest = bytes;
            return Ok(true);
        }
        let mut block = vec![0; bytes];
        if !self.fill(inner, &mut block, limit)? {
            return Ok(false);
        }
        let (plain, block) =
            block.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| invalid("a block cut short"))?;
        let plain = u32::from_le_bytes(*plain) as usize;
        if plain == 0 || plain > BLOCK_BYTES_MAX {
            return Err(invalid("a block of an impossible plain length"));
        }
        self.plain.resize(plain, 0);
        match decompress_into(block, &mut self.plain) {
            Ok(count) if count == plain => self.unread_plain = 0..plain,
            _ => return Err(invalid("a block that is not LZ4's")),
        }
        Ok(true)
    }
}

/// Copies what both have room for; returns how much.
fn take(from: &[u8], unread: &mut Range<usize>, into: &mut [u8]) -> usize {
    let count = unread.len().min(into.len());
    into[..count].copy_from_slice(&from[unread.start..unread.start + count]);
    unread.start += count;
    count
}

impl Outgoing {
    /// Fills `block` with the plain bytes squeezed; says `false` if they are to go as they are.
    fn squeeze(&mut self) -> bool {
        if self.plain.len() < TRIED_BYTES_MIN {
            return false;
        }
        if self.untried > 0 {
            self.untried -= 1;
            return false;
        }
        let begin = 2 * HEAD_BYTES;
        self.block.resize(begin + get_maximum_output_size(self.plain.len()), 0);
        let count = compress_into(&self.plain, &mut self.block[begin..]).unwrap_or(usize::MAX);
        // What saves less than a quarter is not worth the peer's time.
        if count > self.plain.len() / 4 * 3 {
            self.untried = self.next;
            self.next = (2 * self.next).clamp(1, UNTRIED_MAX);
            return false;
        }
        self.next = 0;
        self.block.truncate(begin + count);
        let head = SQUEEZED | (HEAD_BYTES + count) as u32;
        self.block[..HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
        self.block[HEAD_BYTES..begin].copy_from_slice(&(self.plain.len() as u32).to_le_bytes());
        true
    }
}

/// Writes all of `parts`: half a block would be lost to the peer.
fn write_all<S: Stream>(
    inner: &S,
    mut parts: &mut [IoSlice<'_>],
    limit: Option<Instant>,
) -> io::Result<()> {
    while parts.iter().any(|part| !part.is_empty()) {
        let count = inner.write(parts, limit)?;
        IoSlice::advance_slices(&mut parts, count);
    }
    Ok(())
}

impl<S: Stream> Stream for Squeezed<S> {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.inner.descriptors()
    }

    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        let mut incoming = lock(&self.incoming);
        let incoming = &mut *incoming;
        let is_used_up = incoming.rest == 0 && incoming.unread_plain.is_empty();
        if into.is_empty() || (is_used_up && !incoming.open(&self.inner, limit)?) {
            return Ok(0);
        }
        if !incoming.unread_plain.is_empty() {
            return Ok(take(&incoming.plain, &mut incoming.unread_plain, into));
        }
        let room = into.len().min(incoming.rest);
        let count = if incoming.unread.is_empty() {
            self.inner.read(&mut into[..room], limit)?
        } else {
            take(&incoming.ahead, &mut incoming.unread, &mut into[..room])
        };
        incoming.rest -= count;
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        let mut outgoing = lock(&self.outgoing);
        let outgoing = &mut *outgoing;
        outgoing.plain.clear();
        for part in parts {
            let room = BLOCK_BYTES_MAX - outgoing.plain.len();
            outgoing.plain.extend_from_slice(&part[..room.min(part.len())]);
        }
        let taken = outgoing.plain.len();
        if taken == 0 {
            return Ok(0);
        }
        if outgoing.squeeze() {
            write_all(&self.inner, &mut [IoSlice::new(&outgoing.block)], limit)?;
        } else {
            let head = (taken as u32).to_le_bytes();
            let mut parts = [IoSlice::new(&head), IoSlice::new(&outgoing.plain)];
            write_all(&self.inner, &mut parts, limit)?;
        }
        Ok(taken)
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests;
