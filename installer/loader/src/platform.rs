//! What the machine and the environment add to the search.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cache::Cache;

/// Whose loader it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// The GNU C library.
    #[default]
    Glibc,
    /// musl.
    Musl,
}

/// What the machine adds to the search.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    /// Whose loader it is.
    pub family: Family,
    /// The built-in directories, in order. musl's are [`Platform::MUSL_DIRS`] unless
    /// `/etc/ld-musl-ARCH.path` names others.
    pub default_dirs: Vec<PathBuf>,
    /// What `$LIB` stands for, such as `lib/x86_64-linux-gnu`.
    pub lib_token: Vec<u8>,
    /// What `$PLATFORM` stands for.
    pub platform_token: Vec<u8>,
    /// The glibc-hwcaps directories that the processor supports, best first.
    pub hwcaps: Vec<Vec<u8>>,
    /// What glibc before 2.37 searches besides; nothing for later ones.
    pub legacy: Legacy,
    /// The kind of library in the cache that fits the machine (`0x303` on x86-64).
    pub cache_flags: i32,
    /// The cache, if there is one.
    pub cache: Option<Cache>,
    /// The content of `/etc/ld.so.preload`.
    pub preload_file: Vec<u8>,
}

/// The hardware directories of glibc before 2.37, such as `tls` and `haswell`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Legacy {
    /// The subdirectories of every directory, in the order of the search.
    pub dirs: Vec<Vec<u8>>,
    /// The bits of a cache entry's hwcap word that the processor has.
    pub bits: u64,
}

impl Platform {
    /// musl's built-in directories, in order.
    pub const MUSL_DIRS: [&'static str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

    /// The directories that `/etc/ld-musl-ARCH.path` names: separated by colons and line ends.
    #[must_use]
    pub fn musl_dirs(path_file: &[u8]) -> Vec<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        // musl reads the file as one C string.
        let text = path_file.split(|byte| *byte == 0).next().unwrap_or_default();
        text.split(|byte| b":\n".contains(byte))
            .filter(|dir| !dir.is_empty())
            .map(|dir| PathBuf::from(std::ffi::OsStr::from_bytes(dir)))
            .collect()
    }
}

/// What the environment adds to the search.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The value of `LD_LIBRARY_PATH`.
    pub library_path: OsString,
    /// The value of `LD_PRELOAD`.
    pub preload: OsString,
    /// The value of `LD_AUDIT`; what auditors do is not modelled, only noted.
    pub audit: OsString,
    /// True for set-user-id programs and those with file capabilities, whose loader trusts
    /// neither variable.
    pub secure: bool,
    /// The directory from which relative paths are taken; `/`, a service's, if it is empty.
    pub working_dir: PathBuf,
}
