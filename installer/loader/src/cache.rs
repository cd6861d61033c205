//! `/etc/ld.so.cache` in the formats that glibc reads: the new one (since 2.2, extensions since
//! 2.33), the old one before it, and the old one alone.
//!
//! The file is data from outside: every offset is checked before it is used, and a file that is
//! not sound is refused as a whole.

use std::ops::Range;

/// Marks the start of the new format; the old one may stand before it.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Marks the start of the old format.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const OLD_HEADER_BYTES: usize = 16;
const OLD_ENTRY_BYTES: usize = 12;
/// Most libraries that a cache may name: 1 << 20; a full desktop has about four thousand.
const ENTRIES_MAX: usize = 1 << 20;
/// Longest name or path: 4,096, Linux's PATH_MAX with its end mark.
const TEXT_BYTES_MAX: usize = 4096;
/// Most text that all entries may refer to together: 256 MiB. Entries may share their text, so
/// the length of the file does not bound it.
const TEXTS_BYTES_MAX: usize = 256 << 20;
/// Marks the directory of extensions (`cache_extension_magic` in glibc).
const EXTENSION_MAGIC: u32 = 0xEAA4_2174;
/// Most extensions that are looked at; glibc writes two.
const EXTENSIONS_MAX: usize = 64;
/// Most glibc-hwcaps directories that a cache may number; glibc knows three for each machine.
const HWCAPS_MAX: usize = 1024;
const EXTENSION_GENERATOR: u32 = 0;
const EXTENSION_HWCAPS: u32 = 1;
/// Bit of an entry's hwcap word that says: the low 32 bits number a glibc-hwcaps directory.
const HWCAP_EXTENSION: u64 = 1 << 62;

/// Why a cache was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The file does not begin as a cache.
    #[error("neither a cache of the format glibc-ld.so.cache1.1 nor of the older ld.so-1.7.0")]
    Format,
    /// The cache was written for a machine of another byte order, or marked as unusable.
    #[error("a cache for a machine of another byte order")]
    OtherOrder,
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
    /// The older hardware bits (`tls`, `haswell` and others) that it wants; 0 for none.
    pub legacy: u64,
}

/// A parsed cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cache {
    entries: Vec<Entry>,
    generator: Option<Vec<u8>>,
}

impl Cache {
    /// Parses the bytes of a cache file.
    ///
    /// # Errors
    /// [`CacheError`] if the file is of another format or not sound.
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        match layout(bytes)? {
            Layout::New(base) => new_format(&View { bytes, base, texts: 0 }),
            Layout::Old(count) => old_format(bytes, count),
        }
    }

    /// Lists every entry in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The program that wrote the cache, in its own words.
    #[must_use]
    pub fn generator(&self) -> Option<&[u8]> {
        self.generator.as_deref()
    }

    /// Finds the path for a name as ld.so does (`search_cache` in glibc's dl-cache.c):
    /// glibc-hwcaps directories in the order of `supported` come before plain ones, and of plain
    /// ones the first counts whose legacy bits are all among `legacy`.
    ///
    /// `flags` is the kind of library that the machine loads (`0x303` on x86-64).
    #[must_use]
    pub fn find(
        &self,
        name: &[u8],
        flags: i32,
        supported: &[Vec<u8>],
        legacy: u64,
    ) -> Option<&[u8]> {
        let rank = |entry: &Entry| match &entry.hwcaps {
            None => (entry.legacy & !legacy == 0).then_some(supported.len()),
            Some(hwcaps) => supported.iter().position(|known| known == hwcaps),
        };
        self.entries
            .iter()
            .filter(|entry| entry.name == name && entry.flags == flags)
            .filter_map(|entry| rank(entry).map(|rank| (rank, entry)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry.path.as_slice())
    }
}

/// Where the table that counts begins.
enum Layout {
    /// A new header at this offset.
    New(usize),
    /// No new header, and this many old entries.
    Old(usize),
}

