//! Gathers the facts: looks at a machine through its [`Host`] and changes nothing.

mod ollama;
pub mod units;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use vgpu_loader::{Binary, Cache};

use crate::error::Result;
use crate::facts::{Driver, Facts, Libc, Library, Platform, SCHEMA_VERSION, SHIMS, Shims};
use crate::host::Host;
use crate::location::hex;

/// The machines that Ollama ships CUDA backends for, with Debian's name for their directories.
const ARCHES: [(&str, &str, &str); 2] = [
    ("x86_64", "x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2"),
    ("aarch64", "aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1"),
];
/// Longest text file that is read: 1 MiB; unit files and os-release have a few hundred bytes.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Longest ld.so.cache that is read: 64 MiB, two hundred times a large desktop's.
const CACHE_BYTES_MAX: u64 = 64 << 20;

/// Gathers every fact.
///
/// # Errors
/// [`crate::Error::Io`] where the machine refuses to show something that exists.
pub fn facts(host: &dyn Host) -> Result<Facts> {
    let platform = platform(host)?;
    let shims = shims(host, &platform)?;
    let units = units::all(host)?;
    let ollamas = ollama::all(host, &units)?;
    let drivers = drivers(host, &platform, &shims)?;
    let guest_unit = units::fragment(host, "vgpu-guest.service")?;
    Ok(Facts {
        schema_version: SCHEMA_VERSION,
        platform,
        shims,
        ollamas,
        units,
        drivers,
        guest_unit: guest_unit.map(|_| "vgpu-guest.service".into()),
    })
}

fn platform(host: &dyn Host) -> Result<Platform> {
    let mut os = text(host, Path::new("/etc/os-release"))?;
    if os.is_empty() {
        os = text(host, Path::new("/usr/lib/os-release"))?;
    }
    let os = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(String::new, |name| name.trim_matches('"').to_owned());
    let mut platform = Platform { os, systemd: host.has_systemd(), ..Platform::default() };
    for (arch, triplet, interpreter) in ARCHES {
        let multiarch = Path::new("/usr/lib").join(triplet);
        let plain = Path::new("/usr/lib64");
        let has = |dir: &Path| is_dir(host, dir);
        let ours = [multiarch.join("vgpu"), plain.join("vgpu")];
        let glibc = host.open(Path::new(interpreter))?.is_some();
        if !(glibc || has(&ours[0])? || has(&multiarch)? || has(&ours[1])?) {
            continue;
        }
        platform.arch = arch.into();
        platform.libc = if glibc { Libc::Glibc } else { Libc::Unknown };
        let debian = has(&ours[0])? || (has(&multiarch)? && !has(&ours[1])?);
        platform.library_dir = if debian { multiarch.into() } else { plain.into() };
        break;
    }
    let is_musl = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("ld-musl-");
    if platform.libc == Libc::Unknown && host.list(Path::new("/lib"))?.iter().any(is_musl) {
        platform.libc = Libc::Musl;
    }
    Ok(platform)
}

fn shims(host: &dyn Host, platform: &Platform) -> Result<Shims> {
    let dir = platform.library_dir.join("vgpu");
    let mut libraries = Vec::new();
    for name in SHIMS {
        if let Some(opened) = host.open(&dir.join(name))? {
            let binary = Binary::read(opened.source.as_ref()).unwrap_or_default();
            libraries.push(Library {
                name: name.into(),
                soname: binary.soname.map(|name| lossy(&name)),
                build_id: binary.build_id.map(|id| hex(&id)),
            });
        }
    }
    Ok(Shims { dir: dir.into(), libraries })
}

fn drivers(host: &dyn Host, platform: &Platform, shims: &Shims) -> Result<Vec<Driver>> {
    let cache = cache(host)?;
    let mut found: Vec<Driver> = Vec::new();
    for soname in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let cached = cache.entries().iter().filter(|entry| entry.name == soname.as_bytes());
        let cached = cached.map(|entry| {
            use std::os::unix::ffi::OsStrExt;
            PathBuf::from(OsStr::from_bytes(&entry.path))
        });
        let mut paths: Vec<PathBuf> = cached.collect();
        paths.extend(default_dirs(platform).iter().map(|dir| dir.join(soname)));
        for path in paths {
            let Some(file) = host.canonical(&path)? else { continue };
            let Some(opened) = host.open(&file)? else { continue };
            if found.iter().any(|known| known.file.as_ref() == file && known.soname == soname) {
                continue;
            }
            let binary = Binary::read(opened.source.as_ref()).unwrap_or_default();
            let id = binary.build_id.map(|id| hex(&id));
            let ours = id.is_some() && shims.libraries.iter().any(|shim| shim.build_id == id);
            let soname = soname.to_owned();
            found.push(Driver { soname, path: path.into(), file: file.into(), ours });
        }
    }
    Ok(found)
}

/// Reads `/etc/ld.so.cache`; one that is missing or not sound names nothing, as for ld.so.
///
/// # Errors
/// [`crate::Error::Io`] where it exists and cannot be read.
pub fn cache(host: &dyn Host) -> Result<Cache> {
    let bytes = host.read(Path::new("/etc/ld.so.cache"), CACHE_BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| Cache::parse(&bytes).ok()).unwrap_or_default())
}

/// The built-in directories of ld.so: Debian's with a triplet, else the two plain ones.
#[must_use]
pub fn default_dirs(platform: &Platform) -> Vec<PathBuf> {
    match platform.library_dir.strip_prefix("/usr/lib").ok().filter(|rest| rest.iter().count() > 0)
    {
        Some(triplet) => vec![
            Path::new("/lib").join(triplet),
            Path::new("/usr/lib").join(triplet),
            "/lib".into(),
            "/usr/lib".into(),
        ],
        None => vec!["/lib64".into(), "/usr/lib64".into()],
    }
}

/// Reads a text file; one that is missing is empty, and bytes that are no text are replaced.
///
/// # Errors
/// [`crate::Error::Io`] where it exists and cannot be read.
pub fn text(host: &dyn Host, path: &Path) -> Result<String> {
    let bytes = host.read(path, TEXT_BYTES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_dir(host: &dyn Host, path: &Path) -> Result<bool> {
    let Some(real) = host.canonical(path)? else { return Ok(false) };
    Ok(matches!(host.inspect(&real)?, crate::object::Object::Dir { .. }))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
