//! What one ELF file says about itself, read in small pieces.
//!
//! Only the pieces that the loader itself reads are asked for, so that a library of half a
//! gigabyte costs a few kilobytes. It knows nothing of paths.

use std::ops::Range;

use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ,
    DT_STRTAB, DT_VERDEF, DT_VERDEFNUM,
};
use goblin::elf::header::ET_EXEC;
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE};
use goblin::elf::{Elf, Header, ProgramHeader};

/// Filters, which goblin does not name (Solaris's Linker and Libraries Guide; `elf.h`).
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;
/// Longest dynamic section that is read: 64 KiB, 4,096 entries; libraries have about thirty.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;
/// Longest string table that is read: 64 MiB, above that of any library with long C++ names.
const STRINGS_BYTES_MAX: u64 = 64 << 20;
/// Longest note segment that is read: 64 KiB; a build id takes 36 bytes.
const NOTES_BYTES_MAX: u64 = 64 << 10;
/// Most version nodes that are read: 4,096; glibc itself has about sixty.
const VERSIONS_MAX: u64 = 4096;
/// Length of an ELF64 file header.
const HEADER_BYTES: usize = 64;

/// Bytes that can be read at any place.
pub trait Source {
    /// Reads exactly `bytes` bytes at `offset`, or nothing where the file does not hold them.
    fn read_at(&self, offset: u64, bytes: usize) -> Option<Vec<u8>>;
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(bytes)?).map(<[u8]>::to_vec)
    }
}

/// Why a file could not be read as an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The file is shorter than an ELF header.
    #[error("a file shorter than an ELF header")]
    TooShort,
    /// The file does not begin with an ELF header.
    #[error("not an ELF file")]
    NotElf,
    /// An ELF file for a 32-bit machine.
    #[error("an ELF file of another class")]
    OtherClass,
    /// An ELF file for a big-endian machine.
    #[error("an ELF file of another byte order")]
    OtherOrder,
    /// A field points outside of the file, or is larger than any sound file has.
    #[error("a damaged ELF file: {field}")]
    Damaged {
        /// The field that is wrong.
        field: &'static str,
    },
}

/// What the loader needs to know of one ELF file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binary {
    /// The machine it runs on, as in `e_machine` (62 is x86-64, 183 is AArch64).
    pub machine: u16,
    /// True if it has a dynamic section; without one it is a static program or no library.
    pub is_dynamic: bool,
    /// True for programs, which are never loaded as libraries (ET_EXEC, or DF_1_PIE).
    pub is_program: bool,
    /// The program interpreter; none for libraries and static programs.
    pub interpreter: Option<Vec<u8>>,
    /// The name by which other objects ask for it.
    pub soname: Option<Vec<u8>>,
    /// The names it asks for, in order.
    pub needed: Vec<Vec<u8>>,
    /// The old search path, which outranks `LD_LIBRARY_PATH`; ignored when `runpath` is there.
    pub rpath: Option<Vec<u8>>,
    /// The search path that ranks below `LD_LIBRARY_PATH`.
    pub runpath: Option<Vec<u8>>,
    /// The libraries that may answer for its symbols (DT_FILTER, DT_AUXILIARY), in order.
    pub filters: Vec<Vec<u8>>,
    /// True if default directories are not to be searched for its needs.
    pub no_default_dirs: bool,
    /// The GNU build id, as bytes.
    pub build_id: Option<Vec<u8>>,
    /// The owners of its notes, such as `GNU`, once each.
    pub note_owners: Vec<Vec<u8>>,
    /// The bytes that it takes in memory when it is loaded.
    pub image_bytes: u64,
    /// The version nodes it defines, without the one that names the file itself.
    pub versions: Vec<Vec<u8>>,
}

