//! What the host process and its workers say to each other, over a socket that keeps messages
//! apart (`SOCK_SEQPACKET`). Both ends are this program; messages are checked all the same.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use vgpu_link::tls::{self, Credentials, Pem};
use vgpu_link::wire::control::Process;
use vgpu_link::wire::limits::{DEVICES_MAX, EXE_BYTES_MAX, PROCESSES_MAX};
use vgpu_link::wire::{Malformed, Payload, Reader, Text, Writer};

use crate::counts::Counts;
use crate::error::DaemonError;

/// Largest message, in bytes: 64 KiB, below the 208 KiB of a socket's default buffer.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Most processes in a message: 192 of at most 272 bytes each are 51 KiB.
const LISTED_MAX: usize = 192;

/// Longest path in a message, in bytes.
const PATH_BYTES_MAX: usize = 1024;

const _: () = assert!(3 * (tls::FILE_BYTES_MAX + PATH_BYTES_MAX) + 64 <= MESSAGE_BYTES_MAX);
const _: () = assert!(LISTED_MAX <= PROCESSES_MAX);
const _: () = assert!(LISTED_MAX * (16 + EXE_BYTES_MAX) + 64 <= MESSAGE_BYTES_MAX);

/// What a device's memory is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of the device.
    pub total: u64,
    /// Bytes in use, by all clients.
    pub used: u64,
    /// Clients that use some, the largest first.
    pub processes: Vec<Process>,
}

/// How a client is spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Frames as they are.
    Plain,
    /// Through TLS. The host process has read the files: a worker need not be able to, and uses
    /// those that are there when its client comes.
    Tls(Box<Credentials>),
}

/// From a worker to the host process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Tells who the client is; not answered.
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
    /// answered.
    Open {
        /// Bytes of each device, by ordinal; at most [`DEVICES_MAX`].
        totals: Vec<u64>,
    },
    /// Tells what was counted since the last time; not answered.
    Count(Box<Counts>),
}

/// From the host process to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Hands over a connection, the file descriptor beside the message.
    Serve {
        /// Number of the connection.
        session: u64,
        /// How to speak on it.
        way: Way,
    },
    /// Answers `Reserve`.
    Granted(bool),
    /// Answers `Usage`.
    Usage(Usage),
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
            Self::Open { totals } => {
                writer.u8(4);
                writer.count(totals.len());
                totals.iter().for_each(|&total| writer.u64(total));
            }
            Self::Count(counts) => {
                writer.u8(5);
                counts.write(writer);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a message of a worker");
        Ok(match reader.u8()? {
            0 => {
                let (pid, name) = (reader.u32()?, Text::read(reader)?);
                let certificate = match reader.u8()? {
                    0 => None,
                    _ => Some(Text::read(reader)?),
                };
                Self::Introduce { pid, name, certificate }
            }
            1 => Self::Reserve { device: reader.u32()?, bytes: reader.u64()? },
            2 => Self::Release { device: reader.u32()?, bytes: reader.u64()? },
            3 => Self::Usage { device: reader.u32()? },
            4 => {
                let totals = (0..reader.count(DEVICES_MAX)?).map(|_| reader.u64());
                Self::Open { totals: totals.collect::<Result<_, Malformed>>()? }
            }
            5 => Self::Count(Box::new(Counts::read(reader)?)),
            _ => return Err(malformed),
        })
    }
}

