//! Staging of copies to the device.

use memmap2::MmapMut;
use vgpu_abi::cuda::Error;

use super::super::foreign::Pointer;
use super::{ALIGNMENT, PIECE_BYTES, PIECES_MAX, Pinning, pin};

/// Pieces that copies to the device are read from.
#[derive(Debug, Default)]
pub(in super::super) struct Inward {
    pieces: Vec<Piece>,
    /// Counts uses, so that the one that was used longest ago is known.
    uses: u64,
    /// Whether no more could be pinned.
    is_exhausted: bool,
}

/// A stream by the client's number for it, which no other one ever has: addresses of the driver's
/// come again while copies of an older stream are still under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct User {
    /// Its context.
    pub context: u64,
    /// Its number.
    pub stream: u64,
    /// The thread, for its own default stream.
    pub thread: u32,
}

/// Memory that the copies of one stream are read from.
#[derive(Debug)]
struct Piece {
    pages: MmapMut,
    /// The context in which it is pinned.
    context: u64,
    /// Happens behind the last copy.
    event: Pointer,
    /// Whose copies read it; nobody's as yet.
    user: Option<User>,
    /// Bytes that copies may still read.
    used: usize,
    last_use: u64,
}

impl Inward {
    /// Copies contents behind what a stream of the current context does already, in parts: `copy`
    /// is given what lies before each, and the part in pinned memory, which stays as it is until
    /// the stream has read it. Returns how much was copied: all, unless what is pinned is in use
    /// by other streams. Contents of at most [`PIECE_BYTES`] are one part.
    ///
    /// # Errors
    /// Those of `copy`, and of the driver.
    pub fn send(
        &mut self,
        driver: &impl Pinning,
        (user, stream): (User, Pointer),
        contents: &[u8],
        mut copy: impl FnMut(usize, &[u8]) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut sent = 0;
        for part in contents.chunks(PIECE_BYTES) {
            let Some(at) = self.find(driver, user, part.len())? else { break };
            self.uses += 1;
            let piece = &mut self.pieces[at];
            let place = piece.used..piece.used + part.len();
            piece.pages[place.clone()].copy_from_slice(part);
            copy(sent, &piece.pages[place.clone()])?;
            (piece.user, piece.last_use) = (Some(user), self.uses);
            piece.used = place.end.next_multiple_of(ALIGNMENT);
            if let Err(error) = driver.record(piece.event, stream) {
                // Nothing else says when the copy has read it. The first error is what counts.
                let _ = driver.drain(stream);
                return Err(error);
            }
            sent += part.len();
        }
        Ok(sent)
    }

    /// Gives up what is pinned in a context that is about to end, and is current. Returns what
    /// stays pinned until then, as copies may still read it.
    pub fn end_context(&mut self, driver: &impl Pinning, context: u64) -> Vec<MmapMut> {
        self.is_exhausted = false;
        let ended = self.pieces.extract_if(.., |piece| piece.context == context);
        ended.filter_map(|piece| piece.end(driver)).collect()
    }

    /// Says whether anything is pinned in a context.
    pub fn is_used_by(&self, context: u64) -> bool {
        self.pieces.iter().any(|piece| piece.context == context)
    }

    /// Finds a piece with room: one that the stream uses already, one that nobody reads any more,
    /// a new one, else the stream's own that was used longest ago, which it waits for. For what
    /// other streams do it does not wait.
    fn find(
        &mut self,
        driver: &impl Pinning,
        user: User,
        bytes: usize,
    ) -> Result<Option<usize>, Error> {
        let is_own = |piece: &Piece| piece.user == Some(user);
        let has_room = |piece: &Piece| is_own(piece) && piece.used + bytes <= PIECE_BYTES;
        if let Some(at) = self.pieces.iter().position(has_room) {
            return Ok(Some(at));
        }
        let of_context = |piece: &Piece| piece.context == user.context;
        if let Some(at) = self.find_read(driver, of_context) {
            self.pieces[at].used = 0;
            return Ok(Some(at));
        }
        if self.add(driver, user.context) {
            return Ok(Some(self.pieces.len() - 1));
        }
        let own = self.pieces.iter().enumerate().filter(|(_, piece)| is_own(piece));
        let Some((at, _)) = own.min_by_key(|(_, piece)| piece.last_use) else { return Ok(None) };
        driver.wait(self.pieces[at].event)?;
        self.pieces[at].used = 0;
        Ok(Some(at))
    }

    /// Finds a piece that all copies have been read from.
    fn find_read(
        &self,
        driver: &impl Pinning,
        is_wanted: impl Fn(&Piece) -> bool,
    ) -> Option<usize> {
        let is_read = |piece: &Piece| is_wanted(piece) && !driver.is_due(piece.event);
        self.pieces.iter().position(is_read)
    }

    /// Pins another piece, in place of one of another context where there are enough.
    fn add(&mut self, driver: &impl Pinning, context: u64) -> bool {
        if self.is_exhausted || self.pieces.len() >= PIECES_MAX {
            let other = self.find_read(driver, |piece| piece.context != context);
            let Some(at) = other else { return false };
            if driver.unpin(&mut self.pieces[at].pages).is_err() {
                return false;
            }
            driver.end_event(self.pieces.swap_remove(at).event);
        }
        let Ok(event) = driver.event() else { return false };
        let Some(pages) = pin(driver) else {
            driver.end_event(event);
            self.is_exhausted = true;
            return false;
        };
        self.pieces.push(Piece { pages, context, event, user: None, used: 0, last_use: 0 });
        true
    }
}

impl Piece {
    /// Gives it up; returns its memory where that stays pinned.
    fn end(mut self, driver: &impl Pinning) -> Option<MmapMut> {
        if driver.is_due(self.event) {
            return Some(self.pages);
        }
        driver.end_event(self.event);
        driver.unpin(&mut self.pages).err().map(|_| self.pages)
    }
}
