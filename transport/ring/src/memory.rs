//! Regions in a memory file, handed from process to process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::{HEAD_BYTES, Layout, Region, RingError};

/// What the maker promises: the length stays, and so does the promise. Without it the other side
/// could shorten the file, and our next access would be SIGBUS.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Makes a sealed memory file with a region of this layout.
///
/// Pages come when they are first used: a client that sits still costs what it has sent at once.
///
/// # Errors
/// [`RingError::System`] if the system refuses, such as for lack of memory or descriptors.
pub fn create(layout: &Layout) -> Result<(OwnedFd, Region), RingError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("vgpu-ring", flags)
        .map_err(RingError::system("making the shared memory"))?;
    let size = RingError::system("giving the shared memory its size");
    rustix::fs::ftruncate(&file, layout.region_bytes()).map_err(size)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)
        .map_err(RingError::system("sealing the shared memory"))?;
    let region = Region::map(&file, length(layout.region_bytes())?)?;
    layout.write(&region)?;
    Ok((file, region))
}

/// Maps a peer's memory file and reads its layout. A process that may not map so much (RLIMIT_AS)
/// maps no bulk area, and has none.
///
/// # Errors
/// [`RingError::Unsealed`] if its length could still change, [`RingError::Header`] if it is no
/// region of ours, [`RingError::System`] if the system refuses.
pub fn join(file: impl AsFd) -> Result<(Region, Layout), RingError> {
    // Only a memory file has seals; any other is refused with EINVAL.
    match rustix::fs::fcntl_get_seals(&file) {
        Ok(seals) if seals.contains(SEALS) => {}
        Ok(_) | Err(rustix::io::Errno::INVAL) => return Err(RingError::Unsealed),
        Err(errno) => return Err(RingError::system("asking for the memory file's seals")(errno)),
    }
    let found = rustix::fs::fstat(&file)
        .map_err(RingError::system("asking for the memory file's length"))?;
    let bytes = length(u64::try_from(found.st_size).unwrap_or(0))?;
    let most = Layout::LARGEST.region_bytes();
    if bytes as u64 > most {
        let expected = "at most as long as the largest layout";
        return Err(RingError::Header { field: "length", found: bytes as u64, expected });
    }
    // Read once, and before much is mapped.
    let layout = Layout::announced(&Region::map(&file, bytes.min(HEAD_BYTES))?)?;
    layout.check_fit(bytes as u64)?;
    let map = |layout: Layout| Ok((Region::map(&file, length(layout.region_bytes())?)?, layout));
    map(layout).or_else(|_| map(layout.without_bulk()))
}

fn length(bytes: u64) -> Result<usize, RingError> {
    usize::try_from(bytes).map_err(|_| RingError::System {
        verb: "mapping the shared memory",
        source: io::ErrorKind::OutOfMemory.into(),
    })
}
