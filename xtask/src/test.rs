//! `cargo xtask test`: everything that must hold, or the parts that are named.
//!
//! It fetches what is missing, lays out both stages, and then is a thin front for cargo: fmt,
//! clippy and `cargo test`, whose own result lines stay on the screen. All parts run even when an
//! early one fails, so one run tells everything. Parts that leave a processor idle (a container
//! boots, Miri interprets) run one after another beside the others; what they print comes at the
//! end, and lies in target/logs meanwhile (decision 0052).

use std::path::Path;
use std::process::Command;
use std::thread;
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

/// The parts that run beside the others. The first two have target directories of their own.
const BESIDE: [&str; 3] = ["models", "fuzz", "system"];

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

use Group::{Clients, Compiler, Fuzz, Headers, Loaders, Pages, Release, System, Vm};

const DEV: &[Profile] = &[Profile::Dev];
const BOTH: &[Profile] = &[Profile::Dev, Profile::Release];
const RELEASE: &[Profile] = &[Profile::Release];

/// How much of a part was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// All of it.
    Whole,
    /// All but this, which needs what this machine does not have.
    Without(&'static str),
}

/// All parts, in the order of a full run: what fails fast comes first. A file of tests/tests that
/// is not listed here is found by the tidy test.
const PARTS: &[Part] = &[
    Part { name: "lint", groups: &[], stages: &[], what: What::Lint },
    Part { name: "tidy", groups: &[], stages: &[], what: What::File },
    Part { name: "codegen", groups: &[Headers], stages: &[], what: What::File },
    Part { name: "unit", groups: &[Headers, Loaders], stages: &[], what: What::Unit },
    Part { name: "models", groups: &[], stages: &[], what: What::Models },
    Part { name: "fuzz", groups: &[Fuzz], stages: &[], what: What::Fuzz },
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

/// Runs the named parts, or all; a name that is no part selects tests by their names. What this
/// machine has no tools for is told, and is a failure if all is to be `whole`.
pub(crate) fn run(paths: &Paths, names: &[String], whole: bool) -> Result<(), Error> {
    let began = Instant::now();
    let filters: Vec<&String> = names.iter().filter(|name| !is_part(name)).collect();
    let chosen: Vec<&Part> = choose(names).collect();
    filters.iter().try_for_each(|name| refuse_unknown(paths, name))?;
    prepare(paths, &chosen)?;
    let mut outcomes = run_parts(paths, &chosen, &filters)?;
    outcomes.sort_by_key(|(name, ..)| PARTS.iter().position(|part| part.name == *name));
    summarise(&outcomes, whole, began.elapsed())
}

/// Runs the parts, two at a time where some run beside others.
fn run_parts(
    paths: &Paths,
    chosen: &[&'static Part],
    filters: &[&String],
) -> Result<Vec<Outcome>, Error> {
    let (beside, mut first): (Vec<&Part>, Vec<&Part>) =
        chosen.iter().partition(|part| BESIDE.contains(&part.name));
    let mut logged = Vec::new();
    if first.is_empty() {
        first = beside;
    } else {
        for part in beside {
            logged.push((part, process::log(&paths.logs(), part.name)?));
        }
    }
    thread::scope(|scope| {
        let beside = scope.spawn(move || {
            let told = logged.into_iter().map(|(part, (file, path))| {
                let began = Instant::now();
                let ran = process::logged(file, || run_part(paths, part, filters));
                (part.name, ran, began.elapsed(), path)
            });
            told.collect::<Vec<_>>()
        });
        let mut outcomes = Vec::new();
        for part in first {
            println!("\n== {}", part.name);
            let began = Instant::now();
            outcomes.push(outcome(part.name, run_part(paths, part, filters), began.elapsed()));
        }
        let beside = beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for (name, ran, took, path) in beside {
            println!("\n== {name} (ran beside the others)");
            show(&path)?;
            outcomes.push(outcome(name, ran, took));
        }
        Ok(outcomes)
    })
}

/// Prints what a part printed that ran beside the others.
fn show(path: &Path) -> Result<(), Error> {
    let shown = std::fs::File::open(path)
        .and_then(|mut log| std::io::copy(&mut log, &mut std::io::stdout()));
    let failed = |source| Error::File { verb: "showing", path: path.to_owned(), source };
    shown.map(drop).map_err(failed)
}

/// Reports what went wrong with a part, if anything did.
fn outcome(name: &'static str, ran: Result<Ran, Error>, took: Duration) -> Outcome {
    if let Err(error) = &ran {
        report(error);
    }
    (name, ran.ok(), took)
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

fn run_part(paths: &Paths, part: &Part, filters: &[&String]) -> Result<Ran, Error> {
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
            process::run("linting", &mut cargo(&clippy))?;
            return Ok(Ran::Whole);
        }
        What::Unit => cargo(&["test", "--workspace", "--exclude", "vgpu-tests", "--no-fail-fast"]),
        What::Models => return models::run(paths, filters),
        What::Fuzz => {
            fuzz::moment(paths)?;
            return Ok(Ran::Whole);
        }
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
    process::run("testing", &mut tests)?;
    Ok(Ran::Whole)
}

/// A part's name, how much of it was run if it did not fail, and its time.
type Outcome = (&'static str, Option<Ran>, Duration);

/// Prints one line for each part. Fails when one of them failed; when one could not be run whole,
/// only if that was asked for: what is missing then is the machine's.
fn summarise(outcomes: &[Outcome], whole: bool, took: Duration) -> Result<(), Error> {
    println!();
    let named = |chosen: &dyn Fn(&Option<Ran>) -> bool| -> Vec<&str> {
        outcomes.iter().filter(|(_, ran, _)| chosen(ran)).map(|(name, ..)| *name).collect()
    };
    for (name, ran, took) in outcomes {
        let (word, lacking) = match ran {
            None => ("FAILED", ""),
            Some(Ran::Whole) => ("ok", ""),
            Some(Ran::Without(lacking)) => ("in part", *lacking),
        };
        let sign = if lacking.is_empty() { "" } else { "  not run: " };
        println!("{name:<10} {word:<8} {:>7.1} s{sign}{lacking}", took.as_secs_f64());
    }
    println!("{:<10} {:<8} {:>7.1} s", "all", "", took.as_secs_f64());
    let failed = named(&|ran| ran.is_none());
    if !failed.is_empty() {
        return Err(Error::Steps { steps: failed.join(", ") });
    }
    let partial = named(&|ran| matches!(ran, Some(Ran::Without(_))));
    if whole && !partial.is_empty() {
        return Err(Error::InPart { steps: partial.join(", ") });
    }
    Ok(())
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
        let tidy = ("tidy", Some(Ran::Whole), took);
        assert!(summarise(&[tidy], true, took).is_ok());
        match summarise(&[tidy, ("elf", None, took)], false, took) {
            Err(Error::Steps { steps }) => assert_eq!(steps, "elf"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_part_that_was_not_run_whole_fails_only_a_run_that_is_to_be_whole() {
        let took = Duration::from_secs(1);
        let outcomes = [("models", Some(Ran::Without("Miri")), took)];
        assert!(summarise(&outcomes, false, took).is_ok());
        match summarise(&outcomes, true, took) {
            Err(Error::InPart { steps }) => assert_eq!(steps, "models"),
            other => panic!("{other:?}"),
        }
    }
}
