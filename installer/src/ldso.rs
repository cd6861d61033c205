//! The loader's model over a [`Host`]: which file programs of that machine get for a name.

use std::path::{Path, PathBuf};

use vgpu_loader::{Cache, Family, Files, Found, Legacy, Platform};

use crate::discover::default_dirs;
use crate::error::Result;
use crate::facts;
use crate::host::Host;
use crate::object::Object;

/// `e_machine` of the machines that are served.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// Kinds of library in ld.so.cache: libc 6 for x86-64, and for AArch64.
const CACHE_X86_64: i32 = 0x303;
const CACHE_AARCH64: i32 = 0xa03;
/// Longest `/etc/ld.so.preload` or `/etc/ld-musl-ARCH.path` that is read: 64 KiB.
const LIST_BYTES_MAX: u64 = 64 << 10;
/// The first glibc that searches no legacy hardware directories any more.
const NO_LEGACY_SINCE: (u32, u32) = (2, 37);
/// Bits of a cache entry's hwcap word that every x86-64 machine has: its name, and `tls`.
const LEGACY_X86_64_BITS: u64 = 1 << 63 | 1 << 1;

/// The files of a host, as the loader of its machine sees them.
pub struct HostFiles<'a> {
    host: &'a dyn Host,
    machine: u16,
    /// True if set-user-id bits count, which cost a further look at each file.
    secure: bool,
}

impl<'a> HostFiles<'a> {
    /// The files of `host`, for programs of its own machine.
    #[must_use]
    pub fn new(host: &'a dyn Host, platform: &facts::Platform, secure: bool) -> Self {
        let machine = if platform.arch == "aarch64" { AARCH64 } else { X86_64 };
        Self { host, machine, secure }
    }

    fn lies_at(&self, path: &Path) -> Option<Object> {
        let real = self.host.canonical(path).ok()??;
        self.host.inspect(&real).ok()
    }
}

impl Files for HostFiles<'_> {
    fn look(&self, path: &Path) -> Found {
        // What cannot be opened is not there for the loader either.
        let Ok(opened) = self.host.open(path) else { return Found::Nothing };
        let Some(opened) = opened else {
            return match self.lies_at(path) {
                Some(Object::Dir { .. }) => Found::Damaged("a directory"),
                Some(Object::Other { .. }) => Found::Damaged("neither a file nor a directory"),
                _ => Found::Nothing,
            };
        };
        let trusted = |object: Object| object.meta().is_some_and(|meta| meta.mode & 0o4000 != 0);
        let set_user_id = self.secure && self.lies_at(path).is_some_and(trusted);
        Found::of(opened.source.as_ref(), self.machine, opened.identity, set_user_id)
    }

    fn has_dir(&self, path: &Path) -> bool {
        matches!(self.lies_at(path), Some(Object::Dir { .. }))
    }
}

/// What the machine adds to the search of a program that asks for this interpreter.
///
/// `is_here` says that it is this machine's processor that runs the program, which chooses among
/// glibc-hwcaps directories.
///
/// # Errors
/// [`crate::Error::Io`] where a file that decides exists and cannot be read.
pub fn platform(
    host: &dyn Host,
    facts: &facts::Platform,
    interpreter: &[u8],
    cache: Option<Cache>,
    is_here: bool,
) -> Result<Platform> {
    let list = |path: &Path| host.read(path, LIST_BYTES_MAX);
    if let Some(arch) = musl_arch(interpreter) {
        let path = musl_path_file(interpreter, &arch);
        let dirs = match list(&path)? {
            Some(text) => Platform::musl_dirs(&text),
            None => Platform::MUSL_DIRS.map(PathBuf::from).into(),
        };
        return Ok(Platform { family: Family::Musl, default_dirs: dirs, ..Platform::default() });
    }
    let is_x86 = facts.arch != "aarch64";
    let legacy = legacy(host, facts)?;
    Ok(Platform {
        family: Family::Glibc,
        default_dirs: default_dirs(facts),
        lib_token: lib_token(facts),
        platform_token: facts.arch.clone().into_bytes(),
        hwcaps: if is_here { hwcaps() } else { Vec::new() },
        legacy,
        cache_flags: if is_x86 { CACHE_X86_64 } else { CACHE_AARCH64 },
        cache,
        preload_file: list("/etc/ld.so.preload".as_ref())?.unwrap_or_default(),
    })
}

/// What `$LIB` stands for: the system's library directory, relative to `/usr`.
fn lib_token(facts: &facts::Platform) -> Vec<u8> {
    facts.library_dir.to_string().trim_start_matches("/usr/").into()
}

/// The machine's name in musl's own name, such as `x86_64`; none for another loader.
#[must_use]
pub fn musl_arch(interpreter: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(interpreter).into_owned();
    let name = name.rsplit('/').next()?.strip_prefix("ld-musl-")?;
    Some(name.strip_suffix(".so.1")?.to_owned())
}

/// The file that names musl's directories: below the prefix that the loader itself lies in.
fn musl_path_file(interpreter: &[u8], arch: &str) -> PathBuf {
    let text = String::from_utf8_lossy(interpreter).into_owned();
    let prefix = Path::new(&text).parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    prefix.join("etc").join(format!("ld-musl-{arch}.path"))
}

/// What glibc before 2.37 searches besides, on x86-64: `tls` and the name of the machine.
///
/// Directories for newer processors of that time (`haswell`, `avx512_1`, `xeon_phi`) are left
/// out: no distribution that has such a glibc still fills them.
fn legacy(host: &dyn Host, facts: &facts::Platform) -> Result<Legacy> {
    if facts.arch != "x86_64" || glibc_version(host, facts)?.is_none_or(|v| v >= NO_LEGACY_SINCE) {
        return Ok(Legacy::default());
    }
    let dirs = ["tls/x86_64/x86_64", "tls/x86_64", "tls", "x86_64/x86_64", "x86_64"];
    Ok(Legacy { dirs: dirs.map(|dir| dir.as_bytes().to_vec()).into(), bits: LEGACY_X86_64_BITS })
}

/// glibc's version, from the newest version node of its C library.
///
/// # Errors
/// [`crate::Error::Io`] where it exists and cannot be read.
pub fn glibc_version(host: &dyn Host, facts: &facts::Platform) -> Result<Option<(u32, u32)>> {
    for dir in default_dirs(facts) {
        let Some(opened) = host.open(&dir.join("libc.so.6"))? else { continue };
        let Ok(binary) = vgpu_loader::Binary::read(opened.source.as_ref()) else { continue };
        let versions = binary.versions.iter().filter_map(|node| {
            let node = std::str::from_utf8(node).ok()?.strip_prefix("GLIBC_")?;
            let (major, minor) = node.split_once('.')?;
            Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
        });
        return Ok(versions.max());
    }
    Ok(None)
}

/// The glibc-hwcaps directories of this processor, best first (ld.so(8), "Hardware capabilities").
pub(crate) fn hwcaps() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let v2 = has!("sse4.2") && has!("popcnt") && has!("ssse3") && has!("cmpxchg16b");
        let v3 = v2 && has!("avx2") && has!("bmi2") && has!("fma") && has!("movbe");
        let v3 = v3 && has!("bmi1") && has!("f16c") && has!("lzcnt");
        let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512vl");
        let v4 = v4 && has!("avx512cd") && has!("avx512dq");
        for (level, supported) in [("x86-64-v4", v4), ("x86-64-v3", v3), ("x86-64-v2", v2)] {
            if supported {
                found.push(level.as_bytes().to_vec());
            }
        }
    }
    found
}
