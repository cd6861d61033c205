//! Finding the genuine libraries, without loading anything: as the loader would, or in the
//! directory that the configuration names.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use vgpu_loader::{Cache, Environment, Files, Found, Platform, Process, Source};

use crate::error::DaemonError;
use crate::mark;

/// The driver API's library, as every client asks for it.
pub(crate) const CUDA: &str = "libcuda.so.1";

/// NVML's, which packages install beside it or on its own (Debian: libnvidia-ml1).
pub(crate) const NVML: &str = "libnvidia-ml.so.1";

/// Where the loader keeps what ldconfig(8) found.
const CACHE_FILE: &str = "/etc/ld.so.cache";

/// `e_machine`, kind of library in the cache, and built-in directories of this machine.
#[cfg(target_arch = "x86_64")]
const MACHINE: (u16, i32, [&str; 6]) = (
    62,
    0x303,
    [
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
        "/usr/lib",
    ],
);
#[cfg(target_arch = "aarch64")]
const MACHINE: (u16, i32, [&str; 6]) = (
    183,
    0xa03,
    [
        "/lib/aarch64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
        "/usr/lib",
    ],
);

/// Finds the driver and NVML.
///
/// # Errors
/// [`DaemonError::DriverMissing`] if one of them is nowhere; for what is no driver:
/// [`DaemonError::DriverIsOurs`], [`DaemonError::DriverIsStub`], [`DaemonError::DriverIsNone`].
pub(crate) fn find(directory: Option<&Path>) -> Result<[PathBuf; 2], DaemonError> {
    Ok([find_one(CUDA, directory)?, find_one(NVML, directory)?])
}

/// Finds one library of NVIDIA's, in a directory or as the loader would.
///
/// # Errors
/// As for [`find`].
pub(super) fn find_one(
    name: &'static str,
    directory: Option<&Path>,
) -> Result<PathBuf, DaemonError> {
    let path = match directory {
        Some(directory) => {
            let path = directory.join(name);
            let missing = DaemonError::DriverMissing { name, searched: vec![path.clone()] };
            if path.exists() { path } else { return Err(missing) }
        }
        None => search(name)?,
    };
    check(&path)?;
    Ok(path)
}

/// Asks the model of the loader which file this process would get.
fn search(name: &'static str) -> Result<PathBuf, DaemonError> {
    let (_, cache_flags, directories) = MACHINE;
    let cache = std::fs::read(CACHE_FILE).ok().and_then(|bytes| Cache::parse(&bytes).ok());
    let platform = Platform {
        default_dirs: directories.map(PathBuf::from).into(),
        cache_flags,
        cache,
        ..Platform::default()
    };
    let environment = Environment {
        library_path: std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default(),
        ..Environment::default()
    };
    let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let process = Process::start(&program, &Disk, &platform, environment);
    // A program without a loader loads no library either.
    let missing = |_| DaemonError::DriverMissing { name, searched: Vec::new() };
    let mut process = process.map_err(missing)?;
    let answer = process.open(name.as_ref(), 0);
    match answer.object {
        Some(object) => Ok(process.objects()[object].path.clone()),
        None => {
            let searched = answer.attempts.into_iter().map(|attempt| attempt.path).collect();
            Err(DaemonError::DriverMissing { name, searched })
        }
    }
}

/// Refuses what is no driver of NVIDIA's.
fn check(path: &Path) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::File { verb: "looking at", path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    if mark::is_ours(&file).map_err(failed)? {
        return Err(DaemonError::DriverIsOurs { path: path.into() });
    }
    let real = path.canonicalize().map_err(failed)?;
    if real.components().chain(path.components()).any(|part| part.as_os_str() == "stubs") {
        return Err(DaemonError::DriverIsStub { path: path.into() });
    }
    if !matches!(Disk.look(path), Found::Elf { .. }) {
        return Err(DaemonError::DriverIsNone { path: path.into() });
    }
    Ok(())
}

/// The files of this machine.
struct Disk;

impl Files for Disk {
    fn look(&self, path: &Path) -> Found {
        let Ok(file) = File::open(path) else { return Found::Nothing };
        let Ok(status) = file.metadata() else { return Found::Nothing };
        let identity = (status.dev(), status.ino());
        Found::of(&Opened(file), MACHINE.0, identity, false)
    }
}

struct Opened(File);

impl Source for Opened {
    fn read_at(&self, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(bytes as u64)?;
        // Before anything is allocated for a length that the file only announces.
        if end > self.0.metadata().ok()?.len() {
            return None;
        }
        let mut read = vec![0; bytes];
        self.0.read_exact_at(&mut read, offset).ok().map(|()| read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_driver_is_named_with_what_it_lacks() {
        let directory = tempfile::tempdir().expect("a directory");
        match find(Some(directory.path())) {
            Err(DaemonError::DriverMissing { name: CUDA, searched }) => {
                assert_eq!(searched, [directory.path().join(CUDA)]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_library_or_lies_among_stubs_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let stubs = directory.path().join("stubs");
        std::fs::create_dir(&stubs).expect("created");
        std::fs::write(directory.path().join(CUDA), b"no library").expect("written");
        std::fs::copy("/proc/self/exe", stubs.join(CUDA)).expect("copied");
        let none = find(Some(directory.path()));
        assert!(matches!(none, Err(DaemonError::DriverIsNone { .. })), "{none:?}");
        let stub = find(Some(&stubs));
        assert!(matches!(stub, Err(DaemonError::DriverIsStub { .. })), "{stub:?}");
    }

    #[test]
    fn the_loaders_search_finds_what_this_machine_has() {
        let libc = search("libc.so.6").expect("this test is linked to it");
        assert!(libc.is_absolute() && libc.exists(), "{libc:?}");
        match search("libno-such-library.so.1") {
            Err(DaemonError::DriverMissing { searched, .. }) => assert!(searched.len() > 1),
            other => panic!("{other:?}"),
        }
    }
}
