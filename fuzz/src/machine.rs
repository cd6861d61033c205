//! A hostile virtual machine with shared memory, and its QEMU.

use std::cell::RefCell;

use tempfile::TempDir;
use vgpud::fuzzing::Room;

thread_local! {
    /// One host for all inputs: each leaves it as it found it.
    static ROOM: (TempDir, RefCell<Room>) = {
        let directory = tempfile::tempdir().expect("a directory");
        let room = Room::open(directory.path());
        (directory, RefCell::new(room))
    };
}

/// Two bytes a move: of QEMU, of its guest, or of the host.
pub fn machine(data: &[u8]) {
    ROOM.with(|(directory, room)| room.borrow_mut().play(directory.path(), data));
}
