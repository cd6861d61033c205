//! The slots of a machine's memory: never of two clients, given back when a client is gone and not
//! before, and at worst closed when a guest writes what it likes.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use vgpu_link::pci::ivshmem::{Change, Keeper, SILENCE, SlotStream};
use vgpu_link::wire::control::Refusal;
use vgpu_link::{LinkError, Stream, pci};
use vgpu_ring::slots::{BOARD_BYTES, VOID, Word, word};

#[path = "made/machine.rs"]
mod machine;
#[path = "made/pci.rs"]
mod slots;

use machine::Machine;
use slots::{claim, pair, path_of, serve_slot, turn_until};

const BYTES: u64 = 4 << 20;

/// A memory, its keeper, and a hand in it that does what it likes.
struct Scene {
    keeper: Keeper,
    memory: File,
    machine: Machine,
}

fn scene() -> Scene {
    let keeper = Keeper::make(BYTES, None).expect("a memory file");
    let path = path_of(&keeper);
    let memory = File::options().read(true).write(true).open(&path).expect("it is ours");
    let machine = Machine::new(&path, BYTES);
    Scene { keeper, memory, machine }
}

impl Scene {
    fn write(&self, slot: usize, name: Word, value: u64) {
        let at = word(slot, name) as u64;
        self.memory.write_all_at(&value.to_le_bytes(), at).expect("it is ours");
    }

    /// What an honest client writes.
    fn come(&self, slot: usize, claim: u64, boot: u64) {
        self.write(slot, Word::Claim, claim);
        self.write(slot, Word::Boot, boot);
        self.write(slot, Word::Ready, claim);
    }

    /// Looks twice: what one look frees is free for the next.
    fn look(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = self.keeper.turn(now).expect("the memory is whole");
        changes.extend(self.keeper.turn(now).expect("the memory is whole"));
        changes
    }
}

/// A guest rings once, and its claim stood for a quarter of a second between two looks.
#[test]
fn one_look_finds_a_client_that_waits() {
    let mut scene = scene();
    scene.come(3, 0x7_0000_0001, 1);
    let found = scene.keeper.turn(Instant::now()).expect("the memory is whole");
    assert_eq!(found, [Change::Came(3)]);
}

#[test]
fn clients_that_claim_at_once_have_slots_of_their_own() {
    let Scene { mut keeper, machine, .. } = scene();
    let count = keeper.board().slots;
    let streams: Vec<SlotStream> = thread::scope(|scope| {
        let clients: Vec<_> = (0..count).map(|_| scope.spawn(|| claim(&machine))).collect();
        let mut seen = HashSet::new();
        let mut ends = Vec::new();
        let limit = Instant::now() + Duration::from_secs(20);
        while seen.len() < count {
            for change in keeper.turn(Instant::now()).expect("the memory is whole") {
                let Change::Came(slot) = change else { panic!("{change:?}") };
                assert!(seen.insert(slot), "slot {slot} is somebody's");
                // Each hears its own greeting.
                let (host, life) = serve_slot(&mut keeper, slot);
                host.write(&[IoSlice::new(&[slot as u8])], None).expect("room");
                ends.push((host, life));
            }
            assert!(Instant::now() < limit, "{} of {count} came", seen.len());
            thread::yield_now();
        }
        let streams = clients.into_iter().map(|client| client.join().expect("no panic"));
        let streams = streams.map(|end| end.unwrap_or_else(|error| panic!("{error}")));
        let streams: Vec<SlotStream> = streams.collect();
        let greeting = |stream: &SlotStream| {
            let mut greeting = [0; 2];
            assert_eq!(stream.read(&mut greeting, None).expect("a greeting"), 1);
            greeting[0]
        };
        let greetings: HashSet<u8> = streams.iter().map(greeting).collect();
        assert_eq!(greetings.len(), count, "no two hear the same");
        streams
    });
    let full = claim(&machine).expect_err("all are taken");
    assert!(matches!(full, LinkError::Refused { refusal: Refusal::Full, .. }), "{full}");
    assert!(full.is_retryable() && full.hint().is_some());
    drop(streams);
    let gone = keeper.turn(Instant::now()).expect("the memory is whole");
    assert_eq!(gone, (0..count).map(Change::Gone).collect::<Vec<_>>());
    for slot in 0..count {
        keeper.end(slot).expect("the memory is whole");
    }
    keeper.turn(Instant::now()).expect("the memory is whole");
    assert_eq!(keeper.claimed(), 0, "all slots are free again");
}

