//! A hostile machine's view of its slots: the input is what it writes, and how the host answers.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use vgpu_link::pci::ivshmem::{Change, Keeper};
use vgpu_ring::slots::{BOARD_BYTES, Board, HOST_BEAT, SLOTS_MAX, Word, claim, let_go, word};
use vgpu_ring::{Region, RingError};

/// Memory of the machine: three slots of the smallest lanes.
const BYTES: u64 = BOARD_BYTES as u64 + 3 * (4096 + 2 * 4096);

/// The words of a slot.
const WORDS: [Word; 5] = [Word::Claim, Word::Ready, Word::Boot, Word::Beat, Word::Granted];

/// Values that mean something: nobody, threads, a void claim, all bits.
const VALUES: [u64; 8] = [0, 7, 7 | 1 << 32, 8, 7 | 0x4000_0000, u64::MAX, 1 << 63, 0x3fff_ffff];

/// One memory for all inputs, emptied for each.
fn memory() -> File {
    static MEMORY: OnceLock<File> = OnceLock::new();
    let memory = MEMORY.get_or_init(|| {
        let keeper = Keeper::make(BYTES, None).expect("a memory file");
        File::from(keeper.as_fd().try_clone_to_owned().expect("a descriptor"))
    });
    memory.write_all_at(&[0; BOARD_BYTES], 0).expect("written");
    memory.try_clone().expect("a descriptor")
}

/// What the host knows of a slot, by what it was told and has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Granted,
    Gone,
}

/// The host's side: two bytes a move.
fn host(moves: &[[u8; 2]]) {
    let (memory, mut now) = (memory(), Instant::now());
    let own = OwnedFd::from(memory.try_clone().expect("a descriptor"));
    let mut keeper = Keeper::adopt(own, None).expect("it holds slots");
    let count = keeper.board().slots;
    let mut told = vec![Told::Nothing; count];
    for &[what, amount] in moves {
        let slot = usize::from(what & 3) % count;
        match what >> 5 {
            // The machine writes a word, of a slot or anywhere in the head.
            0..=3 => {
                let at = word(slot, WORDS[usize::from(what >> 2 & 7) % WORDS.len()]) as u64;
                let value = VALUES[usize::from(amount & 7)] ^ u64::from(amount >> 6);
                memory.write_all_at(&value.to_le_bytes(), at).expect("written");
            }
            4 => {
                let at = u64::from(what & 31) << 8 | u64::from(amount);
                memory.write_all_at(&[amount; 8], at).expect("written");
            }
            5 => now += Duration::from_secs(u64::from(amount)),
            // A worker ends, because its client is gone or by itself.
            6 if told[slot] != Told::Nothing => {
                keeper.end(slot).expect("written");
                told[slot] = Told::Nothing;
            }
            6 => {}
            _ => {
                for change in keeper.turn(now).expect("the memory is as long as it was") {
                    // Nobody comes twice without an end between, and only who was granted goes.
                    match change {
                        Change::Came(slot) => {
                            assert_eq!(told[slot], Told::Nothing, "slot {slot}");
                            told[slot] = answer(&mut keeper, slot, amount);
                        }
                        Change::Gone(slot) => {
                            assert_eq!(told[slot], Told::Granted, "slot {slot}");
                            told[slot] = Told::Gone;
                        }
                    }
                }
                assert!(keeper.claimed() <= count);
            }
        }
    }
}

/// Grants a client its slot, or refuses it, as a host does right after a look.
fn answer(keeper: &mut Keeper, slot: usize, amount: u8) -> Told {
    if amount >> slot & 1 == 1 {
        keeper.refuse(slot, &vec![1; 64 * usize::from(amount)]).expect("written");
        return Told::Nothing;
    }
    let place = keeper.prepare(slot).expect("there is room");
    let end = place.offset + 4096 + 2 * place.lane_bytes + place.bulk_bytes;
    assert!(end <= BYTES, "{place:?}");
    keeper.grant(slot).expect("written");
    Told::Granted
}

/// The guest's side: a head that a hostile host wrote.
fn guest(words: &[u8]) {
    let head = Region::heap(BOARD_BYTES);
    for (at, word) in words.as_chunks::<8>().0.iter().enumerate().take(BOARD_BYTES / 8) {
        head.copy_in(8 * at, word);
    }
    let length = head.load(HOST_BEAT, std::sync::atomic::Ordering::Relaxed);
    match Board::read(&head, length) {
        Ok(board) => {
            assert!((1..=SLOTS_MAX as usize).contains(&board.slots));
            assert!(board.place(board.slots) <= length);
            if let Some((slot, claim)) = claim(&head, board.slots, 5, 6, |_| {}) {
                assert!(slot < board.slots);
                let_go(&head, slot, claim);
            }
        }
        Err(RingError::Header { field, .. }) => assert!(!field.is_empty()),
        Err(other) => panic!("{other}"),
    }
}

/// The first byte says which side is ours.
pub fn slots(data: &[u8]) {
    match data.split_first() {
        Some((0, words)) => guest(words),
        Some((_, moves)) => host(moves.as_chunks::<2>().0),
        None => {}
    }
}
