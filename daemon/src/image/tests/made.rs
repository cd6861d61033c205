//! Makes fat binaries and cubins.

/// How an entry is compressed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Packed {
    No,
    Lz4,
    Zstd,
}

/// Makes a fat binary of entries: kind, architecture, further flags, contents, packing.
pub(super) fn fat(entries: &[(u16, u32, u64, &[u8], Packed)]) -> Vec<u8> {
    let mut all = Vec::new();
    for &(kind, architecture, more, contents, packed) in entries {
        let (payload, flag) = match packed {
            Packed::No => (contents.to_vec(), 0),
            Packed::Lz4 => (lz4_flex::block::compress(contents), 1 << 13),
            Packed::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                (ruzstd::encoding::compress_to_vec(contents, level), 1 << 15)
            }
        };
        let padded = payload.len().next_multiple_of(8);
        let begin = all.len();
        all.extend(kind.to_le_bytes());
        all.extend(0x0101_u16.to_le_bytes());
        all.extend(64_u32.to_le_bytes());
        all.extend((padded as u64).to_le_bytes());
        all.extend((payload.len() as u32).to_le_bytes());
        all.resize(begin + 28, 0);
        all.extend(architecture.to_le_bytes());
        all.resize(begin + 40, 0);
        all.extend((0x11_u64 | flag | more).to_le_bytes());
        all.resize(begin + 56, 0);
        all.extend((contents.len() as u64).to_le_bytes());
        all.extend(&payload);
        all.resize(begin + 64 + padded, 0);
    }
    let mut bytes = 0xba55_ed50_u32.to_le_bytes().to_vec();
    bytes.extend([1, 0, 16, 0]);
    bytes.extend((all.len() as u64).to_le_bytes());
    bytes.extend(all);
    bytes
}

/// One section: name, type, contents, link, size if it has no contents.
struct Section {
    name: &'static str,
    kind: u32,
    contents: Vec<u8>,
    link: u32,
    size: Option<u64>,
}

fn section(name: &'static str, kind: u32, contents: Vec<u8>) -> Section {
    Section { name, kind, contents, link: 0, size: None }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn symbol(name: u32, info: u8, other: u8, section: u16, size: u64) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend([info, other]);
    bytes.extend(section.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

/// Makes a cubin with one kernel, `simple`, and one constant, `seven`.
pub(crate) fn cubin(architecture: u32, exact: bool) -> Vec<u8> {
    let parameter = |ordinal: u32, offset: u32, bytes: u32| {
        words(&[12 << 16 | 0x17 << 8 | 4, 0, offset << 16 | ordinal, bytes << 18])
    };
    let mut info = parameter(2, 16, 3);
    info.extend(parameter(1, 8, 8));
    info.extend(parameter(0, 0, 1));
    info.extend(words(&[19 << 16 | 0x19 << 8 | 3]));
    info.extend(words(&[12 << 16 | 0x10 << 8 | 4, 32, 2, 1]));
    let common = words(&[8 << 16 | 0x2f << 8 | 4, 1, 40, 8 << 16 | 0x11 << 8 | 4, 1, 16]);
    let mut symbols = vec![0; 24];
    symbols.extend(symbol(1, 0x12, 0x10, 3, 128));
    symbols.extend(symbol(8, 0x11, 0, 7, 4));
    let reserved = if architecture >= 90 { 1024 } else { 0 };
    let mut sections = vec![
        section("", 0, vec![]),
        section(".strtab", 3, b"\0simple\0seven\0".to_vec()),
        section(".symtab", 2, symbols),
        section(".text.simple", 1, vec![0; 128]),
        section(".nv.info", 0x7000_0000, common),
        section(".nv.info.simple", 0x7000_0000, info),
        section(".nv.shared.simple", 8, vec![]),
        section(".nv.constant3", 1, vec![7, 0, 0, 0]),
        section(".nv.compat", 0x7000_0086, vec![2, 9, exact.into(), 0]),
        section(".shstrtab", 3, vec![]),
    ];
    sections[2].link = 1;
    sections[6].size = Some(100 + reserved);
    elf(architecture, sections)
}

fn elf(architecture: u32, mut sections: Vec<Section>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut starts = Vec::new();
    for section in &sections {
        starts.push(names.len() as u32);
        names.extend(section.name.as_bytes());
        names.push(0);
    }
    let last = sections.len() - 1;
    sections[last].contents = names;
    let mut bytes = b"\x7fELF\x02\x01\x01\x41\x08".to_vec();
    bytes.resize(16, 0);
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(190_u16.to_le_bytes());
    bytes.resize(48, 0);
    bytes.extend((0x0600_0004 | architecture << 8).to_le_bytes());
    for number in [64, 0, 0, 64, sections.len() as u16, last as u16] {
        bytes.extend(number.to_le_bytes());
    }
    let mut headers = Vec::new();
    for (section, name) in sections.iter().zip(starts) {
        headers.extend(words(&[name, section.kind]));
        let size = section.size.unwrap_or(section.contents.len() as u64);
        let entry = if section.kind == 2 { 24 } else { 0 };
        for number in [0, 0, bytes.len() as u64, size] {
            headers.extend(number.to_le_bytes());
        }
        headers.extend(words(&[section.link, 0]));
        for number in [4_u64, entry] {
            headers.extend(number.to_le_bytes());
        }
        bytes.extend(&section.contents);
    }
    let place = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&place.to_le_bytes());
    bytes.extend(headers);
    bytes
}
