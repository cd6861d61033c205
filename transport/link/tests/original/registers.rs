//! The model does what the device is described to do.

use crate::device::tunnel::Machine;
use crate::device::{BUSY, ERROR, IDLE, Model};

const STATUS: u32 = 0x004;
const ERROR_CODE: u32 = 0x014;

fn alone() -> Model {
    Model::new("/nonexistent/vgpu-mediator.sock".into())
}

#[test]
fn after_a_reset_only_the_constants_are_not_zero() {
    let model = alone();
    let mut board = model.board();
    for at in (0..0x1000).step_by(4) {
        let expected = match at {
            0x008 => u32::from(b'A'),
            0x00c => 1,
            0x020 => 0x0001_0000,
            0x024 => 0x71,
            _ => 0,
        };
        assert_eq!(board.read(at), expected, "{at:#x}");
    }
}

#[test]
fn of_overlapping_ranges_the_first_is_decoded() {
    let model = alone();
    let mut board = model.board();
    // 080 to 0FF are registers, though the older buffer would reach there; 100 to 4FF are the
    // newer buffer, and 500 to 8FF its answer, which is read-only.
    board.write(0x07c, 0x1111);
    board.write(0x080, 0x2222);
    board.write(0x100, 0x3333);
    board.write(0x440, 0x4444);
    board.write(0x500, 0x5555);
    assert_eq!(board.read(0x07c), 0x1111);
    assert_eq!(board.read(0x080), 0x2222);
    assert_eq!((board.read(0x100), board.read(0x440)), (0x3333, 0x4444));
    assert_eq!(board.read(0x500), 0);
}

#[test]
fn read_only_registers_stay_and_others_keep_what_they_may() {
    let model = alone();
    let mut board = model.board();
    for at in [STATUS, 0x008, 0x00c, 0x010, ERROR_CODE, 0x01c, 0x020, 0x024, 0x0f0, 0x900] {
        let before = board.read(at);
        board.write(at, !before);
        assert_eq!(board.read(at), before, "{at:#x}");
    }
    for (at, written, kept) in [(0x028, 3, 1), (0x088, 17, 16), (0x03c, 4711, 4711)] {
        board.write(at, written);
        assert_eq!(board.read(at), kept, "{at:#x}");
    }
    board.write(0x0a8, 2);
    assert_eq!((board.read(0x0a8), board.read(STATUS)), (0, IDLE), "only 1 rings");
}

#[test]
fn a_call_without_a_mediator_fails_at_once() {
    let model = alone();
    let mut board = model.board();
    board.write(0x0a8, 1);
    assert_eq!((board.read(STATUS), board.read(ERROR_CODE)), (ERROR, 3));
    // The end of the data shows it, too.
    let end = board.read_data((16 << 20) - 8);
    assert_eq!(end[4..], ERROR.to_le_bytes());
}

#[test]
fn data_with_no_path_fail_the_call() {
    let machine = Machine::new();
    let mut board = machine.model.board();
    board.write(0x08c, (8 << 20) + 1);
    board.write(0x0a8, 1);
    assert_eq!((board.read(STATUS), board.read(ERROR_CODE)), (ERROR, 2));
}

/// Waits until the model has its answer.
fn answered(machine: &Machine) -> u32 {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let status = machine.model.board().read(STATUS);
        if status != BUSY {
            return status;
        }
        assert!(std::time::Instant::now() < limit, "no answer");
        std::thread::yield_now();
    }
}

/// A guest of the original system asks for its own calls: it must not wait for its limit of two
/// minutes, and must not be told a success.
#[test]
fn the_original_systems_own_calls_are_answered_as_unsupported() {
    let machine = Machine::new();
    for (id, bytes) in [(0x01, 0), (0xf0, 0), (0x32, 1024), (0x32, 3 << 20), (0xfe, 8 << 20)] {
        {
            let mut board = machine.model.board();
            board.write(0x080, id);
            board.write(0x08c, bytes);
            board.write(0x0a8, 1);
        }
        assert_eq!(answered(&machine), ERROR, "{id:#x}");
        let mut board = machine.model.board();
        assert_eq!((board.read(ERROR_CODE), board.read(0x0f0)), (5, 801), "{id:#x}");
    }
    // Those of its older kind, too.
    machine.model.board().write(0x018, 32);
    machine.model.board().write(0x000, 1);
    assert_eq!(answered(&machine), ERROR);
    assert_eq!(machine.model.board().read(ERROR_CODE), 5);
}
