//! `vgpu-install explain`: which file a program gets for a library's name, step by step.
//!
//! The loader's model answers ([`crate::ldso`]); for a running process the answer is compared with
//! what it really mapped.

mod maps;
mod subject;
#[cfg(test)]
mod tests;
mod text;

use schemars::JsonSchema;
use serde::Serialize;
use vgpu_loader::{Asked, Family, Object, Outcome, Process, Resolution};

use self::subject::Subject;
use crate::answer::Answer;
use crate::cli::Explain;
use crate::discover;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::ldso::{self, HostFiles};
use crate::location::{Location, hex};

/// Owner of the note that all our libraries carry (`shims/guest/src/mark.rs`).
const MARK: &[u8] = b"vgpu";

/// Everything that is said about one program.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Explanation {
    /// What was asked about, in words.
    pub subject: String,
    /// The program.
    pub program: Location,
    /// The loader that it names.
    pub interpreter: String,
    /// The C library, with its version where that is known.
    pub libc: String,
    /// The variables that count for the loader, and their values.
    pub environment: Vec<Setting>,
    /// What a person should know about the search as a whole.
    pub notes: Vec<String>,
    /// The answers, in the order of the names.
    pub answers: Vec<Answered>,
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// How one name was answered.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Answered {
    /// The name.
    pub name: String,
    /// Who asked for it and how.
    pub asked_by: String,
    /// Every place that was tried, in order.
    pub steps: Vec<Step>,
    /// The file that answers; none if the name is not found.
    pub winner: Option<Winner>,
    /// The rule that decided, in words.
    pub rule: Option<String>,
    /// The files of that name that the process has mapped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mapped: Vec<Location>,
    /// True if the process has mapped the very file that the model names; none where no process
    /// was looked at, or where it has loaded no file of the name.
    pub agrees: Option<bool>,
}

/// One place that was tried.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Step {
    /// The rule by which it was tried.
    pub rule: String,
    /// The file, or a directory that is not there.
    pub path: Location,
    /// What came of it.
    pub outcome: String,
}

