//! Images in files of the guest.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;

use vgpu_abi::cuda::Error;

/// Largest file that is read: 2 GiB, as the largest image.
const FILE_BYTES_MAX: u64 = 2 << 30;

/// Reads a file, and puts an end mark behind it: it may be a text.
///
/// One that is not there is FILE_NOT_FOUND, one that cannot be read, or is too large, is
/// INVALID_IMAGE.
pub(crate) fn read(path: &CStr) -> Result<Vec<u8>, Error> {
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => Error::FILE_NOT_FOUND,
        ErrorKind::OutOfMemory => Error::OUT_OF_MEMORY,
        _ => Error::INVALID_IMAGE,
    };
    let file = File::open(OsStr::from_bytes(path.to_bytes())).map_err(refused)?;
    let mut contents = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents).map_err(refused)?;
    if contents.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::INVALID_IMAGE);
    }
    contents.push(0);
    Ok(contents)
}