#[test]
fn a_slot_is_not_free_before_its_worker_has_ended() {
    let mut scene = scene();
    let now = Instant::now();
    scene.come(0, 1 << 32 | 7, 1);
    assert_eq!(scene.look(now), [Change::Came(0)]);
    scene.keeper.prepare(0).expect("the memory is whole");
    scene.keeper.grant(0).expect("the memory is whole");
    scene.write(0, Word::Claim, 1 << 32 | VOID);
    assert_eq!(scene.look(now), [Change::Gone(0)]);
    assert_eq!((scene.look(now), scene.keeper.claimed()), (vec![], 1));
    scene.keeper.end(0).expect("the memory is whole");
    assert_eq!((scene.look(now), scene.keeper.claimed()), (vec![], 0));
    scene.come(0, 2 << 32 | 7, 1);
    assert_eq!(scene.look(now), [Change::Came(0)]);
}

#[test]
fn a_client_that_only_stands_still_is_gone_after_the_silence_and_not_before() {
    let mut scene = scene();
    let now = Instant::now();
    for slot in [0, 1] {
        scene.come(slot, 9, 1);
    }
    assert_eq!(scene.look(now), [Change::Came(0), Change::Came(1)]);
    for slot in [0, 1] {
        scene.keeper.prepare(slot).expect("the memory is whole");
        scene.keeper.grant(slot).expect("the memory is whole");
    }
    let almost = now + SILENCE - Duration::from_millis(1);
    assert_eq!(scene.look(almost), []);
    scene.write(1, Word::Beat, 5);
    assert_eq!(scene.look(now + SILENCE), [Change::Gone(0)], "the other one beats");
}

#[test]
fn a_guest_that_was_started_anew_has_no_clients_of_before() {
    let mut scene = scene();
    let now = Instant::now();
    scene.come(0, 9, 1);
    assert_eq!(scene.look(now), [Change::Came(0)]);
    scene.keeper.prepare(0).expect("the memory is whole");
    scene.keeper.grant(0).expect("the memory is whole");
    scene.come(1, 9, 2);
    assert_eq!(scene.look(now), [Change::Came(1), Change::Gone(0)]);
}

