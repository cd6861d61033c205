//! The owners of managers that answer in sentences. pacman and apk look at the file itself, so
//! only the running machine's can be asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Asked, Owners, exists, run};
use crate::facts::Owner;
use crate::host::Host;

pub(super) fn pacman(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let words = ["--query", "--owns", "--"];
    ask(host, paths, "/var/lib/pacman/local", "/usr/bin/pacman", &words)
}

pub(super) fn apk(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    ask(host, paths, "/lib/apk/db/installed", "/sbin/apk", &["info", "--who-owns"])
}

fn ask(
    host: &dyn Host,
    paths: &BTreeSet<PathBuf>,
    database: &str,
    program: &str,
    words: &[&str],
) -> Asked {
    let database = Path::new(database);
    if !exists(host, database) {
        return Asked::default();
    }
    let manager = program.rsplit('/').next().unwrap_or(program);
    if !host.is_running() {
        let because = format!(
            "{manager} looks at the machine's own files to tell owners: it was not asked of \
             another root"
        );
        return Asked::failed(database, because);
    }
    let arguments = words.iter().map(Into::into);
    let paths = paths.iter().map(|path| path.clone().into_os_string());
    let arguments = arguments.chain(paths).collect();
    run(host, database, program, arguments, |output| owners(output, manager))
}

/// Reads sentences such as `/usr/lib/libcuda.so.1 is owned by nvidia-utils 580.999-1`.
fn owners(output: &[u8], manager: &str) -> Owners {
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
