//! Tells what a copy is: by its content where that can tell, else by its place.

use std::path::Path;

use vgpu_loader::Binary;

use crate::facts::{Elf, Facts, Kind};

/// Owner of the note that all our libraries carry (`shims/guest/src/mark.rs`).
const MARK: &[u8] = b"vgpu";
/// What the driver's libraries take in memory at least: NVIDIA's libnvidia-ml has more than a
/// mebibyte and libcuda ten; the stand-ins for linking have less than a quarter of one.
const IMAGE_BYTES_MIN: u64 = 1 << 20;
/// Parts of glibc that the driver's libraries need, and stand-ins for linking do not.
const NEEDS_OF_DRIVER: [&[u8]; 3] = [b"libdl.so.2", b"libpthread.so.0", b"libm.so.6"];

/// Reads what kind of ELF file begins with these bytes.
pub fn elf(head: &[u8]) -> Option<Elf> {
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    // Byte 4 is the class, byte 5 the order of bytes (elf(5)).
    let machine = [head[18], head[19]];
    let machine =
        if head[5] == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    Some(Elf { class: if head[4] == 1 { 32 } else { 64 }, machine })
}

/// True if a library carries our note. What is no library, and lies where only our package puts
/// files, is taken for ours: its content cannot tell.
pub fn is_ours(binary: &Binary, elf: Option<Elf>, file: &Path, facts: &Facts) -> bool {
    let marked = binary.note_owners.iter().any(|owner| owner == MARK);
    marked || (elf.is_none() && file.starts_with(&facts.shims.dir))
}

/// Says what a file is that is not ours.
pub fn kind(binary: &Binary, elf: Option<Elf>, name: &str, file: &Path, facts: &Facts) -> Kind {
    let of_driver = name.starts_with("libcuda.so") || name.starts_with("libnvidia-ml.so");
    let readable = elf.is_some_and(|elf| elf.class == 64);
    let place = place(file, of_driver, facts);
    if of_driver && readable {
        let whole = binary.image_bytes >= IMAGE_BYTES_MIN
            || binary.needed.iter().any(|name| NEEDS_OF_DRIVER.contains(&name.as_slice()));
        return match place {
            Kind::Stub if whole => Kind::Driver,
            Kind::Driver | Kind::Unknown if !whole => Kind::Stub,
            place => place,
        };
    }
    place
}

fn place(file: &Path, of_driver: bool, facts: &Facts) -> Kind {
    let has = |part: &str| file.iter().any(|known| known == part);
    let below = |dir: &str| file.starts_with(dir);
    let in_toolkit = ["/usr/local", "/opt", "/usr/lib"].iter().any(|base| {
        let part = file.strip_prefix(base).ok().and_then(|rest| rest.iter().next());
        part.is_some_and(|part| part.to_string_lossy().starts_with("cuda"))
    });
    let system = if of_driver { Kind::Driver } else { Kind::Toolkit };
    if facts.ollamas.iter().any(|ollama| file.starts_with(&ollama.library_dir)) {
        return if below("/snap") { Kind::Snap } else { Kind::Bundle };
    }
    if below("/snap") || below("/var/lib/snapd") {
        return Kind::Snap;
    }
    if has("stubs") {
        return Kind::Stub;
    }
    if below("/usr/lib/wsl") {
        return Kind::Wsl;
    }
    if has("glibc-hwcaps") {
        return Kind::Hwcaps;
    }
    if below("/usr/local/nvidia") || below("/var/lib/flatpak") {
        return Kind::Container;
    }
    if in_toolkit {
        return if has("compat") { Kind::Compat } else { Kind::Toolkit };
    }
    let in_nvidia = file
        .parent()
        .is_some_and(|dir| dir.iter().any(|part| part.to_string_lossy().starts_with("nvidia")));
    if ["/usr/lib", "/usr/lib64", "/lib", "/lib64"].iter().any(|dir| below(dir)) && in_nvidia {
        return if of_driver { Kind::NvidiaCurrent } else { Kind::Toolkit };
    }
    let roots = ["/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32"];
    let stores = ["/usr/local/lib", "/usr/local/lib64", "/nix/store", "/run/opengl-driver"];
    if roots.iter().chain(&stores).any(|dir| below(dir)) { system } else { Kind::Unknown }
}
