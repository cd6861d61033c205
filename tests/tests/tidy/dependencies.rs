//! What we take from others: under which licences, from where, and built how often.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use spdx::{Expression, ParseMode};
use vgpu_tests::{run, stage};

use crate::check;

/// Licences that ask for no more than their text and the author's name beside what is shipped; the
/// MPL for changes to its own files, too.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    /// Nothing for what lies in this repository.
    source: Option<String>,
}

/// What a cargo prints that reads the workspace as it is locked.
fn cargo(words: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(words).arg("--locked").current_dir(stage::repository());
    let printed = run(&mut cargo, Duration::from_secs(60)).and_then(|done| done.success());
    printed.expect("cargo reads its own workspace")
}

/// Everything that is built for a machine that we serve.
fn taken() -> Vec<Package> {
    let platform = ["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
    let metadata: Metadata =
        serde_json::from_str(&cargo(&platform)).expect("the documented format");
    let taken: Vec<Package> =
        metadata.packages.into_iter().filter(|package| package.source.is_some()).collect();
    assert!(taken.len() > 50, "cargo lists what we depend on");
    taken
}

/// Says whether a licence expression leaves us a choice that is on the list.
fn is_allowed(licence: &str) -> bool {
    let listed = |wanted: &spdx::LicenseReq| {
        wanted.license.id().is_some_and(|id| LICENCES.contains(&id.name))
    };
    Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|it| it.evaluate(listed))
}

#[test]
fn every_dependency_comes_under_a_licence_of_the_list() {
    let offences = taken()
        .into_iter()
        .filter(|package| !package.license.as_deref().is_some_and(is_allowed))
        .map(|package| format!("{}: {:?}", package.name, package.license))
        .collect();
    check(
        "what we ship may be shipped",
        "take another crate, or the licence into the list",
        offences,
    );
}

#[test]
fn a_licence_counts_by_what_it_leaves_us() {
    for licence in ["MIT/Apache-2.0", "LGPL-2.1 OR MIT", "(GPL-2.0 OR ISC) AND Unicode-3.0"] {
        assert!(is_allowed(licence), "{licence}");
    }
    for licence in ["GPL-3.0", "MIT AND LGPL-2.1", "no licence", ""] {
        assert!(!is_allowed(licence), "{licence}");
    }
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let offences = taken()
        .into_iter()
        .filter_map(|package| Some((package.name, package.source?)))
        .filter(|(_, source)| !source.starts_with("registry+"))
        .map(|(name, source)| format!("{name}: {source}"))
        .collect();
    check("what we build is published and stays", "name a published version", offences);
}

/// The features that each package is built with where these are chosen: by name and version.
fn features(chosen: &[&str]) -> BTreeMap<String, String> {
    let tree = ["tree", "--prefix=none", "--format={p}\t{f}\t"];
    let printed = cargo(&[&tree, chosen].concat());
    let columns = printed.lines().map(|line| line.split('\t').map(str::to_owned));
    columns.filter_map(|mut column| Some((column.next()?, column.next()?))).collect()
}

#[test]
fn no_part_of_the_test_run_builds_again_what_another_has_built() {
    // `cargo xtask test` chooses these: the crates' tests; the stage and the tests of the whole.
    let all = features(&["--workspace", "--edges=normal,build,dev"]);
    let crates = ["--workspace", "--exclude=vgpu-tests", "--edges=normal,build,dev"];
    let whole = ["--package=vgpu-tests", "--edges=normal,build"];
    let mut offences = Vec::new();
    for chosen in [&crates[..], &whole] {
        let features = features(chosen);
        assert!(features.len() > 50, "{chosen:?}: {features:?}");
        let other = features.into_iter().filter(|(package, with)| all.get(package) != Some(with));
        offences.extend(other.map(|(package, with)| format!("{package}, in {chosen:?}: {with}")));
    }
    let remedy = "name the features in the workspace's Cargo.toml, or the crate that asks for them \
                  in tests/Cargo.toml";
    check("a dependency has the same features in every part", remedy, offences);
}
