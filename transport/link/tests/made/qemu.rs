//! A QEMU with ivshmem-doorbell, as far as its host sees it, and the device that its guest sees.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use vgpu_ring::Region;

use super::machine::Machine;

/// How long the host may take to make a memory.
const LIMIT: Duration = Duration::from_secs(20);

/// The page of registers, and the word in it whose high half is the doorbell: the registers begin
/// at 0x100 of the page that [`Machine`] shows.
const PAGE_BYTES: usize = 4096;
const DOORBELL_WORD: usize = 0x108;

/// Between two looks for a store to a doorbell, where a real device is told of it: 20 us.
const LOOKS: Duration = Duration::from_micros(20);

/// A QEMU that has a memory, and a device in its guest.
pub struct Qemu {
    /// Its end is QEMU's.
    _connection: UnixStream,
    pub memory: OwnedFd,
    pub guest: Machine,
    bytes: u64,
    pages: Arc<Mutex<Vec<Region>>>,
    /// Its end ends the thread.
    _over: Sender<()>,
}

impl Qemu {
    /// Takes what the host gives over a connection: a memory of so many slots and bytes, and its
    /// bells.
    pub fn start(connection: UnixStream, slots: usize, bytes: u64) -> Self {
        connection.set_read_timeout(Some(LIMIT)).expect("a limit");
        assert_eq!(hear(&connection).0, 0, "the version");
        assert_eq!(hear(&connection).0, 0, "its own number");
        let (minus_one, memory) = hear(&connection);
        assert_eq!(minus_one, -1);
        let memory = memory.expect("the memory comes along");
        let bells: Vec<(i64, OwnedFd)> = (0..=slots)
            .map(|_| hear(&connection))
            .map(|(number, bell)| (number, bell.expect("a bell comes along")))
            .collect();
        let path: PathBuf =
            format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()).into();
        let pages = Arc::<Mutex<Vec<Region>>>::default();
        let guest = show(&pages, &path, bytes);
        let ((over, ends), shown) = (channel::<()>(), Arc::clone(&pages));
        // What the device does with a store to its doorbell.
        std::thread::spawn(move || {
            while ends.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
                for page in &*shown.lock().unwrap_or_else(PoisonError::into_inner) {
                    look(page, &bells);
                }
            }
        });
        Self { _connection: connection, memory, guest, bytes, pages, _over: over }
    }

    /// Shows the device once more, its memory by the name that the host keeps it under, with
    /// registers of their own: a device is told of every store, but of two programs that store at
    /// once in one file only the last is seen.
    #[allow(dead_code, reason = "most tests have few programs at once")]
    pub fn show(&self, memory: &Path) -> Machine {
        show(&self.pages, memory, self.bytes)
    }
}

fn show(pages: &Mutex<Vec<Region>>, memory: &Path, bytes: u64) -> Machine {
    let guest = Machine::new(memory, bytes);
    let registers = guest.sysfs().join("bus/pci/devices/0000:00:05.0/resource0");
    let registers = std::fs::File::options().read(true).write(true).open(registers);
    let page = Region::map(registers.expect("it is there"), PAGE_BYTES).expect("it is mapped");
    pages.lock().unwrap_or_else(PoisonError::into_inner).push(page);
    guest
}

/// Rings whom a program asked to be rung.
fn look(page: &Region, bells: &[(i64, OwnedFd)]) {
    let word = page.load(DOORBELL_WORD, Ordering::Acquire);
    if word == 0 || !page.exchange(DOORBELL_WORD, word, 0) {
        return;
    }
    let number = (word >> 48) as i64;
    let rung = bells.iter().find(|(known, _)| *known == number);
    let (_, bell) = rung.expect("the guest rings whom the host named");
    rustix::io::write(bell, &1_u64.to_ne_bytes()).expect("an eventfd");
}

/// Reads one message of the ivshmem server.
fn hear(connection: &UnixStream) -> (i64, Option<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(connection, &mut parts, &mut control, flags).expect("the host speaks");
    assert_eq!(received.bytes, 8);
    let along = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut came) => came.next(),
        _ => None,
    });
    (i64::from_le_bytes(bytes), along)
}
