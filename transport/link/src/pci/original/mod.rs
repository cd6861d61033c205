//! A link by the original system's PCI device (docs/pci.md, "The original device").
//!
//! The guest's end is [`Original`], a stream of bytes by calls of the device; the host's end is
//! the [`Mediator`], which listens where the device's emulator connects to. The device's shared
//! memory is never used: registering it takes rights that no service should have, and the emulator
//! may send stale bytes in place of data that begin with zeroes. Without it, neither can happen.

mod bars;
mod call;
mod fault;
mod mediator;
mod registers;
mod stream;
mod tunnel;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::time::{Duration, Instant};

pub use fault::Fault;
#[cfg(fuzzing)]
pub use mediator::Desk;
pub use mediator::Mediator;
pub use registers::Registers;
pub use stream::Original;

use super::{Device, Obstacle};
use crate::{LinkError, Stream, StreamLink};
use bars::Bars;

/// How long a client may leave the host without a call before its own thread makes one.
const BEAT: Duration = Duration::from_millis(200);

/// How long the host hears nothing of a client until it takes it for dead, unless the host is told
/// otherwise: 2 seconds, ten beats.
pub const SILENCE: Duration = Duration::from_secs(2);

/// How long a program waits for its turn, and for the answer to a call: 10 seconds. The host
/// answers at once, whatever its devices do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects by a device that the scan has found, before `limit`.
///
/// # Errors
/// [`LinkError::Pci`] if it cannot be opened, [`LinkError::Original`] if nobody behind it takes
/// this program on.
pub fn connect(device: &Device, limit: Instant) -> Result<StreamLink<impl Stream>, LinkError> {
    let uri = || format!("pci:{}", device.address);
    let blocked = |source: Obstacle| LinkError::Pci { uri: uri(), source: source.into() };
    let open = |region| device.open(region).map_err(blocked);
    let (registers, data) = (open(0)?, open(1)?);
    let bars = Bars::map([&registers, &data]);
    let bars = bars.map_err(|(region, error)| blocked(device.not_mapped(region, error)))?;
    let stream = Original::open(bars, [data, registers], limit, PATIENCE).map_err(|error| {
        match told(&error) {
            Some(source) => LinkError::Original { source },
            None => LinkError::Io { verb: "beginning to use the device", source: error },
        }
    })?;
    Ok(StreamLink::new(stream))
}

/// Begins a client by registers that are no mapped device, such as a model of one. Programs take
/// turns by `turns`, two files that each has opened for itself, and wait for `patience` at most.
///
/// # Errors
/// An I/O error, of which a [`Fault`] is the inner one if the device or its host is to blame.
pub fn over<R: Registers>(
    registers: R,
    turns: [std::fs::File; 2],
    patience: Duration,
) -> io::Result<Original<R>> {
    Original::open(registers, turns, Instant::now() + patience, patience)
}

/// Finds what the device failed with in an error of the stream.
pub(crate) fn told(error: &io::Error) -> Option<Fault> {
    error.get_ref()?.downcast_ref().copied()
}

/// Makes a number that nobody else has or guesses.
fn random() -> u64 {
    // Keyed by the system's randomness, differently at each call (std::hash::RandomState).
    RandomState::new().build_hasher().finish()
}
