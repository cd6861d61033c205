//! What can go wrong on a link.

use std::io;
use std::path::PathBuf;

use crate::pci::Obstacle;
use crate::pci::original::Fault;
use crate::wire::Malformed;
use crate::wire::control::{Reason, Refusal};

/// Says what a link was doing and why it could not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A text is no link URI.
    #[error("reading the link \"{uri}\": {problem}")]
    Uri {
        /// The text as given.
        uri: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URI is right, but this build cannot open such links.
    #[error("opening the link {uri}: this version only has {available}")]
    NotBuilt {
        /// The URI.
        uri: String,
        /// The schemes that work.
        available: &'static str,
    },
    /// No PCI device, or not the one that was named, can carry the link.
    #[error("opening the link {uri}")]
    Pci {
        /// The URI.
        uri: String,
        /// What keeps it from being used.
        source: Box<Obstacle>,
    },
    /// The original PCI device does not carry the link.
    #[error("using the original PCI device")]
    Original {
        /// What is wrong with it, or behind it.
        source: Fault,
    },
    /// Nobody could be reached at the address.
    #[error("connecting to {uri}")]
    Connect {
        /// The URI.
        uri: String,
        /// What the system said.
        source: io::Error,
    },
    /// The host cannot listen at the address.
    #[error("{verb} {address}")]
    Listen {
        /// What was being done, such as "listening on".
        verb: &'static str,
        /// The socket's path, or the address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The socket cannot be given to its group.
    #[error("giving {address} to group {group}")]
    Group {
        /// The socket's path.
        address: String,
        /// The group's number.
        group: u32,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon answers at the address.
    #[error("listening on {address}: another program answers there")]
    InUse {
        /// The socket's path, or the address.
        address: String,
    },
    /// A file of certificates or keys cannot be read.
    #[error("reading the {what} {path}", path = path.display())]
    File {
        /// What it should hold, such as "key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of certificates or keys is of no use.
    #[error("using the {what} {path}: {problem}", path = path.display())]
    Credential {
        /// What it should hold, such as "key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What helps, as one whole sentence.
        remedy: &'static str,
    },
    /// One side does not trust the other.
    #[error("agreeing on TLS with {peer}: {problem}")]
    Distrust {
        /// The peer's URI or address.
        peer: String,
        /// What is wrong with it, or what it finds wrong with us.
        problem: &'static str,
        /// What helps, as one whole sentence.
        remedy: &'static str,
    },
    /// The host turned us away.
    #[error("the host refused the connection: {text}")]
    Refused {
        /// The reason.
        refusal: Refusal,
        /// Version of the wire format that the host speaks.
        version: u16,
        /// The host's words.
        text: String,
    },
    /// The peer speaks another version of the wire format.
    #[error("the peer speaks version {theirs} of the wire format, this program version {ours}")]
    WrongVersion {
        /// The peer's version.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// The peer ended the connection and said why.
    #[error("the peer ended the connection: {text}")]
    Goodbye {
        /// The reason.
        reason: Reason,
        /// The peer's words.
        text: String,
    },
    /// The peer is gone.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer went within a frame.
    #[error("the connection ended within a frame's {part}, after {received} of {expected} bytes")]
    Truncated {
        /// "header", "payload" or "bulk part".
        part: &'static str,
        /// Bytes of that part that came.
        received: usize,
        /// Bytes of that part that should have come.
        expected: usize,
    },
    /// A frame or message could not be understood.
    #[error("understanding the peer's {what}")]
    Malformed {
        /// "frame header", or the name of the message.
        what: &'static str,
        /// Where and why.
        source: Malformed,
    },
    /// A frame announced more than the limits allow.
    #[error("the peer announced a {part} of {bytes} bytes, more than {bytes_max}")]
    Oversized {
        /// "payload" or "bulk part".
        part: &'static str,
        /// Bytes announced.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// A reply carries more memory contents than were asked for.
    #[error("the peer sent {bytes} bytes where {room} were asked for")]
    BulkMismatch {
        /// Bytes announced.
        bytes: usize,
        /// Bytes of room.
        room: usize,
    },
    /// A frame of ours would exceed the limits; nothing was sent.
    #[error("sending a {part} of {bytes} bytes: a frame holds at most {bytes_max}")]
    TooLarge {
        /// "payload" or "bulk part".
        part: &'static str,
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// A message came that has no place here.
    #[error("the peer sent message {opcode:#x} where {expected} was due")]
    Unexpected {
        /// Opcode of the message.
        opcode: u32,
        /// What was due.
        expected: &'static str,
    },
    /// The peer did nothing for too long.
    #[error("waiting for the peer: it did not answer in time")]
    TimedOut,
    /// The system failed us.
    #[error("{verb}")]
    Io {
        /// What was being done, such as "sending to the peer".
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl LinkError {
    /// Tells whether a new connection, tried later, can succeed without anybody's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Closed | Self::Truncated { .. } | Self::TimedOut => true,
            Self::Original { source } => source.is_retryable(),
            Self::Goodbye { reason, .. } => matches!(reason, Reason::Done | Reason::Stopping),
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::Full | Refusal::NoDevice),
            _ => false,
        }
    }

    /// Tells whether nothing is where the link should be, rather than something that is shut,
    /// silent or wrong.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Pci { source, .. } => source.is_absent(),
            _ => false,
        }
    }

    /// Gives the remedy, as one whole sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Uri { .. } => Some(
                "Write unix:/run/vgpu/vgpud.sock, pci:auto, pci:0000:00:05.0, vsock:2:6475 or \
                 tls:gpu-host:6475.",
            ),
            Self::NotBuilt { .. } => {
                Some("Use unix:/run/vgpu/vgpud.sock, vsock:2:6475 or tls:gpu-host:6475.")
            }
            Self::Connect { source, .. } => connect_hint(source),
            Self::Pci { source, .. } => Some(source.hint()),
            Self::Original { source } => Some(source.hint()),
            Self::File { source, .. } => Some(file_hint(source)),
            Self::Credential { remedy, .. } | Self::Distrust { remedy, .. } => Some(remedy),
            Self::Listen { .. } => {
                Some("Check that the directory exists and that this user may write to it.")
            }
            Self::Group { .. } => Some(
                "Make the user that vgpud runs as a member of the group (usermod -aG GROUP vgpu), \
                 and start it again.",
            ),
            Self::InUse { .. } => {
                Some("Stop the other vgpud, or give this one another --listen address.")
            }
            Self::Refused { refusal: Refusal::Version, .. } | Self::WrongVersion { .. } => {
                Some("Install the same version of vgpu-ollama in the guest and on the host.")
            }
            Self::Refused { refusal: Refusal::Full, .. } => {
                Some("End some clients, or raise what /etc/vgpu/host.toml allows on the host.")
            }
            Self::Refused { refusal: Refusal::Stranger, .. } => Some(
                "Name this user, machine or certificate in a [[tenant]] of /etc/vgpu/host.toml on \
                 the host.",
            ),
            Self::TimedOut => Some("Check that vgpud runs and that its machine is not overloaded."),
            _ => None,
        }
    }
}

fn connect_hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Some("Start vgpud on the host, and check the address in /etc/vgpu/guest.toml.")
        }
        io::ErrorKind::PermissionDenied => Some("Add this user to the group that owns the socket."),
        _ => None,
    }
}

fn file_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            "Make it with vgpud ca issue and copy it here, or name another file in [tls]."
        }
        io::ErrorKind::PermissionDenied => {
            "Let this user read it: chgrp the file to a group of this user, and chmod it to 0640."
        }
        _ => "Name a readable file in [tls].",
    }
}