#[test]
fn the_next_host_closes_what_was_granted_and_serves_what_waits() {
    let Scene { mut keeper, machine, .. } = scene();
    thread::scope(|scope| {
        let first = scope.spawn(|| claim(&machine));
        assert_eq!(turn_until(&mut keeper, |_| true), Change::Came(0));
        let (host, _life) = serve_slot(&mut keeper, 0);
        // The first host dies by a kill: nobody closes anything.
        std::mem::forget(host);
        let first = first.join().expect("no panic").unwrap_or_else(|error| panic!("{error}"));
        let second = scope.spawn(|| claim(&machine));
        assert_eq!(turn_until(&mut keeper, |_| true), Change::Came(1));
        let memory = std::os::fd::AsFd::as_fd(&keeper).try_clone_to_owned().expect("a descriptor");
        drop(keeper);
        let mut next = Keeper::adopt(memory, None).expect("it is whole");
        assert_eq!(turn_until(&mut next, |_| true), Change::Came(1));
        assert_eq!(first.read(&mut [0; 1], None).expect("no error"), 0, "it is over");
        let (_host, _life) = serve_slot(&mut next, 1);
        second.join().expect("no panic").unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_device_that_no_host_serves_is_told_from_one_whose_host_is_silent() {
    let Scene { keeper: _keeper, memory, machine } = scene();
    let soon = || Instant::now() + Duration::from_millis(30);
    let silent = pci::connect(machine.sysfs(), None, soon()).err().expect("nobody answers");
    assert!(matches!(silent, LinkError::TimedOut) && silent.hint().is_some(), "{silent}");
    memory.write_all_at(&[0; BOARD_BYTES], 0).expect("it is ours");
    let nobody = pci::connect(machine.sysfs(), None, soon()).err().expect("nobody is there");
    assert!(matches!(nobody, LinkError::Connect { .. }) && nobody.hint().is_some(), "{nobody}");
    for (at, lie) in [(8, 1_u64), (16, 65), (24, 12345), (24, 64 << 20), (0, 1)] {
        let Scene { keeper: _keeper, memory, machine } = scene();
        memory.write_all_at(&lie.to_le_bytes(), at).expect("it is ours");
        let refused = pci::connect(machine.sysfs(), None, soon()).err().expect("a lie");
        assert!(matches!(refused, LinkError::Io { .. }), "{at} {lie}: {refused}");
    }
}

#[test]
fn a_memory_that_is_shortened_is_an_error_and_no_signal() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("memory");
    let file = File::create_new(&path).expect("a file");
    file.set_len(BYTES).expect("room");
    let memory = File::options().read(true).write(true).open(&path).expect("it is ours");
    let mut keeper = Keeper::adopt(memory.into(), None).expect("long enough");
    file.set_len(100).expect("shorter");
    let error = keeper.turn(Instant::now()).expect_err("it is too short");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    let memory = File::options().read(true).write(true).open(&path).expect("it is ours");
    assert!(Keeper::adopt(memory.into(), None).is_err());
}

/// Games of a guest that writes anything anywhere; VGPU_RING_GAMES asks for more.
fn games() -> u64 {
    let asked = std::env::var("VGPU_RING_GAMES").ok();
    asked.map_or(40, |number| number.parse().expect("VGPU_RING_GAMES is a number"))
}

/// One step of a guest: mostly at the words that count, and near what is honest.
fn play(random: &mut fastrand::Rng, scene: &Scene) {
    let names = [Word::Claim, Word::Ready, Word::Boot, Word::Beat, Word::Granted];
    let claims = [0, 7, 1 << 32 | 7, VOID, 1 << 32 | VOID, u64::MAX, random.u64(..)];
    let value = claims[random.usize(..claims.len())];
    match random.u8(..8) {
        0 => {
            let bytes: Vec<u8> = (0..random.usize(..600)).map(|_| random.u8(..)).collect();
            let at = random.u64(..BYTES - 600);
            scene.memory.write_all_at(&bytes, at).expect("it is ours");
        }
        1 => {
            let at = 8 * random.u64(..BOARD_BYTES as u64 / 8);
            scene.memory.write_all_at(&value.to_le_bytes(), at).expect("it is ours");
        }
        2 => scene.come(random.usize(..4), value, random.u64(..3)),
        _ => scene.write(random.usize(..4), names[random.usize(..names.len())], value),
    }
}

/// Whatever a guest writes, the keeper goes on, serves at most one worker in a slot, and another
/// machine's clients notice nothing.
#[test]
fn a_guest_that_writes_anything_anywhere_loses_at_most_its_own_connections() {
    let (other, other_host, _life) = pair();
    for seed in 0..games() {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut scene = scene();
        let mut workers = std::collections::HashMap::new();
        for _ in 0..200 {
            play(&mut random, &scene);
            for change in scene.keeper.turn(Instant::now()).expect("the memory is whole") {
                match change {
                    Change::Came(slot) if random.u8(..4) == 0 => {
                        let refused = scene.keeper.refuse(slot, b"no room");
                        refused.expect("the memory is whole");
                    }
                    Change::Came(slot) => {
                        let worker = serve_slot(&mut scene.keeper, slot);
                        assert!(workers.insert(slot, worker).is_none(), "{seed}: two in {slot}");
                    }
                    Change::Gone(slot) => {
                        assert!(workers.remove(&slot).is_some(), "{seed}: {slot} had no worker");
                        scene.keeper.end(slot).expect("the memory is whole");
                    }
                }
            }
            // What a worker finds is bytes, an error or the end, and never a wait.
            for (host, _) in workers.values() {
                let now = Some(Instant::now());
                let _ = host.read(&mut [0; 64], now);
                let _ = host.write(&[IoSlice::new(&[1; 64])], now);
            }
        }
        other.write(&[IoSlice::new(b"ping")], None).expect("room");
        let mut heard = [0; 8];
        assert_eq!(other_host.read(&mut heard, None).expect("four bytes"), 4);
        assert_eq!(&heard[..4], b"ping");
    }
}
