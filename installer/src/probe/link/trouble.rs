//! What may be wrong with a link, by its remedy.

use std::io;

use serde::{Deserialize, Serialize};
use vgpu_link::LinkError;
use vgpu_link::pci::Obstacle;
use vgpu_link::pci::original::Fault;
use vgpu_link::wire::control::Refusal;

/// The kinds of failure that have different remedies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The URI is none.
    Address,
    /// This version cannot open such links.
    NotBuilt,
    /// Nothing lies at the address.
    Absent,
    /// Something lies there, and nobody listens.
    NobodyListens,
    /// This user may not open it.
    Denied,
    /// The address cannot be reached: no such name, no way there.
    Unreachable,
    /// Certificates or keys of this machine cannot be read or used.
    Credential,
    /// Guest and host do not trust each other's certificates.
    Distrust,
    /// This user might open it, and its sandbox may not.
    Shut,
    /// The kernel is locked down, and lets nobody map a device.
    LockedDown,
    /// Its device cannot be used as it is.
    Blocked,
    /// Somebody listens and does not answer.
    Silent,
    /// The host speaks another version.
    Version,
    /// The host serves as many clients as it may.
    Full,
    /// The host serves named tenants, and this machine or user is none of them.
    Stranger,
    /// The host's own device does not answer.
    NoDevice,
    /// Anything else.
    Broken,
}

/// Sorts why a link does not lead to a host.
pub(super) fn trouble(error: &LinkError) -> Trouble {
    match error {
        LinkError::Uri { .. } => Trouble::Address,
        LinkError::NotBuilt { .. } => Trouble::NotBuilt,
        LinkError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => Trouble::Absent,
            io::ErrorKind::ConnectionRefused => Trouble::NobodyListens,
            io::ErrorKind::PermissionDenied => Trouble::Denied,
            // What a resolver says has no kind that could be told apart.
            _ => Trouble::Unreachable,
        },
        LinkError::File { .. } | LinkError::Credential { .. } => Trouble::Credential,
        LinkError::Distrust { .. } => Trouble::Distrust,
        LinkError::Pci { source, .. } => blocked(source),
        LinkError::Original { source } => match source {
            Fault::NoRoom => Trouble::Full,
            fault if fault.is_unanswered() => Trouble::Silent,
            _ => Trouble::Broken,
        },
        LinkError::WrongVersion { .. } => Trouble::Version,
        LinkError::Refused { refusal, .. } => match refusal {
            Refusal::Version => Trouble::Version,
            Refusal::Full => Trouble::Full,
            Refusal::Stranger => Trouble::Stranger,
            Refusal::NoDevice => Trouble::NoDevice,
            Refusal::Malformed => Trouble::Broken,
        },
        LinkError::TimedOut => Trouble::Silent,
        _ => Trouble::Broken,
    }
}

/// Sorts what keeps a PCI device from being used.
fn blocked(obstacle: &Obstacle) -> Trouble {
    match obstacle {
        obstacle if obstacle.is_absent() => Trouble::Absent,
        Obstacle::Denied { .. } => Trouble::Denied,
        Obstacle::Sandboxed { .. } | Obstacle::ReadOnly { .. } => Trouble::Shut,
        Obstacle::LockedDown { .. } | Obstacle::Forbidden { .. } => Trouble::LockedDown,
        _ => Trouble::Blocked,
    }
}
