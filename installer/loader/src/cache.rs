//! `/etc/ld.so.cache` in the format that glibc writes since 2.32.
//!
//! The file is data from outside: every offset is checked before it is used, and a file that is
//! not sound is refused as a whole.

use std::ops::Range;

/// Marks the start of the format; an older format may stand before it.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Marks the start of the older format, which glibc itself skips.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const OLD_HEADER_BYTES: usize = 16;
const OLD_ENTRY_BYTES: usize = 12;
/// Most libraries that a cache may name: 1 << 20; a full desktop has about four thousand.
const ENTRIES_MAX: usize = 1 << 20;
/// Marks the directory of extensions (`cache_extension_magic` in glibc).
const EXTENSION_MAGIC: u32 = 0xEAA4_2174;
const EXTENSION_HWCAPS: u32 = 1;
/// Bit of an entry's hwcap word that says: the low 32 bits number a glibc-hwcaps directory.
const HWCAP_EXTENSION: u64 = 1 << 62;

/// Why a cache was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The file does not begin as a cache of the format that is supported.
    #[error("not a cache of the format glibc-ld.so.cache1.1")]
    Format,
    /// A field points outside of the file or contradicts another.
    #[error("a damaged cache: {field} at byte {offset}")]
    Damaged {
        /// The field that is wrong.
        field: &'static str,
        /// Where it stands, from the start of the file.
        offset: usize,
    },
}

/// One library that the cache names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Kind of library: 3 is any ELF of libc 6, and the high byte names the machine.
    pub flags: i32,
    /// The name asked for.
    pub name: Vec<u8>,
    /// The file that answers.
    pub path: Vec<u8>,
    /// The glibc-hwcaps directory it belongs to, such as `x86-64-v3`.
    pub hwcaps: Option<Vec<u8>>,
}

/// A parsed cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cache {
    entries: Vec<Entry>,
}

impl Cache {
    /// Parses the bytes of a cache file.
    ///
    /// # Errors
    /// [`CacheError`] if the file is of another format or not sound.
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        let base = new_format_offset(bytes)?;
        let view = View { bytes, base };
        if bytes.len() - base < HEADER_BYTES || !bytes[base..].starts_with(MAGIC) {
            return Err(CacheError::Format);
        }
        let count = view.u32(20, "number of libraries")? as usize;
        let flags = bytes[base + 28] & 3;
        // 0 is written by old versions, 2 is little-endian; 1 and 3 are not for this machine.
        if flags != 0 && flags != 2 {
            return Err(CacheError::Format);
        }
        if count > ENTRIES_MAX {
            return Err(view.damaged("number of libraries", 20));
        }
        let table_end = HEADER_BYTES + count * ENTRY_BYTES;
        if bytes.len() - base < table_end {
            return Err(view.damaged("table of libraries", 20));
        }
        let hwcaps = view.hwcaps()?;
        let mut entries = Vec::with_capacity(count);
        for index in 0..count {
            entries.push(view.entry(HEADER_BYTES + index * ENTRY_BYTES, &hwcaps)?);
        }
        Ok(Self { entries })
    }

    /// Lists every entry in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds the paths for a name, best first: glibc-hwcaps directories in the order of
    /// `supported`, then plain directories, as ld.so ranks them (`dl-cache.c`).
    ///
    /// `flags` is the kind of library that the machine loads (`0x303` on x86-64).
    #[must_use]
    pub fn find(&self, name: &[u8], flags: i32, supported: &[Vec<u8>]) -> Option<&[u8]> {
        let rank = |entry: &Entry| match &entry.hwcaps {
            None => Some(supported.len()),
            Some(hwcaps) => supported.iter().position(|known| known == hwcaps),
        };
        self.entries
            .iter()
            .filter(|entry| entry.name == name && (entry.flags == flags || entry.flags == 3))
            .filter_map(|entry| rank(entry).map(|rank| (rank, entry)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry.path.as_slice())
    }
}

