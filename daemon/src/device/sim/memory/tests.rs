//! The memory of simulated devices by itself.

use super::*;

fn of(device: u32, context: u64) -> Owner {
    Owner { device, context, pool: 0 }
}

#[test]
fn addresses_are_aligned_distinct_and_not_soon_reused() {
    let mut memory = Memory::new(2);
    let mut seen = std::collections::HashSet::new();
    for bytes in [1, 511, 512, 513, 1 << 20] {
        for device in 0..2 {
            let address = memory.allocate(of(device, 1), bytes).expect("room");
            assert_eq!(address % ALIGNMENT, 0);
            assert!(seen.insert(address));
            memory.free(address).expect("it is there");
            assert_eq!(memory.free(address), Err(Error::INVALID_VALUE));
        }
    }
}

#[test]
fn eighty_gibibytes_cost_nothing_until_written() {
    let mut memory = Memory::new(1);
    let bytes = 80 << 30;
    let address = memory.allocate(of(0, 1), bytes).expect("room");
    memory.write(address + bytes - 4, 4).expect("in range").copy_from_slice(b"last");
    assert_eq!(memory.read(address + bytes - 4, 4).expect("in range"), b"last");
    memory.clear(address, bytes).expect("in range");
    assert_eq!(memory.read(address + bytes - 4, 4).expect("in range"), [0; 4]);
}

#[test]
fn ranges_outside_an_allocation_are_refused() {
    let mut memory = Memory::new(1);
    let address = memory.allocate(of(0, 1), 1000).expect("room");
    let after = memory.allocate(of(0, 1), 1000).expect("room");
    for (at, bytes) in [
        (address, 1001),
        (address + 1000, 1),
        (address + 999, 2),
        (address - 1, 1),
        (address, u64::MAX),
        (address + 500, u64::MAX),
        (u64::MAX, 1),
        (0, 1),
        (after + 1024, 1),
    ] {
        assert_eq!(memory.read(at, bytes), Err(Error::INVALID_VALUE), "{at:#x} {bytes}");
        assert!(memory.write(at, bytes).is_err(), "{at:#x} {bytes}");
        assert!(memory.copy(address, at, bytes).is_err(), "{at:#x} {bytes}");
        assert!(memory.copy(at, address, bytes).is_err(), "{at:#x} {bytes}");
        assert!(memory.clear(at, bytes).is_err(), "{at:#x} {bytes}");
    }
    assert_eq!(memory.read(address + 999, 1).map(<[u8]>::len), Ok(1));
    assert_eq!(memory.read(0, 0).map(<[u8]>::len), Ok(0));
}

#[test]
fn copies_between_and_within_allocations_keep_every_byte() {
    let mut memory = Memory::new(1);
    let (small, large) = (
        memory.allocate(of(0, 1), 1000).expect("room"),
        memory.allocate(of(0, 1), 100_000).expect("room"),
    );
    let pattern: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
    memory.write(small, 1000).expect("in range").copy_from_slice(&pattern);
    memory.copy(large + 99_000, small, 1000).expect("in range");
    assert_eq!(memory.read(large + 99_000, 1000), Ok(&pattern[..]));
    memory.copy(large + 98_999, large + 99_000, 1000).expect("overlapping");
    assert_eq!(memory.read(large + 98_999, 1000), Ok(&pattern[..]));
    assert_eq!(memory.read(small, 1000), Ok(&pattern[..]), "the source is untouched");
}

#[test]
fn freed_room_is_found_again_when_the_window_is_used_up() {
    let mut memory = Memory::new(1);
    let half = 1 << 39;
    let first = memory.allocate(of(0, 1), half).expect("room");
    let second = memory.allocate(of(0, 2), half).expect("room");
    assert_eq!(memory.allocate(of(0, 1), 1), Err(Error::OUT_OF_MEMORY));
    assert_eq!(memory.free_all(1), [(of(0, 1), half)]);
    assert_eq!(memory.allocate(of(0, 1), 1).expect("room again"), first);
    assert!(memory.read(second, 1).is_ok());
}

#[test]
fn a_place_is_found_once_and_used_until_something_goes() {
    let mut memory = Memory::new(1);
    let address = memory.allocate(of(0, 1), 1000).expect("room");
    let place = memory.locate(address + 10).expect("in range");
    assert_eq!((place.first, place.bytes), (address, 1000));
    memory.write_in(&place, address + 996, 4).expect("in range").copy_from_slice(b"last");
    assert_eq!(memory.read_in(&place, address + 996, 4), Some(&b"last"[..]));
    assert_eq!(memory.read_in(&place, address + 997, 4), None);
    assert_eq!(memory.read_in(&place, address - 1, 1), None);
    assert_eq!(memory.read_in(&place, u64::MAX, 4), None);
    assert_eq!(memory.locate(address + 1000), Err(Error::INVALID_VALUE));
    let other = memory.allocate(of(0, 1), 1000).expect("room");
    assert!(memory.read_in(&place, address, 1).is_some(), "nothing went");
    memory.free(other).expect("it is there");
    assert_eq!(memory.read_in(&place, address, 1), None, "it may have been this one");
}
