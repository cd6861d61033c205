//! The known failures: each is found by a check of the doctor, or prevented by something that a
//! test shows, or said to be another's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::check;
use crate::files::{Tracked, all};

/// What the design prevents, row by row.
const PREVENTED: &str = include_str!("prevented.toml");

/// The numbers of the known failures: those of an earlier system, of Ollama's users, of loaders,
/// installers and packages.
const NUMBERS: [(char, u32); 3] = [('F', 89), ('U', 40), ('P', 56)];

/// Failures that are nobody's here, each with why.
const OF_OTHERS: [(&str, &str); 1] =
    [("F42", "no version of Ollama needs an early cuInit: there is nothing to do")];

/// Beginnings of the names that NVIDIA's libraries export.
const CUDA_NAMES: [&str; 3] = ["cu", "__cuda", "nvml"];

/// What every process reads, and variables of Ollama that we have no need of.
const UNTOUCHED: [&str; 7] = [
    "ld.so.preload",
    "/etc/environment",
    "/etc/profile",
    "/etc/bash",
    "OLLAMA_LIBRARY_PATH=",
    "OLLAMA_LLM_LIBRARY=",
    "BindReadOnlyPaths",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prevented {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    how: String,
    #[serde(default)]
    tests: Vec<String>,
    later: Option<String>,
}

fn rows() -> Vec<Row> {
    let prevented: Prevented = toml::from_str(PREVENTED).expect("prevented.toml is a valid table");
    prevented.row
}

/// The names of all tests of the tree.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in all().iter().filter(|file| file.is_rust()) {
        let mut is_test = false;
        for line in file.text.lines().map(str::trim_start) {
            is_test |= line == "#[test]";
            let name = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
            if let (true, Some((name, _))) = (is_test, name) {
                found.insert(name.to_owned());
                is_test = false;
            }
        }
    }
    found
}

#[test]
fn everything_that_is_prevented_names_tests_that_exist() {
    let known = tests();
    let mut offences = Vec::new();
    for row in rows() {
        if row.how.is_empty() || row.tests.is_empty() == row.later.is_none() {
            offences.push(format!("{}: it names either tests or what comes later", row.id));
        }
        let gone = row.tests.iter().filter(|name| !known.contains(*name));
        offences.extend(gone.map(|name| format!("{}: there is no test {name}", row.id)));
    }
    check("what is prevented is shown by a test", "name the test that shows it now", offences);
}

#[test]
fn every_known_failure_is_found_prevented_or_of_others() {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |id: &str| *places.entry(id.to_owned()).or_default() += 1;
    let files = all();
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path.to_string_lossy() == path);
        file.map_or("", |file| file.text.as_str())
    };
    for part in text("installer/src/doctor/rows.rs").split("row(\"").skip(1) {
        count(part.split('"').next().unwrap_or_default());
    }
    assert!(places.len() > 100, "the doctor's rows are read");
    for row in rows() {
        *places.entry(row.id).or_default() += 1;
    }
    for (id, _) in OF_OTHERS {
        *places.entry(id.to_owned()).or_default() += 1;
    }
    let numbers =
        NUMBERS.iter().flat_map(|(kind, last)| (1..=*last).map(move |at| format!("{kind}{at:02}")));
    let wanted: BTreeSet<String> = numbers.collect();
    let mut offences: Vec<String> = wanted
        .iter()
        .filter(|id| !places.contains_key(*id))
        .map(|id| format!("{id} is nowhere"))
        .collect();
    let odd = places.keys().filter(|id| !wanted.contains(*id));
    offences.extend(odd.map(|id| format!("{id} is no known failure")));
    let remedy = "give it a row in doctor/rows.rs, in prevented.toml or in OF_OTHERS";
    check("no known failure is forgotten", remedy, offences);
}

/// The original system intercepted fopen, open, exec and dlsym, and took machines down with it.
#[test]
fn every_exported_name_is_one_of_cudas() {
    let is_list = |file: &&Tracked| {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        file.path.starts_with("shims/api/names")
            && (name.contains("exports") || name.contains("union"))
    };
    let files = all();
    let lists: Vec<&Tracked> = files.iter().filter(is_list).collect();
    assert!(lists.len() >= 6, "the lists of exported names are there");
    let mut offences = Vec::new();
    for file in lists {
        for name in file.text.lines().filter_map(|line| line.split_whitespace().next()) {
            if !name.starts_with('#') && !CUDA_NAMES.iter().any(|start| name.starts_with(start)) {
                offences.push(format!("{}: {name}", file.path.display()));
            }
        }
    }
    check("we stand in for CUDA's names only", "take the name out of the list", offences);
}

#[test]
fn no_plan_touches_what_every_process_reads() {
    let files = all();
    let is_plan = |file: &&Tracked| file.path.starts_with("installer/tests/plans");
    let plans: Vec<&Tracked> =
        files.iter().filter(|file| is_plan(file) || file.path.starts_with("templates")).collect();
    assert!(plans.iter().filter(|file| is_plan(file)).count() > 10, "the plans are there");
    let mut offences = Vec::new();
    for file in plans {
        // A warning may name what somebody else has set.
        let written = file.text.lines().filter(|line| !line.starts_with("warning"));
        for (at, line) in written.enumerate() {
            if UNTOUCHED.iter().any(|word| line.contains(word)) {
                offences.push(format!("{}:{}: {line}", file.path.display(), at + 1));
            }
        }
    }
    check("only Ollama's own service is changed", "reach less far", offences);
}
