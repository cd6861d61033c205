//! What can go wrong with a ring.

use std::io;

/// Why a ring cannot be made, joined or used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The peer wrote an index that no honest one can have.
    #[error(
        "the peer's {index} index moved by {told} bytes where 0 to {most} are possible: the ring \
         is broken"
    )]
    Index {
        /// Which index: produced or consumed.
        index: &'static str,
        /// How far it is from ours.
        told: u64,
        /// How far it may be.
        most: u64,
    },
    /// The region's header is not one of this version, or its sizes do not fit.
    #[error("the shared memory's {field} is {found:#x}, not {expected}")]
    Header {
        /// The field of the header.
        field: &'static str,
        /// What stands there.
        found: u64,
        /// What may stand there.
        expected: &'static str,
    },
    /// A span that is not wholly within the bulk area.
    #[error("{bytes} bytes at {offset} of a bulk area of {area} bytes")]
    Outside {
        /// Where the span begins.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// The length of the area.
        area: u64,
    },
    /// A span was given back that is not taken.
    #[error("{bytes} bytes at {offset} of the bulk area are given back and were not taken")]
    NotTaken {
        /// Where the span begins.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// The peer could still change the length of the memory, and so kill us by SIGBUS.
    #[error("the peer's memory file is not sealed against changes of its length")]
    Unsealed,
    /// What the guest sent to wake it by is no Unix stream socket.
    #[error("the peer sent something else than a Unix stream socket as its doorbell")]
    NoBell,
    /// The system refused.
    #[error("{verb}")]
    System {
        /// What was being done.
        verb: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl RingError {
    /// Wraps what the system says.
    pub(crate) fn system<E: Into<io::Error>>(verb: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { verb, source: source.into() }
    }
}

impl From<RingError> for io::Error {
    fn from(error: RingError) -> Self {
        match error {
            RingError::System { source, .. } => source,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}
