//! A guest's sysfs with one ivshmem device whose memory is a file.

use std::os::unix::fs::symlink;
use std::path::Path;

/// What `config` begins with: numbers, then COMMAND with memory decoding on.
const DECODING: &[u8] = &[0, 0, 0, 0, 0x03, 0x01, 0x10, 0x00];

/// A machine with an ivshmem device, as its guest sees it.
pub struct Machine {
    sysfs: tempfile::TempDir,
}

impl Machine {
    /// Shows a device whose memory is `memory`, as long as this process holds it.
    pub fn new(memory: &Path, bytes: u64) -> Self {
        let sysfs = tempfile::tempdir().expect("a directory");
        let directory = sysfs.path().join("bus/pci/devices/0000:00:05.0");
        std::fs::create_dir_all(&directory).expect("a directory");
        let write = |name: &str, content: &[u8]| {
            std::fs::write(directory.join(name), content).expect("written");
        };
        for (name, value) in [("vendor", "0x1af4"), ("device", "0x1110"), ("class", "0x050000")] {
            write(name, value.as_bytes());
        }
        let last = 0xf800_0000 + bytes - 1;
        let resource = format!(
            "0x00000000febf1100 0x00000000febf11ff 0x0000000000040200\n\
             0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
             0x00000000f8000000 {last:#018x} 0x000000000014220c\n"
        );
        write("resource", resource.as_bytes());
        write("config", DECODING);
        write("resource0", &[0; 4096]);
        symlink(memory, directory.join("resource2")).expect("a link");
        Self { sysfs }
    }

    /// Where its sysfs is.
    pub fn sysfs(&self) -> &Path {
        self.sysfs.path()
    }
}
