//! Which of the host's devices a process sees, and in which order.
//!
//! The rules are CUDA's own (CUDA C++ Programming Guide, CUDA Environment Variables):
//! `CUDA_DEVICE_ORDER=PCI_BUS_ID` numbers devices by their place on the bus, and
//! `CUDA_VISIBLE_DEVICES` lists numbers, or UUIDs as far as they are unique. The first entry that
//! names no device ends the list. Not in the guide, but relied on by PyTorch, which reads the
//! variable the same way: a device that is named twice leaves no device at all, and a number ends
//! at its last digit. NVML knows neither variable.

use vgpu_link::wire::control::DeviceFacts;

use crate::identity::{PciPlace, uuid_text};

/// Returns the ordinals of the host's devices that this process sees, in its own order.
pub fn visible(devices: &[DeviceFacts]) -> Vec<u32> {
    let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let by_place = variable("CUDA_DEVICE_ORDER").is_some_and(|order| order == "PCI_BUS_ID");
    select(devices, by_place, variable("CUDA_VISIBLE_DEVICES").as_deref())
}

fn select(devices: &[DeviceFacts], by_place: bool, list: Option<&str>) -> Vec<u32> {
    let mut all: Vec<u32> = (0..).take(devices.len()).collect();
    if by_place {
        all.sort_by_key(|&ordinal| PciPlace::of(&devices[ordinal as usize]));
    }
    let Some(list) = list else { return all };
    let mut chosen = Vec::new();
    for entry in list.split(',') {
        match named(devices, &all, entry.trim()) {
            Some(ordinal) if chosen.contains(&ordinal) => return Vec::new(),
            Some(ordinal) => chosen.push(ordinal),
            None => break,
        }
    }
    chosen
}

/// Finds the one device that an entry names.
fn named(devices: &[DeviceFacts], all: &[u32], entry: &str) -> Option<u32> {
    if entry.get(..4).is_none_or(|prefix| !prefix.eq_ignore_ascii_case("GPU-")) {
        let end = entry.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(entry.len());
        return all.get(entry[..end].parse::<usize>().ok()?).copied();
    }
    let begins = |ordinal: &&u32| {
        let uuid = uuid_text(&devices[**ordinal as usize].uuid);
        uuid.get(..entry.len()).is_some_and(|start| start.eq_ignore_ascii_case(entry))
    };
    let mut matching = all.iter().filter(begins);
    let found = matching.next().copied();
    found.filter(|_| matching.next().is_none())
}

#[cfg(test)]
mod tests {
    use vgpu_link::wire::Text;

    use super::*;

    fn devices() -> Vec<DeviceFacts> {
        let device = |first_byte, bus| DeviceFacts {
            name: Text::cut("Some GPU"),
            uuid: [first_byte, 0xcd, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            pci_domain: 0,
            pci_bus: bus,
            pci_device: 0,
            pci_device_id: 0,
            pci_subsystem_id: 0,
            total_memory: 0,
            minor_number: 0,
            serial: Text::cut(""),
            vbios_version: Text::cut(""),
            attributes: Vec::new(),
        };
        vec![device(0xaa, 9), device(0xab, 3), device(0xbb, 7)]
    }

    #[test]
    fn a_list_chooses_orders_and_ends_as_cuda_says() {
        let cases: [(Option<&str>, &[u32]); 19] = [
            (None, &[0, 1, 2]),
            (Some(""), &[]),
            (Some("0"), &[0]),
            (Some("2,0"), &[2, 0]),
            (Some(" 1 , 2 "), &[1, 2]),
            (Some("-1"), &[]),
            (Some("0,-1,2"), &[0]),
            (Some("0,7,1"), &[0]),
            (Some("1,1,2"), &[]),
            (Some("1,GPU-ab"), &[]),
            (Some("1gpu2,2"), &[1, 2]),
            (Some("all"), &[]),
            (Some("GPU-bb"), &[2]),
            (Some("GPU-BB,0"), &[2, 0]),
            (Some("GPU-a"), &[]),
            (Some("GPU-aacd0203-0405-0607-0809-0a0b0c0d0e0f"), &[0]),
            (Some("GPU-aacd0203-0405-0607-0809-0a0b0c0d0e0f0"), &[]),
            (Some("GPU-ff,0"), &[]),
            (Some("GPU-é"), &[]),
        ];
        for (list, expected) in cases {
            assert_eq!(select(&devices(), false, list), expected, "{list:?}");
        }
    }

    #[test]
    fn numbers_follow_the_bus_if_that_is_asked_for() {
        assert_eq!(select(&devices(), true, None), [1, 2, 0]);
        assert_eq!(select(&devices(), true, Some("0,2")), [1, 0]);
        assert_eq!(select(&devices(), true, Some("GPU-aa")), [0]);
    }
}
