//! A peer that does what it likes: at worst its own connection ends, with an error, in time.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vgpu_ring::{
    Area, Bells, Doorbell, Duplex, HEAD_BYTES, Layout, Region, RingError, Side, ThreadBell, Woken,
};

const LANE_BYTES: u64 = 4096;

/// The lanes' words: produced, consumed, reader sleeps, writer sleeps, of the host's lane, then of
/// the guest's; as `docs/ring.md` has them.
const HOST_LANE: usize = 1024 + 2 * 128;
const GUEST_LANE: usize = 1024 + 6 * 128;
const PRODUCED: usize = 0;
const CONSUMED: usize = 128;

/// Random games, each from its own seed; VGPU_RING_GAMES asks for more.
fn games(usual: u64) -> u64 {
    let asked = std::env::var("VGPU_RING_GAMES").ok();
    asked.map_or(usual, |number| number.parse().expect("VGPU_RING_GAMES is a number"))
}

struct Scene {
    region: Region,
    host: Duplex<ThreadBell>,
    /// Held, so that the peer counts as alive.
    _bells: Bells<ThreadBell>,
}

fn scene() -> Scene {
    let layout = Layout::new(LANE_BYTES, LANE_BYTES).expect("sizes that fit");
    let region = Region::heap(layout.region_bytes() as usize);
    layout.write(&region).expect("long enough");
    let (data, room) = (ThreadBell::pair(), ThreadBell::pair());
    let bells = Bells { data: data.0, room: room.0 };
    let host = Duplex::new(&region, &layout, Side::Host, bells);
    Scene { region, host, _bells: Bells { data: data.1, room: room.1 } }
}

fn now() -> Option<Instant> {
    Some(Instant::now())
}

fn index_of(error: &std::io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref()? {
        RingError::Index { index, .. } => Some(index),
        _ => None,
    }
}

