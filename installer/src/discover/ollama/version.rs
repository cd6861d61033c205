//! Ollama's version, read from its program without running it.
//!
//! Go writes how a program was built into the section `.go.buildinfo` (documentation of the Go
//! package debug/buildinfo). Ollama's releases are built with `-trimpath`, which leaves the
//! version out there; then the text that its own variable points to tells, if just one text in
//! the program's data looks like a version of Ollama.

use vgpu_loader::Source;

use crate::facts::VersionFrom;

/// A version and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    pub(super) from: VersionFrom,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Longest build information that is read: 1 MiB; Ollama's has 20 KiB.
const INFORMATION_BYTES_MAX: u64 = 1 << 20;
/// Most sections of an ELF file that are looked at; Go's have about thirty.
const SECTIONS_MAX: u64 = 512;
/// Longest data section that is searched: 16 MiB; Ollama's has about one.
const DATA_BYTES_MAX: u64 = 16 << 20;
/// Most texts that are looked at for a version.
const TEXTS_MAX: usize = 1 << 16;
/// The variable that Ollama's build sets.
const VARIABLE: &str = "version.Version=";
/// Relocations that add the program's own address: x86-64's and AArch64's.
const RELATIVE: [u64; 2] = [8, 1027];
const RELA_BYTES: u64 = 24;

/// Reads the version of a program; none if it does not say.
pub(super) fn of(source: &dyn Source) -> Option<Version> {
    let sections = sections(source)?;
    let information = information(source, &sections)?;
    if let Some(text) = built(&information) {
        return Some(Version { text, from: VersionFrom::BuildInformation });
    }
    // Another Go program under this name says nothing of Ollama.
    if !information.contains("\tgithub.com/ollama/ollama\t") {
        return None;
    }
    let text = pointed_to(source, &sections)?;
    Some(Version { text, from: VersionFrom::Data })
}

/// A section: its name, address, offset and length in the file.
#[derive(Debug, Clone)]
struct Section {
    name: Vec<u8>,
    address: u64,
    offset: u64,
    bytes: u64,
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let mut whole = [0_u8; 8];
    whole[..length].copy_from_slice(bytes.get(at..at.checked_add(length)?)?);
    Some(u64::from_le_bytes(whole))
}

fn sections(source: &dyn Source) -> Option<Vec<Section>> {
    let head = source.read_at(0, 64)?;
    // 64 bits, least significant byte first.
    if !head.starts_with(b"\x7fELF\x02\x01") || number(&head, 58, 2)? != 64 {
        return None;
    }
    let (offset, count) = (number(&head, 40, 8)?, number(&head, 60, 2)?.min(SECTIONS_MAX));
    let names_index = number(&head, 62, 2)?;
    let table = source.read_at(offset, usize::try_from(count * 64).ok()?)?;
    let field = |index: u64, at: usize, length: usize| {
        number(&table, usize::try_from(index).ok()? * 64 + at, length)
    };
    let names_bytes = field(names_index, 32, 8)?.min(INFORMATION_BYTES_MAX);
    let names = source.read_at(field(names_index, 24, 8)?, usize::try_from(names_bytes).ok()?)?;
    let section = |index| {
        let rest = names.get(usize::try_from(field(index, 0, 4)?).ok()?..)?;
        Some(Section {
            name: rest.split(|byte| *byte == 0).next()?.to_vec(),
            address: field(index, 16, 8)?,
            offset: field(index, 24, 8)?,
            bytes: field(index, 32, 8)?,
        })
    };
    (0..count).map(section).collect()
}

fn find<'s>(sections: &'s [Section], name: &str) -> Option<&'s Section> {
    sections.iter().find(|section| section.name == name.as_bytes())
}

fn content(source: &dyn Source, section: &Section, bytes_max: u64) -> Option<Vec<u8>> {
    let bytes = Some(section.bytes).filter(|bytes| *bytes <= bytes_max)?;
    source.read_at(section.offset, usize::try_from(bytes).ok()?)
}

/// The text of the build information, in the form that Go has had since 1.18.
fn information(source: &dyn Source, sections: &[Section]) -> Option<String> {
    let section = find(sections, ".go.buildinfo")?;
    let whole = content(source, section, INFORMATION_BYTES_MAX)?;
    let inline = *whole.get(15)? & 2 != 0;
    if !whole.starts_with(MAGIC) || !inline {
        return None;
    }
    let (_, rest) = text(whole.get(32..)?)?;
    let (modules, _) = text(rest)?;
    // Sixteen bytes on either side mark the text for tools that search for it.
    let modules = modules.get(16..modules.len().checked_sub(16)?)?;
    Some(String::from_utf8_lossy(modules).into_owned())
}

