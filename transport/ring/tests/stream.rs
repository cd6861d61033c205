//! What honest peers may rely on: bytes arrive whole and in order, over every doorbell, and every
//! wait ends.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use vgpu_ring::{
    Bells, Doorbell, Duplex, EventBell, Layout, Region, Side, SocketBell, ThreadBell, create, join,
};

const LANE_BYTES: u64 = 4096;

/// A doorbell whose two ends a test can make.
trait Subject: Doorbell + Sized + 'static {
    fn bell() -> (Self, Self);
}

impl Subject for ThreadBell {
    fn bell() -> (Self, Self) {
        Self::pair()
    }
}

impl Subject for SocketBell {
    fn bell() -> (Self, Self) {
        Self::pair().expect("a socket pair")
    }
}

impl Subject for EventBell {
    fn bell() -> (Self, Self) {
        let descriptor = || Arc::new(EventBell::descriptor().expect("an eventfd"));
        let (left, right) = (descriptor(), descriptor());
        let (mine, yours) = UnixStream::pair().expect("a socket pair");
        let bell = |ours: &Arc<OwnedFd>, theirs: &Arc<OwnedFd>, life: UnixStream| {
            let (ours, theirs) = (Arc::clone(ours), Some(Arc::clone(theirs)));
            Self::new(ours, theirs, Arc::new(life.into())).expect("the system has descriptors")
        };
        (bell(&left, &right, mine), bell(&right, &left, yours))
    }
}

fn ends<B: Subject>() -> (Duplex<B>, Duplex<B>) {
    let layout = Layout::new(LANE_BYTES, 0).expect("sizes that fit");
    let (data, room) = (B::bell(), B::bell());
    let (host_region, guest_region) = if cfg!(miri) {
        let region = Region::heap(layout.region_bytes() as usize);
        layout.write(&region).expect("long enough");
        (region.clone(), region)
    } else {
        let (file, region) = create(&layout).expect("a memory file");
        (region, join(file).expect("what create made").0)
    };
    (
        Duplex::new(&host_region, &layout, Side::Host, Bells { data: data.0, room: room.0 }),
        Duplex::new(&guest_region, &layout, Side::Guest, Bells { data: data.1, room: room.1 }),
    )
}

