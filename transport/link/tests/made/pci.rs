//! A host's end of a machine's memory, and both ends of a link in it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vgpu_link::LinkError;
use vgpu_link::pci::ivshmem::{Change, Keeper, ServedSlot, SlotStream, connect, serve};
use vgpu_link::pci::pick;

use super::machine::Machine;

/// Claims a slot, as a process of the guest does.
pub fn claim(machine: &Machine) -> Result<SlotStream, LinkError> {
    let device = pick(machine.sysfs(), None).unwrap_or_else(|error| panic!("{error}"));
    connect(&device, Instant::now() + Duration::from_secs(20))
}

/// Names a file of this process for other parts of it.
pub fn path_of(file: impl std::os::fd::AsFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/{}/fd/{}", std::process::id(), file.as_fd().as_raw_fd()).into()
}

/// Looks at all slots until `wanted` is among the changes.
pub fn turn_until(keeper: &mut Keeper, wanted: impl Fn(&Change) -> bool) -> Change {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let changes = keeper.turn(Instant::now()).expect("the memory is whole");
        if let Some(change) = changes.into_iter().find(&wanted) {
            return change;
        }
        assert!(Instant::now() < limit, "it never came");
        std::thread::yield_now();
    }
}

/// Grants a slot and serves it; the second is the other end of its life.
pub fn serve_slot(keeper: &mut Keeper, slot: usize) -> (ServedSlot, OwnedFd) {
    use std::os::fd::AsFd;
    let place = keeper.prepare(slot).expect("the memory is whole");
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let memory = keeper.as_fd().try_clone_to_owned().expect("a descriptor");
    let ring = serve(&place, &memory, None, theirs.into()).expect("the slot is in the memory");
    keeper.grant(slot).expect("the memory is whole");
    (ring, ours.into())
}

/// Makes both ends of a link in the first slot of a memory made for it: guest, host, and what the
/// host process holds.
pub fn pair() -> (SlotStream, ServedSlot, OwnedFd) {
    const BYTES: u64 = 8 << 20;
    let mut keeper = Keeper::make(BYTES, None).expect("a memory file");
    let machine = Machine::new(&path_of(&keeper), BYTES);
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| claim(&machine));
        let came = turn_until(&mut keeper, |change| matches!(change, Change::Came(_)));
        assert_eq!(came, Change::Came(0));
        let (host, life) = serve_slot(&mut keeper, 0);
        let guest = guest.join().expect("no panic");
        (guest.unwrap_or_else(|error| panic!("{error}")), host, life)
    })
}
