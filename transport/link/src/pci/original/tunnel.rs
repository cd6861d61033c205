//! The three calls by which streams go through the device, as both sides know them (docs/pci.md,
//! "The tunnel"). The device's own calls know no graphs and no virtual memory, so that frames are
//! carried as they are and nothing is translated.

use super::Fault;

/// Begins a client. Answer: its number.
pub(super) const OPEN: u32 = 0x5647_5001;

/// Carries bytes both ways. Answers at once: while a call is under way, no other program of the
/// guest can use the device.
pub(super) const EXCHANGE: u32 = 0x5647_5002;

/// Ends a client.
pub(super) const CLOSE: u32 = 0x5647_5003;

/// Version of these calls.
pub(super) const VERSION: u32 = 1;

/// Most bytes that one call carries each way: 16 KiB. Eight bytes cost an exit of the virtual
/// machine, some microseconds, so that a call is over in about ten milliseconds and others get
/// their turn.
pub(super) const BYTES_MAX: usize = 16 << 10;

/// Result of a call that is none of these (CUDA_ERROR_NOT_SUPPORTED), as the original mediator
/// answers ours.
pub(super) const NOT_SUPPORTED: u32 = 801;

/// Result of a call whose arguments contradict each other (CUDA_ERROR_INVALID_VALUE).
pub(super) const INVALID: u32 = 1;

/// Result of a call for a client that is not there (CUDA_ERROR_INVALID_HANDLE).
pub(super) const NO_SUCH_CLIENT: u32 = 400;

/// Result of OPEN if there is no room (CUDA_ERROR_OPERATING_SYSTEM).
pub(super) const NO_ROOM: u32 = 304;

/// How many arguments the calls have, and results.
pub(super) const ARGS: usize = 8;
/// See [`ARGS`].
pub(super) const RESULTS: usize = 4;

/// What a call says beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Call {
    /// The client; for OPEN any number that no other call has.
    pub client: u64,
    /// Tells this call of the client from its earlier ones.
    pub sequence: u32,
    /// Where in the stream to the host the call's data begin: as much the guest knows to be there.
    pub sent: u64,
    /// How many bytes from the host the guest has.
    pub received: u64,
    /// Most bytes that the answer may have; for OPEN, the version.
    pub room: u32,
}

impl Call {
    /// Lays it out as arguments.
    pub fn to_args(self) -> [u32; ARGS] {
        let Self { client, sequence, sent, received, room } = self;
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        let ([a, b], [c, d], [e, f]) = (halves(client), halves(sent), halves(received));
        [a, b, c, d, e, f, room, sequence]
    }

    /// Reads arguments; `None` if there are fewer.
    pub fn from_args(args: &[u32]) -> Option<Self> {
        let &[a, b, c, d, e, f, room, sequence] = args else { return None };
        let whole = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let (client, sent, received) = (whole(a, b), whole(c, d), whole(e, f));
        Some(Self { client, sequence, sent, received, room })
    }
}

/// What an answer says beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// The client of the call, so that another's answer is never taken for ours.
    pub client: u64,
    /// The call's sequence.
    pub sequence: u32,
    /// How many bytes from the guest the host has, of the whole stream; for OPEN, the client's
    /// number.
    pub accepted: u64,
    /// True if the host's stream ends with these data.
    pub ends: bool,
}

impl Answer {
    /// Lays it out as results.
    pub fn to_results(self) -> [u64; RESULTS] {
        [self.accepted, self.ends.into(), self.client, self.sequence.into()]
    }

    /// Reads results.
    pub fn from_results(results: [u64; RESULTS]) -> Result<Self, Fault> {
        let [accepted, ends, client, sequence] = results;
        let what = "an answer's results";
        let sequence = u32::try_from(sequence).map_err(|_| Fault::Contradiction { what })?;
        Ok(Self { accepted, ends: ends & 1 == 1, client, sequence })
    }
}