/// Expands one body over every doorbell; Miri knows no poll(2).
macro_rules! over_every_bell {
    ($($name:ident)*) => {
        mod thread_bell { $(#[test] fn $name() { super::$name::<vgpu_ring::ThreadBell>(); })* }
        #[cfg(not(miri))]
        mod socket_bell { $(#[test] fn $name() { super::$name::<vgpu_ring::SocketBell>(); })* }
        #[cfg(not(miri))]
        mod event_bell { $(#[test] fn $name() { super::$name::<vgpu_ring::EventBell>(); })* }
    };
}

over_every_bell! {
    chunks_of_any_size_arrive_as_one_stream_both_ways
    a_silent_peer_is_given_up_at_the_limit
    a_full_ring_is_given_up_at_the_limit
    a_peer_that_closes_is_heard_to_its_last_byte
    writing_to_a_peer_that_closed_is_a_broken_pipe
    closing_wakes_a_reader_and_a_writer_of_either_side
    a_dropped_end_ends_the_other
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

/// The byte at `at` of a stream that differs from every shifted copy of itself.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn send<B: Doorbell>(end: &Duplex<B>, seed: u64, bytes: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sent = 0;
    while sent < bytes {
        let length = |random: &mut fastrand::Rng| match random.u8(..4) {
            0 => random.u64(..20),
            1 => random.u64(..LANE_BYTES * 3),
            _ => random.u64(..300),
        };
        let (first, second) = (length(&mut random), length(&mut random));
        let first = first.min(bytes - sent);
        let second = second.min(bytes - sent - first);
        let part = |from: u64, length: u64| (from..from + length).map(byte).collect::<Vec<_>>();
        let (first, second) = (part(sent, first), part(sent + first, second));
        let parts = [IoSlice::new(&first), IoSlice::new(&second)];
        sent += end.write(&parts, soon()).expect("the peer reads") as u64;
    }
}

fn hear<B: Doorbell>(end: &Duplex<B>, seed: u64, bytes: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut heard = 0;
    let mut into = vec![0; 9000];
    while heard < bytes {
        let most = if random.bool() { random.usize(1..9000) } else { random.usize(1..40) };
        let most = most.min((bytes - heard) as usize);
        let count = end.read(&mut into[..most], soon()).expect("the peer writes");
        assert_ne!(count, 0, "the peer has not closed");
        let wrong = (0..count).find(|at| into[*at] != byte(heard + *at as u64));
        assert_eq!(wrong, None, "after {heard} bytes, seed {seed}");
        heard += count as u64;
    }
}

fn chunks_of_any_size_arrive_as_one_stream_both_ways<B: Subject>() {
    let (rounds, bytes) = if cfg!(miri) { (1, 5_000) } else { (8, 2_000_000) };
    for seed in 0..rounds {
        let (host, guest) = ends::<B>();
        thread::scope(|scope| {
            scope.spawn(|| send(&host, seed, bytes));
            scope.spawn(|| hear(&guest, seed + 100, bytes));
            scope.spawn(|| send(&guest, seed + 200, bytes));
            scope.spawn(|| hear(&host, seed + 300, bytes));
        });
    }
}

fn a_silent_peer_is_given_up_at_the_limit<B: Subject>() {
    let (host, _guest) = ends::<B>();
    let limit = Instant::now() + Duration::from_millis(20);
    let error = host.read(&mut [0; 8], Some(limit)).expect_err("nobody writes");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(Instant::now() >= limit);
}

fn a_full_ring_is_given_up_at_the_limit<B: Subject>() {
    let (host, _guest) = ends::<B>();
    let mut written = 0;
    let error = loop {
        let limit = Some(Instant::now() + Duration::from_millis(20));
        match host.write(&[IoSlice::new(&[7; 1000])], limit) {
            Ok(count) => written += count as u64,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), written), (io::ErrorKind::TimedOut, LANE_BYTES));
}

fn a_peer_that_closes_is_heard_to_its_last_byte<B: Subject>() {
    let (host, guest) = ends::<B>();
    guest.write(&[IoSlice::new(b"last words")], soon()).expect("there is room");
    guest.close();
    let mut heard = [0; 64];
    assert_eq!(host.read(&mut heard, soon()).expect("what came before"), 10);
    assert_eq!(&heard[..10], b"last words");
    assert_eq!(host.read(&mut heard, soon()).expect("the end"), 0);
}

fn writing_to_a_peer_that_closed_is_a_broken_pipe<B: Subject>() {
    let (host, guest) = ends::<B>();
    guest.close();
    let error = host.write(&[IoSlice::new(b"x")], soon()).expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

fn closing_wakes_a_reader_and_a_writer_of_either_side<B: Subject>() {
    for by_host in [true, false] {
        let (host, guest) = ends::<B>();
        for end in [&host, &guest] {
            let mut left = LANE_BYTES as usize;
            while left > 0 {
                left -= end.write(&[IoSlice::new(&vec![0; left])], soon()).expect("room");
            }
        }
        let mut rest = vec![0; LANE_BYTES as usize];
        let mut left = rest.len();
        while left > 0 {
            left -= host.read(&mut rest[..left], soon()).expect("what the guest wrote");
        }
        thread::scope(|scope| {
            // Both wait: the guest's lane is empty, the host's is full.
            let reader = scope.spawn(|| host.read(&mut [0; 8], soon()));
            let writer = scope.spawn(|| host.write(&[IoSlice::new(&[1])], soon()));
            if by_host {
                host.close()
            } else {
                guest.close()
            };
            assert_eq!(reader.join().expect("no panic").expect("the end"), 0);
            let error = writer.join().expect("no panic").expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        });
    }
}

fn a_dropped_end_ends_the_other<B: Subject>() {
    let (host, guest) = ends::<B>();
    drop(guest);
    assert_eq!(host.read(&mut [0; 8], soon()).expect("the end"), 0);
}

#[cfg(not(miri))]
#[test]
fn a_peer_that_dies_without_a_word_ends_the_wait() {
    let layout = Layout::new(LANE_BYTES, 0).expect("sizes that fit");
    let region = Region::heap(layout.region_bytes() as usize);
    let (data, room) = (SocketBell::bell(), SocketBell::bell());
    let host = Duplex::new(&region, &layout, Side::Host, Bells { data: data.0, room: room.0 });
    // As the kernel does for a killed process: the region says nothing, the sockets hang up.
    thread::scope(|scope| {
        let reader = scope.spawn(|| host.read(&mut [0; 8], soon()));
        drop((data.1, room.1));
        assert_eq!(reader.join().expect("no panic").expect("the end"), 0);
    });
}

#[cfg(not(miri))]
#[test]
fn an_unsealed_or_foreign_memory_file_is_refused() {
    use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
    use vgpu_ring::RingError;
    let file = || memfd_create("test", MemfdFlags::ALLOW_SEALING).expect("a memory file");
    let unsealed = file();
    assert!(matches!(join(&unsealed), Err(RingError::Unsealed)));
    let null = std::fs::File::open("/dev/null").expect("a file");
    assert!(matches!(join(null), Err(RingError::Unsealed)));
    let sealed = |bytes| {
        let file = file();
        rustix::fs::ftruncate(&file, bytes).expect("a length");
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).expect("seals");
        file
    };
    for bytes in [0, 64, 1 << 20, 1 << 40] {
        let error = join(sealed(bytes)).expect_err("no ring");
        assert!(!matches!(error, RingError::Unsealed), "{error}");
    }
}
