//! Asks the package managers whose the copies and the Ollamas are, and reads the alternatives that
//! lead to them.
//!
//! Only commands that show it pay for it: each manager is started once for all paths, and dpkg
//! once more for versions. Of a system below another root dpkg and rpm are asked, with the
//! machine's own programs, rpm with a copy of its database; the others look at the machine's files.

mod dpkg;
mod rpm;
mod spoken;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{alternatives, ollama};
use crate::error::Error;
use crate::facts::{Facts, Owner, Unseen};
use crate::host::{Host, Outcome, Program};

/// How long a manager may take: dpkg reads all its lists, half a second from a cold disk.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most copies that owners are asked for: 500, ten times a machine with four toolkits.
const COPIES_MAX: usize = 500;
/// Directories that were joined with those below `/usr`; packages may name either.
const MERGED: [&str; 4] = ["lib", "lib64", "lib32", "bin"];

type Owners = BTreeMap<PathBuf, Owner>;

/// Completes facts by owners and alternatives. A manager that could not be asked is noted in
/// [`Facts::unseen`].
pub fn ask(host: &dyn Host, facts: &mut Facts) {
    facts.alternatives = alternatives::of(host, &facts.libraries);
    let copies = facts.libraries.iter().take(COPIES_MAX);
    let copies = copies.flat_map(|copy| [&copy.file, &copy.path]);
    let programs = facts.ollamas.iter().map(|ollama| &ollama.executable);
    let paths: BTreeSet<PathBuf> = copies.chain(programs).flat_map(|p| spellings(p)).collect();
    if paths.is_empty() {
        return;
    }
    let mut owners = Owners::new();
    for manager in [dpkg::ask, rpm::ask, spoken::pacman, spoken::apk] {
        let Asked { owners: found, unseen } = manager(host, &paths);
        for (path, owner) in found {
            owners.entry(path).or_insert(owner);
        }
        facts.unseen.extend(unseen);
    }
    let of = |path: &Path| spellings(path).into_iter().find_map(|path| owners.get(&path).cloned());
    for copy in &mut facts.libraries {
        copy.owner = of(&copy.file).or_else(|| of(&copy.path));
    }
    for one in &mut facts.ollamas {
        if let Some(owner) = of(&one.executable) {
            ollama::belongs_to(host, one, owner);
        }
    }
}

/// What came of asking a manager; nothing where the system has no such manager.
#[derive(Default)]
struct Asked {
    owners: Owners,
    /// Why not all could be learnt.
    unseen: Option<Unseen>,
}

impl Asked {
    fn failed(database: &Path, because: String) -> Self {
        let unseen = Some(Unseen { path: database.into(), because });
        Self { owners: Owners::new(), unseen }
    }

    /// Judges what a manager said, and reads whatever it said of owners.
    fn judged(
        database: &Path,
        program: &str,
        outcome: &Outcome,
        read: impl Fn(&[u8]) -> Owners,
    ) -> Self {
        let because = if outcome.timed_out {
            Some(format!("took more than {DEADLINE:?}"))
        } else if outcome.status.is_none() {
            Some("was ended by a signal".into())
        } else {
            // dpkg answers 1, and rpm the count of them, where paths belong to nobody.
            complaint(&outcome.stderr).map(|line| format!("could not read all of it: {line}"))
        };
        let because = because.map(|because| format!("{program} {because}"));
        let unseen = because.map(|because| Unseen { path: database.into(), because });
        Self { owners: read(&outcome.stdout), unseen }
    }
}

/// A path as it is, and as it is called where `/usr` is, or is not, merged.
fn spellings(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_path_buf()];
    let below = path.strip_prefix("/usr").unwrap_or(path.strip_prefix("/").unwrap_or(path));
    let joined = below.iter().next().is_some_and(|first| MERGED.iter().any(|dir| first == *dir));
    if joined {
        let base = if path.starts_with("/usr") { Path::new("/") } else { Path::new("/usr") };
        found.push(base.join(below));
    }
    found
}

fn program(path: &str, arguments: Vec<OsString>) -> Program {
    Program {
        path: path.into(),
        arguments,
        environment: vec![
            ("LC_ALL".into(), "C".into()),
            ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ],
        deadline: DEADLINE,
    }
}

/// Runs a manager that finds its database by itself or by its arguments.
fn run(
    host: &dyn Host,
    database: &Path,
    path: &str,
    arguments: Vec<OsString>,
    read: impl Fn(&[u8]) -> Owners,
) -> Asked {
    match host.run(&program(path, arguments)) {
        Ok(outcome) => Asked::judged(database, path, &outcome, read),
        Err(error) => Asked::failed(database, format!("{path} could not be run: {}", why(&error))),
    }
}

/// The cause of an error in the machine's words, without the path, which stands beside it.
fn why(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.unwrap_or_else(|| error.to_string())
}

