//! What the way to the host is like for this process: its configuration, every link that it names,
//! and the host at the other end. It speaks the protocol itself, so that a lost host is told from a
//! library that does not find it.

mod trouble;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vgpu_link::tls::Files;
use vgpu_link::wire::control::{
    DeviceState, DeviceStateReply, Hello, Reason, Role, Snapshot, SnapshotReply, Welcome, opcode,
    status,
};
use vgpu_link::wire::header::VERSION;
use vgpu_link::wire::{Header, Kind, Payload, Request, Text};
use vgpu_link::{Bulk, Link, LinkError, Uri, config, handshake};

use super::pci;
pub use trouble::Trouble;
use trouble::trouble;

/// How long one link may take to shake hands: what the libraries allow it (docs/protocol.md).
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(1);
/// How long everything after the handshake may take.
const ANSWERS_LIMIT: Duration = Duration::from_secs(10);
/// How many calls the round trip is measured by: enough for a 99th percentile of its own.
const ROUND_TRIPS: usize = 200;

/// Everything seen of the way to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSeen {
    /// Who says which links to try: a variable, a file, or the default.
    pub origin: String,
    /// Why the configuration cannot be used.
    pub config_error: Option<String>,
    /// The links in the order in which a client tries them.
    pub tries: Vec<Try>,
    /// PCI devices that a link could go by.
    pub pci: Vec<pci::Candidate>,
    /// True if the kernel offers sockets to a virtual machine's host.
    pub vsock: bool,
}

/// One link that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Its URI.
    pub uri: String,
    /// The socket's mode, owner and group, if it is one in the file system and can be seen.
    pub socket: Option<(u32, u32, u32)>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It led to a host.
    Connected(Box<Connected>),
    /// It did not.
    Failed(Failed),
}

/// Why a link did not lead to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The kind of failure.
    pub trouble: Trouble,
    /// The error with its causes.
    pub error: String,
    /// What the system answered.
    pub errno: Option<i32>,
    /// The file of certificates or keys that it is about.
    pub file: Option<String>,
    /// The remedy, in a sentence.
    pub hint: Option<String>,
}

/// A host at the end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// Version of the host's program.
    pub host_version: String,
    /// Version of the wire format, which both sides share.
    pub wire_version: u16,
    /// Differs between two starts of the host.
    pub epoch: u64,
    /// Number of this connection, and of a second one that was open at the same time.
    pub sessions: (u64, Option<u64>),
    /// How long connecting and shaking hands took, in microseconds.
    pub handshake_us: u64,
    /// Median and 99th percentile of a call that the host answers by itself, in nanoseconds.
    pub round_trip_ns: (u64, u64),
    /// What the host says of its driver and devices; the error if it did not.
    pub host: Result<HostSeen, String>,
}

/// What the host says of its driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSeen {
    /// What `cuDriverGetVersion` answers there, such as 13000.
    pub cuda_version: i32,
    /// The driver's version, such as `580.95.05`.
    pub driver: String,
    /// Groups of functions that the host does, as bits (docs/protocol.md).
    pub capabilities: u64,
    /// Its devices, by ordinal.
    pub devices: Vec<DeviceSeen>,
}

/// What the host says of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSeen {
    /// Its name.
    pub name: String,
    /// Its UUID as `GPU-…`.
    pub uuid: String,
    /// Its place on the host's bus, as `0000:00:00.0`.
    pub pci: String,
    /// All memory that this guest may use, in bytes.
    pub total_bytes: u64,
    /// `(CUdevice_attribute, value)`, ascending.
    pub attributes: Vec<(u32, i32)>,
    /// Memory in use and free by now, in bytes, and the clients that hold some; the error if the
    /// host did not say.
    pub state: Result<StateSeen, String>,
}

/// What the host says of a device's present state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSeen {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Process id, name and bytes of each client of this guest.
    pub clients: Vec<(u32, String, u64)>,
}

/// Tries the links that this process is configured for, until one leads to a host, as our libraries
/// do.
#[must_use]
pub fn look() -> LinkSeen {
    let mut seen = LinkSeen { pci: pci::candidates(), ..LinkSeen::default() };
    #[expect(clippy::disallowed_methods, reason = "the probe looks at its own surroundings")]
    {
        seen.vsock = Path::new("/dev/vsock").exists();
    }
    #[expect(clippy::disallowed_methods, reason = "the probe's environment is the service's")]
    let variable = std::env::var_os(config::VARIABLE);
    match config::choice(variable) {
        Ok(choice) => {
            seen.origin = choice.origin;
            for link in &choice.links {
                let tried = attempt(link, &choice.tls);
                let led = matches!(tried.outcome, Outcome::Connected(_));
                seen.tries.push(tried);
                if led {
                    break;
                }
            }
        }
        Err(error) => {
            config::FILE.clone_into(&mut seen.origin);
            seen.config_error = Some(chain(&error));
        }
    }
    seen
}

fn attempt(link: &str, files: &Files) -> Try {
    let (mut socket, parsed) = (None, link.parse::<Uri>());
    if let Ok(Uri::Unix(path)) = &parsed {
        #[expect(clippy::disallowed_methods, reason = "the probe looks as the service's user")]
        let meta = std::fs::metadata(path).ok();
        socket = meta.map(|meta| (meta.mode() & 0o7777, meta.uid(), meta.gid()));
    }
    let outcome = match parsed.and_then(|uri| converse(&uri, files)) {
        Ok(connected) => Outcome::Connected(Box::new(connected)),
        Err(error) => Outcome::Failed(Failed {
            trouble: trouble(&error),
            error: chain(&error),
            errno: system(&error).and_then(io::Error::raw_os_error),
            file: file(&error).map(|path| path.display().to_string()),
            hint: error.hint().map(str::to_owned),
        }),
    };
    Try { uri: link.to_owned(), socket, outcome }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        next = cause.source();
    }
    line
}

