//! What is known of the devices, as it travels between host process and worker: in a file in
//! memory beside the message, as it may be larger than one.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::{pread, pwrite};
use vgpu_link::wire::Payload;
use vgpu_link::wire::control::SnapshotReply;
use vgpu_link::wire::limits::{
    ATTRIBUTES_MAX, DEVICE_NAME_BYTES_MAX, DEVICES_MAX, PART_BYTES_MAX, VERSION_BYTES_MAX,
};

use crate::error::DaemonError;

/// Longest sheet: its attributes and texts, and 128 bytes of numbers and lengths for each device
/// and for the driver.
const SHEET_BYTES_MAX: usize = DEVICES_MAX
    * (8 * ATTRIBUTES_MAX + DEVICE_NAME_BYTES_MAX + PART_BYTES_MAX + VERSION_BYTES_MAX + 128)
    + 2 * VERSION_BYTES_MAX
    + 128;

/// Nobody writes to it any more: all workers read the same file, and one that a client has taken
/// over must not change what the next client is told.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Writes a sheet.
///
/// # Errors
/// [`DaemonError::System`] if the system has no memory or file descriptor for it.
pub(crate) fn written(snapshot: &SnapshotReply) -> Result<OwnedFd, DaemonError> {
    let failed = || DaemonError::system("writing down what is known of the devices");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create("vgpu-devices", flags).map_err(failed())?;
    let (bytes, mut written) = (snapshot.to_payload(), 0);
    while written < bytes.len() {
        written += pwrite(&file, &bytes[written..], written as u64).map_err(failed())?;
    }
    fcntl_add_seals(&file, SEALS).map_err(failed())?;
    Ok(file)
}

/// Reads a sheet that the other process wrote.
///
/// # Errors
/// [`DaemonError::Desk`] if it does not decode; [`DaemonError::System`] if it cannot be read, is
/// no file or too long for a sheet.
pub(crate) fn read(file: impl AsFd) -> Result<SnapshotReply, DaemonError> {
    const VERB: &str = "reading what is known of the devices";
    let failed = || DaemonError::system(VERB);
    let status = fstat(&file).map_err(failed())?;
    // Reading waits for no file in memory, and might for anything else.
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(failed()(rustix::io::Errno::INVAL));
    }
    let length = usize::try_from(status.st_size).ok().filter(|length| *length <= SHEET_BYTES_MAX);
    let mut bytes = vec![0; length.ok_or(rustix::io::Errno::FBIG).map_err(failed())?];
    let mut read = 0;
    while read < bytes.len() {
        match pread(&file, &mut bytes[read..], read as u64).map_err(failed())? {
            0 => break,
            more => read += more,
        }
    }
    SnapshotReply::from_payload(&bytes[..read])
        .map_err(|source| DaemonError::Desk { verb: VERB, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::fs::ftruncate;
    use vgpu_link::wire::Text;
    use vgpu_link::wire::control::{Capabilities, DeviceFacts};

    use super::*;

    /// The longest that the wire has.
    fn longest() -> SnapshotReply {
        let text = "x".repeat(DEVICE_NAME_BYTES_MAX);
        let device = DeviceFacts {
            name: Text::cut(&text),
            uuid: [7; 16],
            pci_domain: 1,
            pci_bus: 2,
            pci_device: 3,
            pci_device_id: 4,
            pci_subsystem_id: 5,
            total_memory: 6,
            minor_number: 7,
            serial: Text::cut(&text),
            vbios_version: Text::cut(&text),
            attributes: (0..ATTRIBUTES_MAX as u32).map(|number| (number, -1)).collect(),
        };
        SnapshotReply {
            driver_version: 13_000,
            nvml_driver_version: Text::cut(&text),
            nvml_version: Text::cut(&text),
            capabilities: Capabilities::MEMORY,
            devices: vec![device; DEVICES_MAX],
        }
    }

    #[test]
    fn the_longest_sheet_is_read_as_written_and_nobody_changes_it() {
        let file = written(&longest()).expect("memory");
        assert_eq!(read(&file).expect("it is whole"), longest());
        assert!(pwrite(&file, b"x", 0).is_err(), "it is sealed");
        assert!(ftruncate(&file, 1).is_err(), "it is sealed");
    }

    #[test]
    fn what_is_no_sheet_is_refused_and_not_waited_for() {
        let made = |bytes: &[u8], length: usize| {
            let file = memfd_create("sheet", MemfdFlags::CLOEXEC).expect("memory");
            pwrite(&file, bytes, 0).expect("memory");
            ftruncate(&file, length as u64).expect("memory");
            file
        };
        let whole = longest().to_payload();
        for (bytes, length) in [
            (&whole[..], whole.len() - 1),
            (&whole[..], whole.len() + 1),
            (&[][..], 0),
            (&[0xff; 64][..], 64),
        ] {
            let refused = read(made(bytes, length));
            assert!(matches!(refused, Err(DaemonError::Desk { .. })), "{length}: {refused:?}");
        }
        let large = read(made(&whole, SHEET_BYTES_MAX + 1));
        assert!(matches!(large, Err(DaemonError::System { .. })), "{large:?}");
        let (silent, _other) = UnixStream::pair().expect("a pair");
        assert!(matches!(read(&silent), Err(DaemonError::System { .. })));
    }
}
