//! The model's link as one more subject of the body of tests: either end of it.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use vgpu_link::pci::original::Original;
use vgpu_link::{Socket, Stream};

use super::device::Model;
use super::device::tunnel::Machine;
use super::subject::Subject;

/// One end of a link through the device; `GUEST_FIRST` says which end is made first.
pub enum Tunnel<const GUEST_FIRST: bool> {
    /// With the machine, which lives as long as either end.
    Guest(
        Box<Original<Model>>,
        #[expect(dead_code, reason = "held, not used")] Arc<Mutex<Machine>>,
    ),
    /// The same.
    Host(Socket, #[expect(dead_code, reason = "held, not used")] Arc<Mutex<Machine>>),
}

impl<const GUEST_FIRST: bool> Tunnel<GUEST_FIRST> {
    pub fn pair() -> (Self, Self) {
        let machine = Machine::new();
        let (guest, arrival) = machine.client();
        let machine = Arc::new(Mutex::new(machine));
        let guest = Self::Guest(Box::new(guest), Arc::clone(&machine));
        let host = Self::Host(arrival.socket.into(), machine);
        if GUEST_FIRST { (guest, host) } else { (host, guest) }
    }

    fn stream(&self) -> &dyn Stream {
        match self {
            Self::Guest(stream, _) => &**stream,
            Self::Host(stream, _) => stream,
        }
    }
}

impl<const GUEST_FIRST: bool> Stream for Tunnel<GUEST_FIRST> {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        self.stream().read(into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        self.stream().write(parts, limit)
    }

    fn close(&self) {
        self.stream().close();
    }
}

impl<const GUEST_FIRST: bool> Subject for Tunnel<GUEST_FIRST> {
    fn ends() -> (Self, Self) {
        Self::pair()
    }
}