fn system(error: &LinkError) -> Option<&io::Error> {
    match error {
        LinkError::Connect { source, .. }
        | LinkError::Io { source, .. }
        | LinkError::File { source, .. } => Some(source),
        _ => None,
    }
}

fn file(error: &LinkError) -> Option<&Path> {
    match error {
        LinkError::File { path, .. } | LinkError::Credential { path, .. } => Some(path),
        _ => None,
    }
}

fn converse(uri: &Uri, files: &Files) -> Result<Connected, LinkError> {
    let began = Instant::now();
    let (mut link, welcome) = vgpu_link::connect(uri, files, &hello(), HANDSHAKE_LIMIT)?;
    let handshake_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    // A host that serves one client at a time would answer the second one with the first's words.
    let second = vgpu_link::connect(uri, files, &hello(), HANDSHAKE_LIMIT).ok();
    let sessions = (welcome.session, second.as_ref().map(|(_, welcome)| welcome.session));
    if let Some((mut link, _)) = second {
        let _ = handshake::goodbye(&mut *link, Reason::Done, "");
    }
    link.wait_until(Some(Instant::now() + ANSWERS_LIMIT));
    let round_trip_ns = round_trips(&mut *link)?;
    let host = described(&mut *link).map_err(|error| chain(&error));
    // The host learns that nothing went wrong; whether it hears that changes nothing here.
    let _ = handshake::goodbye(&mut *link, Reason::Done, "");
    let Welcome { host_version, epoch, .. } = welcome;
    let host_version = host_version.to_string();
    let wire_version = VERSION;
    Ok(Connected { host_version, wire_version, epoch, sessions, handshake_us, round_trip_ns, host })
}

fn hello() -> Hello {
    Hello { role: Role::Observer, pid: std::process::id(), exe: Text::cut("vgpu-install") }
}

/// Measures the link by a call that the host refuses without a look at any device.
fn round_trips(link: &mut dyn Link) -> Result<(u64, u64), LinkError> {
    let mut taken = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        let answer: Option<DeviceStateReply> = ask(link, &DeviceState { device: u32::MAX })?;
        debug_assert!(answer.is_none(), "no host has that many devices");
        taken.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    taken.sort_unstable();
    Ok((taken[ROUND_TRIPS / 2], taken[ROUND_TRIPS * 99 / 100]))
}

/// Asks one question; none if the host answers that there is no such device.
fn ask<R: Request>(link: &mut dyn Link, request: &R) -> Result<Option<R::Reply>, LinkError> {
    link.send(&Header::new(Kind::Call, R::OPCODE), &request.to_payload(), &[])?;
    let mut payload = Vec::new();
    let header = link.receive(&mut payload, Bulk::Into(&mut []))?;
    if (header.kind, header.opcode) != (Kind::Reply, R::OPCODE) {
        let expected = "the answer to a question";
        return Err(LinkError::Unexpected { opcode: header.opcode, expected });
    }
    if header.status == status::NO_SUCH_DEVICE && R::OPCODE == opcode::DEVICE_STATE {
        return Ok(None);
    }
    let malformed = |source| LinkError::Malformed { what: "answer", source };
    R::Reply::from_payload(&payload).map(Some).map_err(malformed)
}

fn described(link: &mut dyn Link) -> Result<HostSeen, LinkError> {
    let snapshot: SnapshotReply = ask(link, &Snapshot)?.ok_or(LinkError::Closed)?;
    let mut devices = Vec::new();
    for (ordinal, device) in snapshot.devices.iter().enumerate() {
        let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
        let state = match ask(link, &DeviceState { device: ordinal }) {
            Ok(Some(state)) => Ok(state_seen(&state)),
            Ok(None) => Err("the host does not know the device that it told of".to_owned()),
            Err(error) => Err(chain(&error)),
        };
        devices.push(DeviceSeen {
            name: device.name.to_string(),
            uuid: uuid(&device.uuid),
            pci: format!(
                "{:04x}:{:02x}:{:02x}.0",
                device.pci_domain, device.pci_bus, device.pci_device
            ),
            total_bytes: device.total_memory,
            attributes: device.attributes.clone(),
            state,
        });
    }
    Ok(HostSeen {
        cuda_version: snapshot.driver_version,
        driver: snapshot.nvml_driver_version.to_string(),
        capabilities: snapshot.capabilities.0,
        devices,
    })
}

fn state_seen(state: &DeviceStateReply) -> StateSeen {
    let clients = state.processes.iter().map(|one| (one.pid, one.name.to_string(), one.bytes));
    StateSeen {
        used_bytes: state.memory_used,
        free_bytes: state.memory_free,
        clients: clients.collect(),
    }
}

/// A UUID as NVML and `CUDA_VISIBLE_DEVICES` write it.
pub(super) fn uuid(bytes: &[u8; 16]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex[from..to].concat();
    format!("GPU-{}-{}-{}-{}-{}", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16))
}

#[cfg(test)]
mod tests;