/// Finds the new format, at once or after a table of the old one, or the old one alone.
fn layout(bytes: &[u8]) -> Result<Layout, CacheError> {
    if bytes.starts_with(MAGIC) && bytes.len() > HEADER_BYTES {
        return Ok(Layout::New(0));
    }
    if !bytes.starts_with(OLD_MAGIC) || bytes.len() <= OLD_HEADER_BYTES {
        return Err(CacheError::Format);
    }
    let view = View { bytes, base: 0, texts: 0 };
    let count = view.count(12, OLD_HEADER_BYTES, OLD_ENTRY_BYTES)?;
    // The new header is aligned to 8 bytes, as its entries hold 64-bit words.
    let offset = (OLD_HEADER_BYTES + count * OLD_ENTRY_BYTES).next_multiple_of(8);
    let rest = bytes.get(offset..).unwrap_or_default();
    let is_new = rest.starts_with(MAGIC) && rest.len() >= HEADER_BYTES;
    Ok(if is_new { Layout::New(offset) } else { Layout::Old(count) })
}

fn new_format(view: &View<'_>) -> Result<Cache, CacheError> {
    let mut view = View { ..*view };
    // 0 is written by old versions, 2 is little-endian, 3 big-endian, 1 marks a broken file.
    let order = view.slice(28..29, "byte order")?[0];
    if order != 0 && order & 3 != 2 {
        return Err(CacheError::OtherOrder);
    }
    let count = view.count(20, HEADER_BYTES, ENTRY_BYTES)?;
    let [generator, hwcaps] = view.extensions()?;
    let generator =
        generator.map(|range| view.whole().slice(range, "generator").map(<[u8]>::to_vec));
    let hwcaps = view.hwcaps(hwcaps)?;
    let entries = (0..count)
        .map(|index| view.entry(HEADER_BYTES + index * ENTRY_BYTES, &hwcaps))
        .collect::<Result<_, _>>()?;
    Ok(Cache { entries, generator: generator.transpose()? })
}

/// The old format alone: 12-byte entries, and offsets from the end of their table.
fn old_format(bytes: &[u8], count: usize) -> Result<Cache, CacheError> {
    let table = View { bytes, base: 0, texts: 0 };
    let base = OLD_HEADER_BYTES + count * OLD_ENTRY_BYTES;
    let mut texts = View { bytes, base, texts: 0 };
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let at = OLD_HEADER_BYTES + index * OLD_ENTRY_BYTES;
        entries.push(Entry {
            flags: table.u32(at, "flags")?.cast_signed(),
            name: texts.text(table.u32(at + 4, "name")?, "name")?,
            path: texts.text(table.u32(at + 8, "path")?, "path")?,
            hwcaps: None,
            legacy: 0,
        });
    }
    Ok(Cache { entries, generator: None })
}

/// The file seen from the place to which its offsets are relative.
struct View<'a> {
    bytes: &'a [u8],
    base: usize,
    /// How much text was read so far.
    texts: usize,
}

impl<'a> View<'a> {
    fn damaged(&self, field: &'static str, offset: usize) -> CacheError {
        CacheError::Damaged { field, offset: self.base.saturating_add(offset) }
    }

