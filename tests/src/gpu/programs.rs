//! CUDA programs of our own, compiled here, run both ways: each case checks its own numbers, and
//! what it prints must be the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::{Outcome, Setting, Subject};
use crate::Vgpud;
use crate::system::{Result, at, run};

/// A program of a few seconds; the first one waits for the driver.
const LIMIT: Duration = Duration::from_secs(60);

/// nvcc compiles one file in seconds.
const COMPILE_LIMIT: Duration = Duration::from_secs(120);

fn compile(setting: &Setting, nvcc: &Path, source: &Path) -> Result<PathBuf> {
    let program = setting.out.join("programs").join(source.file_stem().unwrap_or_default());
    let mut command = Command::new(nvcc);
    // The shared runtime: nvcc's default is the static one, which refuses any driver but NVIDIA's.
    command.args(["-cudart", "shared", "-cudadevrt", "none", "-std=c++17", "-O2"]);
    // PTX that every card from Turing on compiles for itself, and the simulated one runs.
    command.args(["-gencode", "arch=compute_75,code=compute_75", "-o"]);
    command.arg(&program).arg(source);
    setting.includes.iter().for_each(|directory| {
        command.arg("-I").arg(directory);
    });
    run(&mut command, COMPILE_LIMIT)?.success()?;
    Ok(program)
}

/// Compiles and compares every program of tests/cu.
pub(super) fn run_all(setting: &Setting, nvcc: &Path) -> Result<Outcome> {
    let directory = setting.file("tests/cu");
    let listed = fs::read_dir(&directory).map_err(at("listing", &directory))?;
    let mut sources: Vec<PathBuf> = listed.filter_map(|one| Some(one.ok()?.path())).collect();
    sources.retain(|path| path.extension().is_some_and(|one| one == "cu"));
    sources.sort();
    sources.truncate(if setting.sample { 1 } else { usize::MAX });
    let programs = setting.out.join("programs");
    fs::create_dir_all(&programs).map_err(at("creating", &programs))?;
    let (native, ours) = (setting.native_host()?, setting.host(&[])?);
    let mut lines = Vec::new();
    let (mut cases, mut differ) = (0, 0);
    for source in &sources {
        let program = compile(setting, nvcc, source)?;
        let once = |subject, host: Option<&Vgpud>, case: &str| {
            run(setting.command(subject, host, &program).arg(case), LIMIT)
        };
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let listed = once(Subject::Native, native.as_ref(), "--list")?.success()?;
        for case in listed.lines() {
            cases += 1;
            let one = once(Subject::Native, native.as_ref(), case)?;
            let two = once(Subject::Ours, Some(&ours), case)?;
            if one.status.success() && two.status.success() && one.stdout == two.stdout {
                continue;
            }
            differ += 1;
            lines.push(format!(
                "- {name} {case}:\n  native {}: {}{}\n  ours {}: {}{}",
                one.status, one.stdout, one.stderr, two.status, two.stdout, two.stderr
            ));
        }
    }
    let says = format!("{} programs, {cases} cases, {differ} wrong or different", sources.len());
    let held = differ == 0 && cases > 0;
    Ok(Outcome::of(held, says, lines, json!({ "cases": cases, "differ": differ })))
}

/// Runs the step, where there is a compiler.
pub(super) fn compare(setting: &Setting) -> Result<Outcome> {
    match &setting.nvcc {
        Some(nvcc) => run_all(setting, nvcc),
        None => Ok(Outcome::not_run("there is no nvcc: install the CUDA toolkit, or name --nvcc")),
    }
}
