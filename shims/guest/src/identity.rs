//! What a device is called: its UUID and its place on the PCI bus, written and read one way.
//!
//! CUDA and NVML must agree on a device, so both take their texts from here.

use std::fmt;

use vgpu_link::wire::control::DeviceFacts;

/// A device's place on the PCI bus; the function is always 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciPlace {
    /// Domain.
    pub domain: u32,
    /// Bus.
    pub bus: u32,
    /// Device (slot).
    pub device: u32,
}

impl PciPlace {
    /// Tells the place of a device.
    pub fn of(facts: &DeviceFacts) -> Self {
        Self {
            domain: facts.pci_domain,
            bus: u32::from(facts.pci_bus),
            device: u32::from(facts.pci_device),
        }
    }

    /// Reads `domain:bus:device.function`, in hexadecimal digits of any case and number.
    ///
    /// The domain (0) and the function (0) may be left out, as `cuDeviceGetByPCIBusId` and
    /// `nvmlDeviceGetHandleByPciBusId` allow. `None` for everything else, and for a function
    /// other than 0, which no GPU has.
    pub fn parse(text: &str) -> Option<Self> {
        let (front, function) = text.split_once('.').unwrap_or((text, "0"));
        let parts: Vec<u32> = front.split(':').map(hex).collect::<Option<_>>()?;
        let (domain, bus, device) = match parts[..] {
            [domain, bus, device] => (domain, bus, device),
            [bus, device] => (0, bus, device),
            _ => return None,
        };
        let is_valid = hex(function)? == 0 && bus < 256 && device < 32;
        is_valid.then_some(Self { domain, bus, device })
    }

    /// Writes the place as `nvmlPciInfo_t` has it in `busId`: eight digits of domain, upper case.
    pub fn nvml_text(self) -> String {
        format!("{:08X}:{:02X}:{:02X}.0", self.domain, self.bus, self.device)
    }

    /// Writes the place as `nvmlPciInfo_t` has it in `busIdLegacy`: four digits of domain.
    pub fn nvml_legacy_text(self) -> String {
        format!("{:04X}:{:02X}:{:02X}.0", self.domain & 0xffff, self.bus, self.device)
    }
}

/// Writes the place as `cuDeviceGetPCIBusId` does: `0000:01:00.0`, lower case.
impl fmt::Display for PciPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04x}:{:02x}:{:02x}.0", self.domain, self.bus, self.device)
    }
}

fn hex(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Writes a UUID as NVML and `CUDA_VISIBLE_DEVICES` do: `GPU-` and 8-4-4-4-12 digits.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let [a, b, c, d, e] =
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    format!("GPU-{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_of_a_pci_place_is_read() {
        let place = PciPlace { domain: 0, bus: 0x3b, device: 5 };
        for text in ["0000:3b:05.0", "00000000:3B:05.0", "3b:05.0", "3b:05", "0:3b:5", "0:3B:5.0"] {
            assert_eq!(PciPlace::parse(text), Some(place), "{text}");
        }
        for text in ["", "3b", "3b:20", "100:00", "3b:05.1", "+b:05", "3b:05.", "a:b:c:d", "x:y"] {
            assert_eq!(PciPlace::parse(text), None, "{text}");
        }
    }

    #[test]
    fn cuda_and_nvml_each_get_their_own_spelling() {
        let place = PciPlace { domain: 0x1_000a, bus: 0xab, device: 0x1f };
        assert_eq!(place.to_string(), "1000a:ab:1f.0");
        assert_eq!(place.nvml_text(), "0001000A:AB:1F.0");
        assert_eq!(place.nvml_legacy_text(), "000A:AB:1F.0");
    }

    #[test]
    fn a_uuid_is_written_in_groups() {
        let uuid = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        assert_eq!(uuid_text(&uuid), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
