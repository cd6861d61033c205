//! Which crate may know which: design.md's arrows, read from `cargo metadata`.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use vgpu_tests::{run, stage};

use crate::check;

/// Every crate, with the crates of ours that it may name. `vgpu-tests` may name all.
const ARROWS: &[(&str, &[&str])] = &[
    ("vgpu-abi", &[]),
    ("vgpu-codegen", &[]),
    ("vgpu-cublas", &["vgpu-abi", "vgpu-guest"]),
    ("vgpu-cublas12", &["vgpu-abi", "vgpu-cublas", "vgpu-guest"]),
    ("vgpu-cublas13", &["vgpu-abi", "vgpu-cublas", "vgpu-guest"]),
    ("vgpu-cuda", &["vgpu-abi", "vgpu-guest"]),
    ("vgpu-cudart", &["vgpu-abi", "vgpu-guest"]),
    ("vgpu-cudart12", &["vgpu-abi", "vgpu-cudart", "vgpu-guest"]),
    ("vgpu-cudart13", &["vgpu-abi", "vgpu-cudart", "vgpu-guest"]),
    ("vgpu-guest", &["vgpu-abi", "vgpu-link"]),
    ("vgpu-install", &["vgpu-link", "vgpu-loader"]),
    ("vgpu-link", &["vgpu-ring", "vgpu-wire"]),
    ("vgpu-loader", &[]),
    ("vgpu-nvml", &["vgpu-abi", "vgpu-guest"]),
    ("vgpu-pages", &["vgpu-install", "vgpu-smi", "vgpud"]),
    ("vgpu-ring", &[]),
    ("vgpu-smi", &[]),
    ("vgpu-wire", &[]),
    ("vgpud", &["vgpu-abi", "vgpu-link", "vgpu-loader", "vgpu-smi", "vgpu-wire"]),
    ("xtask", &[]),
];

#[derive(Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
}

#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub manifest_path: std::path::PathBuf,
    pub dependencies: Vec<Dependency>,
    pub targets: Vec<Target>,
}

#[derive(Deserialize)]
pub struct Dependency {
    pub name: String,
    pub kind: Option<String>,
    pub path: Option<String>,
}

#[derive(Deserialize)]
pub struct Target {
    pub kind: Vec<String>,
    pub src_path: std::path::PathBuf,
}

pub fn metadata() -> Metadata {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(stage::repository());
    let printed = run(&mut cargo, Duration::from_secs(60)).and_then(|done| done.success());
    let printed = printed.expect("cargo metadata works where cargo test does");
    serde_json::from_str(&printed).expect("cargo metadata prints the documented format")
}

#[test]
fn no_crate_names_one_that_it_must_not_know() {
    let mut offences = Vec::new();
    for package in metadata().packages.iter().filter(|package| package.name != "vgpu-tests") {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            offences.push(format!("{} is not in the table", package.name));
            continue;
        };
        let ours = package.dependencies.iter().filter(|dependency| {
            dependency.path.is_some() && dependency.kind.as_deref() != Some("dev")
        });
        for dependency in ours.filter(|one| !allowed.contains(&one.name.as_str())) {
            offences.push(format!("{} → {}", package.name, dependency.name));
        }
    }
    let remedy = "reach it through a crate that may, or change ARROWS and docs/architecture.md \
                  together, with the reason";
    check("a crate knows only what the arrows allow", remedy, offences);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let offences = metadata()
        .packages
        .iter()
        .filter(|package| {
            let manifest = std::fs::read_to_string(&package.manifest_path).unwrap_or_default();
            !manifest.contains("[lints]\nworkspace = true")
        })
        .map(|package| package.manifest_path.display().to_string())
        .collect();
    check("lints are the workspace's", "add [lints] workspace = true", offences);
}
