//! The attributes of a cubin (`.nv.info` and its kin): records of a form, a name and a value.

use super::{ImageError, Parameter, u16_at, u32_at};

/// Names of the attributes that are read, as NVIDIA's `cuobjdump -elf` prints them.
mod name {
    pub const MAX_THREADS: u8 = 0x05;
    pub const REQNTID: u8 = 0x10;
    pub const FRAME_SIZE: u8 = 0x11;
    pub const KPARAM_INFO: u8 = 0x17;
    pub const CBANK_PARAM_SIZE: u8 = 0x19;
    pub const REGCOUNT: u8 = 0x2f;
    pub const CTA_PER_CLUSTER: u8 = 0x3d;
    pub const MAX_CLUSTER_RANK: u8 = 0x3f;
    pub const KPARAM_INFO_V2: u8 = 0x45;
    /// In `.nv.compat`.
    pub const ACCELERATOR_TARGET: u8 = 0x09;
}

/// The form of a record whose value is as long as its own length says; all others are 4 bytes.
const SIZED: u8 = 4;

/// One attribute.
struct Record<'a> {
    name: u8,
    /// Two bytes, or the sized value.
    value: &'a [u8],
}

/// Reads the records of a section that begins at `offset` of the image.
fn records(section: &[u8], offset: usize) -> impl Iterator<Item = Result<Record<'_>, ImageError>> {
    let mut rest = section;
    std::iter::from_fn(move || {
        let (&form, &name) = (rest.first()?, rest.get(1)?);
        let at = offset + (section.len() - rest.len());
        let cut = || Some(Err(ImageError::invalid("an attribute is cut short", at)));
        let Some(value) = rest.get(2..4) else { return cut() };
        rest = &rest[4..];
        if form != SIZED {
            return Some(Ok(Record { name, value }));
        }
        let length = usize::from(u16_at(value, 0).expect("two bytes"));
        let Some((value, behind)) = rest.split_at_checked(length) else {
            rest = &[];
            return cut();
        };
        rest = behind;
        Some(Ok(Record { name, value }))
    })
}

/// What a kernel's own attributes say.
#[derive(Default)]
pub(super) struct KernelInfo {
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    maximum_block: Option<[u32; 3]>,
    pub required_block: Option<[u32; 3]>,
    pub required_cluster: Option<[u32; 3]>,
    pub maximum_cluster: Option<u32>,
}

impl KernelInfo {
    /// Reads `.nv.info.<kernel>`.
    pub fn read(section: &[u8], offset: usize) -> Result<Self, ImageError> {
        let mut info = Self::default();
        let mut parameters = Vec::new();
        for record in records(section, offset) {
            let Record { name, value } = record?;
            let word = |at| {
                u32_at(value, at)
                    .ok_or_else(|| ImageError::invalid("an attribute is too short", offset))
            };
            let three = || Ok([word(0)?, word(4)?, word(8)?]);
            match name {
                name::MAX_THREADS => info.maximum_block = Some(three()?),
                name::REQNTID => info.required_block = Some(three()?),
                name::CTA_PER_CLUSTER => info.required_cluster = Some(three()?),
                name::MAX_CLUSTER_RANK => info.maximum_cluster = Some(word(0)?),
                name::CBANK_PARAM_SIZE => {
                    info.parameter_bytes = u16_at(value, 0).unwrap_or_default().into();
                }
                name::KPARAM_INFO | name::KPARAM_INFO_V2 => {
                    let place = word(4)?;
                    let bytes = if name == name::KPARAM_INFO { word(8)? >> 18 } else { word(8)? };
                    let parameter = Parameter { offset: place >> 16, bytes };
                    parameters.push((place & 0xffff, parameter));
                }
                _ => {}
            }
        }
        info.parameters = in_order(parameters, info.parameter_bytes)
            .ok_or_else(|| ImageError::invalid("a kernel's parameters do not fit", offset))?;
        Ok(info)
    }

    /// Threads of the largest block, where the kernel says so.
    pub fn block_threads(&self) -> Option<u32> {
        let [x, y, z] = self.required_block.or(self.maximum_block)?;
        x.checked_mul(y)?.checked_mul(z)
    }
}

/// Sorts parameters by their ordinals; none may be missing, overlap or reach beyond the whole.
fn in_order(mut parameters: Vec<(u32, Parameter)>, bytes: u32) -> Option<Vec<Parameter>> {
    parameters.sort_by_key(|(ordinal, _)| *ordinal);
    let mut end = 0;
    for (at, (ordinal, parameter)) in parameters.iter().enumerate() {
        if *ordinal as usize != at || parameter.offset < end {
            return None;
        }
        end = parameter.offset.checked_add(parameter.bytes)?;
    }
    (end <= bytes).then(|| parameters.into_iter().map(|(_, parameter)| parameter).collect())
}

/// What the cubin's common attributes say of a symbol.
pub(super) enum Fact {
    Registers(u32),
    Frame(u32),
}

/// Reads `.nv.info`: facts of functions, each by the index of its symbol.
pub(super) fn facts(section: &[u8], offset: usize) -> Result<Vec<(u32, Fact)>, ImageError> {
    let mut facts = Vec::new();
    for record in records(section, offset) {
        let Record { name, value } = record?;
        let fact = match name {
            name::REGCOUNT => Fact::Registers,
            name::FRAME_SIZE => Fact::Frame,
            _ => continue,
        };
        let (Some(symbol), Some(count)) = (u32_at(value, 0), u32_at(value, 4)) else {
            return Err(ImageError::invalid("an attribute is too short", offset));
        };
        facts.push((symbol, fact(count)));
    }
    Ok(facts)
}

/// Reads `.nv.compat`: whether the code is for exactly its architecture.
pub(super) fn is_exact(section: &[u8], offset: usize) -> Result<bool, ImageError> {
    for record in records(section, offset) {
        let Record { name, value } = record?;
        if name == name::ACCELERATOR_TARGET {
            return Ok(value.first().is_some_and(|&target| target != 0));
        }
    }
    Ok(false)
}
