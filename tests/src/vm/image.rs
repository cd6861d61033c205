//! The disk of the virtual machine, with the kernel that it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::system::{Error, ROOT_PACKAGES, Result, at, run};

/// What a machine has beyond the container: a kernel, and what sets it up at its first boot.
const MORE: [&str; 2] = ["linux-image-cloud-amd64", "cloud-init"];

/// The packages of a virtual machine.
pub const MACHINE_PACKAGES: [&str; ROOT_PACKAGES.len() + MORE.len()] = {
    let mut all = [""; ROOT_PACKAGES.len() + MORE.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < ROOT_PACKAGES.len() {
            ROOT_PACKAGES[at]
        } else {
            MORE[at - ROOT_PACKAGES.len()]
        };
        at += 1;
    }
    all
};

/// The port of the harness, as the guest names it.
pub(super) const PORT: &str = "vgpu.harness";

/// Longest time for a step: unpacking and writing 1 GB of files.
const STEP: Duration = Duration::from_secs(300);

/// Size of the disk: what is on it, and room for what the story installs. Holes cost nothing.
const DISK_BYTES: u64 = 4 << 30;

/// What is laid for the harness: path, mode, text. There is no network: apt asks the second disk,
/// and cloud-init runs when it is asked to.
const LAID: [(&str, u32, &str); 6] = [
    ("usr/local/lib/harness", 0o755, include_str!("harness.sh")),
    (
        "etc/systemd/system/harness.service",
        0o644,
        "[Service]\nExecStart=/bin/sh -c 'exec /usr/local/lib/harness 3<> \
         /dev/virtio-ports/vgpu.harness'\n\
         Environment=HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive\n\
         Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    ),
    (
        "etc/udev/rules.d/90-harness.rules",
        0o644,
        "SUBSYSTEM==\"virtio-ports\", ATTR{name}==\"vgpu.harness\", TAG+=\"systemd\", \
         ENV{SYSTEMD_WANTS}=\"harness.service\"\n",
    ),
    (
        "etc/fstab",
        0o644,
        "LABEL=guest / ext4 rw 0 1\nLABEL=parcel /media/parcel ext4 ro,nofail 0 2\n",
    ),
    ("etc/apt/sources.list", 0o644, "deb [trusted=yes] file:/media/parcel ./\n"),
    ("etc/cloud/cloud-init.disabled", 0o644, ""),
];

/// Is a disk image, a kernel and its first file system, in a directory that goes away with them.
#[derive(Debug)]
pub struct Image {
    directory: TempDir,
}

impl Image {
    /// Unpacks `tarball` below `parent`, lets `furnish` change the files, and writes the disk.
    ///
    /// # Errors
    /// Whatever tar, mkfs.ext4 and `furnish` say; `Missing` if the tarball holds no kernel.
    pub fn build(
        parent: &Path,
        tarball: &Path,
        furnish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        fs::create_dir_all(parent).map_err(at("creating", parent))?;
        let directory = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir_in(parent)
            .map_err(at("making a directory in", parent))?;
        let root = directory.path().join("root");
        fs::create_dir(&root).map_err(at("creating", &root))?;
        let mut unpack = Command::new("tar");
        unpack.args(["--extract", "--xattrs", "--xattrs-include=*", "--file"]);
        unpack.arg(tarball).arg("--directory").arg(&root);
        run(&mut unpack, STEP)?.success()?;
        for (path, mode, text) in LAID {
            let path = root.join(path);
            fs::write(&path, text).map_err(at("writing", &path))?;
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(&path, mode).map_err(at("changing", &path))?;
        }
        fs::create_dir(root.join("media/parcel")).map_err(at("creating", "media/parcel"))?;
        furnish(&root)?;
        let image = Self { directory };
        image.take("vmlinuz-", &image.kernel())?;
        image.take("initrd.img-", &image.initrd())?;
        write_disk(&root, "guest", &image.disk(), DISK_BYTES)?;
        fs::remove_dir_all(&root).map_err(at("removing", &root))?;
        Ok(image)
    }

    /// The disk, with a file system on the whole of it.
    pub(super) fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// The guest's own kernel.
    pub(super) fn kernel(&self) -> PathBuf {
        self.directory.path().join("kernel")
    }

    /// What the kernel finds its disk with.
    pub(super) fn initrd(&self) -> PathBuf {
        self.directory.path().join("initrd")
    }

    /// Copies the one file of /boot whose name begins so.
    fn take(&self, prefix: &str, to: &Path) -> Result<()> {
        let boot = self.directory.path().join("root/boot");
        let mut names = Vec::new();
        for entry in fs::read_dir(&boot).map_err(at("listing", &boot))? {
            names.push(entry.map_err(at("listing", &boot))?.file_name());
        }
        let found = names.iter().find(|name| name.to_string_lossy().starts_with(prefix));
        let Some(name) = found else {
            let output = format!("{names:?}");
            let place = "the root's /boot".to_owned();
            return Err(Error::Missing { what: format!("{prefix}*"), place, output });
        };
        fs::copy(boot.join(name), to).map_err(at("copying", boot.join(name))).map(drop)
    }
}

/// Writes a directory's content as an ext4 file system into a file of its own.
pub(super) fn write_disk(from: &Path, label: &str, to: &Path, bytes: u64) -> Result<()> {
    let file = fs::File::create(to).map_err(at("creating", to))?;
    file.set_len(bytes).map_err(at("growing", to))?;
    // Debian gives an ordinary user no sbin in PATH.
    let mut mkfs = Command::new("/sbin/mkfs.ext4");
    mkfs.args(["-q", "-L", label, "-d"]).arg(from).arg(to);
    run(&mut mkfs, STEP)?.success().map(drop)
}
