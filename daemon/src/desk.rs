//! What the host process and its workers say to each other, over a socket that keeps messages
//! apart (`SOCK_SEQPACKET`). Both ends are this program; messages are checked all the same.

mod share;
pub(crate) mod sheet;
mod way;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use vgpu_link::wire::control::{Process, Refusal, Refused};
use vgpu_link::wire::header::VERSION;
use vgpu_link::wire::limits::{EXE_BYTES_MAX, PROCESSES_MAX, SENTENCE_BYTES_MAX};
use vgpu_link::wire::{Malformed, Payload, Reader, Text, Writer};

use crate::counts::Counts;
use crate::error::DaemonError;
use share::optional;
pub(crate) use share::{Gpu, Rate, Share};
pub(crate) use way::Way;

/// Largest message, in bytes: 64 KiB, below the 208 KiB of a socket's default buffer.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Most file descriptors that go with a message: a connection, and a machine's memory and bell.
const HANDED_MAX: usize = 3;

/// Most processes in a message: 192 of at most 272 bytes each are 51 KiB.
const LISTED_MAX: usize = 192;

const _: () = assert!(LISTED_MAX <= PROCESSES_MAX);
const _: () = assert!(LISTED_MAX * (16 + EXE_BYTES_MAX) + 64 <= MESSAGE_BYTES_MAX);

/// What a device's memory is used for, as a client's tenant sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of the tenant's share of the device.
    pub total: u64,
    /// Bytes that the tenant may still have: less than the rest of its share where others have
    /// taken what the device has.
    pub free: u64,
    /// Bytes in use, by all of the tenant's clients.
    pub used: u64,
    /// The tenant's clients that use some, the largest first.
    pub processes: Vec<Process>,
}

/// From a worker to the host process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Tells who the client is; answered by `Admitted`, its timer beside it, or `TurnedAway`.
    Introduce {
        /// Process id as the guest sees it.
        pid: u32,
        /// File name of its program.
        name: Text<EXE_BYTES_MAX>,
        /// The tenant that its certificate names, where the link has one.
        certificate: Option<Text<EXE_BYTES_MAX>>,
    },
    /// Asks for device memory; answered by `Granted`.
    Reserve {
        /// Ordinal of the device.
        device: u32,
        /// Bytes.
        bytes: u64,
    },
    /// Gives device memory back; not answered.
    Release {
        /// Ordinal of the device.
        device: u32,
        /// Bytes.
        bytes: u64,
    },
    /// Asks what a device's memory is used for; answered by `Usage`.
    Usage {
        /// Ordinal of the device.
        device: u32,
    },
    /// Tells that the devices are open and a client may come; a worker's first message, not
    /// answered. Where they are not what it was told, their sheet is beside it.
    Open,
    /// Tells what was counted since the last time; not answered.
    Count(Box<Counts>),
    /// Asks for memory of this machine that the client pins; answered by `Granted`.
    Pin {
        /// Bytes.
        bytes: u64,
    },
    /// Gives pinned memory back; not answered.
    Unpin {
        /// Bytes.
        bytes: u64,
    },
    /// Asks whether the tenant may have so much more of this machine's memory; answered by
    /// `Granted`, and reserved is nothing: what becomes of it is measured.
    Afford {
        /// Bytes.
        bytes: u64,
    },
}

/// From the host process to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Tells what is known of the devices, by the [`sheet`] beside it, or with none that nothing
    /// is; the first message to a worker, answered by `Open`.
    Known,
    /// Hands over a connection, the file descriptor beside the message.
    Serve {
        /// Number of the connection.
        session: u64,
        /// How to speak on it.
        way: Way,
        /// Whether it is in the log.
        is_told: bool,
    },
    /// Answers `Reserve`.
    Granted(bool),
    /// Answers `Usage`.
    Usage(Usage),
    /// Answers `Introduce`: the client is one of a tenant with this share.
    Admitted(Share),
    /// Answers `Introduce`: the client is to be refused.
    TurnedAway {
        /// The reason, for programs.
        refusal: Refusal,
        /// The reason, for people.
        text: Text<SENTENCE_BYTES_MAX>,
    },
}

impl Payload for Ask {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Introduce { pid, name, certificate } => {
                writer.u8(0);
                writer.u32(*pid);
                name.write(writer);
                writer.u8(certificate.is_some().into());
                if let Some(certificate) = certificate {
                    certificate.write(writer);
                }
            }
            Self::Reserve { device, bytes } => {
                writer.u8(1);
                writer.u32(*device);
                writer.u64(*bytes);
            }
            Self::Release { device, bytes } => {
                writer.u8(2);
                writer.u32(*device);
                writer.u64(*bytes);
            }
            Self::Usage { device } => {
                writer.u8(3);
                writer.u32(*device);
            }
            Self::Open => writer.u8(4),
            Self::Count(counts) => {
                writer.u8(5);
                counts.write(writer);
            }
            Self::Pin { bytes } => tagged(writer, 6, *bytes),
            Self::Unpin { bytes } => tagged(writer, 7, *bytes),
            Self::Afford { bytes } => tagged(writer, 8, *bytes),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a message of a worker");
        Ok(match reader.u8()? {
            0 => {
                let (pid, name) = (reader.u32()?, Text::read(reader)?);
                let certificate = optional(reader, Text::read)?;
                Self::Introduce { pid, name, certificate }
            }
            1 => Self::Reserve { device: reader.u32()?, bytes: reader.u64()? },
            2 => Self::Release { device: reader.u32()?, bytes: reader.u64()? },
            3 => Self::Usage { device: reader.u32()? },
            4 => Self::Open,
            5 => Self::Count(Box::new(Counts::read(reader)?)),
            6 => Self::Pin { bytes: reader.u64()? },
            7 => Self::Unpin { bytes: reader.u64()? },
            8 => Self::Afford { bytes: reader.u64()? },
            _ => return Err(malformed),
        })
    }
}

