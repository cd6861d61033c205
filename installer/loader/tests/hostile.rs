//! Hostile bytes for the two readers: never a panic, never more memory than the limits allow.
//!
//! A fixed number of inputs, on any toolchain; the fuzzer goes on from there (`cargo xtask fuzz`).
//! What fails is told with its seed.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

use std::time::{Duration, Instant};

use vgpu_loader::{Binary, Cache, Found, Platform};

/// Inputs of an ordinary run, for each reader.
const INPUTS: u64 = 20_000;
/// Longest input of random bytes alone.
const RANDOM_BYTES_MAX: usize = 600;
/// Values at which lengths and offsets go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff8,
    u64::MAX,
];

/// Calls `read` with inputs made of `whole`.
fn each(whole: &[u8], read: impl Fn(&[u8])) {
    for seed in 0..INPUTS {
        let bytes = input(whole, seed);
        let began = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&bytes)));
        assert!(outcome.is_ok(), "seed {seed}: {} bytes made it panic", bytes.len());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "seed {seed}: it took {took:?}");
    }
}

/// One input: the sound file cut, changed at some places, or random bytes.
fn input(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let rng = &mut rng;
    if rng.u8(..10) == 0 {
        let mut bytes: Vec<u8> = (0..rng.usize(..RANDOM_BYTES_MAX)).map(|_| rng.u8(..)).collect();
        // Behind a sound start the reader goes deeper.
        let head = rng.usize(..64).min(whole.len()).min(bytes.len());
        bytes[..head].copy_from_slice(&whole[..head]);
        return bytes;
    }
    let mut bytes = whole.to_vec();
    if rng.u8(..4) == 0 {
        bytes.truncate(rng.usize(..=bytes.len()));
    }
    for _ in 0..rng.usize(1..6) {
        // Headers decide most: half of the changes fall on the first bytes.
        let reach = if rng.bool() { bytes.len().min(400) } else { bytes.len() };
        if reach < 8 {
            break;
        }
        let at = rng.usize(..reach - 7);
        match rng.u8(..4) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => {
                let edge = EDGES[rng.usize(..EDGES.len())];
                bytes[at..at + 4].copy_from_slice(&edge.to_le_bytes()[..4]);
            }
            _ => {
                let edge = EDGES[rng.usize(..EDGES.len())];
                let at = at & !7;
                bytes[at..at + 8].copy_from_slice(&edge.to_le_bytes());
            }
        }
    }
    bytes
}

#[test]
fn a_hostile_cache_is_refused_or_read_within_its_limits() {
    let whole = std::fs::read("/etc/ld.so.cache").expect("this machine has libraries");
    // A short cache is changed where it matters more often: its header, and five entries.
    let short = small_cache();
    for sound in [&whole, &short] {
        assert!(Cache::parse(sound).is_ok());
        each(sound, |bytes| {
            if let Ok(cache) = Cache::parse(bytes) {
                let room = bytes.len() / 12;
                assert!(cache.entries().len() <= room, "more entries than the file can hold");
                let found = cache.find(b"libcuda.so.1", 0x303, &[b"x86-64-v3".to_vec()], 0);
                assert!(found.is_none_or(|path| path.len() < 4096), "longer than any path");
            }
        });
    }
}

/// A cache of the new format with hardware directories, as ldconfig writes it.
fn small_cache() -> Vec<u8> {
    let texts = b"x86-64-v3\0libcuda.so.1\0/usr/lib/glibc-hwcaps/x86-64-v3/libcuda.so.1\0";
    let (entries, start) = (2_u32, 48 + 2 * 24);
    let mut out = b"glibc-ld.so.cache1.1".to_vec();
    let extension = (start + texts.len() as u32).next_multiple_of(4);
    for word in [entries, texts.len() as u32, 2, extension, 0, 0, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for high in [0x4000_0000_u32, 0] {
        for word in [0x303, start + 10, start + 23, 0, 0, high] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out.extend_from_slice(texts);
    out.resize(extension as usize, 0);
    let names = extension + 8 + 16;
    for word in [0xEAA4_2174, 1, 1, 0, names, 4, start] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}

#[test]
fn a_hostile_library_is_refused_or_read_within_its_limits() {
    let whole = std::fs::read(std::env::current_exe().expect("this test")).expect("read");
    // The start of a real program: headers, notes, dynamic strings; offsets behind it lead out.
    let sound = &whole[..whole.len().min(64 << 10)];
    assert!(Binary::read(whole.as_slice()).is_ok());
    each(sound, |bytes| {
        let _ = Binary::read(bytes);
        if let Found::Elf { binary, .. } = Found::of(bytes, 62, (0, 0), false) {
            let longest = binary.needed.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest <= bytes.len(), "a name longer than the file");
        }
    });
}

#[test]
fn a_hostile_path_file_of_musl_gives_no_empty_directory() {
    each(b"/lib:/usr/local/lib\n/usr/lib\n", |bytes| {
        assert!(Platform::musl_dirs(bytes).iter().all(|dir| !dir.as_os_str().is_empty()));
    });
}
