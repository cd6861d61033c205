//! Staging of copies from the device.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::foreign::Raw;
use super::{ALIGNMENT, PIECE_BYTES, PIECES_MAX, Pages, Pinning, pin};

/// Pieces that copies from the device are written to.
#[derive(Debug, Default)]
pub(in super::super) struct Outward {
    pieces: Vec<Piece>,
    /// Whether no more could be pinned.
    is_exhausted: bool,
}

#[derive(Debug)]
struct Piece {
    pages: Pages,
    /// The context in which it is pinned.
    context: u64,
    /// Bytes that were given away since it was last free.
    used: usize,
}

/// A place for a part of what is copied from the device. Its piece is not used again before it is
/// dropped, which its owner does when the device no longer writes there.
#[derive(Debug)]
pub(in super::super) struct Place {
    pages: Pages,
    range: Range<usize>,
}

impl Place {
    /// Its size.
    pub fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Lends its memory to a call.
    pub fn lend<T>(&self, call: impl FnOnce(Raw<'_>) -> T) -> T {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        call(Raw::write(&mut pages[self.range.clone()]))
    }

    /// Appends what was copied.
    pub fn append_to(&self, bulk: &mut Vec<u8>) {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        bulk.extend_from_slice(&pages[self.range.clone()]);
    }
}

impl Outward {
    /// Finds places for a copy in the current context; `None` where there is not that much room.
    pub fn take(
        &mut self,
        driver: &impl Pinning,
        context: u64,
        bytes: usize,
    ) -> Option<Vec<Place>> {
        let whole = (0..bytes / PIECE_BYTES).map(|_| PIECE_BYTES);
        let rest = Some(bytes % PIECE_BYTES).filter(|rest| *rest > 0);
        whole.chain(rest).map(|bytes| self.take_one(driver, context, bytes)).collect()
    }

    fn take_one(&mut self, driver: &impl Pinning, context: u64, bytes: usize) -> Option<Place> {
        let has_room = |piece: &mut Piece| {
            if piece.is_free() {
                piece.used = 0;
            }
            piece.context == context && piece.used + bytes <= PIECE_BYTES
        };
        let found = self.pieces.iter_mut().position(has_room);
        let at = found.or_else(|| self.add(driver, context))?;
        let piece = &mut self.pieces[at];
        let range = piece.used..piece.used + bytes;
        piece.used = range.end.next_multiple_of(ALIGNMENT);
        Some(Place { pages: Arc::clone(&piece.pages), range })
    }

    /// Gives up what is pinned in a context that is about to end, and is current. Returns what
    /// stays pinned until then, as copies may still be written to it.
    pub fn end_context(&mut self, driver: &impl Pinning, context: u64) -> Vec<Pages> {
        self.is_exhausted = false;
        let ended = self.pieces.extract_if(.., |piece| piece.context == context);
        ended.filter(|piece| !piece.unpin(driver)).map(|piece| piece.pages).collect()
    }

    /// Says whether anything is pinned in a context.
    pub fn is_used_by(&self, context: u64) -> bool {
        self.pieces.iter().any(|piece| piece.context == context)
    }

    /// Pins another piece, in place of one of another context where there are enough.
    fn add(&mut self, driver: &impl Pinning, context: u64) -> Option<usize> {
        if self.is_exhausted || self.pieces.len() >= PIECES_MAX {
            let is_spare = |piece: &Piece| piece.context != context && piece.is_free();
            let at = self.pieces.iter().position(is_spare)?;
            if !self.pieces[at].unpin(driver) {
                return None;
            }
            self.pieces.swap_remove(at);
        }
        let pages = pin(driver);
        self.is_exhausted = pages.is_none();
        self.pieces.push(Piece { pages: Arc::new(Mutex::new(pages?)), context, used: 0 });
        Some(self.pieces.len() - 1)
    }
}

impl Piece {
    /// Says whether nobody has a place in it.
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.pages) == 1
    }

    /// Unpins it where nobody has a place in it; says whether that is done.
    fn unpin(&self, driver: &impl Pinning) -> bool {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_free() && driver.unpin(&mut pages).is_ok()
    }
}
