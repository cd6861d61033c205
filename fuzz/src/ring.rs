//! A hostile peer of the ring: the input is its game.

use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::Ordering;
use std::time::Instant;

use vgpu_ring::{Area, Bells, Duplex, HEAD_BYTES, Layout, Region, RingError, Side, ThreadBell};

const LANE_BYTES: u64 = 4096;
const BULK_BYTES: u64 = 4096;

/// Places of the words that both sides know (docs/ring.md), by the low bits of a move.
const WORDS: [usize; 16] =
    [0, 8, 16, 24, 1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920, 2048, 2176, 4096, 8192];

/// What stands at the beginning of the header, which the game may have spoilt before we join.
fn join(region: &Region, moves: &mut &[u8]) -> Option<Layout> {
    while let Some(&[0xff, word, value]) = moves.first_chunk::<3>() {
        *moves = &moves[3..];
        let shift = u32::from(value >> 2);
        region.store(8 * usize::from(word % 4), u64::from(value & 3) << shift, Ordering::Release);
    }
    match Layout::read(region) {
        Ok(layout) => {
            assert!(layout.region_bytes() <= region.bytes() as u64);
            assert_eq!(layout.granted(region).expect("as it stands there"), layout);
            // A grant that comes later is no more than was announced, or refused.
            region.store(24, layout.bulk_bytes() + 4096, Ordering::Release);
            assert!(layout.granted(region).is_err());
            region.store(24, layout.bulk_bytes(), Ordering::Release);
            Some(layout)
        }
        Err(RingError::Header { field, .. }) => {
            assert!(!field.is_empty());
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// One move of the peer: a word, and a value that is near what stands there, or far.
fn peer(region: &Region, [what, amount]: [u8; 2]) {
    let at = match what >> 6 {
        0 | 1 => WORDS[usize::from(what & 15)],
        2 => 8 * usize::from(what & 63),
        _ => (8 * (usize::from(what & 63) * 256 + usize::from(amount))) % region.bytes(),
    };
    let found = region.load(at, Ordering::Relaxed);
    let value = match (what >> 4) & 3 {
        0 => found.wrapping_add(u64::from(amount)),
        1 => found.wrapping_add(u64::from(amount) << 8),
        2 => found.wrapping_sub(u64::from(amount)),
        _ => u64::from(amount & 3) << (amount >> 2),
    };
    region.store(at, value, Ordering::Release);
}

/// One move of ours; says whether the connection goes on.
fn ours(
    ring: &Duplex<ThreadBell>,
    bulk: &Area,
    buffer: &mut [u8],
    [what, amount]: [u8; 2],
) -> bool {
    let length = (usize::from(what & 31) << 8 | usize::from(amount)).clamp(1, buffer.len());
    let now = Some(Instant::now());
    let done = match what >> 5 & 3 {
        0 => ring.read(&mut buffer[..length], now),
        1 => {
            let (first, second) = buffer[..length].split_at(length / 3);
            ring.write(&[IoSlice::new(first), IoSlice::new(second)], now)
        }
        2 => {
            span(bulk, u64::from(amount) << (what & 31), length);
            return true;
        }
        _ => {
            ring.close();
            return true;
        }
    };
    match done {
        Ok(count) => {
            assert!(count <= length, "{count} of {length}");
            count != 0
        }
        Err(error) => {
            let known = [ErrorKind::TimedOut, ErrorKind::InvalidData, ErrorKind::BrokenPipe];
            assert!(known.contains(&error.kind()), "{error}");
            error.kind() == ErrorKind::TimedOut
        }
    }
}

/// A span that the peer names: inside it is copied, outside refused.
fn span(bulk: &Area, offset: u64, length: usize) {
    let inside = offset.checked_add(length as u64).is_some_and(|end| end <= bulk.bytes());
    let mut into = vec![0; length];
    assert_eq!(bulk.copy_out(offset, &mut into).is_ok(), inside);
    assert_eq!(bulk.copy_in(offset, &into).is_ok(), inside);
    assert_eq!(bulk.address(offset, length as u64).is_ok(), inside);
}

/// Two bytes a move; the highest bit of the first says whose.
pub fn ring(data: &[u8]) {
    let layout = Layout::new(LANE_BYTES, BULK_BYTES).expect("sizes that fit");
    let region = Region::heap(layout.region_bytes() as usize);
    layout.write(&region).expect("long enough");
    let mut moves = data;
    let Some(layout) = join(&region, &mut moves) else { return };
    let side = if moves.len() % 2 == 0 { Side::Host } else { Side::Guest };
    let (data, room) = (ThreadBell::pair(), ThreadBell::pair());
    let ring = Duplex::new(&region, &layout, side, Bells { data: data.0, room: room.0 });
    let bulk = Area::new(&region, &layout);
    let mut buffer = vec![0; HEAD_BYTES + LANE_BYTES as usize];
    let (moves, _) = moves.as_chunks::<2>();
    for &[what, amount] in moves {
        if what & 0x80 != 0 {
            peer(&region, [what << 1, amount]);
        } else if !ours(&ring, &bulk, &mut buffer, [what, amount]) {
            return;
        }
    }
}