#[test]
fn a_produced_index_beyond_the_lane_or_taken_back_breaks_the_ring_for_good() {
    for lie in [LANE_BYTES + 1, u64::MAX, 1 << 63] {
        let Scene { region, host, .. } = &scene();
        region.store(GUEST_LANE + PRODUCED, lie, Ordering::Release);
        let error = host.read(&mut [0; 8], now()).expect_err("a lie");
        assert_eq!(index_of(&error), Some("produced"), "{lie:#x}: {error}");
        region.store(GUEST_LANE + PRODUCED, 1, Ordering::Release);
        assert_eq!(host.read(&mut [0; 8], now()).expect("the end"), 0);
        let error = host.write(&[IoSlice::new(&[1])], now()).expect_err("the end");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    let Scene { region, host, .. } = &scene();
    region.store(GUEST_LANE + PRODUCED, 100, Ordering::Release);
    assert_eq!(host.read(&mut [0; 8], now()).expect("eight of a hundred"), 8);
    region.store(GUEST_LANE + PRODUCED, 99, Ordering::Release);
    let error = host.read(&mut [0; 200], now()).expect_err("one was taken back");
    assert_eq!(index_of(&error), Some("produced"));
}

#[test]
fn a_consumed_index_beyond_what_was_written_or_taken_back_breaks_the_ring() {
    let fill = |host: &Duplex<ThreadBell>| {
        (0..4)
            .map(|_| host.write(&[IoSlice::new(&[1; LANE_BYTES as usize])], now()))
            .sum::<std::io::Result<usize>>()
            .expect("room")
    };
    for lie in [LANE_BYTES + 1, u64::MAX, 1 << 63] {
        let Scene { region, host, .. } = &scene();
        assert_eq!(fill(host), LANE_BYTES as usize);
        region.store(HOST_LANE + CONSUMED, lie, Ordering::Release);
        let error = host.write(&[IoSlice::new(&[1])], now()).expect_err("a lie");
        assert_eq!(index_of(&error), Some("consumed"), "{lie:#x}: {error}");
    }
    let Scene { region, host, .. } = &scene();
    fill(host);
    region.store(HOST_LANE + CONSUMED, 1, Ordering::Release);
    assert_eq!(host.write(&[IoSlice::new(&[1; 9])], now()).expect("room for one"), 1);
    region.store(HOST_LANE + CONSUMED, 0, Ordering::Release);
    let error = host.write(&[IoSlice::new(&[1])], now()).expect_err("it was taken back");
    assert_eq!(index_of(&error), Some("consumed"));
}

#[test]
fn our_own_indices_and_sizes_in_the_region_are_never_believed() {
    let Scene { region, host, .. } = &scene();
    for at in (0..64).step_by(8) {
        region.store(at, u64::MAX, Ordering::Release);
    }
    for lane in [HOST_LANE + PRODUCED, GUEST_LANE + CONSUMED] {
        region.store(lane, u64::MAX / 3, Ordering::Release);
    }
    region.store(GUEST_LANE + PRODUCED, 5, Ordering::Release);
    assert_eq!(host.read(&mut [0; 8], now()).expect("five bytes"), 5);
    assert_eq!(host.write(&[IoSlice::new(b"seven b")], now()).expect("room"), 7);
    assert_eq!(region.load(HOST_LANE + PRODUCED, Ordering::Acquire), 7);
    assert_eq!(region.load(GUEST_LANE + CONSUMED, Ordering::Acquire), 5);
}

/// Rings whenever it is asked, until the peer would have waited far too long.
struct RingsAlways(Instant);

impl Doorbell for RingsAlways {
    fn ring(&self) {}

    fn wait(
        &self,
        _limit: Option<Instant>,
        _came: &mut dyn FnMut() -> bool,
    ) -> std::io::Result<Woken> {
        Ok(if Instant::now() < self.0 { Woken::Rung } else { Woken::Gone })
    }

    fn close(&self) {}
}

#[test]
fn a_peer_that_only_rings_gets_no_more_time_than_a_silent_one() {
    let layout = Layout::new(LANE_BYTES, 0).expect("sizes that fit");
    let region = Region::heap(layout.region_bytes() as usize);
    let far = Instant::now() + Duration::from_secs(10);
    let bells = Bells { data: RingsAlways(far), room: RingsAlways(far) };
    let host = Duplex::new(&region, &layout, Side::Host, bells);
    let limit = Instant::now() + Duration::from_millis(20);
    let error = host.read(&mut [0; 8], Some(limit)).expect_err("nothing was written");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_header_that_lies_is_refused_by_its_field() {
    let honest = Layout::new(LANE_BYTES, 0).expect("sizes that fit");
    let cases = [
        (0, 1, "magic"),
        (1, 2, "version"),
        (2, 0, "lane size"),
        (2, 4097, "lane size"),
        (2, 1 << 63, "lane size"),
        (2, 8192, "length"),
        (3, 1, "bulk size"),
        (3, !4095, "bulk size"),
        (3, 4096, "length"),
    ];
    for (word, lie, expected) in cases {
        let region = Region::heap(honest.region_bytes() as usize);
        honest.write(&region).expect("long enough");
        assert_eq!(Layout::read(&region).expect("honest"), honest);
        region.store(8 * word, lie, Ordering::Release);
        match Layout::read(&region) {
            Err(RingError::Header { field, .. }) => assert_eq!(field, expected, "{lie:#x}"),
            other => panic!("{word} {lie:#x}: {other:?}"),
        }
    }
    assert!(Layout::read(&Region::heap(HEAD_BYTES - 8)).is_err());
}

#[test]
fn a_span_outside_the_bulk_area_is_refused() {
    let layout = Layout::new(LANE_BYTES, 8192).expect("sizes that fit");
    let bulk = Area::new(&Region::heap(layout.region_bytes() as usize), &layout);
    bulk.copy_in(8192 - 5, b"tail!").expect("the last five bytes");
    let mut found = [0; 5];
    bulk.copy_out(8192 - 5, &mut found).expect("the last five bytes");
    assert_eq!(&found, b"tail!");
    for (offset, bytes) in [(8192, 1), (8191, 2), (u64::MAX, 1), (u64::MAX, u64::MAX), (0, 8193)] {
        let refused = bulk.address(offset, bytes).expect_err("outside");
        assert!(matches!(refused, RingError::Outside { .. }), "{refused}");
    }
    assert!(bulk.copy_out(8190, &mut [0; 3]).is_err());
    assert!(bulk.copy_in(u64::MAX - 1, &[0; 3]).is_err());
}

/// One step of a peer whose moves are random: mostly near the truth, where checks are thin.
fn play(random: &mut fastrand::Rng, region: &Region) {
    let words = [
        HOST_LANE,
        HOST_LANE + 128,
        HOST_LANE + 256,
        HOST_LANE + 384,
        GUEST_LANE,
        GUEST_LANE + 128,
        GUEST_LANE + 256,
        GUEST_LANE + 384,
        1024,
        1152,
    ];
    let word = match random.u8(..8) {
        0 => 8 * random.usize(..region.bytes() / 8),
        1 => words[random.usize(8..10)],
        _ => words[random.usize(..8)],
    };
    let value = match random.u8(..6) {
        0 => random.u64(..),
        1 => random.u64(..3),
        2 => region.load(words[random.usize(..8)], Ordering::Relaxed),
        _ => {
            let near = region.load(word, Ordering::Relaxed);
            near.wrapping_add(random.u64(..600)).wrapping_sub(random.u64(..20))
        }
    };
    if word < HEAD_BYTES {
        region.store(word, value, Ordering::Release);
    } else {
        // Data is bytes to both sides: Miri follows no accesses of two sizes.
        region.copy_in(word, &value.to_ne_bytes());
    }
}

/// Reads or writes once and says whether the connection goes on.
fn live(random: &mut fastrand::Rng, host: &Duplex<ThreadBell>, buffer: &mut [u8]) -> bool {
    let length = random.usize(1..buffer.len());
    let done = if random.bool() {
        host.read(&mut buffer[..length], now())
    } else {
        let (first, second) = buffer[..length].split_at(length / 3);
        host.write(&[IoSlice::new(first), IoSlice::new(second)], now())
    };
    match done {
        Ok(count) => {
            assert!(count <= length, "{count} of {length}");
            count != 0
        }
        Err(error) => {
            let kind = error.kind();
            let known = [ErrorKind::TimedOut, ErrorKind::InvalidData, ErrorKind::BrokenPipe];
            assert!(known.contains(&kind), "{error}");
            kind == ErrorKind::TimedOut
        }
    }
}

#[test]
fn no_scripted_game_of_a_hostile_peer_does_more_than_end_the_connection() {
    let games = games(if cfg!(miri) { 4 } else { 20_000 });
    let mut buffer = vec![0; 6000];
    let mut moves = 0;
    for seed in 0..games {
        let mut random = fastrand::Rng::with_seed(seed);
        let Scene { region, host, .. } = &scene();
        for _ in 0..40 {
            for _ in 0..random.u8(..4) {
                play(&mut random, region);
            }
            moves += 1;
            if !live(&mut random, host, &mut buffer) {
                break;
            }
        }
    }
    assert!(moves > games, "the games are played on");
}

#[cfg(not(miri))]
#[test]
fn a_peer_that_writes_anything_anywhere_at_any_time_ends_at_most_the_connection() {
    for seed in 0..20 {
        let Scene { region, host, _bells: bells } = &scene();
        let limit = Instant::now() + Duration::from_millis(100);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = fastrand::Rng::with_seed(seed);
                while Instant::now() < limit {
                    play(&mut random, region);
                    bells.data.ring();
                    bells.room.ring();
                }
            });
            let (reader, writer) = (fastrand::Rng::with_seed(seed), fastrand::Rng::new());
            let use_until = move |mut random: fastrand::Rng| {
                let mut buffer = vec![0; 6000];
                while Instant::now() < limit && live(&mut random, host, &mut buffer) {}
            };
            let other = scope.spawn(move || use_until(writer));
            use_until(reader);
            other.join().expect("no panic");
        });
    }
}
