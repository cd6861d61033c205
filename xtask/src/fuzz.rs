//! `cargo xtask fuzz`: hostile bytes for every reader, for as long as one likes, and a moment of it
//! in every test run.
//!
//! The readers are fuzzed by `cargo-fuzz` (fuzz/), without a sanitizer, so that any toolchain will
//! do. What it finds lies in target/fuzz/found; what reaches new code in target/fuzz/corpus, from
//! where `--keep` takes the least that reaches it all into fuzz/corpus.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::paths::{Paths, remove};
use crate::process;
use crate::setup::{self, Group};

/// Random trees for each thread, for each second that was asked for: about as long as they take.
const TREES_PER_SECOND: u64 = 60;

/// Games of a hostile peer against the ring, for each second.
const GAMES_PER_SECOND: u64 = 10_000;

/// A moment: each reader meets its corpus, and new inputs for so many seconds.
const MOMENT_SECONDS: u64 = 2;

/// The readers, each a program of fuzz/targets, and the longest input that says something new.
const READERS: &[(&str, u32)] = &[
    ("cache", 1024),
    ("guest", 512),
    ("handshake", 2048),
    ("host", 1024),
    ("image", 4096),
    ("journal", 1024),
    ("library", 4096),
    ("machine", 64),
    ("mediator", 128),
    ("message", 512),
    ("program", 2048),
    ("recording", 1024),
    ("ring", 256),
    ("slots", 64),
    ("unit", 512),
];

/// Feeds each reader for that long, then as many random trees as fit, from a seed of this moment,
/// then hostile games against the ring.
///
/// # Errors
/// [`Error`] if something failed; what is printed names the input or the seed.
pub(crate) fn run(paths: &Paths, seconds: u64, names: &[String], keep: bool) -> Result<(), Error> {
    setup::run(paths, &[Group::Fuzz])?;
    let fuzzer = Fuzzer::built(paths)?;
    for (reader, longest) in chosen(names) {
        fuzzer.feed(reader, *longest, seconds)?;
        if keep {
            fuzzer.keep(reader)?;
        }
    }
    if names.is_empty() { trees_and_games(paths, seconds) } else { Ok(()) }
}

/// The part of the test run: each reader for a moment.
///
/// # Errors
/// As [`run`].
pub(crate) fn moment(paths: &Paths) -> Result<(), Error> {
    let fuzzer = Fuzzer::built(paths)?;
    READERS.iter().try_for_each(|(reader, longest)| fuzzer.feed(reader, *longest, MOMENT_SECONDS))
}

fn chosen(names: &[String]) -> impl Iterator<Item = &'static (&'static str, u32)> {
    READERS.iter().filter(move |(reader, _)| names.is_empty() || names.iter().any(|n| n == reader))
}

struct Fuzzer<'a> {
    paths: &'a Paths,
}

impl<'a> Fuzzer<'a> {
    /// Builds the programs; `setup` brought cargo-fuzz.
    fn built(paths: &'a Paths) -> Result<Self, Error> {
        let fuzzer = Self { paths };
        let mut build = Command::new(paths.cache.join("cargo-fuzz/bin/cargo-fuzz"));
        // Without a sanitizer: what reads bytes here forbids unsafe code; Miri watches the ring.
        build.current_dir(&paths.root).args(["build", "--fuzz-dir", "fuzz", "--sanitizer", "none"]);
        build.args(["--strip-dead-code", "--target-dir"]).arg(fuzzer.directory(""));
        // Its own flags name one unit, with which a large crate takes minutes. The last one wins.
        build.env("RUSTFLAGS", "-Ccodegen-units=16");
        process::run("building what feeds the readers", &mut build)?;
        Ok(fuzzer)
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.paths.root.join("target/fuzz").join(name)
    }

    fn program(&self, reader: &str) -> Command {
        let triple = format!("{}-unknown-linux-gnu/release/{reader}", std::env::consts::ARCH);
        let mut program = Command::new(self.directory(&triple));
        program.current_dir(&self.paths.root);
        program
    }

    /// Feeds a reader its corpus and new inputs.
    fn feed(&self, reader: &str, longest: u32, seconds: u64) -> Result<(), Error> {
        let (corpus, found) = (self.directory("corpus").join(reader), self.directory("found"));
        create(&corpus)?;
        create(&found)?;
        let mut program = self.program(reader);
        program.args(["-verbosity=0", "-print_final_stats=1", "-timeout=10"]);
        program.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={longest}"));
        program.arg(format!("-artifact_prefix={}/{reader}-", found.display()));
        let words = self.paths.root.join("fuzz/words").join(reader);
        if words.exists() {
            program.arg(format!("-dict={}", words.display()));
        }
        // What is new goes into the first; the second is only read.
        program.arg(corpus).arg(self.paths.root.join("fuzz/corpus").join(reader));
        // Its files end with us, not with it; in memory, if there is a place.
        let memory = PathBuf::from("/dev/shm");
        let path = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let own = tempfile::tempdir_in(&path);
        let own = own.map_err(|source| Error::File { verb: "creating one in", path, source })?;
        process::run("feeding a reader", program.env("TMPDIR", own.path()))
    }

    /// Keeps the least of what reaches everything that all of it reaches.
    fn keep(&self, reader: &str) -> Result<(), Error> {
        let (corpus, least) = (self.directory("corpus").join(reader), self.directory("least"));
        remove(&least)?;
        create(&least)?;
        let kept = self.paths.root.join("fuzz/corpus").join(reader);
        let mut program = self.program(reader);
        // By what is reached at all: how often, and what was compared, is left to each run.
        program.args(["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0", "-verbosity=0"]);
        program.args([&least, &kept, &corpus]);
        process::run("keeping the least", &mut program)?;
        remove(&kept)?;
        let moved = |source| Error::File { verb: "moving", path: kept.clone(), source };
        std::fs::rename(&least, &kept).map_err(moved)
    }
}

fn create(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(|source| Error::File {
        verb: "creating",
        path: directory.to_owned(),
        source,
    })
}

fn trees_and_games(paths: &Paths, seconds: u64) -> Result<(), Error> {
    setup::run(paths, &[Group::Loaders])?;
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let trees = format!("{first},{}", TREES_PER_SECOND.saturating_mul(seconds));
    let games = GAMES_PER_SECOND.saturating_mul(seconds).to_string();
    for (package, test, variable, value) in [
        ("vgpu-loader", "random", "VGPU_CASES", trees),
        ("vgpu-ring", "hostile", "VGPU_RING_GAMES", games),
    ] {
        println!("{variable}={value}");
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root).args(["test", "--package", package, "--test", test]);
        process::run("fuzzing", cargo.env(variable, value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_has_a_program_and_a_corpus_and_every_program_is_a_reader() {
        let root = Paths::of_this_checkout().root;
        let named = |directory: &str| -> Vec<String> {
            let entries = std::fs::read_dir(root.join(directory)).expect("it is there");
            let path = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("read").path();
            let mut names: Vec<String> = entries
                .map(|entry| path(entry).file_stem().expect("a name").to_string_lossy().into())
                .collect();
            names.sort();
            names
        };
        let readers: Vec<&str> = READERS.iter().map(|(reader, _)| *reader).collect();
        assert_eq!(named("fuzz/targets"), readers);
        assert_eq!(named("fuzz/corpus"), readers);
    }
}
