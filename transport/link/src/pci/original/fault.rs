//! What can go wrong with a call of the device.

use std::io;

/// Says why a call of the original device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The registers are of another version.
    #[error("its registers are of version {found:#x}, not 0x10000")]
    Version {
        /// What the version register reads.
        found: u32,
    },
    /// The device cannot carry data.
    #[error("it lacks what a link needs: its capabilities are {found:#x}")]
    Incapable {
        /// What the register reads.
        found: u32,
    },
    /// The device was taken away.
    #[error("it is no longer there")]
    Gone,
    /// The emulator reaches nobody on its socket (ERROR_CODE 3).
    #[error("nobody on the host answers its emulator")]
    MediatorAway,
    /// The emulator gave the call up (ERROR_CODE 4).
    #[error("its emulator gave up waiting for the host")]
    GaveUp,
    /// The host's queue is full (ERROR_CODE 7).
    #[error("the host's queue for it is full")]
    QueueFull,
    /// The host limits this machine's calls (ERROR_CODE 10).
    #[error("the host limits the calls of this machine")]
    RateLimited,
    /// The host serves this machine no more (ERROR_CODE 11).
    #[error("the host has put this machine under quarantine")]
    Quarantined,
    /// The emulator refused the call for a reason that ours never give it.
    #[error("its emulator refused the call with error {code:#x}")]
    Refused {
        /// What ERROR_CODE reads.
        code: u32,
    },
    /// The host does not know the calls of this link.
    #[error("the host behind it does not know this link")]
    Foreign,
    /// The host has no room for another client of this machine.
    #[error("the host has no room for another client of this machine")]
    NoRoom,
    /// The host does not know this client, any more.
    #[error("the host behind it has forgotten this client")]
    Forgotten,
    /// The host failed otherwise.
    #[error("the host answered with error {result}")]
    Failed {
        /// What RESULT_STATUS reads.
        result: u32,
    },
    /// Another call is under way and does not end.
    #[error("an earlier call does not end")]
    Stuck,
    /// Our call is under way and does not end.
    #[error("the host does not answer")]
    NoAnswer,
    /// The emulator takes no notice of calls, as one does that decodes an older block of registers
    /// where the bell is.
    #[error("its emulator does not hear calls: STATUS stays idle")]
    Deaf,
    /// Other programs of this guest use the device, and give no turn.
    #[error("other programs of this guest hold it")]
    Crowded,
    /// What the registers say contradicts itself.
    #[error("its registers contradict each other: {what}")]
    Contradiction {
        /// What is wrong.
        what: &'static str,
    },
}

impl Fault {
    /// Names the cause in a call's ERROR_CODE and RESULT_STATUS.
    pub(super) fn of(code: u32, result: u32) -> Self {
        match (code, result) {
            (3, _) => Self::MediatorAway,
            (4, _) => Self::GaveUp,
            (7, _) => Self::QueueFull,
            (0xa, _) => Self::RateLimited,
            (0xb, _) => Self::Quarantined,
            (5, super::tunnel::NOT_SUPPORTED) => Self::Foreign,
            (5, super::tunnel::NO_ROOM) => Self::NoRoom,
            (5, super::tunnel::NO_SUCH_CLIENT) => Self::Forgotten,
            (5, result) => Self::Failed { result },
            (code, _) => Self::Refused { code },
        }
    }

    /// Tells whether the same call may well succeed a moment later.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::QueueFull | Self::RateLimited | Self::GaveUp)
    }

    /// Tells whether a new connection, tried later, can succeed without anybody's help.
    pub fn is_retryable(self) -> bool {
        self.passes() || matches!(self, Self::MediatorAway | Self::NoRoom | Self::Forgotten)
    }

    /// Tells whether the device is there and nobody answers behind it.
    pub fn is_unanswered(self) -> bool {
        matches!(self, Self::MediatorAway | Self::GaveUp | Self::Stuck | Self::NoAnswer)
    }

    /// Gives the remedy, as one whole sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Version { .. } | Self::Incapable { .. } | Self::Deaf => {
                "Update the device in the virtual machine's emulator, or use ivshmem."
            }
            Self::Gone => "Check on the host that the virtual machine still has the device.",
            Self::MediatorAway => {
                "Start vgpud on the host, and name the socket of this machine's emulator by stub \
                 = in a [[machine]] of /etc/vgpu/host.toml."
            }
            Self::GaveUp | Self::NoAnswer => {
                "Check that vgpud runs and that its machine is not overloaded."
            }
            Self::QueueFull | Self::NoRoom => {
                "End some clients, or raise what /etc/vgpu/host.toml allows on the host."
            }
            Self::RateLimited => "Raise messages_per_second of this machine's tenant on the host.",
            Self::Quarantined => "Let the host's operator lift the quarantine of this machine.",
            Self::Foreign => {
                "Let vgpud listen in the place of the original mediator: stop that one, and start \
                 vgpud with a [[machine]] whose stub = names the socket."
            }
            Self::Stuck => "Restart vgpud on the host: that ends the call.",
            Self::Crowded => "Look for a stopped program among those that use the GPU.",
            Self::Forgotten => "Start the program again: the host has ended its connection.",
            Self::Refused { .. } | Self::Failed { .. } | Self::Contradiction { .. } => {
                "Look at the log of vgpud on the host, and report both."
            }
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            // As any other connection ends whose host is gone.
            Fault::MediatorAway | Fault::Forgotten => {
                Self::new(io::ErrorKind::ConnectionReset, fault)
            }
            fault => Self::other(fault),
        }
    }
}
