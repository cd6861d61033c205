//! `cargo xtask test`: everything that must hold, or the parts that are named.
//!
//! It fetches what is missing, lays out both stages, and then is a thin front for cargo: fmt,
//! clippy and `cargo test`, whose own result lines stay on the screen. All parts run even when an
//! early one fails, so one run tells everything.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, report};
use crate::paths::Paths;
use crate::setup::Group;
use crate::stage::Profile;
use crate::{deb, fuzz, models, process, setup, stage, vm};

/// Tells every test where the stages, the headers and the fetched clients lie.
///
/// The names are read by `tests/src/stage.rs` and by the tests of single crates.
pub(crate) fn environment(paths: &Paths, command: &mut Command) {
    command
        .env("VGPU_STAGE", Profile::Dev.directory(paths))
        .env("VGPU_STAGE_RELEASE", Profile::Release.directory(paths))
        .env("VGPU_CACHE", &paths.cache)
        .env("VGPU_DEB", paths.debs())
        .env("VGPU_LINK_TESTS", paths.link_tests())
        .env("VGPU_HEADERS", paths.headers())
        .env("VGPU_PYTHON_CLIENTS", paths.python())
        .env("VGPU_NODE", paths.node())
        .env("VGPU_NODE_CLIENTS", paths.npm_clients());
}

/// One part of the run: its name, what it wants from outside, and the stages it takes files from.
struct Part {
    name: &'static str,
    groups: &'static [Group],
    stages: &'static [Profile],
    what: What,
}

enum What {
    /// fmt and clippy.
    Lint,
    /// The tests inside and beside the crates, without the tests crate.
    Unit,
    /// The tests inside the tests crate, of what the others rely on.
    Harness,
    /// The models of shared memory under loom, and its tests under Miri.
    Models,
    /// Every reader of others' bytes, fed by the fuzzer for a moment.
    Fuzz,
    /// One file of tests/tests.
    File,
    /// One that runs only when its part is named: it takes a quarter of an hour of a processor.
    OnDemand,
    /// The files whose tests run over a host, again over one with a genuine driver of our making.
    Chain,
}

use Group::{Clients, Compiler, Headers, Loaders, Pages, Release, System, Vm};

const DEV: &[Profile] = &[Profile::Dev];
const BOTH: &[Profile] = &[Profile::Dev, Profile::Release];
const RELEASE: &[Profile] = &[Profile::Release];

/// All parts, in the order of a full run: what fails fast comes first. A file of tests/tests that
/// is not listed here is found by the tidy test.
const PARTS: &[Part] = &[
    Part { name: "lint", groups: &[], stages: &[], what: What::Lint },
    Part { name: "tidy", groups: &[], stages: &[], what: What::File },
    Part { name: "codegen", groups: &[Headers], stages: &[], what: What::File },
    Part { name: "unit", groups: &[Headers, Loaders], stages: &[], what: What::Unit },
    Part { name: "models", groups: &[], stages: &[], what: What::Models },
    Part { name: "fuzz", groups: &[], stages: &[], what: What::Fuzz },
    Part { name: "harness", groups: &[], stages: DEV, what: What::Harness },
    Part { name: "unsupported", groups: &[Headers], stages: DEV, what: What::File },
    Part { name: "cudart", groups: &[Headers], stages: DEV, what: What::File },
    Part { name: "cublas", groups: &[], stages: DEV, what: What::File },
    Part { name: "cu", groups: &[Headers, Compiler], stages: DEV, what: What::File },
    Part { name: "compliance", groups: &[Headers], stages: DEV, what: What::File },
    Part { name: "isolation", groups: &[], stages: DEV, what: What::File },
    Part { name: "clients", groups: &[Clients, Headers], stages: DEV, what: What::File },
    Part { name: "decode", groups: &[Clients], stages: DEV, what: What::File },
    Part {
        name: "rehearsal",
        groups: &[Clients, Headers, Compiler],
        stages: DEV,
        what: What::File,
    },
    Part {
        name: "recordings",
        groups: &[Clients, Headers, Compiler],
        stages: DEV,
        what: What::File,
    },
    Part { name: "doctor", groups: &[Clients], stages: DEV, what: What::File },
    Part { name: "driver", groups: &[], stages: DEV, what: What::File },
    Part { name: "chain", groups: &[Clients, Headers], stages: DEV, what: What::Chain },
    Part { name: "pages", groups: &[Pages], stages: DEV, what: What::File },
    Part { name: "elf", groups: &[Release], stages: BOTH, what: What::File },
    Part { name: "system", groups: &[Headers, Release, System], stages: RELEASE, what: What::File },
    Part {
        name: "vm",
        groups: &[Headers, Release, System, Vm],
        stages: RELEASE,
        what: What::OnDemand,
    },
];

/// Runs the named parts, or all; a name that is no part selects tests by their names.
pub(crate) fn run(paths: &Paths, names: &[String]) -> Result<(), Error> {
    let began = Instant::now();
    let filters: Vec<&String> = names.iter().filter(|name| !is_part(name)).collect();
    let chosen: Vec<&Part> = choose(names).collect();
    filters.iter().try_for_each(|name| refuse_unknown(paths, name))?;
    prepare(paths, &chosen)?;
    let mut outcomes = Vec::new();
    for part in &chosen {
        println!("\n== {}", part.name);
        let began = Instant::now();
        let outcome = run_part(paths, part, &filters);
        if let Err(error) = &outcome {
            report(error);
        }
        outcomes.push((part.name, outcome.is_ok(), began.elapsed()));
    }
    summarise(&outcomes, began.elapsed())
}

