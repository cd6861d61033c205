//! The model against musl's dynamic linker, which tells with `--list` which file it took for each
//! name, and which it did not find.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vgpu_loader::{Asked, Environment, Family, Platform, Process, Reason};

use crate::case::{Case, Content};
use crate::root::{PROGRAM, Root};

pub(crate) const LOADER: &str = "/lib/ld-musl-x86_64.so.1";

/// Takes out of a case what musl does not survive: it maps a library of another machine or class
/// as it is, and `--list` knows no other rights.
pub(crate) fn fitting(mut case: Case) -> Case {
    case = case.opening_nothing();
    case.secure = false;
    case.cache = None;
    for file in &mut case.files {
        let is_strange = matches!(
            file.content,
            Content::OtherMachine(_) | Content::OtherOrder(_) | Content::OtherClass
        );
        if is_strange {
            file.content = Content::Text;
        }
    }
    case
}

/// Runs a case through both and says where they differ; else how many names were compared.
pub(crate) fn check(root: &Root, case: &Case) -> Result<usize, String> {
    let case = &fitting(case.clone());
    root.fill(case);
    let output = root.run(LOADER, &["--list", PROGRAM], case, &[]);
    if output.status.code().is_none() {
        return Err(format!("a signal ended it: {output:?}"));
    }
    let default_dirs = match &case.musl_path {
        Some(text) => Platform::musl_dirs(text.as_bytes()),
        None => Platform::MUSL_DIRS.map(PathBuf::from).into(),
    };
    let platform = Platform { family: Family::Musl, default_dirs, ..Platform::default() };
    let environment = Environment {
        library_path: case.library_path.clone().unwrap_or_default().into(),
        preload: case.preload.clone().unwrap_or_default().into(),
        working_dir: case.working_dir.into(),
        ..Environment::default()
    };
    let process = Process::start(Path::new(PROGRAM), root, &platform, environment)
        .map_err(|error| format!("the model does not start it: {error}"))?;
    let ours = (found(&process), missing(&process));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let theirs = (their_found(&said, case), their_missing(&errors, case));
    if ours != theirs {
        return Err(format!("musl {theirs:#?}\nthe model {ours:#?}\n{said}{errors}"));
    }
    Ok(ours.0.len() + ours.1.len())
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}

/// Each object with the name that brought it.
fn found(process: &Process<'_, Root>) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let brought = process.resolutions().iter().filter_map(|answer| {
        let index = answer.object?;
        let is_first = answer.reason != Some(Reason::Itself) && seen.insert(index);
        let name = String::from_utf8_lossy(&answer.name).into_owned();
        is_first.then(|| (name, text(&process.objects()[index].path)))
    });
    brought.collect()
}

/// Each need that was not met, with the object that has it.
fn missing(process: &Process<'_, Root>) -> Vec<(String, String)> {
    let unmet = process
        .resolutions()
        .iter()
        .filter(|answer| answer.asked == Asked::Need && answer.object.is_none());
    let named = unmet.map(|answer| {
        let by = answer.requester.map(|index| text(&process.objects()[index].path));
        (String::from_utf8_lossy(&answer.name).into_owned(), by.unwrap_or_default())
    });
    named.collect()
}

fn absolute(path: &str, case: &Case) -> String {
    text(&Path::new(case.working_dir).join(path))
}

fn their_found(list: &str, case: &Case) -> Vec<(String, String)> {
    let lines = list.lines().filter_map(|line| {
        let (name, path) = line.trim().rsplit_once(" (0x")?.0.split_once(" => ")?;
        Some((name.to_owned(), absolute(path, case)))
    });
    lines.collect()
}

fn their_missing(errors: &str, case: &Case) -> Vec<(String, String)> {
    let lines = errors.lines().filter_map(|line| {
        let rest = line.strip_prefix("Error loading shared library ")?;
        let (name, rest) = rest.split_once(": ")?;
        let by = rest.rsplit_once("(needed by ")?.1.strip_suffix(')')?;
        Some((name.to_owned(), absolute(by, case)))
    });
    lines.collect()
}
