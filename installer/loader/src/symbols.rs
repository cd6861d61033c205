//! Which symbols one ELF file wants and which it offers, with their version nodes.
//!
//! The tables are found by the section headers, which the builds of these libraries keep. They are
//! small even in a library of half a gigabyte, and nothing else is read. gABI, "Symbol Table", and
//! the LSB's "Symbol Versioning" give the forms.

use std::collections::{BTreeMap, BTreeSet};

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::section_header::{
    SHT_DYNSYM, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM, SectionHeader,
};
use goblin::elf::sym::STB_WEAK;
use goblin::elf::{Elf, Sym};

use crate::elf::{ElfError, Source};

/// Longest table that is read: 64 MiB; that of a library with long C++ names has ten.
const TABLE_BYTES_MAX: u64 = 64 << 20;
/// Most steps along a chain of version entries: glibc itself has about sixty.
const CHAIN_MAX: usize = 4096;
/// Length of an ELF64 file header.
const HEADER_BYTES: usize = 64;
/// Bit of a version index that hides the symbol from new links; it resolves all the same.
const HIDDEN: u16 = 0x8000;

/// Files and version nodes, by the index that symbols have.
type Needs = BTreeMap<u16, (Vec<u8>, Vec<u8>)>;

/// A symbol that a file wants from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: Vec<u8>,
    /// The file and the version node that it must come from, if it names one.
    pub node: Option<(Vec<u8>, Vec<u8>)>,
    /// True if the file loads without it.
    pub is_weak: bool,
}

/// The dynamic symbols of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    /// What it wants, in the order of the file.
    pub wanted: Vec<Wanted>,
    /// What it offers: name, and version node if it has one.
    pub offered: BTreeSet<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Symbols {
    /// Reads the dynamic symbols of a file.
    ///
    /// # Errors
    /// [`ElfError`] where the file is not a sound ELF file of this machine's class, or has no
    /// section headers.
    pub fn read(source: &(impl Source + ?Sized)) -> Result<Self, ElfError> {
        let head = source.read_at(0, HEADER_BYTES).ok_or(ElfError::NotElf)?;
        if head.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(ElfError::NotElf);
        }
        let header = Elf::parse_header(&head).map_err(|_| damaged("file header"))?;
        let context = Ctx::new(Container::Big, Endian::Little);
        let count = usize::from(header.e_shnum);
        let bytes = source
            .read_at(header.e_shoff, count * SectionHeader::size(context))
            .filter(|_| count > 0)
            .ok_or(damaged("section headers"))?;
        let sections = SectionHeader::parse_from(&bytes, 0, count, context)
            .map_err(|_| damaged("section headers"))?;
        let section = |kind| sections.iter().find(|section| section.sh_type == kind);
        let Some(table) = section(SHT_DYNSYM) else { return Ok(Self::default()) };
        let strings = sections.get(table.sh_link as usize).ok_or(damaged("string table"))?;
        let strings = Strings(content(source, strings)?);
        let table = content(source, table)?;
        let symbols = Sym::parse(&table, 0, table.len() / Sym::size(Container::Big), context)
            .map_err(|_| damaged("symbols"))?;
        let read = |kind| section(kind).map(|section| content(source, section)).transpose();
        let indices = read(SHT_GNU_VERSYM)?.unwrap_or_default();
        let defined = read(SHT_GNU_VERDEF)?.unwrap_or_default();
        let needed = read(SHT_GNU_VERNEED)?.unwrap_or_default();
        Self::sorted(
            &symbols,
            &strings,
            &indices,
            &nodes(&defined, &strings)?,
            &needs(&needed, &strings)?,
        )
    }

    fn sorted(
        symbols: &[Sym],
        strings: &Strings,
        indices: &[u8],
        defined: &BTreeMap<u16, Vec<u8>>,
        needed: &Needs,
    ) -> Result<Self, ElfError> {
        let mut found = Self::default();
        // The first symbol stands for none.
        for (number, symbol) in symbols.iter().enumerate().skip(1) {
            let index = short(indices, number * 2).unwrap_or(0) & !HIDDEN;
            let name = strings.at(symbol.st_name)?;
            if symbol.st_shndx == 0 {
                let is_weak = symbol.st_bind() == STB_WEAK;
                found.wanted.push(Wanted { name, node: needed.get(&index).cloned(), is_weak });
            } else {
                found.offered.insert((name, defined.get(&index).cloned()));
            }
        }
        Ok(found)
    }

    /// True if it offers a name, under this node if one is asked for.
    #[must_use]
    pub fn offers(&self, name: &[u8], node: Option<&[u8]>) -> bool {
        match node {
            Some(node) => self.offered.contains(&(name.to_vec(), Some(node.to_vec()))),
            None => {
                let from = (name.to_vec(), None);
                self.offered.range(from..).next().is_some_and(|(known, _)| known == name)
            }
        }
    }

    /// True if any symbol that it offers has a version node.
    #[must_use]
    pub fn has_nodes(&self) -> bool {
        self.offered.iter().any(|(_, node)| node.is_some())
    }
}