impl Binary {
    /// Reads the facts of one file.
    ///
    /// # Errors
    /// [`ElfError`] where the file is not a sound ELF file of this machine's class.
    pub fn read(source: &(impl Source + ?Sized)) -> Result<Self, ElfError> {
        let header = header(source)?;
        let segments = Segments::read(source, header.e_phoff, header.e_phnum)?;
        let mut binary = Self { machine: header.e_machine, ..Self::default() };
        binary.is_program = header.e_type == ET_EXEC;
        for segment in &segments.0 {
            match segment.p_type {
                PT_INTERP => {
                    let text = piece(source, &segment.file_range(), 4096, "interpreter")?;
                    binary.interpreter = Some(until_nul(&text).to_vec());
                }
                PT_NOTE => {
                    let notes = piece(source, &segment.file_range(), NOTES_BYTES_MAX, "notes")?;
                    binary.read_notes(&notes);
                }
                PT_LOAD => {
                    binary.image_bytes = binary.image_bytes.saturating_add(segment.p_memsz);
                }
                _ => {}
            }
        }
        if let Some(dynamic) = segments.0.iter().find(|segment| segment.p_type == PT_DYNAMIC) {
            let bytes = piece(source, &dynamic.file_range(), DYNAMIC_BYTES_MAX, "dynamic section")?;
            binary.is_dynamic = true;
            binary.read_dynamic(source, &segments, &bytes)?;
        }
        Ok(binary)
    }

    fn read_notes(&mut self, bytes: &[u8]) {
        /// Type of the build id among the notes of the owner "GNU".
        const BUILD_ID: u32 = 3;
        for (owner, kind, text) in notes(bytes) {
            if owner == b"GNU" && kind == BUILD_ID && self.build_id.is_none() {
                self.build_id = Some(text.to_vec());
            }
            if !self.note_owners.iter().any(|known| known == owner) {
                self.note_owners.push(owner.to_vec());
            }
        }
    }

    /// Reads the machine alone, as in `e_machine`, after the checks that the loader makes first.
    ///
    /// # Errors
    /// [`ElfError`] where the header is not one of a 64-bit little-endian library or program.
    pub fn machine_of(source: &(impl Source + ?Sized)) -> Result<u16, ElfError> {
        header(source).map(|header| header.e_machine)
    }

    fn read_dynamic(
        &mut self,
        source: &(impl Source + ?Sized),
        segments: &Segments,
        bytes: &[u8],
    ) -> Result<(), ElfError> {
        let entries = dynamic_entries(bytes);
        let value = |tag: u64| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
        let Some(table) = value(DT_STRTAB) else { return Ok(()) };
        let table = segments.offset_of(table).ok_or(damaged("string table"))?;
        let length = value(DT_STRSZ).ok_or(damaged("string table"))?;
        let strings = piece(
            source,
            &(as_index(table)?..as_index(table.saturating_add(length))?),
            STRINGS_BYTES_MAX,
            "string table",
        )?;
        let text = |offset: u64| -> Result<Vec<u8>, ElfError> {
            let offset = as_index(offset)?;
            strings.get(offset..).map(|s| until_nul(s).to_vec()).ok_or(damaged("string"))
        };
        for (tag, value) in &entries {
            match *tag {
                DT_NEEDED => self.needed.push(text(*value)?),
                DT_FILTER | DT_AUXILIARY => self.filters.push(text(*value)?),
                DT_SONAME => self.soname = Some(text(*value)?),
                DT_RPATH => self.rpath = Some(text(*value)?),
                DT_RUNPATH => self.runpath = Some(text(*value)?),
                DT_FLAGS_1 => {
                    self.no_default_dirs = value & DF_1_NODEFLIB != 0;
                    self.is_program |= value & DF_1_PIE != 0;
                }
                _ => {}
            }
        }
        // glibc drops RPATH as soon as RUNPATH is there (elf_get_dynamic_info).
        if self.runpath.is_some() {
            self.rpath = None;
        }
        if let (Some(table), Some(count)) = (value(DT_VERDEF), value(DT_VERDEFNUM)) {
            let offset = segments.offset_of(table).ok_or(damaged("version nodes"))?;
            self.versions = versions(source, offset, count, &text)?;
        }
        Ok(())
    }
}

/// Reads the file header as far as the loader checks it (`open_verify` in glibc's dl-load.c).
fn header(source: &(impl Source + ?Sized)) -> Result<Header, ElfError> {
    let head = source.read_at(0, HEADER_BYTES).ok_or(ElfError::TooShort)?;
    if &head[..4] != b"\x7fELF" {
        return Err(ElfError::NotElf);
    }
    // Class 2 is 64-bit, data 1 is little-endian: the only machines that Ollama ships for.
    if head[4] != 2 {
        return Err(ElfError::OtherClass);
    }
    if head[5] != 1 {
        return Err(ElfError::OtherOrder);
    }
    Elf::parse_header(&head).map_err(|_| damaged("file header"))
}

