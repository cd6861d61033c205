//! `vgpud kernels`: what the images in a file hold, as a device of some capability gets it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use goblin::elf::Elf;

use crate::device::Program;
use crate::error::DaemonError;
use crate::image::{self, Image, Kernel};

/// Section of a program or library that holds its fat binaries, one behind the other.
const FAT_SECTION: &str = ".nv_fatbin";

/// First bytes of a fat binary.
const FAT_MAGIC: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();

/// ELF's number for NVIDIA's devices.
const EM_CUDA: u16 = 190;

/// What is to be printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct KernelsOptions {
    /// A program, library, fat binary, cubin or PTX text
    pub file: PathBuf,

    /// Compute capability of the device that chooses, such as 9.0
    #[arg(long, value_name = "MAJOR.MINOR", default_value = "9.0")]
    pub capability: String,

    /// Say of each kernel whether the simulated device executes it
    #[arg(long)]
    pub simulated: bool,
}

/// Prints one line for each image and kernel of a file.
///
/// # Errors
/// If the file cannot be read, or an image in it cannot be used.
pub(crate) fn run(options: &KernelsOptions) -> Result<(), DaemonError> {
    let path = &options.file;
    let capability = capability(&options.capability)?;
    let bytes = std::fs::read(path).map_err(|source| DaemonError::File {
        verb: "reading",
        path: path.clone(),
        source,
    })?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = |source| DaemonError::System { verb: "writing to standard output", source };
    for (number, bytes) in images(&bytes).into_iter().enumerate() {
        let image = image::read(bytes, capability).map_err(|source| unusable(path, source))?;
        write_image(&mut out, number + 1, &image, options.simulated).map_err(written)?;
    }
    out.flush().map_err(written)
}

fn unusable(path: &Path, source: image::ImageError) -> DaemonError {
    DaemonError::Image { path: path.to_owned(), source }
}

fn capability(text: &str) -> Result<(u32, u32), DaemonError> {
    let parse = |text: &str| text.parse().ok().filter(|&number: &u32| number < 100);
    text.split_once('.').and_then(|(major, minor)| Some((parse(major)?, parse(minor)?))).ok_or_else(
        || DaemonError::Value {
            name: "capability",
            value: text.to_owned(),
            asks: "two numbers with a dot between them",
        },
    )
}

/// Finds the images in a file: all fat binaries of a program or library, else the file itself.
fn images(bytes: &[u8]) -> Vec<&[u8]> {
    let fat =
        Elf::parse(bytes).ok().filter(|elf| elf.header.e_machine != EM_CUDA).and_then(|elf| {
            let mut sections = elf.section_headers.iter();
            let header =
                sections.find(|of| elf.shdr_strtab.get_at(of.sh_name) == Some(FAT_SECTION))?;
            bytes.get(header.file_range()?)
        });
    let Some(section) = fat else { return vec![bytes] };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = section.get(at..).filter(|rest| rest.len() >= 16) {
        if !rest.starts_with(&FAT_MAGIC) {
            // They are aligned, and what lies between them is zero.
            at += 8;
            continue;
        }
        let header = u16::from_le_bytes(rest[6..8].try_into().expect("2 bytes"));
        let entries = u64::from_le_bytes(rest[8..16].try_into().expect("8 bytes"));
        let length = usize::try_from(entries).unwrap_or(usize::MAX);
        let length = length.saturating_add(header.into()).min(rest.len()).max(8);
        found.push(&rest[..length]);
        at += length.next_multiple_of(8);
    }
    found
}

fn write_image(
    out: &mut impl std::io::Write,
    number: usize,
    image: &Image,
    simulated: bool,
) -> std::io::Result<()> {
    writeln!(out, "image {number}: {}", image.chosen)?;
    for variable in &image.variables {
        writeln!(
            out,
            "variable {} {:?} bytes={} alignment={} initial={}",
            variable.name,
            variable.space,
            variable.bytes,
            variable.alignment,
            variable.initial.is_some(),
        )?;
    }
    if !simulated {
        return image.kernels.iter().try_for_each(|kernel| {
            write_kernel(out, kernel)?;
            writeln!(out)
        });
    }
    let program = image.ptx.as_deref().map(Program::parse).transpose();
    image.kernels.iter().try_for_each(|kernel| {
        write_kernel(out, kernel)?;
        match &program {
            Ok(Some(program)) => match program.entry(&kernel.name) {
                Ok(_) => writeln!(out, " simulated=yes"),
                Err(why) => writeln!(out, " simulated=no ({why})"),
            },
            Ok(None) => writeln!(out, " simulated=no (there is no PTX)"),
            Err(why) => writeln!(out, " simulated=no ({why})"),
        }
    })
}

fn write_kernel(out: &mut impl std::io::Write, kernel: &Kernel) -> std::io::Result<()> {
    let parameters = kernel.parameters.iter();
    let parameters: Vec<_> = parameters.map(|of| format!("{}+{}", of.offset, of.bytes)).collect();
    write!(
        out,
        "kernel {} parameters={} bytes={} threads={} registers={} shared={} constant={} local={} \
         ptx={} binary={}",
        kernel.name,
        parameters.join(","),
        kernel.parameter_bytes,
        kernel.max_threads_per_block,
        kernel.registers,
        kernel.static_shared_bytes,
        kernel.constant_bytes,
        kernel.local_bytes,
        kernel.ptx_version,
        kernel.binary_version,
    )
}
