//! Writes the smallest ELF files that the loaders and ldconfig accept, so that a case costs no
//! compiler: one segment with everything, and a program whose code ends it with status 0.

/// `e_machine` of x86-64, on which these tests run.
pub(crate) const MACHINE: u16 = 62;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// `exit_group(0)`.
const CODE: [u8; 9] = [0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05];

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NODEFLIB: u64 = 0x800;

/// What one file says about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elf {
    pub(crate) soname: Option<String>,
    pub(crate) needed: Vec<String>,
    pub(crate) rpath: Option<String>,
    pub(crate) runpath: Option<String>,
    pub(crate) no_default_dirs: bool,
}

impl Elf {
    /// The bytes of a library, or of a program where an interpreter is named.
    pub(crate) fn bytes(&self, interpreter: Option<&str>) -> Vec<u8> {
        let mut strings = vec![0_u8];
        let mut add = |text: &str| {
            let at = strings.len() as u64;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let mut dynamic: Vec<(u64, u64)> = Vec::new();
        dynamic.extend(self.needed.iter().map(|name| (DT_NEEDED, add(name))));
        dynamic.extend(self.soname.iter().map(|name| (DT_SONAME, add(name))));
        dynamic.extend(self.rpath.iter().map(|list| (DT_RPATH, add(list))));
        dynamic.extend(self.runpath.iter().map(|list| (DT_RUNPATH, add(list))));
        if self.no_default_dirs {
            dynamic.push((DT_FLAGS_1, DF_1_NODEFLIB));
        }
        let interpreter_at = interpreter.map(&mut add);
        let segments = if interpreter.is_some() { 5 } else { 3 };
        let code = HEADER + segments * PROGRAM_HEADER;
        let hash = (code + CODE.len()).next_multiple_of(8);
        // One bucket and one symbol, which is the empty one.
        let symbols = hash + 16;
        let table = symbols + 24;
        let strings_at = table + (dynamic.len() + 6) * 16;
        let end = strings_at + strings.len();
        dynamic.extend([
            (DT_HASH, hash as u64),
            (DT_STRTAB, strings_at as u64),
            (DT_SYMTAB, symbols as u64),
            (DT_STRSZ, strings.len() as u64),
            (DT_SYMENT, 24),
            (0, 0),
        ]);
        let mut out = header(code as u64, segments as u16);
        if let (Some(at), Some(text)) = (interpreter_at, interpreter) {
            // ld.so learns from the first where the kernel put the program.
            segment(&mut out, PT_PHDR, 4, HEADER, segments * PROGRAM_HEADER);
            let offset = strings_at + at as usize;
            segment(&mut out, PT_INTERP, 4, offset, text.len() + 1);
        }
        segment(&mut out, PT_LOAD, 7, 0, end);
        segment(&mut out, PT_DYNAMIC, 6, table, dynamic.len() * 16);
        segment(&mut out, PT_GNU_STACK, 6, 0, 0);
        out.extend_from_slice(&CODE);
        out.resize(hash, 0);
        for word in [1_u32, 1, 0, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(table, 0);
        for (tag, value) in dynamic {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&strings);
        out
    }
}

fn header(entry: u64, segments: u16) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    for half in [3_u16, MACHINE] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(&1_u32.to_le_bytes());
    for word in [entry, HEADER as u64, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    for half in [HEADER as u16, PROGRAM_HEADER as u16, segments, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out
}

fn segment(out: &mut Vec<u8>, kind: u32, flags: u32, offset: usize, bytes: usize) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    let align = if kind == PT_LOAD { 4096 } else { 8 };
    for word in [offset, offset, offset, bytes, bytes, align] {
        out.extend_from_slice(&(word as u64).to_le_bytes());
    }
}