impl Payload for Tell {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Serve { session, way, is_told } => {
                writer.u8(0);
                writer.u64(*session);
                way.write(writer);
                writer.u8((*is_told).into());
            }
            Self::Granted(granted) => {
                writer.u8(1);
                writer.u8(u8::from(*granted));
            }
            Self::Usage(usage) => {
                writer.u8(2);
                writer.u64(usage.total);
                writer.u64(usage.free);
                writer.u64(usage.used);
                let listed = &usage.processes[..usage.processes.len().min(LISTED_MAX)];
                writer.count(listed.len());
                for process in listed {
                    writer.u32(process.pid);
                    writer.u64(process.bytes);
                    process.name.write(writer);
                }
            }
            Self::Admitted(share) => {
                writer.u8(3);
                share.write(writer);
            }
            Self::TurnedAway { refusal, text } => {
                writer.u8(4);
                let why = Refused { version: VERSION, refusal: *refusal, text: text.clone() };
                why.write(writer);
            }
            Self::Known => writer.u8(5),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a message of the host process");
        Ok(match reader.u8()? {
            0 => {
                let (session, way) = (reader.u64()?, Way::read(reader)?);
                Self::Serve { session, way, is_told: reader.u8()? == 1 }
            }
            1 => Self::Granted(reader.u8()? == 1),
            2 => {
                let (total, free, used) = (reader.u64()?, reader.u64()?, reader.u64()?);
                let processes = (0..reader.count(LISTED_MAX)?)
                    .map(|_| {
                        let (pid, bytes) = (reader.u32()?, reader.u64()?);
                        Ok(Process { pid, bytes, name: Text::read(reader)? })
                    })
                    .collect::<Result<_, Malformed>>()?;
                Self::Usage(Usage { total, free, used, processes })
            }
            3 => Self::Admitted(Share::read(reader)?),
            4 => {
                let Refused { refusal, text, .. } = Refused::read(reader)?;
                Self::TurnedAway { refusal, text }
            }
            5 => Self::Known,
            _ => return Err(malformed),
        })
    }
}

/// Writes a message of one number.
fn tagged(writer: &mut Writer<'_>, tag: u8, number: u64) {
    writer.u8(tag);
    writer.u64(number);
}

/// One end of the socket between host process and worker.
#[derive(Debug)]
pub(crate) struct Desk {
    socket: OwnedFd,
    /// Whether sending waits for room: a worker's does, because a message that gives memory back
    /// must not be lost; the host process never waits for a worker.
    waits: bool,
}

impl Desk {
    /// Makes both ends: ours, and the one that becomes a worker's standard input.
    pub fn pair() -> Result<(Self, OwnedFd), DaemonError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(DaemonError::system("making a socket pair for a worker"))?;
        Ok((Self { socket: ours, waits: false }, theirs))
    }

    /// Takes the end that the host process left on standard input.
    ///
    /// # Errors
    /// [`DaemonError::NotAWorker`] if something else lies there.
    pub fn from_stdin() -> Result<Self, DaemonError> {
        if rustix::net::sockopt::socket_type(std::io::stdin()) != Ok(SocketType::SEQPACKET) {
            return Err(DaemonError::NotAWorker);
        }
        let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(|source| {
            DaemonError::System { verb: "taking the host process's socket", source }
        })?;
        Ok(Self { socket, waits: true })
    }

    /// Makes another one of a worker's, for a thread that only tells.
    ///
    /// # Errors
    /// [`DaemonError::System`] if no file descriptor is left.
    pub fn try_clone(&self) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "counting messages", source };
        Ok(Self { socket: self.socket.try_clone().map_err(failed)?, waits: self.waits })
    }

    /// Sends a message, with a file descriptor if it hands one over. The host process never waits:
    /// a worker that does not read the few small answers to what it asks is beyond help.
    pub fn send(
        &self,
        message: &impl Payload,
        handed: Option<BorrowedFd<'_>>,
    ) -> Result<(), DaemonError> {
        self.hand_over(message, handed.as_slice())
    }

    /// The same with up to [`HANDED_MAX`] file descriptors.
    pub fn hand_over(
        &self,
        message: &impl Payload,
        handed: &[BorrowedFd<'_>],
    ) -> Result<(), DaemonError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !handed.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(handed));
        }
        let payload = message.to_payload();
        let parts = [IoSlice::new(&payload)];
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, !self.waits);
        loop {
            match rustix::net::sendmsg(&self.socket, &parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                sent => {
                    return sent
                        .map(drop)
                        .map_err(DaemonError::system("telling a process of ours"));
                }
            }
        }
    }

    /// Waits for a message; `None` means that the other process is gone.
    pub fn receive<M: Payload>(&self) -> Result<Option<(M, Option<OwnedFd>)>, DaemonError> {
        let received = self.receive_all()?;
        Ok(received.map(|(message, handed)| (message, handed.into_iter().next())))
    }

    /// The same with all file descriptors that came along.
    pub fn receive_all<M: Payload>(&self) -> Result<Option<(M, Vec<OwnedFd>)>, DaemonError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                received => {
                    break received.map_err(DaemonError::system("hearing a process of ours"))?;
                }
            }
        };
        let handed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(handed) => Some(handed.collect()),
            _ => None,
        });
        let handed = handed.unwrap_or_default();
        match received.bytes {
            0 => Ok(None),
            bytes => match M::from_payload(&buffer[..bytes]) {
                Ok(message) => Ok(Some((message, handed))),
                Err(source) => Err(DaemonError::Desk { verb: "hearing a process of ours", source }),
            },
        }
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
