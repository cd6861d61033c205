//! One piece of memory for many clients, as a PCI device gives it to a guest: a head that the host
//! writes, and slots, each with a whole [`Region`] (docs/pci.md, "Slots").
//!
//! A client claims a slot by writing its claim where a zero stands, in one step, so that two never
//! have the same. Only the host puts the zero back, once the claim is void. The low half of a claim
//! is a robust futex of the guest's kernel (set_robust_list(2)): it names the thread that claimed,
//! and when that thread ends, however it does, the kernel sets [`VOID`].

use crate::sync::Ordering;
use crate::{BULK_BYTES_MAX, GRAIN_BYTES, Layout, Region, RingError};

/// First word: the bytes `VGPUSLOT`.
pub const SLOTS_MAGIC: u64 = u64::from_le_bytes(*b"VGPUSLOT");

/// Version of this layout. In 1 a guest took all of a slot's bulk area, granted or not.
pub const SLOTS_VERSION: u64 = 2;

/// Bytes before the first slot.
pub const BOARD_BYTES: usize = 16 << 10;

/// Most slots: 64, as many clients as a host serves unless it is told otherwise.
pub const SLOTS_MAX: u64 = 64;

/// Where the host counts up while it lives.
pub const HOST_BEAT: usize = 128;

/// What the kernel sets in a claim when its thread ends: FUTEX_OWNER_DIED of linux/futex.h. A
/// client that lets go sets it itself.
pub const VOID: u64 = 0x4000_0000;

/// The part of a claim that names its thread: FUTEX_TID_MASK.
const THREAD: u64 = 0x3fff_ffff;

/// First slot's words. (A model has one after the other.)
const WORDS: usize = if cfg!(loom) { 0 } else { 1024 };

/// Bytes from one slot's words to the next.
const STRIDE: usize = if cfg!(loom) { 8 } else { 128 };

/// Words of a slot, at the place that [`word`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Guest: who has the slot; 0 for nobody.
    Claim = 0,
    /// Guest: the claim again, once the client waits to be served.
    Ready = 8,
    /// Guest: tells its kernel's start from every other.
    Boot = 16,
    /// Guest: counts up while the client lives.
    Beat = 24,
    /// Host: the claim that it serves or refuses.
    Granted = 64,
}

/// Returns the place of a slot's word.
pub fn word(slot: usize, word: Word) -> usize {
    WORDS + STRIDE * slot + word as usize
}

/// How memory is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// How many slots there are.
    pub slots: usize,
    /// The layout of each slot's region.
    pub ring: Layout,
    /// The number by which a device rings the host for a claim; that of slot `n` is greater by
    /// `n + 1`. `None`: nobody can be rung, and the host looks by itself.
    pub bells: Option<u32>,
}

/// Lanes of 1 MiB do well (see the link); in less than 64 MiB they are smaller, for 31 slots.
const LANE_BYTES_MAX: u64 = 1 << 20;

impl Board {
    /// Divides `bytes` bytes: into `slots_max` slots if there is room for the lanes of so many, and
    /// what the lanes leave into their bulk areas. `None` if they do not hold a single slot.
    pub fn of(bytes: u64, bells: Option<u32>, slots_max: usize) -> Option<Self> {
        let lane = (bytes / 64).checked_ilog2().map_or(0, |log| 1 << log);
        let lane = lane.clamp(crate::LANE_BYTES_MIN, LANE_BYTES_MAX);
        let lanes = Layout::new(lane, 0).ok()?.region_bytes();
        let bytes = bytes.checked_sub(BOARD_BYTES as u64)?;
        let slots = (bytes / lanes).min(SLOTS_MAX).min(slots_max as u64);
        let bulk = (bytes.checked_div(slots)? - lanes).min(BULK_BYTES_MAX);
        let ring = Layout::new(lane, bulk - bulk % GRAIN_BYTES).ok()?;
        Some(Self { slots: slots as usize, ring, bells })
    }

    /// Returns where a slot's region begins.
    pub fn place(&self, slot: usize) -> u64 {
        BOARD_BYTES as u64 + slot as u64 * self.ring.region_bytes()
    }

    /// Returns the first words of the head, the magic first.
    pub fn words(&self) -> [u64; 6] {
        let (lane, bulk) = (self.ring.lane_bytes(), self.ring.bulk_bytes());
        let bells = self.bells.map_or(0, u64::from);
        [SLOTS_MAGIC, SLOTS_VERSION, self.slots as u64, lane, bulk, bells]
    }

    /// Reads a host's head, each field once, and checks it against the memory's length.
    ///
    /// # Errors
    /// [`RingError::Header`] names the field that is wrong; the magic, if no host has been here.
    pub fn read(head: &Region, bytes: u64) -> Result<Self, RingError> {
        let wrong = |field, found, expected| Err(RingError::Header { field, found, expected });
        if head.bytes() < BOARD_BYTES {
            return wrong("length", head.bytes() as u64, "at least 16 KiB");
        }
        let field = |at: usize| head.load(8 * at, Ordering::Acquire);
        let [magic, version, slots, lane, bulk, bells] = [0, 1, 2, 3, 4, 5].map(field);
        if magic != SLOTS_MAGIC {
            return wrong("magic", magic, "the bytes VGPUSLOT");
        }
        if version != SLOTS_VERSION {
            return wrong("version", version, "2");
        }
        let ring = Layout::new(lane, bulk)?;
        if !(1..=SLOTS_MAX).contains(&slots) {
            return wrong("number of slots", slots, "1 to 64");
        }
        let Some(bells) = u32::try_from(bells).ok().filter(|bells| *bells < 1 << 15) else {
            return wrong("bell", bells, "a peer's number");
        };
        let board = Self { slots: slots as usize, ring, bells: (bells > 0).then_some(bells) };
        if board.place(board.slots) > bytes {
            return wrong("length", bytes, "long enough for its slots");
        }
        Ok(board)
    }
}