/// A text after its length, which is written in groups of seven bits.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(length);
        }
    }
    None
}

/// The version among the build's settings: what the linker was told, else the module's own.
fn built(information: &str) -> Option<String> {
    for line in information.lines() {
        if let Some((_, rest)) = line.split_once(VARIABLE).filter(|_| line.contains("-ldflags")) {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || ".-+".contains(letter);
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            return Some(rest[..end].to_owned()).filter(|text| is_version(text));
        }
    }
    let own = information.lines().find_map(|line| line.strip_prefix("mod\t"))?;
    let version = own.split('\t').nth(1)?.strip_prefix('v')?;
    Some(version.to_owned()).filter(|text| is_version(text) && !text.starts_with("0.0.0"))
}

/// True for what Ollama's versions look like: `0.12.3`, `0.12.3-rc1`, `0.5.7-0-ga420a45-dirty`.
fn is_version(text: &str) -> bool {
    let plain = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = plain.split('.');
    let all_digits =
        |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let three = [parts.next(), parts.next(), parts.next()];
    three.iter().all(|part| part.is_some_and(all_digits)) && parts.next().is_none()
}

/// The one version that a variable of the program's data points to.
fn pointed_to(source: &dyn Source, sections: &[Section]) -> Option<String> {
    let data = find(sections, ".data")?;
    let texts = find(sections, ".rodata")?;
    let bytes = content(source, data, DATA_BYTES_MAX)?;
    let relocated = relocated(source, sections, data);
    let mut found: Option<String> = None;
    let mut left = TEXTS_MAX;
    for at in (0..bytes.len().saturating_sub(15)).step_by(8) {
        // A Go string is an address and a length.
        let length = number(&bytes, at + 8, 8).filter(|length| (5..=40).contains(length));
        let Some(length) = length else { continue };
        let own = number(&bytes, at, 8)?;
        let place = data.address.checked_add(at as u64)?;
        let address = relocated.binary_search_by_key(&place, |pair| pair.0);
        let address = address.map_or(own, |index| relocated[index].1);
        let Some(offset) = address.checked_sub(texts.address) else { continue };
        if offset.checked_add(length).is_none_or(|end| end > texts.bytes) {
            continue;
        }
        left = left.checked_sub(1)?;
        let text = source.read_at(texts.offset + offset, usize::try_from(length).ok()?)?;
        let Ok(text) = String::from_utf8(text) else { continue };
        // No Ollama had another first number yet, and other programs' versions abound.
        if text.starts_with("0.") && !text.starts_with("0.0.") && is_version(&text) {
            if found.as_ref().is_some_and(|known| *known != text) {
                return None;
            }
            found = Some(text);
        }
    }
    found
}

