//! Memory for a QEMU that came, made in a thread: the system takes seconds to find 64 GiB.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use vgpu_link::pci::ivshmem::{FIRST_BELL, Keeper};
use vgpu_link::start_thread;

/// Memory that is being made.
#[derive(Debug)]
pub(super) struct Making {
    made: Receiver<io::Result<Keeper>>,
    /// Hangs up when it is made.
    done: UnixStream,
}

impl Making {
    /// Begins to make a memory.
    ///
    /// # Errors
    /// What the system says when it has no descriptor or no thread left.
    pub fn start(make: impl FnOnce() -> io::Result<Keeper> + Send + 'static) -> io::Result<Self> {
        let (done, theirs) = UnixStream::pair()?;
        let (tell, made) = channel();
        // A signal would end the search for memory before it has all.
        aside(move || {
            // Nobody hears if the machine was given up.
            let _ = tell.send(make());
            drop(theirs);
        })?;
        Ok(Self { made, done })
    }

    /// Takes the memory if it is made; never waits for it.
    pub fn take(&self) -> Option<io::Result<Keeper>> {
        match self.made.try_recv() {
            Ok(made) => Some(made),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::ErrorKind::Other.into())),
        }
    }
}

impl AsFd for Making {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

/// The file system of a machine's memory has no room for it.
#[derive(Debug, thiserror::Error)]
#[error("{} holds {whole} MiB, of which {free} are free, and mib = {mib}: mount -o \
         remount,size={}M {} (to keep it so, the same size in /etc/fstab), or a smaller mib",
        place.display(), whole + mib, place.display())]
struct NoRoom {
    place: PathBuf,
    whole: u64,
    free: u64,
    mib: u64,
}

/// Makes a machine's memory at a path.
///
/// # Errors
/// As [`Keeper::make_at`]; where there is no room, it says how much there is.
pub(super) fn memory_at(path: &Path, bytes: u64, slots: usize) -> io::Result<Keeper> {
    Keeper::make_at(path, bytes, Some(FIRST_BELL), slots).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => no_room(path, bytes).unwrap_or(error),
        _ => error,
    })
}

/// Says how much room there is where a file should lie; `None` if the system does not tell.
fn no_room(path: &Path, bytes: u64) -> Option<io::Error> {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let directory = path.parent()?;
    let ours = device(directory)?;
    let place = directory.ancestors().take_while(|place| device(place) == Some(ours)).last()?;
    let found = rustix::fs::statvfs(directory).ok()?;
    let mib = |blocks: u64| blocks.saturating_mul(found.f_frsize) >> 20;
    let (whole, free) = (mib(found.f_blocks), mib(found.f_bavail));
    let lack = NoRoom { place: place.to_owned(), whole, free, mib: bytes >> 20 };
    Some(io::Error::new(io::ErrorKind::StorageFull, lack))
}

/// Gives a memory back that may be nobody else's: the system takes its time for that, too.
pub(super) fn give_back(keeper: Keeper) {
    // Without a thread it is given back here and now.
    let _ = aside(move || drop(keeper));
}

fn aside(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if cfg!(fuzzing) {
        // What happens when, only the fuzzer's input says.
        work();
        return Ok(());
    }
    start_thread("memory", work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// /run is a small part of this machine's memory, and the log only said that a device is full.
    #[test]
    fn memory_for_which_there_is_no_room_is_told_with_how_much_there_is_and_what_makes_more() {
        // More than any machine has; its file system counts before it takes.
        const BYTES: u64 = 1 << 46;
        let directory = tempfile::tempdir_in("/dev/shm").expect("every Linux has it");
        let error = memory_at(&directory.path().join("memory"), BYTES, 1).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let text = error.to_string();
        let whole: u64 = text
            .strip_prefix("/dev/shm holds ")
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{text}"));
        let enough = whole + (BYTES >> 20);
        let remedy = format!("mount -o remount,size={enough}M /dev/shm");
        assert!(text.contains(&remedy) && text.contains("are free"), "{text}");
    }
}
