//! rpm's owners: one answer holds each package's name and version, then all of its files.
//!
//! Even a query leaves SQLite's files beside the database, so that of a system below another root
//! rpm gets a private copy of it: that root stays as it is, byte for byte.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Asked, Owners, exists, program, run, why};
use crate::facts::Owner;
use crate::host::{Copied, Host};

/// Where rpm keeps its database, newest first.
const DIRS: [&str; 3] = ["/usr/lib/sysimage/rpm", "/usr/share/rpm", "/var/lib/rpm"];
/// The database itself: of SQLite, of rpm's own kind (SUSE), of Berkeley DB (until RHEL 8).
const DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
/// What else holds parts of it: SQLite's logs, and the indexes that a search by path opens.
const PARTS: [&str; 22] = [
    "rpmdb.sqlite-wal",
    "rpmdb.sqlite-journal",
    "Index.db",
    "Basenames",
    "Conflictname",
    "Dirnames",
    "Enhancename",
    "Filetriggername",
    "Group",
    "Installtid",
    "Name",
    "Obsoletename",
    "Providename",
    "Recommendname",
    "Requirename",
    "Sha1header",
    "Sigmd5",
    "Suggestname",
    "Supplementname",
    "Transfiletriggername",
    "Triggername",
    "Pubkeys",
];
/// Longest database that is copied: 1 GiB; that of a large desktop has 300 MiB.
const BYTES_MAX: u64 = 1 << 30;
const PROGRAM: &str = "/usr/bin/rpm";

pub(super) fn ask(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let is_there = |dir: &&Path| DATABASES.iter().any(|file| exists(host, &dir.join(file)));
    let Some(database) = DIRS.iter().map(Path::new).find(is_there) else {
        return Asked::default();
    };
    let format = "package\\t%{NAME}\\t%{VERSION}-%{RELEASE}\\n[file\\t%{FILENAMES}\\n]";
    let mut arguments: Vec<OsString> =
        ["--query", "--file", "--queryformat", format, "--"].map(OsString::from).into();
    arguments.extend(paths.iter().map(|path| path.clone().into_os_string()));
    if host.is_running() {
        return run(host, database, PROGRAM, arguments, |output| owners(output, paths));
    }
    ask_copy(host, database, arguments, paths)
}

fn ask_copy(
    host: &dyn Host,
    database: &Path,
    arguments: Vec<OsString>,
    paths: &BTreeSet<PathBuf>,
) -> Asked {
    let names: Vec<&str> = DATABASES.into_iter().chain(PARTS).collect();
    let copied = Copied { dir: database, names: &names, bytes_max: BYTES_MAX, option: "--dbpath" };
    let ran = match host.run_on_copy(&program(PROGRAM, arguments), &copied) {
        Ok(ran) => ran,
        Err(error) => {
            let because = format!("{PROGRAM} was not asked: {error}: {}", why(&error));
            return Asked::failed(database, because);
        }
    };
    // An rpm that does not know this kind of database makes an empty one of its own kind.
    if let Some(made) = DATABASES.iter().find(|name| ran.made.iter().any(|made| made == *name)) {
        let because =
            format!("{PROGRAM} reads {made} only, and this is a database of another kind");
        return Asked::failed(database, because);
    }
    Asked::judged(database, PROGRAM, &ran.outcome, |output| owners(output, paths))
}

fn owners(output: &[u8], paths: &BTreeSet<PathBuf>) -> Owners {
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