/// Finds where the new format begins: at once, or after a table of the old one.
fn new_format_offset(bytes: &[u8]) -> Result<usize, CacheError> {
    if !bytes.starts_with(OLD_MAGIC) {
        return Ok(0);
    }
    let view = View { bytes, base: 0 };
    let count = view.u32(12, "number of libraries")? as usize;
    if count > ENTRIES_MAX {
        return Err(view.damaged("number of libraries", 12));
    }
    // The new header is aligned to 8 bytes, as its entries hold 64-bit words.
    let offset = (OLD_HEADER_BYTES + count * OLD_ENTRY_BYTES).next_multiple_of(8);
    if offset > bytes.len() { Err(CacheError::Format) } else { Ok(offset) }
}

/// The file seen from the start of the new format, to which all offsets are relative.
struct View<'a> {
    bytes: &'a [u8],
    base: usize,
}

impl View<'_> {
    fn damaged(&self, field: &'static str, offset: usize) -> CacheError {
        CacheError::Damaged { field, offset: self.base + offset }
    }

    fn slice(&self, range: Range<usize>, field: &'static str) -> Result<&[u8], CacheError> {
        let start = range.start;
        let (from, to) = (self.base.checked_add(range.start), self.base.checked_add(range.end));
        from.zip(to)
            .and_then(|(from, to)| self.bytes.get(from..to))
            .ok_or(CacheError::Damaged { field, offset: start })
    }

    fn u32(&self, offset: usize, field: &'static str) -> Result<u32, CacheError> {
        let bytes = self.slice(offset..offset.saturating_add(4), field)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&self, offset: u32, field: &'static str) -> Result<Vec<u8>, CacheError> {
        let start = offset as usize;
        let rest = self.slice(start..self.bytes.len() - self.base, field)?;
        let end =
            rest.iter().position(|byte| *byte == 0).ok_or_else(|| self.damaged(field, start))?;
        Ok(rest[..end].to_vec())
    }

    fn entry(&self, offset: usize, hwcaps: &[Vec<u8>]) -> Result<Entry, CacheError> {
        let low = self.u32(offset + 16, "hwcap")?;
        let high = self.u32(offset + 20, "hwcap")?;
        let word = u64::from(low) | u64::from(high) << 32;
        let directory = if word & HWCAP_EXTENSION == 0 {
            None
        } else {
            let name = hwcaps.get(low as usize);
            Some(name.ok_or_else(|| self.damaged("hwcap number", offset + 16))?.clone())
        };
        Ok(Entry {
            flags: self.u32(offset, "flags")?.cast_signed(),
            name: self.text(self.u32(offset + 4, "name")?, "name")?,
            path: self.text(self.u32(offset + 8, "path")?, "path")?,
            hwcaps: directory,
        })
    }

    /// Reads the names of glibc-hwcaps directories from the extension section, where there is one.
    fn hwcaps(&self) -> Result<Vec<Vec<u8>>, CacheError> {
        let offset = self.u32(32, "extension offset")? as usize;
        if offset == 0 {
            return Ok(Vec::new());
        }
        if self.u32(offset, "extension magic")? != EXTENSION_MAGIC {
            return Err(self.damaged("extension magic", offset));
        }
        let count = self.u32(offset + 4, "extension count")? as usize;
        for index in 0..count.min(64) {
            let section = offset + 8 + index * 16;
            if self.u32(section, "extension tag")? != EXTENSION_HWCAPS {
                continue;
            }
            let start = self.u32(section + 8, "extension start")? as usize;
            let bytes = self.u32(section + 12, "extension size")? as usize;
            self.slice(start..start.saturating_add(bytes), "extension")?;
            return (0..bytes / 4)
                .map(|name| self.text(self.u32(start + name * 4, "hwcap name")?, "hwcap name"))
                .collect();
        }
        Ok(Vec::new())
    }
}
