//! How far an image reaches that comes as a bare pointer: its own header says so.
//!
//! Fat binaries name their size (headers as the compiler lays them out, described by public tools
//! for them), cubins are ELF files and end with their last section or segment (ELF-64 Object File
//! Format), PTX is a text with an end mark. Each field is checked before the next is read.

use vgpu_abi::cuda::Error;
use vgpu_guest::convert::Readable;

/// Begins what the compiler puts into a program: a pointer to the fat binary.
const WRAPPER_MAGIC: [u8; 4] = 0x4662_43b1_u32.to_le_bytes();

/// Begins a fat binary: magic, version (u16), bytes of this header (u16), bytes that follow (u64).
const FAT_MAGIC: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();

/// Begins an ELF file.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// Largest image: 2 GiB. The largest published builds of ggml hold 1.5 GiB in all their images
/// together; a header that says more is taken for damaged.
const IMAGE_BYTES_MAX: u64 = 2 << 30;

/// Longest PTX: 256 MiB, fifty times the largest of ggml's images. A text without an end mark
/// within it is refused.
const PTX_BYTES_MAX: usize = 256 << 20;

/// Section of an ELF file that has no bytes in it (SHT_NOBITS).
const NO_BITS: u32 = 8;

/// Borrows all of an image; NULL is INVALID_VALUE, what is none of the three kinds, or ends before
/// its header says, INVALID_IMAGE.
pub(crate) fn whole<'call>(image: Readable<'call>) -> Result<&'call [u8], Error> {
    if image.is_null() {
        return Err(Error::INVALID_VALUE);
    }
    kind(image).map_err(|_| Error::INVALID_IMAGE)
}

fn kind<'call>(image: Readable<'call>) -> Result<&'call [u8], Error> {
    if begins_with(image, WRAPPER_MAGIC)? {
        // Behind magic and version stands the pointer.
        let fat = image.follow::<Error>(8)?.readable();
        let is_fat = begins_with(fat, FAT_MAGIC)?;
        return if is_fat { fat_binary(fat) } else { Err(Error::INVALID_IMAGE) };
    }
    if begins_with(image, FAT_MAGIC)? {
        fat_binary(image)
    } else if begins_with(image, ELF_MAGIC)? {
        elf(image)
    } else {
        text(image)
    }
}

/// Compares byte by byte: a text may end before a magic would.
fn begins_with(image: Readable<'_>, magic: [u8; 4]) -> Result<bool, Error> {
    for (at, byte) in magic.into_iter().enumerate() {
        if image.value::<u8, Error>(at)? != byte {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fat_binary<'call>(image: Readable<'call>) -> Result<&'call [u8], Error> {
    let header_bytes = u64::from(image.value::<u16, Error>(6)?);
    let bytes = header_bytes.checked_add(image.value::<u64, Error>(8)?);
    if header_bytes < 16 {
        return Err(Error::INVALID_IMAGE);
    }
    image.bytes(0, within_limit(bytes)?)
}

/// A text ends with its end mark, which goes along: the driver looks for it.
fn text<'call>(image: Readable<'call>) -> Result<&'call [u8], Error> {
    let first: u8 = image.value::<_, Error>(0)?;
    if !(first.is_ascii_graphic() || first.is_ascii_whitespace()) {
        return Err(Error::INVALID_IMAGE);
    }
    let text = image.before_zero::<Error>(PTX_BYTES_MAX)?;
    image.bytes(0, text.len() + 1)
}