impl Payload for Tell {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Serve { session, way } => {
                writer.u8(0);
                writer.u64(*session);
                way.write(writer);
            }
            Self::Granted(granted) => {
                writer.u8(1);
                writer.u8(u8::from(*granted));
            }
            Self::Usage(usage) => {
                writer.u8(2);
                writer.u64(usage.total);
                writer.u64(usage.used);
                let listed = &usage.processes[..usage.processes.len().min(LISTED_MAX)];
                writer.count(listed.len());
                for process in listed {
                    writer.u32(process.pid);
                    writer.u64(process.bytes);
                    process.name.write(writer);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a message of the host process");
        Ok(match reader.u8()? {
            0 => Self::Serve { session: reader.u64()?, way: Way::read(reader)? },
            1 => Self::Granted(reader.u8()? == 1),
            2 => {
                let (total, used) = (reader.u64()?, reader.u64()?);
                let processes = (0..reader.count(LISTED_MAX)?)
                    .map(|_| {
                        let (pid, bytes) = (reader.u32()?, reader.u64()?);
                        Ok(Process { pid, bytes, name: Text::read(reader)? })
                    })
                    .collect::<Result<_, Malformed>>()?;
                Self::Usage(Usage { total, used, processes })
            }
            _ => return Err(malformed),
        })
    }
}

impl Payload for Way {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Plain => writer.u8(0),
            Self::Tls(credentials) => {
                writer.u8(1);
                for pem in [&credentials.ca, &credentials.certificate, &credentials.key] {
                    Text::<PATH_BYTES_MAX>::cut(&pem.path.to_string_lossy()).write(writer);
                    writer.bytes(&pem.text);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a way to speak");
        let pem = |reader: &mut Reader<'_>| {
            let path = Text::<PATH_BYTES_MAX>::read(reader)?.as_str().into();
            Ok(Pem { path, text: reader.bytes(tls::FILE_BYTES_MAX)?.to_vec() })
        };
        match reader.u8()? {
            0 => Ok(Self::Plain),
            1 => Ok(Self::Tls(Box::new(Credentials {
                ca: pem(reader)?,
                certificate: pem(reader)?,
                key: pem(reader)?,
            }))),
            _ => Err(malformed),
        }
    }
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
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let handed = handed.map(|handed| [handed]);
        if let Some(handed) = &handed {
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
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
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
            RecvAncillaryMessage::ScmRights(mut handed) => handed.next(),
            _ => None,
        });
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
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn every_message_arrives_as_sent() {
        let (ours, theirs) = Desk::pair().expect("a pair");
        let theirs = Desk { socket: theirs, waits: true };
        let name = Text::cut(&"n".repeat(EXE_BYTES_MAX));
        for ask in [
            Ask::Introduce { pid: 1, name: name.clone(), certificate: None },
            Ask::Introduce { pid: 1, name: name.clone(), certificate: Some(name.clone()) },
            Ask::Reserve { device: 2, bytes: 3 },
            Ask::Release { device: 4, bytes: 5 },
            Ask::Usage { device: 6 },
            Ask::Open { totals: vec![7, 8] },
            Ask::Count(Box::new(Counts { calls: 9, ..Counts::default() })),
        ] {
            theirs.send(&ask, None).expect("sent");
            let (heard, handed) = ours.receive::<Ask>().expect("heard").expect("a message");
            assert!(heard == ask && handed.is_none());
        }
        let processes = vec![Process { pid: 7, bytes: 8, name }; LISTED_MAX + 1];
        let usage = Usage { total: 9, used: 10, processes };
        ours.send(&Tell::Usage(usage.clone()), None).expect("sent");
        let (heard, _) = theirs.receive::<Tell>().expect("heard").expect("a message");
        let cut = Usage { processes: usage.processes[1..].to_vec(), ..usage };
        assert_eq!(heard, Tell::Usage(cut));
        let pem = |name: &str| Pem { path: name.into(), text: vec![1; tls::FILE_BYTES_MAX] };
        let (ca, certificate, key) = (pem("/ca"), pem("/certificate"), pem("/key"));
        let way = Way::Tls(Box::new(Credentials { ca, certificate, key }));
        let serve = Tell::Serve { session: 1, way };
        ours.send(&serve, None).expect("sent");
        let (heard, _) = theirs.receive::<Tell>().expect("heard").expect("a message");
        assert_eq!(heard, serve);
        drop(ours);
        assert!(theirs.receive::<Tell>().expect("no error").is_none());
    }

    #[test]
    fn a_worker_waits_for_room_and_loses_no_message() {
        const COUNT: u64 = 2000;
        let (ours, theirs) = Desk::pair().expect("a pair");
        let theirs = Desk { socket: theirs, waits: true };
        let watched = theirs.socket.try_clone().expect("a file descriptor");
        let ask = |bytes| Ask::Release { device: 0, bytes };
        let sender = std::thread::spawn(move || {
            (0..COUNT).try_for_each(|bytes| theirs.send(&ask(bytes), None))
        });
        let has_room = || {
            let mut watched = [PollFd::new(&watched, PollFlags::OUT)];
            poll(&mut watched, Some(&Timespec::default())) != Ok(0)
        };
        while has_room() && !sender.is_finished() {
            std::thread::yield_now();
        }
        drop(watched);
        for bytes in 0..COUNT {
            let (heard, _) = ours.receive::<Ask>().expect("heard").expect("a message");
            assert_eq!(heard, ask(bytes));
        }
        sender.join().expect("it ends").expect("all were sent");
    }

    #[test]
    fn a_file_descriptor_travels_beside_its_message() {
        let (ours, theirs) = Desk::pair().expect("a pair");
        let theirs = Desk { socket: theirs, waits: true };
        let (left, right) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.send(&Tell::Serve { session: 3, way: Way::Plain }, Some(right.as_fd())).expect("sent");
        let (heard, handed) = theirs.receive::<Tell>().expect("heard").expect("a message");
        assert_eq!(heard, Tell::Serve { session: 3, way: Way::Plain });
        drop((right, handed.expect("the socket")));
        assert_eq!(std::io::Read::read(&mut &left, &mut [0]).expect("it ended"), 0);
    }
}
