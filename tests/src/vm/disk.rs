//! The second disk: a repository for the guest's apt, and what tests bring along.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::image::write_disk;
use crate::system::{Result, at, run};

/// Size of the disk; holes cost nothing.
const DISK_BYTES: u64 = 1 << 30;

/// Is a disk that the guest finds, read-only, in /media/parcel.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// Writes a disk with these debs as a repository of apt, and these programs and other files
    /// beside it.
    ///
    /// # Errors
    /// If a file cannot be read, or dpkg-deb or mkfs.ext4 fails.
    pub fn pack(parent: &Path, debs: &[PathBuf], beside: &[PathBuf]) -> Result<Self> {
        fs::create_dir_all(parent).map_err(at("creating", parent))?;
        let directory = tempfile::Builder::new()
            .prefix("parcel-")
            .tempdir_in(parent)
            .map_err(at("making a directory in", parent))?;
        let content = directory.path().join("content");
        fs::create_dir(&content).map_err(at("creating", &content))?;
        let index = content.join("Packages");
        let mut packages = File::create(&index).map_err(at("creating", &index))?;
        for deb in debs {
            copy(deb, &content, 0o644)?;
            let entry = entry(deb)?;
            packages.write_all(entry.as_bytes()).map_err(at("writing", &index))?;
        }
        for file in beside {
            copy(file, &content, 0o755)?;
        }
        let disk = Self { directory };
        write_disk(&content, "parcel", &disk.path(), DISK_BYTES)?;
        Ok(disk)
    }

    /// The file that QEMU is given.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }
}

/// Is a deb's entry in an index: its control fields, and where and what the file is (Debian's
/// repository format, "Packages" indices).
fn entry(deb: &Path) -> Result<String> {
    let mut control = Command::new("dpkg-deb");
    let control = run(control.arg("--field").arg(deb), Duration::from_secs(60))?.success()?;
    let bytes = fs::read(deb).map_err(at("reading", deb))?;
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = deb.file_name().unwrap_or_default().to_string_lossy();
    let size = bytes.len();
    Ok(format!("{}\nFilename: ./{name}\nSize: {size}\nSHA256: {sum}\n\n", control.trim_end()))
}

fn copy(from: &Path, directory: &Path, mode: u32) -> Result<()> {
    let to = directory.join(from.file_name().unwrap_or_default());
    fs::copy(from, &to).map_err(at("copying", from))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(at("changing", to))
}
