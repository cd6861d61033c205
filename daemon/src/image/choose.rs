//! Which part of an image a device gets, as the driver chooses (CUDA C++ Programming Guide,
//! "Application Compatibility"): machine code of the same major and no newer minor number first,
//! else the newest PTX that is not newer than the device.

use std::borrow::Cow;
use std::sync::Arc;

use super::fat::{Entry, Kind};
use super::{Image, ImageError, Reach, Target, cubin, fat, ptx, u32_at};

/// First four bytes of an ELF file.
const ELF: u32 = u32::from_le_bytes(*b"\x7fELF");

/// Reads an image for a device.
pub(super) fn read(bytes: &[u8], device: u32) -> Result<Image, ImageError> {
    match u32_at(bytes, 0) {
        Some(fat::MAGIC) => from_fat(&fat::entries(bytes)?, device),
        Some(ELF) => {
            let cubin = cubin::Cubin::read(bytes)?;
            if !runs_cubin(cubin.target(), device) {
                return Err(nothing(device, format!("machine code for {}", cubin.target())));
            }
            let chosen = format!("machine code for {}: a cubin", cubin.target());
            let (kernels, variables) = cubin.contents()?;
            Ok(Image { kernels, variables, ptx: None, chosen })
        }
        _ => from_ptx(Cow::Borrowed(bytes), 0, device),
    }
}

/// Says whether machine code runs on a device.
fn runs_cubin(code: Target, device: u32) -> bool {
    match code.reach {
        Reach::Exact => code.number == device,
        Reach::Ordinary | Reach::Family => code.number / 10 == device / 10 && code.number <= device,
    }
}

/// Says whether PTX compiles for a device.
fn runs_ptx(code: Target, device: u32) -> bool {
    match code.reach {
        Reach::Ordinary => code.number <= device,
        Reach::Exact | Reach::Family => runs_cubin(code, device),
    }
}

fn nothing(device: u32, offers: String) -> ImageError {
    let capability = Target { number: device, reach: Reach::Ordinary };
    ImageError::NoBinary { capability, offers }
}

/// Chooses among the entries of a fat binary.
fn from_fat(entries: &[Entry<'_>], device: u32) -> Result<Image, ImageError> {
    let ptx = newest_ptx(entries, device)?;
    let mut codes: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Cubin && runs_cubin(entry.target(), device))
        .collect();
    // Exact code before ordinary code of the same number: it was made for this very device.
    codes.sort_by_key(|entry| std::cmp::Reverse(entry.target()));
    for entry in codes {
        let bytes = entry.unpack()?;
        let cubin = cubin::Cubin::read(&bytes)?;
        // Older tools say only in the cubin itself that it is for exactly one device.
        if !runs_cubin(cubin.target(), device) {
            continue;
        }
        let (kernels, variables) = cubin.contents()?;
        let ptx = ptx.map(|module| module.source);
        let chosen = format!("machine code for {} among {}", cubin.target(), offers(entries));
        return Ok(Image { kernels, variables, ptx, chosen });
    }
    let Some(module) = ptx else { return Err(nothing(device, offers(entries))) };
    let chosen = format!("PTX for {} among {}", module.target, offers(entries));
    image_of(module, device, chosen)
}

/// Reads the newest PTX that compiles for a device.
fn newest_ptx(entries: &[Entry<'_>], device: u32) -> Result<Option<ptx::Module>, ImageError> {
    let mut texts: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Ptx && entry.architecture <= device)
        .collect();
    texts.sort_by_key(|entry| std::cmp::Reverse((entry.architecture, entry.exact)));
    for entry in texts {
        let module = module(entry.unpack()?, entry.offset)?;
        // Only the text itself says whether it is for exactly one device.
        if runs_ptx(module.target, device) {
            return Ok(Some(module));
        }
    }
    Ok(None)
}

fn from_ptx(bytes: Cow<'_, [u8]>, offset: usize, device: u32) -> Result<Image, ImageError> {
    let module = module(bytes, offset)?;
    if !runs_ptx(module.target, device) {
        return Err(nothing(device, format!("PTX for {}", module.target)));
    }
    let chosen = format!("PTX for {}", module.target);
    image_of(module, device, chosen)
}

fn image_of(module: ptx::Module, device: u32, chosen: String) -> Result<Image, ImageError> {
    let kernels = module.kernels(device);
    let ptx::Module { variables, source, .. } = module;
    Ok(Image { kernels, variables, ptx: Some(source), chosen })
}

/// Reads PTX text, with or without zeros behind it.
fn module(bytes: Cow<'_, [u8]>, offset: usize) -> Result<ptx::Module, ImageError> {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let no_ptx = || ImageError::invalid("neither fat binary, cubin nor PTX", offset);
    let text = std::str::from_utf8(text).map_err(|_| no_ptx())?;
    if !ptx::is_ptx(text) {
        return Err(no_ptx());
    }
    ptx::Module::parse(Arc::from(text))
}

fn offers(entries: &[Entry<'_>]) -> String {
    let offers = entries.iter().filter_map(|entry| {
        let kind = match entry.kind {
            Kind::Ptx => "PTX",
            Kind::Cubin => "machine code",
            Kind::Other => return None,
        };
        Some(format!("{kind} for {}", entry.target()))
    });
    let offers: Vec<_> = offers.collect();
    if offers.is_empty() { "no code at all".to_owned() } else { offers.join(", ") }
}

impl Entry<'_> {
    fn target(&self) -> Target {
        let reach = if self.exact { Reach::Exact } else { Reach::Ordinary };
        Target { number: self.architecture, reach }
    }
}
