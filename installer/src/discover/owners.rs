//! Asks the package managers whose the copies are, and reads the alternatives that lead to them.
//!
//! Only commands that show it pay for it: each manager is started once for all paths. Of a system
//! below another root only dpkg's database is asked, with the machine's own program: rpm would
//! write beside it, and the others look at the machine's files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::alternatives;
use crate::facts::{Facts, Owner, Unseen};
use crate::host::{Host, Program};

/// How long a manager may take: dpkg reads all its lists, half a second from a cold disk.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most copies that owners are asked for: 500, ten times a machine with four toolkits.
const COPIES_MAX: usize = 500;
/// Directories that were joined with those below `/usr`; packages may name either.
const MERGED: [&str; 4] = ["lib", "lib64", "lib32", "bin"];
/// Where rpm keeps its database, newest first.
const RPM_DIRS: [&str; 3] = ["/usr/lib/sysimage/rpm", "/usr/share/rpm", "/var/lib/rpm"];
const RPM_FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

type Owners = BTreeMap<PathBuf, Owner>;

/// Completes facts by owners and alternatives. A manager that could not be asked is noted in
/// [`Facts::unseen`].
pub fn ask(host: &dyn Host, facts: &mut Facts) {
    facts.alternatives = alternatives::of(host, &facts.libraries);
    let copies = facts.libraries.iter().take(COPIES_MAX);
    let paths: BTreeSet<PathBuf> =
        copies.flat_map(|copy| [&copy.file, &copy.path]).flat_map(|path| spellings(path)).collect();
    if paths.is_empty() {
        return;
    }
    let mut owners = Owners::new();
    for manager in [dpkg, rpm, pacman, apk] {
        match manager(host, &paths) {
            Asked::NotThere => {}
            Asked::Answered(found) => {
                for (path, owner) in found {
                    owners.entry(path).or_insert(owner);
                }
            }
            Asked::Failed(unseen) => facts.unseen.push(unseen),
        }
    }
    for copy in &mut facts.libraries {
        let asked = [&copy.file, &copy.path].into_iter().flat_map(|path| spellings(path));
        copy.owner = asked.into_iter().find_map(|path| owners.get(&path).cloned());
    }
}

/// What came of asking a manager.
enum Asked {
    /// The system has no such manager.
    NotThere,
    Answered(Owners),
    Failed(Unseen),
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

fn run(host: &dyn Host, database: &Path, program: &str, arguments: Vec<OsString>) -> Output {
    let because = |because: String| {
        Err(Unseen { path: database.into(), because: format!("{program} {because}") })
    };
    let outcome = host.run(&Program {
        path: program.into(),
        arguments,
        environment: vec![
            ("LC_ALL".into(), "C".into()),
            ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ],
        deadline: DEADLINE,
    });
    match outcome {
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            because(format!("could not be run: {}", cause.unwrap_or_else(|| error.to_string())))
        }
        Ok(outcome) if outcome.timed_out => because(format!("took more than {DEADLINE:?}")),
        Ok(outcome) if outcome.status.is_none() => because("was ended by a signal".into()),
        // dpkg answers 1, and rpm the count of them, where paths belong to nobody.
        Ok(outcome) if outcome.stdout.is_empty() && tells_of_database(&outcome.stderr) => {
            because("could not read its database".into())
        }
        Ok(outcome) => Ok(outcome.stdout),
    }
}

/// True if a manager complains of more than files that belong to nobody.
fn tells_of_database(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    text.lines().any(|line| {
        let of_a_file = line.contains("No such file") || line.contains("no path found");
        line.contains("error") && (line.contains("database") || !of_a_file)
    })
}

type Output = Result<Vec<u8>, Unseen>;

fn answered(output: Output, read: impl Fn(&[u8]) -> Owners) -> Asked {
    match output {
        Ok(output) => Asked::Answered(read(&output)),
        Err(unseen) => Asked::Failed(unseen),
    }
}

fn exists(host: &dyn Host, path: &Path) -> bool {
    matches!(host.canonical(path), Ok(Some(_)))
}

/// `dpkg-query --search` takes paths as patterns: those that hold one's signs are not asked.
fn dpkg(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let database = Path::new("/var/lib/dpkg");
    if !exists(host, &database.join("status")) {
        return Asked::NotThere;
    }
    let mut admin = OsString::from("--admindir=");
    admin.push(host.seen_from_outside(database));
    let mut arguments = vec![admin, "--search".into(), "--".into()];
    let plain = |path: &&PathBuf| {
        !path.as_os_str().as_bytes().iter().any(|byte| b"*?[]\\\n".contains(byte))
    };
    arguments.extend(paths.iter().filter(plain).map(|path| path.clone().into_os_string()));
    answered(run(host, database, "/usr/bin/dpkg-query", arguments), dpkg_owners)
}

