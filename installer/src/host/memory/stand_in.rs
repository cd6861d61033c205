//! Stand-ins for libraries: ELF files that say what is wanted about themselves, and hold no code.

/// Length of a file header, a program header, a dynamic entry.
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
/// Type of a shared object (`e_type`).
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RUNPATH: u64 = 29;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;

/// What a stand-in says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StandIn {
    /// 32 for a library that is not of this class; its other fields are then left out.
    class: u8,
    machine: u16,
    soname: Option<String>,
    needed: Vec<String>,
    runpath: Option<String>,
    interpreter: Option<String>,
    versions: Vec<String>,
    build_id: Vec<u8>,
    notes: Vec<String>,
    image_bytes: u64,
}

impl StandIn {
    /// Reads words such as `soname=libcuda.so.1 build=0a0b needs=libc.so.6,libm.so.6 image=30M
    /// versions=libcudart.so.12 note=vgpu class=32 machine=183 runpath=$ORIGIN interp=/lib64/ld`.
    ///
    /// # Panics
    /// Where a word is none of these.
    #[must_use]
    pub fn parse(words: &str) -> Self {
        let mut found = Self { class: 64, machine: 62, ..Self::default() };
        let list = |value: &str| value.split(',').map(str::to_owned).collect();
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').expect("elf PATH NAME=VALUE ...");
            match name {
                "soname" => found.soname = Some(value.into()),
                "build" => found.build_id = crate::location::unhex(value).expect("build=HEX"),
                "needs" => found.needed = list(value),
                "versions" => found.versions = list(value),
                "note" => found.notes = list(value),
                "runpath" => found.runpath = Some(value.into()),
                "interp" => found.interpreter = Some(value.into()),
                "class" => found.class = value.parse().expect("class=32"),
                "machine" => found.machine = value.parse().expect("machine=NUMBER"),
                "image" => {
                    let number = value.strip_suffix('M').expect("image=MEBIBYTESM");
                    found.image_bytes = number.parse::<u64>().expect("image=MEBIBYTESM") << 20;
                }
                other => panic!("a stand-in has no {other:?}"),
            }
        }
        found
    }

    /// Makes the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = b"\x7fELF".to_vec();
        head.extend([if self.class == 32 { 1 } else { 2 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        head.extend(ET_DYN.to_le_bytes());
        head.extend(self.machine.to_le_bytes());
        head.extend(1_u32.to_le_bytes());
        if self.class == 32 {
            head.resize(HEADER_BYTES, 0);
            return head;
        }
        let count = 3 + usize::from(self.interpreter.is_some());
        // Entry, program headers, section headers, flags, then the sizes.
        head.extend(0_u64.to_le_bytes());
        head.extend((HEADER_BYTES as u64).to_le_bytes());
        head.extend([0; 12]);
        for half in [HEADER_BYTES, PROGRAM_HEADER_BYTES, count, 0, 0, 0] {
            head.extend(u16::try_from(half).unwrap_or(0).to_le_bytes());
        }
        let mut body = Body { base: HEADER_BYTES + count * PROGRAM_HEADER_BYTES, bytes: vec![] };
        let dynamic = self.dynamic(&mut body);
        let notes = body.add(&self.note_bytes());
        let mut segments = vec![(PT_DYNAMIC, dynamic), (PT_NOTE, notes)];
        if let Some(interpreter) = &self.interpreter {
            segments.push((PT_INTERP, body.add(format!("{interpreter}\0").as_bytes())));
        }
        let whole = (0, (body.base + body.bytes.len()) as u64);
        head.extend(program_header(PT_LOAD, whole, self.image_bytes));
        for (kind, place) in segments {
            head.extend(program_header(kind, place, 0));
        }
        head.extend(body.bytes);
        head
    }

    /// Adds strings, version nodes and the dynamic section; gives the place of the last.
    fn dynamic(&self, body: &mut Body) -> (u64, u64) {
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let offset = strings.len() as u64;
            strings.extend(text.as_bytes());
            strings.push(0);
            offset
        };
        let mut entries: Vec<(u64, u64)> = Vec::new();
        entries.extend(self.needed.iter().map(|name| (DT_NEEDED, string(name))));
        entries.extend(self.soname.iter().map(|name| (DT_SONAME, string(name))));
        entries.extend(self.runpath.iter().map(|path| (DT_RUNPATH, string(path))));
        let names: Vec<u64> = self.versions.iter().map(|name| string(name)).collect();
        if !names.is_empty() {
            let (at, _) = body.add(&version_nodes(&names));
            entries.extend([(DT_VERDEF, at), (DT_VERDEFNUM, names.len() as u64)]);
        }
        let (at, bytes) = body.add(&strings);
        entries.extend([(DT_STRTAB, at), (DT_STRSZ, bytes), (0, 0)]);
        let words = entries.iter().flat_map(|(tag, value)| [*tag, *value]);
        body.add(&words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
    }

    fn note_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut note = |owner: &str, kind: u32, text: &[u8]| {
            for word in [owner.len() as u32 + 1, text.len() as u32, kind] {
                out.extend(word.to_le_bytes());
            }
            out.extend(owner.as_bytes());
            out.push(0);
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend(text);
            out.resize(out.len().next_multiple_of(4), 0);
        };
        if !self.build_id.is_empty() {
            note("GNU", 3, &self.build_id);
        }
        for owner in &self.notes {
            note(owner, 1, &[]);
        }
        out
    }
}

