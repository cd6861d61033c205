//! PCI devices that a link to the host could go by, as this process finds them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vgpu_link::pci::{self, Device, Obstacle};

use super::link::chain;

/// One device that could carry a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its address, as `0000:00:05.0`.
    pub address: String,
    /// What it is, in words.
    pub kind: String,
    /// The kernel driver that is bound to it.
    pub driver: Option<String>,
    /// What keeps this process from using it; none if nothing does.
    pub refused: Option<String>,
    /// The remedy for that, in a sentence.
    pub hint: Option<String>,
}

/// Lists the candidates; none where there is no PCI bus. Opens their files, and maps none.
#[must_use]
pub fn candidates() -> Vec<Candidate> {
    let devices = pci::scan(Path::new(pci::SYSFS)).unwrap_or_default();
    devices.into_iter().map(|device| candidate(&device)).collect()
}

fn candidate(device: &Device) -> Candidate {
    let obstacle = obstacle(device);
    Candidate {
        address: device.address.to_string(),
        kind: device.kind.to_string(),
        driver: device.driver.clone(),
        refused: obstacle.as_ref().map(|obstacle| chain(obstacle)),
        hint: obstacle.as_ref().map(|obstacle| obstacle.hint().to_owned()),
    }
}

fn obstacle(device: &Device) -> Option<Obstacle> {
    let mut regions = device.kind.regions().into_iter();
    device.check().and_then(|()| regions.try_for_each(|at| device.open(at).map(drop))).err()
}
