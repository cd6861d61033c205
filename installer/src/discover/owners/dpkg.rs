//! dpkg's owners: its lists hold paths, its status file the versions.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Asked, Owners, exists, program, run};
use crate::facts::Owner;
use crate::host::Host;

const DATABASE: &str = "/var/lib/dpkg";
const PROGRAM: &str = "/usr/bin/dpkg-query";

/// `dpkg-query --search` takes paths as patterns: those that hold one's signs are not asked.
pub(super) fn ask(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> Asked {
    let database = Path::new(DATABASE);
    if !exists(host, &database.join("status")) {
        return Asked::default();
    }
    let mut arguments = vec![admin(host), "--search".into(), "--".into()];
    let plain = |path: &&PathBuf| {
        !path.as_os_str().as_bytes().iter().any(|byte| b"*?[]\\\n".contains(byte))
    };
    arguments.extend(paths.iter().filter(plain).map(|path| path.clone().into_os_string()));
    let mut asked = run(host, database, PROGRAM, arguments, owners);
    add_versions(host, &mut asked.owners);
    asked
}

fn admin(host: &dyn Host) -> OsString {
    let mut admin = OsString::from("--admindir=");
    admin.push(host.seen_from_outside(Path::new(DATABASE)));
    admin
}

/// Reads lines such as `libcuda1:amd64, other: /usr/lib/libcuda.so.1`.
fn owners(output: &[u8]) -> Owners {
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

/// Packages of one name have one version, whatever their architecture. A version that is not
/// said stays unknown: the owner is what was asked for.
fn add_versions(host: &dyn Host, owners: &mut Owners) {
    let packages: BTreeSet<&str> = owners.values().map(|owner| owner.package.as_str()).collect();
    if packages.is_empty() {
        return;
    }
    let format = "--showformat=${Package}\\t${Version}\\n";
    let mut arguments = vec![admin(host), "--show".into(), format.into(), "--".into()];
    arguments.extend(packages.into_iter().map(OsString::from));
    let Ok(outcome) = host.run(&program(PROGRAM, arguments)) else { return };
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let versions: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('\t')).collect();
    for owner in owners.values_mut() {
        let version = versions.get(owner.package.as_str()).filter(|version| !version.is_empty());
        owner.version = version.map(|version| (*version).to_owned());
    }
}