/// What follows the headers.
struct Body {
    base: usize,
    bytes: Vec<u8>,
}

impl Body {
    /// Adds a piece at a multiple of eight; gives its offset and length.
    fn add(&mut self, piece: &[u8]) -> (u64, u64) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.base + self.bytes.len();
        self.bytes.extend(piece);
        (at as u64, piece.len() as u64)
    }
}

fn program_header(kind: u32, (offset, bytes): (u64, u64), image_bytes: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(kind.to_le_bytes());
    out.extend(4_u32.to_le_bytes());
    // The image lies in memory as it lies in the file, from address 0.
    for word in [offset, offset, offset, bytes, bytes.max(image_bytes), 8] {
        out.extend(word.to_le_bytes());
    }
    out
}

/// A chain of version definitions (gABI, "Symbol Versioning"), each of one name.
fn version_nodes(names: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let number = u16::try_from(index + 2).unwrap_or(u16::MAX);
        for half in [1_u16, 0, number, 1] {
            out.extend(half.to_le_bytes());
        }
        let next = if index + 1 == names.len() { 0 } else { 28 };
        for word in [0, 20, next, u32::try_from(*name).unwrap_or(0), 0] {
            out.extend(word.to_le_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use vgpu_loader::Binary;

    use super::*;

    #[test]
    fn a_stand_in_says_what_was_asked_for() {
        let words = "soname=libcudart.so.12 build=0a0b needs=libc.so.6,libm.so.6 note=vgpu \
                     versions=libcudart.so.12,second runpath=$ORIGIN image=3M machine=183";
        let binary = Binary::read(StandIn::parse(words).bytes().as_slice()).unwrap();
        let expected = Binary {
            machine: 183,
            is_dynamic: true,
            soname: Some(b"libcudart.so.12".to_vec()),
            needed: vec![b"libc.so.6".to_vec(), b"libm.so.6".to_vec()],
            runpath: Some(b"$ORIGIN".to_vec()),
            build_id: Some(vec![10, 11]),
            versions: vec![b"libcudart.so.12".to_vec(), b"second".to_vec()],
            note_owners: vec![b"GNU".to_vec(), b"vgpu".to_vec()],
            image_bytes: 3 << 20,
            ..Binary::default()
        };
        assert_eq!(binary, expected);
    }

    #[test]
    fn a_stand_in_of_the_other_class_is_of_no_use_to_this_one() {
        let bytes = StandIn::parse("class=32 machine=3").bytes();
        assert_eq!(Binary::read(bytes.as_slice()), Err(vgpu_loader::ElfError::OtherClass));
    }
}
