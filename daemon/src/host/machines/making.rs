//! Memory for a QEMU that came, made in a thread: the system takes seconds to find 64 GiB.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use vgpu_link::pci::ivshmem::Keeper;
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
