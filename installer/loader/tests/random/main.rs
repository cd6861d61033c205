//! The model against the real loaders, on random trees.
//!
//! Each case is a root of its own: libraries in many directories, links, hardware directories,
//! search paths, preloads and a cache that the real ldconfig made. The real loader runs in it by
//! chroot. A case that differs is made simpler as long as it differs, and then shown.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

mod caches;
mod case;
mod elf_writer;
mod glibc;
#[path = "../machine/mod.rs"]
mod machine;
mod musl;
mod opens;
mod root;

use std::path::Path;
use std::sync::atomic::Ordering;

use case::Case;
use root::Root;

/// How many cases each thread takes; two threads, as tests run beside each other. In every third
/// one for glibc libraries are opened.
const GLIBC_CASES: u64 = 1800;
const MUSL_CASES: u64 = 500;
const THREADS: u64 = 2;

/// The first seed and the number of cases for each thread: `VGPU_CASES=FIRST,COUNT` for more.
fn wanted(count: u64) -> (u64, u64) {
    let text = std::env::var("VGPU_CASES").unwrap_or_default();
    let (first, each) = text.split_once(',').unwrap_or_default();
    (first.parse().unwrap_or(0), each.parse().unwrap_or(count))
}

/// Runs cases on every thread and shows the first that differs, as simple as it can be.
fn run(
    count: u64,
    root: impl Fn() -> Root + Sync,
    check: impl Fn(&Root, &Case) -> Result<usize, String> + Sync,
) -> usize {
    let (first, count) = wanted(count);
    let chunk = |thread: u64| {
        let root = root();
        let seeds = (first + thread * count)..(first + (thread + 1) * count);
        let mut compared = 0;
        for seed in seeds {
            let case = case::random(seed);
            match check(&root, &case) {
                Ok(some) => compared += some,
                Err(_) => show(seed, &root, case, &check),
            }
        }
        compared
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || chunk(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a case differs, see above")).sum()
    })
}

fn show(
    seed: u64,
    root: &Root,
    mut case: Case,
    check: impl Fn(&Root, &Case) -> Result<usize, String>,
) -> ! {
    while let Some(simpler) = case.simpler().into_iter().find(|c| check(root, c).is_err()) {
        case = simpler;
    }
    let what = check(root, &case).err().unwrap_or_else(|| "it does not differ any more".into());
    panic!("seed {seed}: {case:#?}\n{what}");
}

#[test]
fn the_model_agrees_with_the_real_ld_so_on_random_trees() {
    let machine = machine::platform();
    let root = || Root::new(Path::new(machine::LOADER), machine::LOADER);
    let compared = run(GLIBC_CASES, root, |root, case| glibc::check(root, case, &machine));
    if std::env::var_os("VGPU_CASES").is_none() {
        // Each search was compared file by file; of so many the rule's own words as well.
        assert!(compared > 2000, "the cases reached {compared} rules only");
        let opened = opens::OPENED.load(Ordering::Relaxed);
        assert!(opened > 300, "the cases opened {opened} libraries only");
    }
}

#[test]
fn the_model_agrees_with_the_real_musl_on_random_trees() {
    let loader = Path::new(musl::LOADER);
    assert!(loader.exists(), "this needs musl's loader: cargo xtask setup loaders");
    let root = || Root::new(loader, musl::LOADER);
    let compared = run(MUSL_CASES, root, musl::check);
    if std::env::var_os("VGPU_CASES").is_none() {
        assert!(compared > 1000, "the cases reached {compared} names only");
    }
}