fn is_part(name: &str) -> bool {
    PARTS.iter().any(|part| part.name == name)
}

/// The named parts; without a name all but those on demand; all of them that have tests where only
/// tests are named.
fn choose(names: &[String]) -> impl Iterator<Item = &'static Part> {
    let only_tests = names.iter().all(|name| !is_part(name));
    PARTS.iter().filter(move |part| {
        let named = names.iter().any(|name| name == part.name);
        let usual = match part.what {
            What::OnDemand => false,
            What::Lint | What::Fuzz => names.is_empty(),
            _ => true,
        };
        named || (only_tests && usual)
    })
}

/// Fetches and builds what the chosen parts have in common, once.
fn prepare(paths: &Paths, chosen: &[&Part]) -> Result<(), Error> {
    let mut groups: Vec<Group> = Vec::new();
    let mut stages: Vec<Profile> = Vec::new();
    for part in chosen {
        groups.extend(
            part.groups.iter().filter(|group| !groups.contains(group)).copied().collect::<Vec<_>>(),
        );
        stages.extend(
            part.stages.iter().filter(|stage| !stages.contains(stage)).copied().collect::<Vec<_>>(),
        );
    }
    if !groups.is_empty() {
        println!("== setup");
        setup::run(paths, &groups)?;
    }
    for profile in stages {
        println!("\n== stage {profile:?}");
        stage::run(paths, profile)?;
    }
    if chosen.iter().any(|part| part.groups.contains(&System)) {
        println!("\n== deb");
        deb::run(paths)?;
    }
    if chosen.iter().any(|part| part.groups.contains(&Vm)) {
        println!("\n== tests of links, for the guest");
        vm::link_tests(paths)?;
    }
    Ok(())
}

/// Refuses a name that stands in no Rust file of the repository: cargo is content with one that
/// selects nothing, and a person who mistyped it is not.
fn refuse_unknown(paths: &Paths, name: &str) -> Result<(), Error> {
    let word = name.rsplit("::").next().unwrap_or(name);
    let root = paths.root.display().to_string();
    let grep = ["git", "-C", &root, "grep", "--quiet", "--untracked", "--fixed-strings", "-e"];
    let words = grep.iter().copied().chain([word, "--", "*.rs"]).map(str::to_owned);
    if process::succeeds(&words.collect::<Vec<_>>()) {
        Ok(())
    } else {
        Err(Error::NoTest { name: name.to_owned() })
    }
}

fn run_part(paths: &Paths, part: &Part, filters: &[&String]) -> Result<(), Error> {
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root).args(arguments);
        environment(paths, &mut cargo);
        cargo
    };
    let mut tests = match part.what {
        What::Lint => {
            process::run("checking the layout", &mut cargo(&["fmt", "--all", "--check"]))?;
            let mut fuzz = cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]);
            process::run("checking the layout", &mut fuzz)?;
            let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            return process::run("linting", &mut cargo(&clippy));
        }
        What::Unit => cargo(&["test", "--workspace", "--exclude", "vgpu-tests", "--no-fail-fast"]),
        What::Models => return models::run(paths, filters),
        What::Fuzz => return fuzz::moment(paths),
        What::Harness => cargo(&["test", "--package", "vgpu-tests", "--lib"]),
        What::File | What::OnDemand => {
            cargo(&["test", "--package", "vgpu-tests", "--test", part.name])
        }
        What::Chain => {
            let mut tests = cargo(&["test", "--package", "vgpu-tests", "--no-fail-fast"]);
            tests
                .args(["--test", "clients", "--test", "cudart", "--test", "isolation"])
                .env("VGPU_SUBJECT", "chain");
            tests
        }
    };
    tests.arg("--").args(filters);
    process::run("testing", &mut tests)
}

/// Prints one line for each part and fails when one of them failed.
fn summarise(outcomes: &[(&str, bool, Duration)], whole: Duration) -> Result<(), Error> {
    println!();
    for (name, passed, took) in outcomes {
        let word = if *passed { "ok" } else { "FAILED" };
        println!("{name:<10} {word:<8} {:>7.1} s", took.as_secs_f64());
    }
    println!("{:<10} {:<8} {:>7.1} s", "all", "", whole.as_secs_f64());
    let failed: Vec<&str> =
        outcomes.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::Steps { steps: failed.join(", ") }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(&names).map(|part| part.name).collect()
    }

    #[test]
    fn names_choose_parts_and_other_names_choose_tests_in_all_of_them() {
        assert_eq!(chosen(&[]).len(), PARTS.len() - 1);
        assert_eq!(chosen(&["elf", "tidy"]), ["tidy", "elf"]);
        assert_eq!(chosen(&["clients", "nvml"]), ["clients"]);
        assert_eq!(chosen(&["a_freed_pointer"]).len(), PARTS.len() - 3);
        assert_eq!(chosen(&["vm"]), ["vm"]);
    }

    #[test]
    fn a_name_that_selects_nothing_is_refused() {
        let paths = Paths::of_this_checkout();
        let mistyped = ["syst", "m"].concat();
        assert!(matches!(refuse_unknown(&paths, &mistyped), Err(Error::NoTest { .. })));
        refuse_unknown(&paths, "tests::one_failed_part").expect("it is the next test");
    }

    #[test]
    fn one_failed_part_fails_the_run_and_is_named() {
        let took = Duration::from_secs(1);
        assert!(summarise(&[("tidy", true, took)], took).is_ok());
        match summarise(&[("tidy", true, took), ("elf", false, took)], took) {
            Err(Error::Steps { steps }) => assert_eq!(steps, "elf"),
            other => panic!("{other:?}"),
        }
    }
}
