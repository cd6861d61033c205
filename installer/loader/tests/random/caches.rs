//! Caches in the formats that ld.so still reads and ldconfig does not write well any more: with
//! hardware directories, `-c old` and `-c compat` of glibc 2.36 write past their table.

use std::path::Path;
use std::process::Command;

use vgpu_loader::Cache;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
/// Where the new header says how far the extensions lie from the start of the file.
const EXTENSIONS: usize = 32;

/// The plain entries of a cache in the format of glibc 2.1.
pub(crate) fn old(new: &[u8]) -> Vec<u8> {
    let (count, table, texts) = old_parts(new);
    [OLD_MAGIC, &count.to_le_bytes()[..], &table, &texts].concat()
}

/// The new format after a table of the old one.
pub(crate) fn combined(new: &[u8]) -> Vec<u8> {
    let (count, table, _) = old_parts(new);
    let mut out = [OLD_MAGIC, &count.to_le_bytes()[..], &table].concat();
    out.resize(out.len().next_multiple_of(8), 0);
    let base = out.len() as u32;
    out.extend_from_slice(new);
    // The places of extensions count from the start of the file, those of texts do not.
    let at = base as usize + EXTENSIONS;
    let extensions = shift(&mut out, at, base) as usize;
    let sections = word(&out, extensions + 4) as usize;
    for section in 0..sections {
        shift(&mut out, extensions + 8 + section * 16 + 8, base);
    }
    out
}

fn old_parts(new: &[u8]) -> (u32, Vec<u8>, Vec<u8>) {
    let cache = Cache::parse(new).expect("ldconfig's own cache is sound");
    let plain = cache.entries().iter().filter(|e| e.hwcaps.is_none() && e.legacy == 0);
    let (mut count, mut table, mut texts) = (0_u32, Vec::new(), Vec::new());
    for entry in plain {
        table.extend_from_slice(&entry.flags.to_le_bytes());
        for text in [&entry.name, &entry.path] {
            table.extend_from_slice(&(texts.len() as u32).to_le_bytes());
            texts.extend_from_slice(text);
            texts.push(0);
        }
        count += 1;
    }
    (count, table, texts)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn shift(bytes: &mut [u8], at: usize, by: u32) -> u32 {
    let moved = word(bytes, at) + by;
    bytes[at..at + 4].copy_from_slice(&moved.to_le_bytes());
    moved
}

/// Compares the cache of a root with what the real `ldconfig -p` prints of it.
pub(crate) fn compare_with_ldconfig(root: &Path, cache: &Cache) -> Result<(), String> {
    let output = Command::new("/sbin/ldconfig").env_clear().arg("-r").arg(root).arg("-p").output();
    let text = String::from_utf8_lossy(&output.expect("ldconfig is there").stdout).into_owned();
    let printed: Vec<String> =
        text.lines().filter_map(|line| Some(line.strip_prefix('\t')?.to_owned())).collect();
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let parsed: Vec<String> = cache
        .entries()
        .iter()
        .map(|entry| {
            let hwcap = match &entry.hwcaps {
                Some(name) => format!(", hwcap: \"{}\"", lossy(name)),
                None if entry.legacy != 0 => format!(", hwcap: {:#018x}", entry.legacy),
                None => String::new(),
            };
            let kind = if entry.flags == 0x303 { "libc6,x86-64" } else { "libc6" };
            format!("{} ({kind}{hwcap}) => {}", lossy(&entry.name), lossy(&entry.path))
        })
        .collect();
    let generator = cache.generator().map(lossy).unwrap_or_default();
    if printed != parsed || !text.contains(&generator) {
        return Err(format!("ldconfig -p prints {printed:#?}\nthe parser reads {parsed:#?}"));
    }
    Ok(())
}