    fn slice(&self, range: Range<usize>, field: &'static str) -> Result<&'a [u8], CacheError> {
        let start = range.start;
        let (from, to) = (self.base.checked_add(range.start), self.base.checked_add(range.end));
        from.zip(to)
            .and_then(|(from, to)| self.bytes.get(from..to))
            .ok_or_else(|| self.damaged(field, start))
    }

    fn u32(&self, offset: usize, field: &'static str) -> Result<u32, CacheError> {
        let bytes = self.slice(offset..offset.saturating_add(4), field)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Reads a number of entries, and checks that the file is long enough to hold them.
    fn count(&self, offset: usize, header: usize, entry: usize) -> Result<usize, CacheError> {
        let count = self.u32(offset, "number of libraries")? as usize;
        let room = self.bytes.len().saturating_sub(self.base).saturating_sub(header) / entry;
        if count > ENTRIES_MAX || count > room {
            return Err(self.damaged("number of libraries", offset));
        }
        Ok(count)
    }

    fn text(&mut self, offset: u32, field: &'static str) -> Result<Vec<u8>, CacheError> {
        let start = offset as usize;
        let bytes_max = (self.bytes.len() - self.base).saturating_sub(start).min(TEXT_BYTES_MAX);
        let rest = self.slice(start..start.saturating_add(bytes_max), field)?;
        let end =
            rest.iter().position(|byte| *byte == 0).ok_or_else(|| self.damaged(field, start))?;
        self.texts += end;
        if self.texts > TEXTS_BYTES_MAX {
            return Err(self.damaged("amount of text", start));
        }
        Ok(rest[..end].to_vec())
    }

    fn entry(&mut self, offset: usize, hwcaps: &[Vec<u8>]) -> Result<Entry, CacheError> {
        let low = self.u32(offset + 16, "hwcap")?;
        let high = self.u32(offset + 20, "hwcap")?;
        let word = u64::from(low) | u64::from(high) << 32;
        // The high word of a numbered directory also holds the level that the file itself asks
        // for, which the directory's name implies.
        let (directory, legacy) = if word & HWCAP_EXTENSION == 0 {
            (None, word)
        } else {
            let name = hwcaps.get(low as usize);
            let name = name.ok_or_else(|| self.damaged("hwcap number", offset + 16))?;
            self.texts += name.len();
            (Some(name.clone()), 0)
        };
        Ok(Entry {
            flags: self.u32(offset, "flags")?.cast_signed(),
            name: self.text(self.u32(offset + 4, "name")?, "name")?,
            path: self.text(self.u32(offset + 8, "path")?, "path")?,
            hwcaps: directory,
            legacy,
        })
    }

    /// Finds the sections of the generator and of the glibc-hwcaps names, where there are any.
    /// Their places count from the start of the file, also after an old table.
    fn extensions(&self) -> Result<[Option<Range<usize>>; 2], CacheError> {
        let mut found = [None, None];
        let offset = self.u32(32, "extension offset")? as usize;
        if offset == 0 {
            return Ok(found);
        }
        self.whole().sections(offset, &mut found)?;
        Ok(found)
    }

    /// The same file seen from its start.
    fn whole(&self) -> Self {
        View { bytes: self.bytes, base: 0, texts: 0 }
    }

    fn sections(
        &self,
        offset: usize,
        found: &mut [Option<Range<usize>>; 2],
    ) -> Result<(), CacheError> {
        if !offset.is_multiple_of(4) || self.u32(offset, "extension magic")? != EXTENSION_MAGIC {
            return Err(self.damaged("extension magic", offset));
        }
        let count = self.u32(offset.saturating_add(4), "extension count")? as usize;
        for index in 0..count.min(EXTENSIONS_MAX) {
            let section = offset.saturating_add(8 + index * 16);
            let tag = self.u32(section, "extension tag")?;
            let start = self.u32(section.saturating_add(8), "extension start")? as usize;
            let bytes = self.u32(section.saturating_add(12), "extension size")? as usize;
            let range = start..start.saturating_add(bytes);
            self.slice(range.clone(), "extension")?;
            match tag {
                EXTENSION_GENERATOR => found[0] = Some(range),
                EXTENSION_HWCAPS => found[1] = Some(range),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the names of glibc-hwcaps directories.
    ///
    /// ldconfig counts their places from the new header, and ld.so from the start of the file
    /// (`glibc_hwcaps_update_priorities`), so after an old table ld.so knows none of them. It is
    /// ld.so that decides.
    fn hwcaps(&self, section: Option<Range<usize>>) -> Result<Vec<Vec<u8>>, CacheError> {
        let Some(range) = section else { return Ok(Vec::new()) };
        let mut names = self.whole();
        if range.len() / 4 > HWCAPS_MAX {
            return Err(self.damaged("number of hwcap names", range.start));
        }
        range
            .clone()
            .step_by(4)
            .filter(|at| at + 4 <= range.end)
            .map(|at| names.text(self.whole().u32(at, "hwcap name")?, "hwcap name"))
            .collect()
    }
}
