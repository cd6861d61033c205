//! Gathers the facts: looks at a machine through its [`Host`] and changes nothing.

mod alternatives;
mod confined;
mod guest;
mod kinds;
mod libraries;
mod ollama;
mod owners;
mod places;
mod platform;
mod running;
mod smi;
pub mod units;

pub use self::ollama::BACKEND;
pub use self::platform::platform;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vgpu_loader::{Binary, Cache};

use crate::error::{Error, Result};
use crate::facts::{Facts, Library, Platform, SCHEMA_VERSION, SHIMS, Shims};
use crate::host::Host;
use crate::location::hex;

pub use owners::ask as ask_owners;

/// Longest text file that is read: 1 MiB; unit files and os-release have a few hundred bytes.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Longest ld.so.cache that is read: 64 MiB, two hundred times a large desktop's.
const CACHE_BYTES_MAX: u64 = 64 << 20;

/// Gathers every fact.
///
/// # Errors
/// [`crate::Error::Io`] where the machine refuses to show something that exists.
pub fn facts(host: &dyn Host) -> Result<Facts> {
    facts_beside(host, None)
}

/// Gathers every fact; libraries are also searched below a driver root, the directory that holds
/// a driver as if it were `/`.
///
/// # Errors
/// As [`facts`]. What is refused while libraries are searched for is in the facts instead.
pub fn facts_beside(host: &dyn Host, driver_root: Option<&Path>) -> Result<Facts> {
    let platform = platform(host)?;
    let shims = shims(host, &platform)?;
    let mut units = units::all(host)?;
    for unit in &mut units {
        let program = unit.executable.as_ref().map(|path| readable(host.canonical(path)));
        unit.program = program.transpose()?.flatten().flatten().map(Into::into);
    }
    let accounts = units::accounts(host)?;
    let ollamas = ollama::all(host, &units, &accounts, &platform, &shims.dir)?;
    let left_behind = ollama::left_behind(host, &ollamas)?;
    let guest = guest::guest(host)?;
    let cache = cache(host)?;
    let guest_unit = units::fragment(host, "vgpu-guest.service")?;
    let ld_cache = guest::ld_cache(host, &shims.dir, &cache)?;
    let confined = confined::all(host, &accounts, &shims.dir, &guest)?;
    let mut facts = Facts {
        confined,
        schema_version: SCHEMA_VERSION,
        platform,
        shims,
        ollamas,
        left_behind: left_behind.into_iter().map(Into::into).collect(),
        running: running::all(host, &accounts)?,
        units,
        guest_unit: guest_unit.map(|_| "vgpu-guest.service".into()),
        guest,
        ld_cache,
        smi: smi::smi(host)?,
        ..Facts::default()
    };
    let found = libraries::all(host, &facts, &cache, driver_root);
    facts.libraries = found.copies;
    facts.unseen = found.unseen;
    Ok(facts)
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

/// What was seen, or none where this user may not look.
///
/// # Errors
/// Every other error.
pub fn readable<T>(seen: Result<T>) -> Result<Option<T>> {
    match seen {
        Ok(seen) => Ok(Some(seen)),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
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
    Ok(host.dir_identity(path)?.is_some())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
