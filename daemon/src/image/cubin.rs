//! Cubins: ELF files with one section of code, one of attributes and one of constants a kernel.

use std::collections::HashMap;

use goblin::elf::{Elf, SectionHeader, Sym, section_header, sym};

use super::info::{self, Fact, KernelInfo};
use super::{
    ImageError, Kernel, Pointer, Reach, Space, THREADS_MAX, Target, UNPACKED_BYTES_MAX, Variable,
    u16_at,
};

/// ELF's number for NVIDIA's devices.
const EM_CUDA: u16 = 190;

/// `st_other` of a kernel's symbol.
const STO_CUDA_ENTRY: u8 = 0x10;

/// ABI version from which the architecture stands in bits 8 to 15 of `e_flags` (CUDA 13), not in
/// bits 0 to 7.
const ABI_SHIFTED: u8 = 8;

/// Flag of the older ABI: the code is for exactly its architecture.
const EXACT_OLD: u32 = 0x800;

/// From this architecture on, tools count the system's own KiB among a kernel's shared memory.
const RESERVED_SHARED_FROM: u32 = 90;
const RESERVED_SHARED_BYTES: u64 = 1024;

/// Registers of one multiprocessor, of which a block can have all.
const BLOCK_REGISTERS: u32 = 65_536;

/// Relocations that put a whole 64-bit address into data.
const ADDRESS_RELOCATIONS: [u32; 2] = [2, 4];

/// A cubin whose sections were found.
pub(super) struct Cubin<'a> {
    bytes: &'a [u8],
    elf: Elf<'a>,
    target: Target,
}