struct Segments(Vec<ProgramHeader>);

impl Segments {
    fn read(source: &(impl Source + ?Sized), offset: u64, count: u16) -> Result<Self, ElfError> {
        let context = goblin::container::Ctx::new(
            goblin::container::Container::Big,
            goblin::container::Endian::Little,
        );
        let bytes = usize::from(count) * ProgramHeader::size(context);
        let table = source.read_at(offset, bytes).ok_or(damaged("program headers"))?;
        let headers = ProgramHeader::parse(&table, 0, usize::from(count), context)
            .map_err(|_| damaged("program headers"))?;
        for header in &headers {
            // goblin's ranges add without a check; a hostile header must not reach them.
            header.p_offset.checked_add(header.p_filesz).ok_or(damaged("program headers"))?;
        }
        Ok(Self(headers))
    }

    /// Translates an address of the loaded image into an offset of the file.
    fn offset_of(&self, address: u64) -> Option<u64> {
        self.0.iter().filter(|segment| segment.p_type == PT_LOAD).find_map(|segment| {
            let inside = address.checked_sub(segment.p_vaddr)?;
            (inside < segment.p_filesz).then(|| segment.p_offset + inside)
        })
    }
}

fn damaged(field: &'static str) -> ElfError {
    ElfError::Damaged { field }
}

fn as_index(value: u64) -> Result<usize, ElfError> {
    usize::try_from(value).map_err(|_| damaged("offset"))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn piece(
    source: &(impl Source + ?Sized),
    range: &Range<usize>,
    bytes_max: u64,
    field: &'static str,
) -> Result<Vec<u8>, ElfError> {
    let bytes = range.end.checked_sub(range.start).ok_or(damaged(field))?;
    if bytes as u64 > bytes_max {
        return Err(damaged(field));
    }
    source.read_at(range.start as u64, bytes).ok_or(damaged(field))
}

fn dynamic_entries(bytes: &[u8]) -> Vec<(u64, u64)> {
    bytes
        .chunks_exact(16)
        .map(|entry| (u64_at(entry, 0), u64_at(entry, 8)))
        .take_while(|entry| entry.0 != 0)
        .collect()
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(value)
}

/// Splits notes into owner (without its end mark), type and content; ends at the first unsound one.
fn notes(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.len() < 12 {
            return None;
        }
        let (owner_bytes, text_bytes) = (u32_at(bytes, 0) as usize, u32_at(bytes, 4) as usize);
        let kind = u32_at(bytes, 8);
        let owner = bytes.get(12..12usize.checked_add(owner_bytes)?)?;
        let start = 12usize.checked_add(owner_bytes.checked_next_multiple_of(4)?)?;
        let text = bytes.get(start..start.checked_add(text_bytes)?)?;
        // The last note may end without its filling.
        let next = start.checked_add(text_bytes.checked_next_multiple_of(4)?)?;
        bytes = bytes.get(next..).unwrap_or_default();
        Some((until_nul(owner), kind, text))
    })
}

/// Reads the chain of version definitions (gABI, "Symbol Versioning": 20 bytes each, then names).
fn versions(
    source: &(impl Source + ?Sized),
    mut offset: u64,
    count: u64,
    text: &impl Fn(u64) -> Result<Vec<u8>, ElfError>,
) -> Result<Vec<Vec<u8>>, ElfError> {
    const NAMES_FILE: u16 = 1;
    let wrong = || damaged("version nodes");
    let mut names = Vec::new();
    for _ in 0..count.min(VERSIONS_MAX) {
        let entry = source.read_at(offset, 20).ok_or_else(wrong)?;
        let flags = u16::from_le_bytes([entry[2], entry[3]]);
        let first = offset.checked_add(u64::from(u32_at(&entry, 12))).ok_or_else(wrong)?;
        let name = source.read_at(first, 8).ok_or_else(wrong)?;
        if flags & NAMES_FILE == 0 {
            names.push(text(u64::from(u32_at(&name, 0)))?);
        }
        let next = u64::from(u32_at(&entry, 16));
        if next == 0 {
            break;
        }
        offset = offset.checked_add(next).ok_or_else(wrong)?;
    }
    Ok(names)
}