/// Says whether a claim still stands: its thread lives, as far as its kernel knows.
pub fn stands(claim: u64) -> bool {
    claim & THREAD != 0 && claim & VOID == 0
}

/// Claims a slot for the calling thread, whose id is `thread`; `salt` tells this claim from those
/// of other containers' threads of the same id. Before each try `bequeath` is told the slot whose
/// claim becomes void when this thread ends; none after the last one failed.
///
/// Returns the slot and the claim; `None` if all are taken.
pub fn claim(
    head: &Region,
    slots: usize,
    thread: u32,
    salt: u32,
    mut bequeath: impl FnMut(Option<usize>),
) -> Option<(usize, u64)> {
    let claim = u64::from(salt) << 32 | u64::from(thread) & THREAD;
    for slot in 0..slots {
        let at = word(slot, Word::Claim);
        if head.load(at, Ordering::Acquire) != 0 {
            continue;
        }
        // First, or a death between the two would leave a claim that nobody ends.
        bequeath(Some(slot));
        if head.exchange(at, 0, claim) {
            return Some((slot, claim));
        }
    }
    bequeath(None);
    None
}

/// Lets go of a claim, as the kernel does for a thread that ended.
pub fn let_go(head: &Region, slot: usize, claim: u64) {
    head.exchange(word(slot, Word::Claim), claim, claim | VOID);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn memory_of_every_size_is_divided_within_itself() {
        let of = |bytes, slots| Board::of(bytes, None, slots);
        assert_eq!(of(BOARD_BYTES as u64, 64), None);
        assert_eq!(of(0, 64), None);
        assert_eq!(of(1 << 30, 0), None);
        for log in 15..40 {
            for bytes in [1_u64 << log, (1 << log) - 1, (1 << log) + 4096] {
                for slots in [1, 3, 64, usize::MAX] {
                    let Some(board) = of(bytes, slots) else {
                        assert!(bytes < 32 << 10, "{bytes} bytes hold a slot");
                        continue;
                    };
                    assert!(board.place(board.slots) <= bytes, "{bytes}: {board:?}");
                    assert!(board.slots <= slots);
                    assert!(word(board.slots, Word::Claim) <= BOARD_BYTES);
                    assert!(board.place(1).is_multiple_of(4096), "slots are mapped by pages");
                }
            }
        }
        assert_eq!(of(64 << 20, 64).expect("room").slots, 31);
        for (slots, bulk_mib) in [(64, 13), (4, 253)] {
            let large = of(1 << 30, slots).expect("room");
            assert_eq!((large.slots, large.ring.bulk_bytes() >> 20), (slots, bulk_mib));
        }
    }

    #[test]
    fn a_head_that_lies_is_refused_by_its_field() {
        let honest = Board::of(1 << 20, Some(1), 64).expect("room");
        let head = Region::heap(BOARD_BYTES);
        let write = |words: [u64; 6]| {
            words.iter().enumerate().for_each(|(at, word)| {
                head.store(8 * at, *word, Ordering::Release);
            });
        };
        write(honest.words());
        assert_eq!(Board::read(&head, 1 << 20).expect("honest"), honest);
        for (at, lie, expected) in [
            (0, 0, "magic"),
            (1, 1, "version"),
            (2, 0, "number of slots"),
            (2, 65, "number of slots"),
            (2, u64::MAX, "number of slots"),
            (3, 5000, "lane size"),
            (3, 64 << 20, "length"),
            (4, 1, "bulk size"),
            (4, 1 << 30, "length"),
            (5, 1 << 40, "bell"),
        ] {
            let mut words = honest.words();
            words[at] = lie;
            write(words);
            match Board::read(&head, 1 << 20) {
                Err(RingError::Header { field, .. }) => assert_eq!(field, expected, "{lie:#x}"),
                other => panic!("{at} {lie:#x}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_slot_is_claimed_once_until_the_host_frees_it() {
        let head = Region::heap(BOARD_BYTES);
        let mut heirs = Vec::new();
        let first = claim(&head, 2, 7, 1, |slot| heirs.push(slot)).expect("a free slot");
        assert_eq!((first.0, heirs), (0, vec![Some(0)]));
        let second = claim(&head, 2, 7, 2, |_| {}).expect("a free slot");
        assert_eq!(second.0, 1);
        let mut heirs = Vec::new();
        assert_eq!(claim(&head, 2, 8, 3, |slot| heirs.push(slot)), None);
        assert_eq!(heirs, [None]);
        let_go(&head, 0, second.1);
        assert!(stands(head.load(word(0, Word::Claim), Ordering::Acquire)), "it is another's");
        let_go(&head, 0, first.1);
        assert!(!stands(head.load(word(0, Word::Claim), Ordering::Acquire)));
        assert_eq!(claim(&head, 2, 8, 3, |_| {}), None, "only the host frees it");
    }
}
