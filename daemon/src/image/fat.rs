//! Fat binaries: a header, then entries of PTX or machine code, each for one architecture and
//! possibly compressed.
//!
//! ```text
//! header  0 magic u32 · 4 version u16 · 6 header bytes u16 · 8 bytes of all entries u64
//! entry   0 kind u16 · 2 version u16 · 4 header bytes u32 · 8 padded payload bytes u64
//!        16 compressed bytes u32 · 28 architecture u32 · 40 flags u64 · 56 unpacked bytes u64
//! ```

use std::borrow::Cow;
use std::io::Read;

use super::{ImageError, UNPACKED_BYTES_MAX, u16_at, u32_at, u64_at};

/// First four bytes of a fat binary.
pub(super) const MAGIC: u32 = 0xba55_ed50;

/// Most entries: some twenty times as many as there are architectures and kinds of code for each.
const ENTRIES_MAX: usize = 1024;

/// Smallest header of an entry.
const ENTRY_BYTES: usize = 64;

/// Flag: the payload is an LZ4 block (CUDA 12.3 and earlier; later ones on demand).
const LZ4: u64 = 1 << 13;

/// Flag: the payload is a zstd frame.
const ZSTD: u64 = 1 << 15;

/// Flag: the code runs on exactly its architecture (`sm_90a`).
const EXACT: u64 = 1 << 20;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ptx,
    Cubin,
    /// Something that no device executes, such as an intermediate form for linking.
    Other,
}

/// One entry of a fat binary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub kind: Kind,
    /// Ten times the major plus the minor number.
    pub architecture: u32,
    pub exact: bool,
    /// Where it begins in the image, for messages.
    pub offset: usize,
    payload: &'a [u8],
    packing: Packing,
}

#[derive(Debug, Clone, Copy)]
enum Packing {
    None,
    Lz4 { bytes: usize },
    Zstd { bytes: usize },
}

/// Reads the entries of a fat binary.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, ImageError> {
    let short = || ImageError::invalid("the fat binary's header is cut short", bytes.len());
    let header = usize::from(u16_at(bytes, 6).ok_or_else(short)?);
    let length = u64_at(bytes, 8).ok_or_else(short)?;
    if header < 16 {
        return Err(ImageError::invalid("the fat binary's header is too small", 6));
    }
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(header));
    let end = end
        .filter(|&end| end <= bytes.len())
        .ok_or_else(|| ImageError::invalid("the fat binary is longer than its bytes", 8))?;
    let mut entries = Vec::new();
    let mut at = header;
    while at < end {
        if entries.len() == ENTRIES_MAX {
            return Err(ImageError::invalid("the fat binary has too many entries", at));
        }
        let (entry, next) = entry(&bytes[..end], at)?;
        entries.push(entry);
        at = next;
    }
    Ok(entries)
}

/// Reads the entry at an offset, and says where the next one begins.
fn entry(bytes: &[u8], at: usize) -> Result<(Entry<'_>, usize), ImageError> {
    let cut = ImageError::invalid("an entry of the fat binary is cut short", at);
    let header = bytes.get(at..).and_then(|rest| rest.get(..ENTRY_BYTES)).ok_or(cut.clone())?;
    let u32_of = |at| u32_at(header, at).expect("within the 64 bytes");
    let u64_of = |at| u64_at(header, at).expect("within the 64 bytes");
    let header_bytes = u32_of(4) as usize;
    if header_bytes < ENTRY_BYTES {
        return Err(ImageError::invalid("an entry's header is too small", at));
    }
    let begin = at.checked_add(header_bytes).ok_or(cut.clone())?;
    let padded = usize::try_from(u64_of(8)).map_err(|_| cut.clone())?;
    let next = begin.checked_add(padded).ok_or(cut.clone())?;
    let payload = bytes.get(begin..next).ok_or(cut)?;
    let flags = u64_of(40);
    let packing = packing(flags, u64_of(56), at)?;
    let payload = match (packing, u32_of(16) as usize) {
        (Packing::None, _) => payload,
        (_, packed) => payload
            .get(..packed)
            .ok_or_else(|| ImageError::invalid("an entry's compressed bytes are cut short", at))?,
    };
    let kind = match u16_at(header, 0) {
        Some(1) => Kind::Ptx,
        Some(2) => Kind::Cubin,
        _ => Kind::Other,
    };
    let exact = flags & EXACT != 0;
    let entry = Entry { kind, architecture: u32_of(28), exact, offset: at, payload, packing };
    Ok((entry, next))
}

fn packing(flags: u64, unpacked: u64, at: usize) -> Result<Packing, ImageError> {
    if flags & (LZ4 | ZSTD) == 0 {
        return Ok(Packing::None);
    }
    let bytes = usize::try_from(unpacked)
        .ok()
        .filter(|&bytes| bytes <= UNPACKED_BYTES_MAX)
        .ok_or_else(|| ImageError::invalid("an entry is larger than an image may be", at))?;
    Ok(if flags & ZSTD != 0 { Packing::Zstd { bytes } } else { Packing::Lz4 { bytes } })
}

impl<'a> Entry<'a> {
    /// Unpacks what the entry holds.
    pub fn unpack(&self) -> Result<Cow<'a, [u8]>, ImageError> {
        let (unpacked, bytes) = match self.packing {
            Packing::None => return Ok(Cow::Borrowed(self.payload)),
            Packing::Lz4 { bytes } => (self.lz4(bytes), bytes),
            Packing::Zstd { bytes } => (self.zstd(bytes), bytes),
        };
        unpacked.filter(|unpacked| unpacked.len() == bytes).map(Cow::Owned).ok_or_else(|| {
            ImageError::invalid("an entry does not unpack to what it declares", self.offset)
        })
    }

    fn lz4(&self, bytes: usize) -> Option<Vec<u8>> {
        // An LZ4 block grows by at most 255 times, so a short one cannot ask for much memory.
        if bytes / 256 > self.payload.len() {
            return None;
        }
        lz4_flex::block::decompress(self.payload, bytes).ok()
    }

    fn zstd(&self, bytes: usize) -> Option<Vec<u8>> {
        let decoder = ruzstd::decoding::StreamingDecoder::new(self.payload).ok()?;
        let mut unpacked = Vec::new();
        // One byte more, so that a frame that goes on is noticed.
        decoder.take(bytes as u64 + 1).read_to_end(&mut unpacked).ok()?;
        Some(unpacked)
    }
}
