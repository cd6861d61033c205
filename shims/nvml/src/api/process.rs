//! Who uses a device (NVML API, Device Queries, running processes).
//!
//! The host tells its clients; all of them compute, so the list of graphics processes is empty.

use vgpu_abi::nvml::{Error, nvmlDevice_t, nvmlProcessInfo_t, nvmlProcessInfo_v1_t};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::control::Process;

use crate::library;

/// Stands for "no part of a device" in the instance fields (NVML: 0xFFFFFFFF outside of MIG).
const NO_INSTANCE: u32 = u32::MAX;

/// Lists who computes on the device. `count` is the room in the list, then the number found; too
/// little room is INSUFFICIENT_SIZE, and nothing is written.
pub(crate) fn device_get_compute_running_processes_v3(
    device: nvmlDevice_t,
    count: &mut u32,
    list: Memory<'_>,
) -> Result<(), Error> {
    fill(&computing(device)?, count, list, current)
}

/// As [`device_get_compute_running_processes_v3`]: the two structures are the same.
pub(crate) fn device_get_compute_running_processes_v2(
    device: nvmlDevice_t,
    count: &mut u32,
    list: Memory<'_>,
) -> Result<(), Error> {
    device_get_compute_running_processes_v3(device, count, list)
}

/// As [`device_get_compute_running_processes_v3`], in the first structure.
pub(crate) fn device_get_compute_running_processes(
    device: nvmlDevice_t,
    count: &mut u32,
    list: Memory<'_>,
) -> Result<(), Error> {
    let first =
        |process: &Process| nvmlProcessInfo_v1_t { pid: process.pid, usedGpuMemory: process.bytes };
    fill(&computing(device)?, count, list, first)
}

/// Lists who draws on the device: nobody.
pub(crate) fn device_get_graphics_running_processes_v3(
    device: nvmlDevice_t,
    count: &mut u32,
    list: Memory<'_>,
) -> Result<(), Error> {
    library::known()?.index(device)?;
    fill(&[], count, list, current)
}

/// As [`device_get_graphics_running_processes_v3`].
pub(crate) fn device_get_graphics_running_processes_v2(
    device: nvmlDevice_t,
    count: &mut u32,
    list: Memory<'_>,
) -> Result<(), Error> {
    device_get_graphics_running_processes_v3(device, count, list)
}

/// As [`device_get_graphics_running_processes_v3`].
pub(crate) fn device_get_graphics_running_processes(
    device: nvmlDevice_t,
    count: &mut u32,
    list: Memory<'_>,
) -> Result<(), Error> {
    device_get_graphics_running_processes_v3(device, count, list)
}

fn computing(device: nvmlDevice_t) -> Result<Vec<Process>, Error> {
    Ok(library::known()?.state(device)?.processes)
}

fn current(process: &Process) -> nvmlProcessInfo_t {
    nvmlProcessInfo_t {
        pid: process.pid,
        usedGpuMemory: process.bytes,
        gpuInstanceId: NO_INSTANCE,
        computeInstanceId: NO_INSTANCE,
    }
}

fn fill<T: Copy>(
    processes: &[Process],
    count: &mut u32,
    list: Memory<'_>,
    form: impl Fn(&Process) -> T,
) -> Result<(), Error> {
    check_room(processes.len(), count)?;
    let entries: Vec<T> = processes.iter().map(form).collect();
    list.store::<T, Error>(&entries)
}

fn check_room(found: usize, count: &mut u32) -> Result<(), Error> {
    let room = *count as usize;
    *count = found as u32;
    if room < found { Err(Error::INSUFFICIENT_SIZE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_room_says_how_much_it_needs() {
        let cases = [
            (0, 0, Ok(())),
            (0, 9, Ok(())),
            (2, 2, Ok(())),
            (2, 1, Err(Error::INSUFFICIENT_SIZE)),
            (1, 0, Err(Error::INSUFFICIENT_SIZE)),
        ];
        for (found, room, expected) in cases {
            let mut count = room;
            assert_eq!(check_room(found, &mut count), expected, "{found} {room}");
            assert_eq!(count as usize, found);
        }
    }
}
