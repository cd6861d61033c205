//! Lists that must agree with each other: needs, tasks, decisions, templates.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use vgpu_tests::stage;

use crate::check;
use crate::files::all;

#[derive(Deserialize)]
struct Needs {
    npm: Vec<Npm>,
}

#[derive(Deserialize)]
struct Npm {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Package {
    dependencies: BTreeMap<String, String>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(stage::repository().join(path)).expect("the file is tracked")
}

#[test]
fn the_npm_clients_are_the_ones_that_the_list_of_needs_explains() {
    let needs: Needs = toml::from_str(&read("xtask/needs.toml")).expect("a valid list");
    let needs: BTreeMap<String, String> =
        needs.npm.into_iter().map(|one| (one.name, one.version)).collect();
    let package: Package =
        serde_json::from_str(&read("tests/clients/node/package.json")).expect("a valid package");
    assert_eq!(needs, package.dependencies, "xtask/needs.toml and tests/clients/node differ");
}

#[test]
fn every_test_file_is_a_part_that_xtask_runs() {
    let tasks = read("xtask/src/test.rs");
    let directory = stage::repository().join("tests/tests");
    let offences = std::fs::read_dir(directory)
        .expect("this file lies below it")
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .filter(|name| !tasks.contains(&format!("name: \"{name}\"")))
        .collect();
    check("xtask test runs every test", "add it to PARTS in xtask/src/test.rs", offences);
}

#[test]
fn decisions_are_numbered_without_gap_or_double() {
    let mut numbers: Vec<usize> = Vec::new();
    let mut offences = Vec::new();
    for file in all().iter().filter(|file| file.path.starts_with("docs/decisions")) {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.split_once('-').and_then(|(number, _)| number.parse().ok()) {
            Some(number) if name.ends_with(".md") => numbers.push(number),
            _ => offences.push(format!("{name} is not called NNNN-title.md")),
        }
    }
    numbers.sort_unstable();
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    if numbers != expected {
        offences.push(format!("the numbers are {numbers:?}"));
    }
    check("decisions are numbered 0001, 0002 and so on", "take the next free number", offences);
}

#[test]
fn every_template_is_rendered_by_somebody() {
    let files = all();
    let code: BTreeSet<&str> =
        files.iter().filter(|file| file.is_rust()).map(|file| file.text.as_str()).collect();
    let offences = files
        .iter()
        .filter(|file| file.path.extension().is_some_and(|extension| extension == "tera"))
        .map(|file| file.path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .filter(|name| !code.iter().any(|text| text.contains(name.as_str())))
        .collect();
    check("no template is left over", "render it or remove it", offences);
}
