//! Writes the smallest ELF files that the loaders and ldconfig accept, so that a case costs no
//! compiler: one segment with everything, and a program whose code ends it with status 0.

/// `e_machine` of x86-64, on which these tests run.
pub(crate) const MACHINE: u16 = 62;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// `exit_group(0)`.
const EXIT: [u8; 9] = [0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05];
/// Longest code of a file.
const CODE_BYTES_MAX: usize = 40;
/// Where the two distances stand in the code that opens a library, each counted from its own end.
const NAME_AT: usize = 7;
const SLOT_AT: usize = 18;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_INIT: u64 = 12;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const R_X86_64_GLOB_DAT: u64 = 6;
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
    /// What it opens by `dlopen`: a library when it is initialized, a program when it runs.
    pub(crate) opens: Option<String>,
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
        let opens = self.opens.as_ref().map(|name| (add(name), add("dlopen")));
        dynamic.extend(opens.map(|_| (DT_NEEDED, add("libc.so.6"))));
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
        let hash = (code + CODE_BYTES_MAX).next_multiple_of(8);
        // One bucket that is empty; the empty symbol, and the wanted one.
        let symbols = hash + 24;
        let relocation = symbols + 48;
        let slot = relocation + 24;
        let table = slot + 8;
        if opens.is_some() {
            let (at, bytes) = (relocation as u64, 24);
            dynamic.extend([(DT_RELA, at), (DT_RELASZ, bytes), (DT_RELAENT, bytes)]);
            dynamic.extend(interpreter.is_none().then_some((DT_INIT, code as u64)));
        }
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
        match opens {
            Some((name, _)) => {
                let name = strings_at + name as usize;
                out.extend(opening(code, name, slot, interpreter.is_some()));
            }
            None => out.extend_from_slice(&EXIT),
        }
        out.resize(hash, 0);
        tables(&mut out, opens.map(|(_, symbol)| symbol), slot);
        out.resize(table, 0);
        for (tag, value) in dynamic {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&strings);
        out
    }
}

/// The hash table, the symbols, and where the address of the wanted one goes.
fn tables(out: &mut Vec<u8>, wanted: Option<u64>, slot: usize) {
    for word in [1_u32, 1 + u32::from(wanted.is_some()), 0, 0, 0, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    // The first symbol is the empty one.
    out.resize(out.len() + 24, 0);
    if let Some(name) = wanted {
        // A function that somebody else has.
        for word in [0x12 << 32 | name, 0, 0, slot as u64, 1 << 32 | R_X86_64_GLOB_DAT, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

/// `dlopen(NAME, RTLD_LAZY)`, then the end of the program, or the way back to the loader.
fn opening(code: usize, name: usize, slot: usize, is_program: bool) -> Vec<u8> {
    // The stack is aligned where a program starts, and not where a function does.
    let (down, up): (&[u8], &[u8]) = if is_program {
        (&[0x0f, 0x1f, 0x40, 0], &[0x0f, 0x1f, 0x40, 0])
    } else {
        (&[0x48, 0x83, 0xec, 8], &[0x48, 0x83, 0xc4, 8])
    };
    let distance = |to: usize, at: usize| ((to - (code + at + 4)) as u32).to_le_bytes();
    let mut out = [down, &[0x48, 0x8d, 0x3d]].concat();
    out.extend(distance(name, NAME_AT));
    out.extend([0xbe, 1, 0, 0, 0, 0xff, 0x15]);
    out.extend(distance(slot, SLOT_AT));
    out.extend_from_slice(up);
    out.extend_from_slice(if is_program { &EXIT } else { &[0xc3] });
    out
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