fn elf<'call>(image: Readable<'call>) -> Result<&'call [u8], Error> {
    // Class 2 is 64 bits, data 1 is little-endian; no device code has others.
    if image.value::<u16, Error>(4)? != 0x0102 {
        return Err(Error::INVALID_IMAGE);
    }
    let (segments, sections) = (image.value::<u64, Error>(32)?, image.value::<u64, Error>(40)?);
    let field = |offset| image.value::<u16, Error>(offset).map(u64::from);
    let (segment_bytes, segment_count) = (field(54)?, field(56)?);
    let (section_bytes, mut section_count) = (field(58)?, field(60)?);
    if (segment_count > 0 && segment_bytes < 56) || (sections > 0 && section_bytes < 64) {
        return Err(Error::INVALID_IMAGE);
    }
    if sections > 0 && section_count == 0 {
        // More than 65,279 sections: their number stands in the size of the first.
        within_limit(sections.checked_add(section_bytes))?;
        section_count = image.value::<_, Error>(sections as usize + 32)?;
    }
    let mut end = 64;
    let table = |at: u64, each: u64, count: u64| {
        let end = each.checked_mul(count).and_then(|bytes| at.checked_add(bytes));
        within_limit(end).map(|end| end as u64)
    };
    if segment_count > 0 {
        end = end.max(table(segments, segment_bytes, segment_count)?);
        for index in 0..segment_count {
            let at = (segments + index * segment_bytes) as usize;
            end = end.max(span(image, at + 8, at + 32)?);
        }
    }
    if sections > 0 {
        end = end.max(table(sections, section_bytes, section_count)?);
        for index in 0..section_count {
            let at = (sections + index * section_bytes) as usize;
            if image.value::<u32, Error>(at + 4)? != NO_BITS {
                end = end.max(span(image, at + 24, at + 32)?);
            }
        }
    }
    image.bytes(0, within_limit(Some(end))?)
}

/// Where in the file a segment or section ends, from the places of its offset and size.
fn span(image: Readable<'_>, offset: usize, bytes: usize) -> Result<u64, Error> {
    let (offset, bytes): (u64, u64) =
        (image.value::<_, Error>(offset)?, image.value::<_, Error>(bytes)?);
    within_limit(offset.checked_add(bytes)).map(|end| end as u64)
}

fn within_limit(bytes: Option<u64>) -> Result<usize, Error> {
    let bytes = bytes.filter(|bytes| *bytes <= IMAGE_BYTES_MAX).ok_or(Error::INVALID_IMAGE)?;
    usize::try_from(bytes).map_err(|_| Error::INVALID_IMAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole_of(image: &[u8]) -> Result<usize, Error> {
        whole(image.into()).map(<[u8]>::len)
    }

    fn fat(header_bytes: u16, body_bytes: u64) -> Vec<u8> {
        let mut image = FAT_MAGIC.to_vec();
        image.extend(1u16.to_le_bytes());
        image.extend(header_bytes.to_le_bytes());
        image.extend(body_bytes.to_le_bytes());
        image.extend([7; 100]);
        image
    }

    /// An ELF file of one section table behind one section, and one segment.
    fn cubin() -> Vec<u8> {
        let mut image = vec![0; 64 + 56 + 40 + 2 * 64 + 9];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01");
        put(32, &64u64.to_le_bytes());
        put(40, &160u64.to_le_bytes());
        put(54, &[56, 0, 1, 0, 64, 0, 2, 0]);
        put(64 + 8, &120u64.to_le_bytes());
        put(64 + 32, &40u64.to_le_bytes());
        put(160 + 64 + 4, &NO_BITS.to_le_bytes());
        put(160 + 64 + 24, &u64::MAX.to_le_bytes());
        image
    }

    #[test]
    fn each_kind_of_image_ends_where_its_header_says() {
        assert_eq!(whole_of(&fat(16, 50)), Ok(66));
        assert_eq!(whole_of(&cubin()), Ok(64 + 56 + 40 + 128));
        assert_eq!(whole_of(b"// made\n.version 8.0\0behind"), Ok(21));
    }

    #[test]
    fn a_header_that_cannot_be_right_is_an_invalid_image() {
        let mut damaged = cubin();
        damaged[160 + 24..160 + 32].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut narrow = cubin();
        narrow[58] = 8;
        let mut other_class = cubin();
        other_class[4] = 1;
        let wrapper_of_nothing = [&WRAPPER_MAGIC[..], &[0; 12]].concat();
        for image in [
            fat(8, 50),
            fat(16, u64::MAX - 3),
            fat(16, IMAGE_BYTES_MAX),
            damaged,
            narrow,
            other_class,
            wrapper_of_nothing,
            b"\x01\x02\x03\x04 no text\0".to_vec(),
        ] {
            assert_eq!(whole_of(&image), Err(Error::INVALID_IMAGE), "{:x?}", &image[..8]);
        }
    }
}
