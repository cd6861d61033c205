//! Joins generations into one whose inverse is the inverses of all: pure.
//!
//! What an older generation put at a path and a newer one replaced is needed by nobody once both
//! can only be taken back together: only the first original and the last content count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::journal::Change;
use crate::object::{Content, Object};
use crate::state::{MANIFEST_VERSION, Manifest};
use crate::step::Step;

/// Generations joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// One manifest, with the newest one's number.
    pub manifest: Manifest,
    /// The hidden files that hold what a newer change replaced, and what they hold.
    pub obsolete: Vec<(PathBuf, Content)>,
}

/// Joins manifests, oldest first; none if there are none.
#[must_use]
pub fn join(manifests: &[Manifest]) -> Option<Joined> {
    let newest = manifests.last()?;
    let originals: Vec<&Change> = manifests.iter().flat_map(|one| &one.changes).collect();
    let mut changes: Vec<Change> = Vec::new();
    let mut obsolete = Vec::new();
    for later in &originals {
        let known = changes.iter().rposition(|change| change.step.path() == later.step.path());
        let composed = known.and_then(|at| Some((at, compose(&changes[at], later)?)));
        let Some((at, composed)) = composed else {
            changes.push((*later).clone());
            continue;
        };
        if let (Some(aside), Some(content)) = (later.aside(), changes[at].step.content()) {
            obsolete.push((aside, content));
        }
        changes[at].step = composed;
    }
    keep_times(&mut changes, &originals);
    let mut services = Vec::new();
    for service in manifests.iter().flat_map(|one| &one.services) {
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    let mut joined_scopes = Vec::new();
    for scope in manifests.iter().flat_map(Manifest::scopes) {
        if scope != newest.scope && !joined_scopes.contains(&scope) {
            joined_scopes.push(scope);
        }
    }
    let manifest = Manifest {
        joined_scopes,
        schema_version: MANIFEST_VERSION,
        changes,
        services,
        parent_times: manifests.iter().find_map(|one| one.parent_times),
        ..newest.clone()
    };
    Some(Joined { manifest, obsolete })
}

/// The step that does what two steps on one path do, if the later began with what the earlier
/// left: it keeps the earlier one's hidden name, under which the original lies.
fn compose(earlier: &Change, later: &Change) -> Option<Step> {
    let path = later.step.path()?.clone();
    let continues = match &earlier.step {
        Step::RemoveFile { .. } => later.before.is_absent(),
        step => step.content().is_some_and(|left| later.before.holds(&left)),
    };
    if !continues {
        return None;
    }
    Some(match (&earlier.before, &later.step, later.step.content()) {
        (Object::Absent, _, Some(Content::File { mode, text })) => {
            Step::WriteFile { path, mode, text }
        }
        (Object::Absent, _, Some(Content::Link { target })) => Step::MakeLink { path, target },
        // Made and removed again: the two inverses give the directory its time back, one cannot.
        (Object::Absent, _, None) => return None,
        (before, _, Some(content)) => Step::Replace { path, before: before.clone(), content },
        (before, Step::RemoveFile { .. }, None) => {
            Step::RemoveFile { path, before: before.clone() }
        }
        _ => return None,
    })
}

/// Gives the joined changes of each directory a chain of times from the first change's to the
/// last's. Where somebody else changed the directory in between, its time is not ours to restore.
fn keep_times(changes: &mut [Change], originals: &[&Change]) {
    let mut chains: BTreeMap<&Path, Vec<&Change>> = BTreeMap::new();
    for change in originals {
        if let Some(dir) = change.step.path().and_then(|path| path.parent()) {
            chains.entry(dir).or_default().push(change);
        }
    }
    for (dir, chain) in chains {
        let unbroken =
            chain.windows(2).all(|pair| pair[0].parent_after == Some(pair[1].parent_mtime));
        let is_there =
            |change: &&mut Change| change.step.path().and_then(|path| path.parent()) == Some(dir);
        let mut after = chain.last().and_then(|last| last.parent_after).filter(|_| unbroken);
        let mut members: Vec<&mut Change> = changes.iter_mut().filter(is_there).collect();
        for change in members.iter_mut().rev() {
            change.parent_after = after;
            after = after.map(|_| change.parent_mtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Meta, Stamp, digest};
    use crate::plan::Scope;

    fn stamp(seconds: i64) -> Stamp {
        Stamp { seconds, nanoseconds: 0 }
    }

    fn file(text: &str) -> Object {
        let meta = Meta { mode: 0o644, ..Meta::default() };
        let sha256 = Some(digest(text.as_bytes()));
        Object::File { meta, bytes: text.len() as u64, sha256 }
    }

    fn change(generation: u64, step: Step, times: (i64, i64)) -> Change {
        let before = step.before();
        let (parent_mtime, parent_after) = (stamp(times.0), Some(stamp(times.1)));
        Change { generation, index: 0, step, before, parent_mtime, parent_after }
    }

    fn write(text: &str) -> Step {
        Step::WriteFile { path: "/etc/a".into(), mode: 0o644, text: text.into() }
    }

    fn replace(before: &str, text: &str) -> Step {
        let content = Content::File { mode: 0o644, text: text.into() };
        Step::Replace { path: "/etc/a".into(), before: file(before), content }
    }

    fn manifest(change: Change) -> Manifest {
        Manifest {
            schema_version: MANIFEST_VERSION,
            generation: change.generation,
            time: change.generation,
            program_version: "9.9.9".into(),
            scope: Scope::Service,
            joined_scopes: vec![],
            changes: vec![change],
            services: vec![Step::DaemonReload { user: None }],
            parent_times: None,
        }
    }

    #[test]
    fn a_file_written_twice_is_one_file_and_what_lay_between_is_obsolete() {
        let first = manifest(change(1, write("one"), (5, 6)));
        let second = manifest(change(2, replace("one", "two"), (6, 7)));
        let joined = join(&[first, second]).unwrap();
        let content = Content::File { mode: 0o644, text: "one".into() };
        assert_eq!(joined.obsolete, [("/etc/.vgpu-2-0".into(), content)]);
        let [one] = &joined.manifest.changes[..] else { panic!("{:?}", joined.manifest) };
        assert_eq!((one.generation, &one.step, &one.before), (1, &write("two"), &Object::Absent));
        assert_eq!((one.parent_mtime, one.parent_after), (stamp(5), Some(stamp(7))));
        assert_eq!((joined.manifest.generation, joined.manifest.services.len()), (2, 1));
    }

    #[test]
    fn every_scope_of_the_joined_generations_is_kept() {
        let of = |generation, scope| Manifest {
            scope,
            ..manifest(change(generation, write("one"), (5, 6)))
        };
        let all = [of(1, Scope::Bundle), of(2, Scope::System), of(3, Scope::Service)];
        let first = join(&all[..2]).unwrap().manifest;
        assert_eq!((first.scope, &first.joined_scopes[..]), (Scope::System, &[Scope::Bundle][..]));
        let second = join(&[first, all[2].clone(), of(4, Scope::Bundle)]).unwrap().manifest;
        let scopes: Vec<Scope> = second.scopes().collect();
        assert_eq!(scopes, [Scope::System, Scope::Service, Scope::Bundle]);
    }

    #[test]
    fn the_first_original_stays_under_its_own_hidden_name() {
        let first = manifest(change(1, replace("theirs", "one"), (5, 6)));
        let second = manifest(change(2, replace("one", "two"), (6, 7)));
        let joined = join(&[first, second]).unwrap();
        let [one] = &joined.manifest.changes[..] else { panic!("{:?}", joined.manifest) };
        assert_eq!(one.step, replace("theirs", "two"));
        assert_eq!(one.aside().unwrap(), Path::new("/etc/.vgpu-1-0"));
    }

    #[test]
    fn a_removal_joins_what_comes_before_and_after_it() {
        let remove = |before| Step::RemoveFile { path: "/etc/a".into(), before };
        let first = manifest(change(1, remove(file("theirs")), (5, 6)));
        let second = manifest(change(2, write("two"), (6, 7)));
        let third = manifest(change(3, remove(file("two")), (7, 8)));
        let joined = join(&[first.clone(), second.clone()]).unwrap();
        assert_eq!(joined.manifest.changes[0].step, replace("theirs", "two"));
        assert_eq!(joined.obsolete, []);
        let joined = join(&[first, second.clone(), third.clone()]).unwrap();
        assert_eq!(joined.manifest.changes[0].step, remove(file("theirs")));
        assert_eq!(joined.obsolete.len(), 1);
        let joined = join(&[second, third]).unwrap();
        assert_eq!((joined.manifest.changes.len(), joined.obsolete.len()), (2, 0));
    }

    #[test]
    fn what_others_changed_between_two_generations_keeps_both() {
        let first = manifest(change(1, write("one"), (5, 6)));
        let second = manifest(change(2, replace("edited", "two"), (8, 9)));
        let joined = join(&[first.clone(), second.clone()]).unwrap();
        assert_eq!(joined.obsolete, []);
        assert_eq!(joined.manifest.changes.len(), 2);
        assert!(joined.manifest.changes.iter().all(|change| change.parent_after.is_none()));
    }

    #[test]
    fn the_times_of_a_directory_stay_a_chain() {
        let other = Step::WriteFile { path: "/etc/b".into(), mode: 0o644, text: "b".into() };
        let mut first = manifest(change(1, write("one"), (5, 6)));
        first.changes.push(Change { index: 1, ..change(1, other, (6, 7)) });
        let second = manifest(change(2, replace("one", "two"), (7, 8)));
        let joined = join(&[first, second]).unwrap();
        let [a, b] = &joined.manifest.changes[..] else { panic!("{:?}", joined.manifest) };
        assert_eq!((b.parent_mtime, b.parent_after), (stamp(6), Some(stamp(8))));
        assert_eq!((a.parent_mtime, a.parent_after), (stamp(5), Some(stamp(6))));
    }
}
