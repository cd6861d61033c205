//! Whether NVML is initialised, and what it learnt then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_abi::nvml::{Error, nvmlDevice_t};
use vgpu_guest::identity::PciPlace;
use vgpu_guest::session;
use vgpu_guest::wire::control::{DeviceFacts, DeviceState, DeviceStateReply, SnapshotReply};

/// Handle of the device with index 0; the next one follows. Not an address, and far from any
/// number that a program would pass by mistake.
const FIRST_HANDLE: u64 = 0x7667_7075_0000_0000;

static LIBRARY: Mutex<Library> = Mutex::new(Library { users: 0, known: None });

#[derive(Debug)]
struct Library {
    /// How often it was initialised and not shut down yet (`nvmlShutdown`: reference counted).
    users: u32,
    known: Option<Arc<Known>>,
}

/// What initialisation learnt.
#[derive(Debug)]
pub(crate) struct Known {
    /// What the host told.
    pub snapshot: Arc<SnapshotReply>,
    /// The host's ordinal of each device in NVML's order, which is that of the PCI bus.
    order: Vec<u32>,
}

fn lock() -> MutexGuard<'static, Library> {
    // The two fields change together at the end of a function, where nothing panics.
    LIBRARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Initialises for one more user; the first one asks the host.
///
/// A lost connection is made anew, and a forked child makes its own: NVML keeps nothing on the
/// host. A child that was forked while another thread initialised is UNINITIALIZED for good.
pub(crate) fn open() -> Result<(), Error> {
    if session::is_forked_child() {
        let mut library = LIBRARY.try_lock().map_err(|_| Error::UNINITIALIZED)?;
        if !session::begin_anew_after_fork() {
            return Err(Error::UNINITIALIZED);
        }
        *library = Library { users: 0, known: None };
    }
    let mut library = lock();
    if library.users == 0 {
        session::forget_lost();
        let snapshot = session::snapshot()?;
        let mut order: Vec<u32> = (0..).take(snapshot.devices.len()).collect();
        order.sort_by_key(|&ordinal| PciPlace::of(&snapshot.devices[ordinal as usize]));
        library.known = Some(Arc::new(Known { snapshot, order }));
    }
    library.users = library.users.checked_add(1).ok_or(Error::UNKNOWN)?;
    Ok(())
}

/// Shuts down for one user; one too many is UNINITIALIZED.
pub(crate) fn close() -> Result<(), Error> {
    let mut library = lock();
    library.users = library.users.checked_sub(1).ok_or(Error::UNINITIALIZED)?;
    if library.users == 0 {
        library.known = None;
    }
    Ok(())
}

/// Returns what initialisation learnt; before it, UNINITIALIZED.
pub(crate) fn known() -> Result<Arc<Known>, Error> {
    lock().known.clone().ok_or(Error::UNINITIALIZED)
}

impl Known {
    /// Returns the number of devices.
    pub(crate) fn count(&self) -> u32 {
        self.order.len() as u32
    }

    /// Returns the handle of the device with this index.
    pub(crate) fn handle(&self, index: u32) -> Option<nvmlDevice_t> {
        (index < self.count()).then(|| nvmlDevice_t(FIRST_HANDLE + u64::from(index)))
    }

    /// Returns the index of a device; a handle that is none is INVALID_ARGUMENT.
    pub(crate) fn index(&self, device: nvmlDevice_t) -> Result<u32, Error> {
        let index = device.0.checked_sub(FIRST_HANDLE).ok_or(Error::INVALID_ARGUMENT)?;
        let index = u32::try_from(index).ok().filter(|index| *index < self.count());
        index.ok_or(Error::INVALID_ARGUMENT)
    }

    /// Returns what is known of a device.
    pub(crate) fn facts(&self, device: nvmlDevice_t) -> Result<&DeviceFacts, Error> {
        let ordinal = self.order[self.index(device)? as usize];
        self.snapshot.devices.get(ordinal as usize).ok_or(Error::UNKNOWN)
    }

    /// Finds the device of which `is_it` says so; none is NOT_FOUND.
    pub(crate) fn find(&self, is_it: impl Fn(&DeviceFacts) -> bool) -> Result<nvmlDevice_t, Error> {
        let facts = |ordinal: &u32| &self.snapshot.devices[*ordinal as usize];
        let index = self.order.iter().position(|ordinal| is_it(facts(ordinal)));
        let index = index.ok_or(Error::NOT_FOUND)?;
        self.handle(index as u32).ok_or(Error::NOT_FOUND)
    }

    /// Asks the host for the present state of a device.
    pub(crate) fn state(&self, device: nvmlDevice_t) -> Result<DeviceStateReply, Error> {
        let device = self.order[self.index(device)? as usize];
        // The host's refusals are CUDA's codes, and none of them is NVML's.
        session::call(&DeviceState { device }).map_err(|failure| match failure {
            session::Failure::Refused { .. } => Error::GPU_IS_LOST,
            failure => failure.fault(),
        })
    }
}