/// The first line in which a manager complains of more than a file that belongs to nobody.
fn complaint(stderr: &[u8]) -> Option<String> {
    const OF_A_FILE: [&str; 4] =
        ["error: file ", "no path found", "No package owns", "failed to read file"];
    let text = String::from_utf8_lossy(stderr);
    let of_a_file = |line: &str| OF_A_FILE.iter().any(|words| line.contains(words));
    text.lines().find(|line| line.contains("error") && !of_a_file(line)).map(str::to_owned)
}

fn exists(host: &dyn Host, path: &Path) -> bool {
    matches!(host.canonical(path), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover;
    use crate::host::memory::Memory;

    const DIR: &str = "/usr/lib/x86_64-linux-gnu";

    fn asked(text: &str, program: &str, outcome: Outcome) -> Facts {
        let library = format!("elf {DIR}/libcuda.so.1 soname=libcuda.so.1 image=30M\n{text}");
        let host = Memory::described(&library).answering(program, outcome).running();
        let mut facts = discover::facts(&host).unwrap();
        ask(&host, &mut facts);
        let runs = host.commands();
        let searches = runs.iter().filter(|run| !run.contains("--show ")).count();
        assert_eq!(searches, 1, "one run for all paths: {runs:?}");
        assert!(runs[0].contains(&format!("{DIR}/libcuda.so.1")), "{runs:?}");
        assert!(runs[0].contains(" /lib/x86_64-linux-gnu/libcuda.so.1"), "{runs:?}");
        facts
    }

    fn said(stdout: &str) -> Outcome {
        Outcome { status: Some(1), stdout: stdout.into(), ..Outcome::default() }
    }

    #[test]
    fn dpkg_names_the_package_by_either_spelling_of_a_merged_directory() {
        let answer = "diversion by x from: /lib/x86_64-linux-gnu/libcuda.so.1\n\
                      libcuda1:amd64, other: /lib/x86_64-linux-gnu/libcuda.so.1\n";
        let facts = asked("file /var/lib/dpkg/status", "dpkg-query", said(answer));
        let owner = facts.libraries[0].owner.clone().unwrap();
        assert_eq!((owner.manager.as_str(), owner.package.as_str()), ("dpkg", "libcuda1"));
        assert_eq!(facts.unseen, []);
    }

    #[test]
    fn rpm_names_package_and_version_in_one_answer_for_all_files() {
        let answer = format!(
            "file /x is not owned by any package\npackage\tnvidia-libs\t580.999-1\n\
             file\t/usr/share/doc\nfile\t{DIR}/libcuda.so.1\n"
        );
        let facts = asked("file /usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/bin/rpm", said(&answer));
        let owner = facts.libraries[0].owner.clone().unwrap();
        assert_eq!(
            (owner.package.as_str(), owner.version.as_deref()),
            ("nvidia-libs", Some("580.999-1"))
        );
    }

    #[test]
    fn pacman_and_apk_answer_in_sentences() {
        let answer = format!("{DIR}/libcuda.so.1 is owned by nvidia-utils 580.999-1\n");
        let facts = asked("dir /var/lib/pacman/local", "pacman", said(&answer));
        let owner = facts.libraries[0].owner.clone().unwrap();
        assert_eq!((owner.manager.as_str(), owner.package.as_str()), ("pacman", "nvidia-utils"));
    }

    #[test]
    fn a_manager_that_takes_too_long_is_said_not_to_be_seen() {
        let slow = Outcome { timed_out: true, ..Outcome::default() };
        let facts = asked("file /var/lib/dpkg/status", "dpkg-query", slow);
        assert_eq!(facts.libraries[0].owner, None);
        let because = "/usr/bin/dpkg-query took more than 10s".to_owned();
        assert_eq!(facts.unseen, [Unseen { path: "/var/lib/dpkg".into(), because }]);
    }

    #[test]
    fn paths_that_belong_to_nobody_are_no_complaint_of_any_manager() {
        for line in [
            "dpkg-query: no path found matching pattern /usr/lib/libcuda.so.1",
            "error: file /usr/lib/libcuda.so.1: No such file or directory",
            "error: No package owns /usr/lib/libcuda.so.1",
            "error: failed to read file '/usr/lib/libcuda.so.1': No such file or directory",
            "warning: Found bdb_ro Packages database while attempting sqlite backend",
        ] {
            assert_eq!(complaint(line.as_bytes()), None, "{line}");
        }
        let damaged = "error: cannot open Packages index using sqlite - No such file (2)";
        assert_eq!(complaint(damaged.as_bytes()).as_deref(), Some(damaged));
    }

    #[test]
    fn a_complaint_beside_an_answer_keeps_both() {
        let answer = Outcome {
            stderr: b"error: rpmdbNextIterator: skipping h# 7".into(),
            ..said(&format!("package\tnvidia-libs\t580.999-1\nfile\t{DIR}/libcuda.so.1\n"))
        };
        let facts = asked("file /usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/bin/rpm", answer);
        assert!(facts.libraries[0].owner.is_some());
        assert!(facts.unseen[0].because.contains("skipping h# 7"), "{:?}", facts.unseen);
    }
}
