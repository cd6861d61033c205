//! The disk of a guest as a list that the guest itself writes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::system::{ALWAYS, APT, Error, Except, Machine, Result};

/// What cloud-init keeps of its runs.
const CLOUD: &[Except] =
    &[Except { path: "var/lib/cloud", because: "cloud-init's own records of its runs" }];

/// Longest time for one listing; the machine hashes half a gigabyte.
const LIMIT: Duration = Duration::from_secs(200);

/// Larger files, such as a CUDA backend, are compared by size and time only: hashing them takes an
/// emulated processor minutes.
const HASHED_MIB: u32 = 20;

/// Is every path of a guest's disk with kind, mode, owner, size, link text, time (of files and
/// links; the times of directories move when dpkg unpacks into them) and, of files, the hash.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, String>);

impl Listing {
    /// Asks the guest, leaving out what changes in any running Debian, and apt's own records.
    ///
    /// # Errors
    /// If the guest fails, or its answer makes no sense.
    pub fn of(machine: &impl Machine) -> Result<Self> {
        let except = |path: &str| format!("-path /{path} -prune -o");
        let all = ALWAYS.iter().chain(APT).chain(CLOUD);
        let except: Vec<_> = all.map(|one| except(one.path)).collect();
        let find = format!("find / -xdev {}", except.join(" "));
        // A newline in a name would be two wrong lines in both listings, and no difference.
        let script = format!(
            "{find} -type d -printf '%p\\td %m %U %G\\n'
             {find} ! -type d -printf '%p\\t%y %m %U %G %s %T@ %l\\n'
             {find} -type f -size -{HASHED_MIB}M -print0 | xargs -0 sha256sum \
             | sed 's/^\\(.*\\)  \\(.*\\)/\\2\\t\\1/'"
        );
        let done = machine.run(&["bash", "-eo", "pipefail", "-c", &script], LIMIT)?;
        let said = done.success()?;
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        for line in said.lines() {
            let (path, what) = line.split_once('\t').unwrap_or((line, ""));
            let known = paths.entry(path.to_owned()).or_default();
            *known += what;
        }
        if paths.contains_key("/usr/bin/dpkg") {
            return Ok(Self(paths));
        }
        let (what, place) = ("/usr/bin/dpkg".to_owned(), "the list of the guest's disk".to_owned());
        Err(Error::Missing { what, place, output: said })
    }

    /// Lists what is different in `later`, sorted by path.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let mut changes: Vec<_> = later
            .0
            .keys()
            .filter(|path| !self.0.contains_key(*path))
            .map(|path| format!("{path}: added"))
            .collect();
        for (path, was) in &self.0 {
            match later.0.get(path) {
                None => changes.push(format!("{path}: removed")),
                Some(is) if is != was => changes.push(format!("{path}: {was} became {is}")),
                Some(_) => {}
            }
        }
        changes.sort();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_or_changed_is_listed() {
        let listing = |paths: &[(&str, &str)]| {
            Listing(paths.iter().map(|(path, what)| (path.to_string(), what.to_string())).collect())
        };
        let before = listing(&[("/a", "f 644"), ("/b", "f 644"), ("/c", "f 644")]);
        let after = listing(&[("/a", "f 600"), ("/c", "f 644"), ("/d", "f 644")]);
        let expected = ["/a: f 644 became f 600", "/b: removed", "/d: added"];
        assert_eq!(before.changes(&after), expected);
        assert!(before.changes(&before).is_empty());
    }
}
