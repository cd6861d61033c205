//! vsock without a kernel module of the host: vhost-device-vsock carries a guest's connections.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::stage;
use crate::system::{Error, Result, appeared, at, wait};

/// How long the device may take to listen, or to be gone.
const SOON: Duration = Duration::from_secs(20);

/// The context id of the guest, that of packaging/examples. The host's is 2, and every guest's is
/// above.
pub const CID: u32 = 4;

/// Its options, as docs/operate.md has them.
pub const CARRIER: &str = "--guest-cid=4 --socket=/run/vgpu/ollama-1.device \
                           --uds-path=/run/vgpu/ollama-1.vsock";

/// QEMU's options for the device, as docs/operate.md has them.
pub const DEVICE: &str = "-chardev socket,id=vsock,path=/run/vgpu/ollama-1.device \
                          -device vhost-user-vsock-pci,chardev=vsock";

/// The words of a line of options, in another directory than the chapter's own.
fn here(line: &str, directory: &Path) -> Vec<OsString> {
    let place = |word: &str| word.replace("/run/vgpu", &directory.to_string_lossy());
    line.split(' ').map(|word| place(word).into()).collect()
}

/// Is the process that imitates the device; QEMU and it share the guest's memory.
#[derive(Debug)]
pub struct VsockDevice {
    child: Child,
    directory: TempDir,
}

impl VsockDevice {
    /// Starts it and waits until QEMU can connect.
    ///
    /// # Errors
    /// If it does not start; with its words.
    ///
    /// # Panics
    /// If it was not built: the message names the command.
    pub fn start() -> Result<Self> {
        let program = stage::cache().join("vhost-device-vsock/bin/vhost-device-vsock");
        let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
        let log = directory.path().join("log");
        let file = File::create(&log).map_err(at("creating", &log))?;
        let socket = directory.path().join("ollama-1.device");
        // If this program is killed, the device ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&program);
        command.args(here(CARRIER, directory.path()));
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(at("opening", &log))?)
            .stderr(file)
            .spawn()
            .map_err(|source| Error::Start { program: program.display().to_string(), source })?;
        let device = Self { child, directory };
        if appeared(&socket, SOON)? {
            return Ok(device);
        }
        let output = std::fs::read_to_string(&log).unwrap_or_default();
        let place = program.display().to_string();
        Err(Error::Missing { what: "a listening socket".to_owned(), place, output })
    }

    /// QEMU's options for the device.
    pub fn options(&self) -> Vec<OsString> {
        here(DEVICE, self.directory.path())
    }

    /// The Unix socket at which a connection of the guest to this port of its host arrives.
    pub fn socket(&self, port: u32) -> PathBuf {
        self.directory.path().join(format!("ollama-1.vsock_{port}"))
    }
}

impl Drop for VsockDevice {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| wait(&mut self.child, SOON).map(drop)) {
            eprintln!("ending vhost-device-vsock: {error}");
        }
    }
}