/// Reads lines such as `libcuda1:amd64, other: /usr/lib/libcuda.so.1`.
fn dpkg_owners(output: &[u8]) -> Owners {
    let mut owners = Owners::new();
    for line in output.split(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let Some((packages, _)) = text.split_once(": /") else { continue };
        if packages.starts_with("diversion by ") || packages.starts_with("local diversion") {
            continue;
        }
        let path = OsStr::from_bytes(&line[packages.len() + 2..]);
        let package = packages.split(", ").next().unwrap_or(packages);
        let package = package.split(':').next().unwrap_or(package).to_owned();
        owners.insert(path.into(), Owner { manager: "dpkg".into(), package, version: None });
    }
    owners
}

/// One answer holds each package's name and version, then all of its files.
fn rpm(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let database = RPM_DIRS
        .iter()
        .map(Path::new)
        .find(|dir| RPM_FILES.iter().any(|file| exists(host, &dir.join(file))));
    let Some(database) = database else { return Asked::NotThere };
    if !host.is_running() {
        // Even a query leaves SQLite's files beside the database: another root stays as it is.
        let because = "rpm would write beside the database of another root, and was not asked";
        return Asked::Failed(Unseen { path: database.into(), because: because.into() });
    }
    let format = "package\\t%{NAME}\\t%{VERSION}-%{RELEASE}\\n[file\\t%{FILENAMES}\\n]";
    let mut arguments: Vec<OsString> =
        ["--query", "--file", "--queryformat", format, "--"].map(OsString::from).into();
    arguments.extend(paths.iter().map(|path| path.clone().into_os_string()));
    answered(run(host, database, "/usr/bin/rpm", arguments), |output| rpm_owners(output, paths))
}

fn rpm_owners(output: &[u8], paths: &BTreeSet<PathBuf>) -> Owners {
    let mut owners = Owners::new();
    let mut owner: Option<Owner> = None;
    for line in output.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b'\t');
        let (kind, first) = (fields.next(), fields.next().unwrap_or_default());
        match kind {
            Some(b"package") => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let version = fields.next().map(text);
                owner = Some(Owner { manager: "rpm".into(), package: text(first), version });
            }
            Some(b"file") => {
                let path = Path::new(OsStr::from_bytes(first));
                if let Some(owner) = owner.as_ref().filter(|_| paths.contains(path)) {
                    owners.insert(path.into(), owner.clone());
                }
            }
            _ => {}
        }
    }
    owners
}

/// pacman and apk look at the file itself, so only the running machine's can be asked.
fn pacman(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let arguments = vec!["--query".into(), "--owns".into(), "--".into()];
    spoken(host, paths, "/var/lib/pacman/local", "/usr/bin/pacman", arguments, "pacman")
}

fn apk(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let arguments = vec!["info".into(), "--who-owns".into()];
    spoken(host, paths, "/lib/apk/db/installed", "/sbin/apk", arguments, "apk")
}

fn spoken(
    host: &dyn Host,
    paths: &BTreeSet<PathBuf>,
    database: &str,
    program: &str,
    mut arguments: Vec<OsString>,
    manager: &str,
) -> Asked {
    let database = Path::new(database);
    if !exists(host, database) {
        return Asked::NotThere;
    }
    if !host.is_running() {
        let because = format!("{manager} can be asked on the machine itself only");
        return Asked::Failed(Unseen { path: database.into(), because });
    }
    arguments.extend(paths.iter().map(|path| path.clone().into_os_string()));
    answered(run(host, database, program, arguments), |output| spoken_owners(output, manager))
}

/// Reads sentences such as `/usr/lib/libcuda.so.1 is owned by nvidia-utils 580.999-1`.
fn spoken_owners(output: &[u8], manager: &str) -> Owners {
    let text = String::from_utf8_lossy(output);
    let mut owners = Owners::new();
    for line in text.lines() {
        let Some((path, owner)) = line.split_once(" is owned by ") else { continue };
        let mut words = owner.split_whitespace();
        let Some(package) = words.next().map(str::to_owned) else { continue };
        let version = words.next().map(str::to_owned);
        owners.insert(path.into(), Owner { manager: manager.into(), package, version });
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover;
    use crate::host::Outcome;
    use crate::host::memory::Memory;

    const DIR: &str = "/usr/lib/x86_64-linux-gnu";

    fn asked(text: &str, program: &str, outcome: Outcome) -> Facts {
        let library = format!("elf {DIR}/libcuda.so.1 soname=libcuda.so.1 image=30M\n{text}");
        let host = Memory::described(&library).answering(program, outcome).running();
        let mut facts = discover::facts(&host).unwrap();
        ask(&host, &mut facts);
        let runs = host.commands();
        assert_eq!(runs.len(), 1, "one run for all paths: {runs:?}");
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
}