impl<'a> Cubin<'a> {
    /// Reads the headers.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let elf =
            Elf::parse(bytes).map_err(|_| ImageError::invalid("the ELF file is broken", 0))?;
        if elf.header.e_machine != EM_CUDA || !elf.is_64 || !elf.little_endian {
            return Err(ImageError::invalid("the ELF file is no 64-bit cubin", 18));
        }
        let mut cubin = Self { bytes, elf, target: Target { number: 0, reach: Reach::Ordinary } };
        cubin.target = cubin.find_target()?;
        Ok(cubin)
    }

    /// The architecture that the code was made for.
    pub fn target(&self) -> Target {
        self.target
    }

    fn find_target(&self) -> Result<Target, ImageError> {
        let flags = self.elf.header.e_flags;
        let shifted = self.elf.header.e_ident[8] >= ABI_SHIFTED;
        let number = if shifted { flags >> 8 & 0xff } else { flags & 0xff };
        let mut exact = !shifted && flags & EXACT_OLD != 0;
        if let Some((section, offset)) = self.section(".nv.compat")? {
            exact |= info::is_exact(section, offset)?;
        }
        Ok(Target { number, reach: if exact { Reach::Exact } else { Reach::Ordinary } })
    }

    /// Lists kernels and variables.
    pub fn contents(&self) -> Result<(Vec<Kernel>, Vec<Variable>), ImageError> {
        Ok((self.kernels()?, self.variables()?))
    }

    fn kernels(&self) -> Result<Vec<Kernel>, ImageError> {
        let mut facts: HashMap<u32, (u32, u32)> = HashMap::new();
        if let Some((section, offset)) = self.section(".nv.info")? {
            for (symbol, fact) in info::facts(section, offset)? {
                let of = facts.entry(symbol).or_default();
                match fact {
                    Fact::Registers(count) => of.0 = count,
                    Fact::Frame(bytes) => of.1 = bytes,
                }
            }
        }
        let sections: HashMap<&str, usize> = self
            .elf
            .section_headers
            .iter()
            .enumerate()
            .filter_map(|(at, header)| Some((self.elf.shdr_strtab.get_at(header.sh_name)?, at)))
            .collect();
        let mut kernels = Vec::new();
        for (index, symbol) in self.elf.syms.iter().enumerate() {
            if symbol.st_type() == sym::STT_FUNC && symbol.st_other & STO_CUDA_ENTRY != 0 {
                let (registers, frame) = facts.get(&(index as u32)).copied().unwrap_or_default();
                let mut kernel = self.kernel(self.name(&symbol)?, &sections)?;
                kernel.registers = registers;
                kernel.local_bytes = frame;
                kernel.max_threads_per_block =
                    kernel.max_threads_per_block.min(fitting_threads(registers));
                kernels.push(kernel);
            }
        }
        Ok(kernels)
    }

    /// Describes a kernel by the sections that bear its name.
    fn kernel(&self, name: &str, of: &HashMap<&str, usize>) -> Result<Kernel, ImageError> {
        let header = |prefix: &str| {
            of.get(format!("{prefix}{name}").as_str()).map(|&at| &self.elf.section_headers[at])
        };
        let info = match header(".nv.info.") {
            Some(header) => KernelInfo::read(self.contents_of(header)?, header.sh_offset as usize)?,
            None => return Err(ImageError::invalid("a kernel has no attributes", 0)),
        };
        let mut shared = header(".nv.shared.").map_or(0, |header| header.sh_size);
        if self.target.number >= RESERVED_SHARED_FROM {
            shared = shared.saturating_sub(RESERVED_SHARED_BYTES);
        }
        let constant =
            of.get(".nv.constant3").map_or(0, |&at| self.elf.section_headers[at].sh_size);
        let threads = info.block_threads();
        Ok(Kernel {
            name: name.to_owned(),
            parameters: info.parameters,
            parameter_bytes: info.parameter_bytes,
            max_threads_per_block: threads.unwrap_or(THREADS_MAX).clamp(1, THREADS_MAX),
            static_shared_bytes: u32::try_from(shared).unwrap_or(u32::MAX),
            constant_bytes: u32::try_from(constant).unwrap_or(u32::MAX),
            ptx_version: self.virtual_architecture()?,
            binary_version: self.target.number,
            required_cluster: info.required_cluster,
            maximum_cluster: info.maximum_cluster,
            required_block: info.required_block,
            ..Kernel::default()
        })
    }

    /// The virtual architecture, from the tools' note; else from the older ABI's flags.
    fn virtual_architecture(&self) -> Result<u32, ImageError> {
        // Three lengths, the owner's name of 12 bytes, a version.
        let noted = self.section(".note.nv.cuinfo")?.and_then(|(note, _)| u16_at(note, 26));
        let flagged = self.elf.header.e_flags >> 16 & 0xff;
        Ok(noted.map_or(flagged, u32::from))
    }

    fn variables(&self) -> Result<Vec<Variable>, ImageError> {
        let (mut variables, mut initial_bytes) = (Vec::new(), 0_u64);
        for symbol in self.elf.syms.iter() {
            let Some(header) = self.elf.section_headers.get(symbol.st_shndx) else { continue };
            let section = self.elf.shdr_strtab.get_at(header.sh_name).unwrap_or_default();
            let space = match section {
                ".nv.global" | ".nv.global.init" => Space::Global,
                ".nv.constant3" => Space::Constant,
                _ => continue,
            };
            if symbol.st_type() != sym::STT_OBJECT {
                continue;
            }
            let outside = || ImageError::invalid("a variable lies outside its section", 0);
            let end = symbol.st_value.checked_add(symbol.st_size).ok_or_else(outside)?;
            if end > header.sh_size {
                return Err(outside());
            }
            let initial = match header.sh_type {
                section_header::SHT_NOBITS => None,
                _ => {
                    // Many symbols may name the same bytes.
                    initial_bytes = initial_bytes.saturating_add(symbol.st_size);
                    if initial_bytes > UNPACKED_BYTES_MAX as u64 {
                        return Err(ImageError::invalid("the variables are too large together", 0));
                    }
                    let range = symbol.st_value as usize..end as usize;
                    Some(self.contents_of(header)?.get(range).ok_or_else(outside)?.to_vec())
                }
            };
            variables.push(Variable {
                name: self.name(&symbol)?.to_owned(),
                bytes: symbol.st_size,
                alignment: alignment(&symbol, header),
                space,
                initial,
                pointers: self.pointers(symbol.st_shndx, symbol.st_value..end)?,
            });
        }
        Ok(variables)
    }

    /// Lists the addresses that belong into a range of a section.
    fn pointers(
        &self,
        section: usize,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<Pointer>, ImageError> {
        let mut pointers = Vec::new();
        for (of, relocations) in &self.elf.shdr_relocs {
            if self.elf.section_headers.get(*of).map(|header| header.sh_info as usize)
                != Some(section)
            {
                continue;
            }
            for relocation in relocations.iter() {
                if !range.contains(&relocation.r_offset)
                    || !ADDRESS_RELOCATIONS.contains(&relocation.r_type)
                {
                    continue;
                }
                let symbol = self
                    .elf
                    .syms
                    .get(relocation.r_sym)
                    .ok_or_else(|| ImageError::invalid("a relocation names no symbol", 0))?;
                pointers.push(Pointer {
                    offset: relocation.r_offset - range.start,
                    of: self.name(&symbol)?.to_owned(),
                    addend: relocation.r_addend.unwrap_or_default() as u64,
                });
            }
        }
        Ok(pointers)
    }

    fn name(&self, symbol: &Sym) -> Result<&str, ImageError> {
        let name = self.elf.strtab.get_at(symbol.st_name);
        name.ok_or_else(|| ImageError::invalid("a symbol has no name", 0))
    }

    /// Finds a section by its name; returns its bytes and where they begin.
    fn section(&self, name: &str) -> Result<Option<(&'a [u8], usize)>, ImageError> {
        let header = self
            .elf
            .section_headers
            .iter()
            .find(|header| self.elf.shdr_strtab.get_at(header.sh_name) == Some(name));
        header.map(|of| Ok((self.contents_of(of)?, of.sh_offset as usize))).transpose()
    }

    fn contents_of(&self, header: &SectionHeader) -> Result<&'a [u8], ImageError> {
        let at = usize::try_from(header.sh_offset).unwrap_or(usize::MAX);
        let bytes = usize::try_from(header.sh_size).unwrap_or(usize::MAX);
        let range = at..at.saturating_add(bytes);
        self.bytes.get(range).ok_or_else(|| ImageError::invalid("a section is cut short", at))
    }
}

/// Threads of a block that have so many registers each: they are handed out to warps in 256s.
fn fitting_threads(registers: u32) -> u32 {
    let of_warp = registers.clamp(1, 255).next_multiple_of(8) * 32;
    (BLOCK_REGISTERS / of_warp * 32).min(THREADS_MAX)
}

/// A variable's alignment: the file keeps that of the section only, so it is what the place has.
fn alignment(symbol: &Sym, header: &SectionHeader) -> u64 {
    // What is no power of two means nothing.
    let of_section = match header.sh_addralign {
        asked if asked.is_power_of_two() => asked.min(4096),
        _ => 1,
    };
    match symbol.st_value {
        0 => of_section,
        value => of_section.min(1 << value.trailing_zeros()),
    }
}