struct Strings(Vec<u8>);

impl Strings {
    fn at(&self, offset: usize) -> Result<Vec<u8>, ElfError> {
        let rest = self.0.get(offset..).ok_or(damaged("string"))?;
        Ok(rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    }

    fn at_word(&self, table: &[u8], offset: usize) -> Result<Vec<u8>, ElfError> {
        self.at(word(table, offset).ok_or(damaged("version entry"))? as usize)
    }
}

/// The version nodes that a file defines, by their index.
fn nodes(table: &[u8], strings: &Strings) -> Result<BTreeMap<u16, Vec<u8>>, ElfError> {
    let wrong = || damaged("version nodes");
    let mut found = BTreeMap::new();
    let mut at = 0_usize;
    for _ in 0..CHAIN_MAX {
        let Some(flags) = short(table, at + 2) else { break };
        let index = short(table, at + 4).ok_or_else(wrong)?;
        let name = at + word(table, at + 12).ok_or_else(wrong)? as usize;
        // Flag 1 marks the entry that names the file itself.
        if flags & 1 == 0 {
            found.insert(index, strings.at_word(table, name)?);
        }
        match word(table, at + 16).ok_or_else(wrong)? {
            0 => break,
            next => at += next as usize,
        }
    }
    Ok(found)
}

/// The version nodes that a file wants, with their files, by their index.
fn needs(table: &[u8], strings: &Strings) -> Result<Needs, ElfError> {
    let wrong = || damaged("version needs");
    let mut found = BTreeMap::new();
    let mut at = 0_usize;
    for _ in 0..CHAIN_MAX {
        if at >= table.len() {
            break;
        }
        let file = strings.at_word(table, at + 4)?;
        let mut node = at + word(table, at + 8).ok_or_else(wrong)? as usize;
        for _ in 0..CHAIN_MAX {
            let index = short(table, node + 6).ok_or_else(wrong)?;
            found.insert(index & !HIDDEN, (file.clone(), strings.at_word(table, node + 8)?));
            match word(table, node + 12).ok_or_else(wrong)? {
                0 => break,
                next => node += next as usize,
            }
        }
        match word(table, at + 12).ok_or_else(wrong)? {
            0 => break,
            next => at += next as usize,
        }
    }
    Ok(found)
}

fn content(source: &(impl Source + ?Sized), section: &SectionHeader) -> Result<Vec<u8>, ElfError> {
    if section.sh_size > TABLE_BYTES_MAX {
        return Err(damaged("section"));
    }
    let bytes = usize::try_from(section.sh_size).map_err(|_| damaged("section"))?;
    source.read_at(section.sh_offset, bytes).ok_or(damaged("section"))
}

fn short(table: &[u8], offset: usize) -> Option<u16> {
    let bytes = table.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn word(table: &[u8], offset: usize) -> Option<u32> {
    let bytes = table.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn damaged(field: &'static str) -> ElfError {
    ElfError::Damaged { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test reads the system's own libraries")]
    fn of_this_system(name: &str) -> Vec<u8> {
        let dirs = ["/lib/x86_64-linux-gnu", "/lib64", "/lib/aarch64-linux-gnu"];
        let found = dirs.iter().find_map(|dir| std::fs::read(format!("{dir}/{name}")).ok());
        found.expect("a C library in one of the usual directories")
    }

    #[test]
    fn what_libm_wants_of_libc_is_offered_by_libc_under_that_node() {
        let libm = Symbols::read(&of_this_system("libm.so.6")[..]).unwrap();
        let libc = Symbols::read(&of_this_system("libc.so.6")[..]).unwrap();
        let mut count = 0;
        for wanted in &libm.wanted {
            let Some((file, node)) = &wanted.node else { continue };
            if file == b"libc.so.6" {
                assert!(libc.offers(&wanted.name, Some(node)), "{wanted:?}");
                assert!(libc.offers(&wanted.name, None), "{wanted:?}");
                assert!(!libc.offers(&wanted.name, Some(b"GLIBC_999")), "{wanted:?}");
                count += 1;
            }
        }
        assert!(count > 0 && libc.has_nodes());
        assert!(!libc.offers(b"malloc_999", None));
    }

    #[test]
    fn a_file_that_is_cut_short_anywhere_is_refused_without_a_panic() {
        let whole = of_this_system("libm.so.6");
        for bytes in (0..whole.len()).step_by(997) {
            assert!(Symbols::read(&whole[..bytes]).is_err(), "{bytes}");
        }
    }
}