/// The file behind a name.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Winner {
    /// The path by which the loader opens it.
    pub path: Location,
    /// The file behind all links.
    pub file: Location,
    /// The name it gives itself.
    pub soname: Option<String>,
    /// Its build id in hexadecimal.
    pub build_id: Option<String>,
    /// True if it is a library of ours.
    pub ours: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Error::NoProcess`], [`Error::NoUnit`], [`Error::NoLoader`], [`Error::Unexplained`] or
/// [`Error::Io`] where there is nothing to explain or it cannot be looked at.
pub fn run(host: &dyn Host, asked: &Explain, answer: &mut Answer) -> Result<u8> {
    for subject in subject::all(host, asked)? {
        let view = subject.root.as_deref().unwrap_or(host);
        answer.explanations.push(explain(view, host.is_running(), &subject, &asked.names)?);
    }
    for explanation in &answer.explanations {
        answer.lines.extend(text::lines(explanation));
    }
    let all = answer.explanations.iter().flat_map(|explanation| &explanation.answers);
    if all.into_iter().any(|answered| answered.agrees == Some(false)) {
        let what = "a process has mapped another file than the model names";
        let hint = "look at what changed since it started, and restart it; if nothing did, run \
                    vgpu-install report";
        answer.warnings.push(crate::plan::Warning::new("explain", what, hint));
    }
    Ok(0)
}

fn explain(
    host: &dyn Host,
    is_here: bool,
    subject: &Subject,
    names: &[std::ffi::OsString],
) -> Result<Explanation> {
    let facts = discover::platform(host)?;
    let interpreter = subject::interpreter(host, &subject.program)?;
    let files = HostFiles::new(host, &facts, subject.environment.secure);
    let cache = discover::cache(host)?;
    let platform = ldso::platform(host, &facts, &interpreter, Some(cache), is_here)?;
    let environment = subject.environment.clone();
    let process = Process::start(&subject.program, &files, &platform, environment);
    let mut process = process
        .map_err(|source| Error::NoLoader { path: subject.program.as_path().into(), source })?;
    let mut notes = Vec::new();
    // A backend that the program opens first is the one that asks for the names.
    let mut requester = 0;
    for path in &subject.opens {
        match process.open(path.as_os_str(), requester).object {
            Some(object) => requester = object,
            None => notes.push(format!("{} cannot be loaded", path.display())),
        }
    }
    let mut answers = Vec::new();
    for name in names {
        let opened = process.open(name, requester);
        let first = led_to(&process, &opened).filter(|first| *first != opened);
        // Of a name that was asked for at the start, the first answer says all.
        let is_told = first.as_ref().is_some_and(|first| first.name == opened.name);
        for resolution in first.into_iter().chain((!is_told).then_some(opened)) {
            answers.push(answered(host, subject, &process, &resolution)?);
        }
    }
    notes.splice(0..0, process.notes().iter().map(vgpu_loader::Note::words));
    notes.extend(failure(&process));
    notes.extend(libc_notes(platform.family, &platform.legacy.dirs, is_here));
    notes.extend(subject.notes.iter().cloned());
    let libc = match (platform.family, ldso::glibc_version(host, &facts)?) {
        (Family::Musl, _) => "musl".into(),
        (Family::Glibc, Some((major, minor))) => format!("glibc {major}.{minor}"),
        (Family::Glibc, None) => "glibc".into(),
    };
    Ok(Explanation {
        subject: subject.words.clone(),
        program: subject.program.as_path().into(),
        interpreter: String::from_utf8_lossy(&interpreter).into_owned(),
        libc,
        environment: subject
            .variables()
            .into_iter()
            .map(|(name, value)| Setting { name, value })
            .collect(),
        notes,
        answers,
    })
}

/// The answer that brought the object in, where a name was met by what is loaded already.
fn led_to(process: &Process<'_, HostFiles<'_>>, opened: &Resolution) -> Option<Resolution> {
    let brought = |answer: &&Resolution| answer.object == opened.object && !answer.is_same_file;
    let is_known = opened.attempts.is_empty() && opened.object.is_some();
    process.resolutions().iter().filter(|_| is_known).find(brought).cloned()
}

fn answered(
    host: &dyn Host,
    subject: &Subject,
    process: &Process<'_, HostFiles<'_>>,
    resolution: &Resolution,
) -> Result<Answered> {
    let objects = process.objects();
    let path_of = |index: usize| objects[index].path.display().to_string();
    let by = resolution.requester.map_or_else(|| "the loader".into(), path_of);
    let asked_by = match resolution.asked {
        Asked::Need => format!("needed by {by}"),
        Asked::Open => format!("opened by {by}"),
        Asked::Preload => "LD_PRELOAD".into(),
        Asked::PreloadFile => "/etc/ld.so.preload".into(),
    };
    let rule = |reason: vgpu_loader::Reason, of: Option<usize>| match of {
        Some(index) => format!("{} of {}", reason.words(), path_of(index)),
        None => reason.words().to_owned(),
    };
    let steps = resolution.attempts.iter().map(|attempt| Step {
        rule: rule(attempt.reason, attempt.of),
        path: attempt.path.as_path().into(),
        outcome: attempt.outcome.words(),
    });
    let object = resolution.object.map(|index| &objects[index]);
    let name = String::from_utf8_lossy(&resolution.name).into_owned();
    let mapped = match &subject.maps {
        Some(maps) => maps.named(host, &resolution.name)?,
        None => Vec::new(),
    };
    let winner = object.map(|object| winner(host, object)).transpose()?;
    let agrees = (!mapped.is_empty()).then(|| {
        let winner = winner.as_ref().zip(object);
        let same = |file: &maps::Mapped| winner.is_some_and(|(w, o)| file.is(o.identity, &w.file));
        mapped.iter().all(same)
    });
    let last = resolution.attempts.last().filter(|last| last.outcome == Outcome::Taken);
    Ok(Answered {
        name,
        asked_by,
        steps: steps.collect(),
        winner,
        rule: resolution.reason.map(|reason| rule(reason, last.and_then(|last| last.of))),
        mapped: mapped.into_iter().map(|file| file.path.into()).collect(),
        agrees,
    })
}

fn winner(host: &dyn Host, object: &Object) -> Result<Winner> {
    let file = host.canonical(&object.path)?.unwrap_or_else(|| object.path.clone());
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    Ok(Winner {
        path: object.path.as_path().into(),
        file: file.into(),
        soname: object.binary.soname.as_ref().map(text),
        build_id: object.binary.build_id.as_deref().map(hex),
        ours: object.binary.note_owners.iter().any(|owner| owner == MARK),
    })
}

/// Says why the program would not even start, where that is so.
fn failure(process: &Process<'_, HostFiles<'_>>) -> Option<String> {
    let failed = process.failure()?;
    let name = String::from_utf8_lossy(&failed.name).into_owned();
    let by = failed.requester.map(|index| process.objects()[index].path.display().to_string());
    Some(format!("{name}, needed by {}, is not found", by.unwrap_or_default()))
}

fn libc_notes(family: Family, legacy: &[Vec<u8>], is_here: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !legacy.is_empty() {
        notes.push(
            "this glibc (before 2.37) also looks into tls and x86_64 below each directory".into(),
        );
    }
    if family == Family::Glibc && !is_here {
        notes.push(
            "this root may run on any processor: glibc-hwcaps directories were left out".into(),
        );
    }
    notes
}
