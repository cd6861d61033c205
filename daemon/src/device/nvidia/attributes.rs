//! The attributes of the genuine driver's devices, as guests are told them.
//!
//! What a device is (sizes, counts, speeds, architecture) is told as it is. What it can do is told
//! where a guest can ask for it here.

use super::generated::driver::Driver;

/// Largest number that is known, of CUDA 13.5. Later ones are not asked for: what they announce,
/// nobody here could do. The guest answers INVALID_VALUE, as an older driver does.
const ATTRIBUTE_MAX: u32 = 161;

/// Numbers, and what is announced in place of the driver's values.
const CHANGED: [(&[u32], i32); 12] = [
    // The device does not reach memory of the guest's program, mapped or managed.
    (&[19, 83, 86, 88, 89, 91, 100, 101, 147], 0),
    // Memory that is only read is not registered: copies go either way.
    (&[113], 0),
    // Streams have no operations on memory (cuStreamWaitValue32).
    (&[92, 93, 94, 98, 122, 123], 0),
    // A launch is on one device.
    (&[96], 0),
    // Nothing is shared with other processes (cuIpc*, cuMemExport*, cuMulticast*).
    (&[103, 119, 125, 128, 132, 143, 153, 154, 155, 156, 158], 0),
    // The guest's other devices are not on the host's bus.
    (&[110, 116, 117, 118, 124, 146, 152, 161], 0),
    // Memory is neither compressed nor sparse (cuMemMapArrayAsync).
    (&[107, 112, 121, 136, 137], 0),
    // Streams have no access policy (cuStreamSetAttribute).
    (&[108, 109], 0),
    // The guest's graphics are not on this device.
    (&[114, 138, 159], 0),
    // Tensor maps are not made (cuTensorMap*).
    (&[127, 160], 0),
    // Functions, memory nodes and pools of the host are none of the guest's.
    (&[129, 130, 141, 142, 144, 145], 0),
    // The host's memory nodes have no numbers in the guest.
    (&[131, 134], -1),
];

/// Asks for all attributes that the driver knows, ascending, and changes those of above.
pub(super) fn attributes(driver: &Driver, device: i32) -> Vec<(u32, i32)> {
    let ask = |number| {
        let mut value = 0;
        driver.device_get_attribute(&mut value, number, device).ok()?;
        Some((number, announced(number, value)))
    };
    (1..=ATTRIBUTE_MAX).filter_map(ask).collect()
}

/// What is announced where the driver says `value`.
fn announced(number: u32, value: i32) -> i32 {
    let changed = CHANGED.iter().find(|(numbers, _)| numbers.contains(&number));
    changed.map_or(value, |(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vgpu_abi::cuda::CUdevice_attribute as Attribute;

    use super::*;

    #[test]
    fn each_attribute_is_known_and_changed_once_at_most() {
        let all = CHANGED.iter().flat_map(|(numbers, _)| *numbers);
        let distinct: BTreeSet<u32> = all.clone().copied().collect();
        assert_eq!(distinct.len(), all.count());
        assert!(distinct.iter().all(|number| (1..=ATTRIBUTE_MAX).contains(number)));
    }

    #[test]
    fn what_a_device_is_is_told_as_it_is() {
        assert_eq!(announced(Attribute::COMPUTE_CAPABILITY_MAJOR.0, 12), 12);
        assert_eq!(announced(Attribute::CAN_MAP_HOST_MEMORY.0, 1), 0);
        assert_eq!(announced(134, 3), -1);
    }
}