/// The addresses that the loader writes into a section: place and address, by place.
fn relocated(source: &dyn Source, sections: &[Section], data: &Section) -> Vec<(u64, u64)> {
    let end = data.address.saturating_add(data.bytes);
    let mut found = Vec::new();
    for table in sections.iter().filter(|s| s.name == b".rela" || s.name == b".rela.dyn") {
        let count = table.bytes / RELA_BYTES;
        let record = |index: u64| {
            let bytes = source.read_at(table.offset + index * RELA_BYTES, RELA_BYTES as usize)?;
            Some((number(&bytes, 0, 8)?, number(&bytes, 8, 8)?, number(&bytes, 16, 8)?))
        };
        // Linkers sort these by place: the first of the section is found by halving.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some((place, kind, _)) = record(middle) else { return found };
            if RELATIVE.contains(&kind) && place < data.address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let rest = (count - low).min(data.bytes / 8 + 1) * RELA_BYTES;
        let Ok(rest) = usize::try_from(rest) else { return found };
        let bytes = source.read_at(table.offset + low * RELA_BYTES, rest).unwrap_or_default();
        for one in bytes.chunks_exact(RELA_BYTES as usize) {
            let (Some(place), Some(kind), Some(address)) =
                (number(one, 0, 8), number(one, 8, 8), number(one, 16, 8))
            else {
                continue;
            };
            if RELATIVE.contains(&kind) && (data.address..end).contains(&place) {
                found.push((place, address));
            }
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFORMATION: &str =
        "path\tgithub.com/ollama/ollama\nmod\tgithub.com/ollama/ollama\t(devel)\t\n";
    /// Where the sections of the test's program lie, in the file and in memory.
    const DATA: u64 = 0x2000;
    const TEXTS: u64 = 0x1000;

    struct Bytes<'b>(&'b [u8]);

    impl Source for Bytes<'_> {
        fn read_at(&self, offset: u64, bytes: usize) -> Option<Vec<u8>> {
            self.0.read_at(offset, bytes)
        }
    }

    fn sized(text: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        let mut length = text.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend_from_slice(text);
        out
    }

    /// A program with build information, and texts that variables point to: by themselves, or by
    /// the loader's hand.
    fn program(information: &str, texts: &[&str], relocated: bool) -> Vec<u8> {
        let mut build = MAGIC.to_vec();
        build.extend([8, 2]);
        build.resize(32, 0);
        build.extend(sized(b"go1.999"));
        build.extend(sized(format!("{0}{information}{0}", "0123456789abcdef").as_bytes()));
        let (mut rodata, mut data, mut rela) = (vec![], vec![], vec![]);
        for text in texts {
            let address = TEXTS + rodata.len() as u64;
            let place = DATA + data.len() as u64;
            let own = if relocated { 0 } else { address };
            for number in [own, text.len() as u64] {
                data.extend(number.to_le_bytes());
            }
            for number in [place, RELATIVE[0], address] {
                rela.extend(number.to_le_bytes());
            }
            rodata.extend_from_slice(text.as_bytes());
        }
        if !relocated {
            rela.clear();
        }
        let names = b"\0.go.buildinfo\0.rodata\0.data\0.rela.dyn\0.names\0".to_vec();
        let parts = [
            (1_u32, 0, build),
            (15, TEXTS, rodata),
            (23, DATA, data),
            (29, 0, rela),
            (39, 0, names),
        ];
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64, 0);
        let mut table = vec![0; 64];
        for (name, address, content) in parts {
            let mut row = vec![0; 64];
            row[..4].copy_from_slice(&name.to_le_bytes());
            row[16..24].copy_from_slice(&address.to_le_bytes());
            row[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
            row[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            file.extend(content);
            table.extend(row);
        }
        let place = file.len() as u64;
        file.extend(table);
        file[40..48].copy_from_slice(&place.to_le_bytes());
        file[58..64].copy_from_slice(&[64, 0, 6, 0, 5, 0]);
        file
    }

    #[track_caller]
    fn check(file: &[u8], expected: Option<(&str, VersionFrom)>) {
        let found = of(&Bytes(file)).map(|version| (version.text, version.from));
        assert_eq!(found, expected.map(|(text, from)| (text.to_owned(), from)));
    }

    #[test]
    fn build_information_names_the_version() {
        let from = VersionFrom::BuildInformation;
        let flags =
            "build\t-ldflags=\"-w -X=github.com/ollama/ollama/version.Version=0.99.1-rc2 -s\"\n";
        let stamped = INFORMATION.replace("(devel)", "v0.98.7");
        check(&program(&format!("{INFORMATION}{flags}"), &[], false), Some(("0.99.1-rc2", from)));
        check(&program(&stamped, &[], false), Some(("0.98.7", from)));
        let pseudo = INFORMATION.replace("(devel)", "v0.0.0-20990101000000-abcdef123456");
        check(&program(&pseudo, &[], false), None);
    }

    #[test]
    fn one_text_of_the_data_that_is_a_version_names_it() {
        let from = VersionFrom::Data;
        let texts = ["hello", "0.99.3", "1.2.3", "0.99.3"];
        check(&program(INFORMATION, &texts, false), Some(("0.99.3", from)));
        check(&program(INFORMATION, &texts, true), Some(("0.99.3", from)));
        check(&program(INFORMATION, &["0.99.3", "0.99.4"], true), None);
        let other = INFORMATION.replace("github.com/ollama/ollama", "example.org/other");
        check(&program(&other, &texts, true), None);
    }

    #[test]
    fn a_damaged_program_says_nothing_and_breaks_nothing() {
        let whole = program(INFORMATION, &["hello", "0.99.3"], true);
        for length in 0..whole.len() {
            let _ = of(&Bytes(&whole[..length]));
        }
        let mut random = 7_u32;
        for _ in 0..5000 {
            let mut file = whole.clone();
            for _ in 0..4 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (random >> 8) as usize % file.len();
                file[at] = (random >> 3) as u8;
            }
            if let Some(version) = of(&Bytes(&file)) {
                assert!(is_version(&version.text));
            }
        }
        check(b"\x7fELF", None);
    }
}
