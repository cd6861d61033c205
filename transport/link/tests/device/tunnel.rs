//! The two ends of a stream through the model and a mediator.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vgpu_link::pci::original::{self, Mediator, Original};
use vgpu_link::{Arrival, Gate};

use super::Model;

/// What a loaded machine may need.
const PATIENCE: Duration = Duration::from_secs(20);

/// A virtual machine with the device, and its host.
pub struct Machine {
    pub model: Model,
    pub mediator: Mediator,
    pub socket: PathBuf,
    directory: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("vgpu-mediator.sock");
        let mediator = listen(&socket);
        for name in ["resource0", "resource1"] {
            File::create(directory.path().join(name)).expect("created");
        }
        Self { model: Model::new(socket.clone()), mediator, socket, directory }
    }

    /// The files by which programs take turns, opened as each program does.
    pub fn turns(&self) -> [File; 2] {
        ["resource1", "resource0"].map(|name| {
            File::options()
                .read(true)
                .write(true)
                .open(self.directory.path().join(name))
                .expect("there")
        })
    }

    /// A program of the guest.
    pub fn try_client(&self, patience: Duration) -> io::Result<Original<Model>> {
        original::over(self.model.clone(), self.turns(), patience)
    }

    /// A program of the guest, and what the host was given of it.
    pub fn client(&self) -> (Original<Model>, Arrival) {
        let guest = self.try_client(PATIENCE).expect("a client");
        (guest, arrival(&self.mediator))
    }
}

/// Listens in the place of the original mediator.
pub fn listen(socket: &Path) -> Mediator {
    Mediator::bind(socket, Gate::new(None, |_| ()), "one", original::SILENCE).expect("it listens")
}

/// Waits for a client.
pub fn arrival(mediator: &Mediator) -> Arrival {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    loop {
        let mut watched = [PollFd::new(mediator, PollFlags::IN)];
        assert_eq!(poll(&mut watched, Some(&limit)).expect("it polls"), 1, "nobody arrived");
        mediator.left().for_each(drop);
        if let Some(arrival) = mediator.accept() {
            return arrival;
        }
    }
}
