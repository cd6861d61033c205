//! All files but some: landlock knows only what is allowed, not what is not.

use std::path::{Path, PathBuf};

/// Names all files beside `hidden`, with as few paths as there can be: whole directories where
/// nothing in them is hidden. What is made later beside a hidden path is not among them.
pub(super) fn others(hidden: &[PathBuf]) -> Vec<PathBuf> {
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let hidden: Vec<PathBuf> = hidden.iter().map(real).collect();
    let (mut kept, mut parted) = (Vec::new(), vec![PathBuf::from("/")]);
    while let Some(directory) = parted.pop() {
        // One that cannot be listed is not kept either.
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let is_link = path.is_symlink();
            // A rule holds for what a link leads to.
            let Ok(leads) = path.canonicalize() else { continue };
            match hidden.iter().any(|hidden| hidden.starts_with(&leads)) {
                false if !is_within(&leads, &hidden) => kept.push(path),
                true if !is_link && !hidden.contains(&leads) => parted.push(path),
                _ => {}
            }
        }
    }
    kept
}

fn is_within(path: &Path, hidden: &[PathBuf]) -> bool {
    hidden.iter().any(|hidden| path.starts_with(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_in_none_of_the_others_also_by_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("it is there");
        for name in ["a/b/c", "a/d", "e"] {
            std::fs::create_dir_all(root.join(name)).expect("made");
        }
        for (link, to) in [("link", "a/b"), ("up", "a"), ("fine", "e"), ("broken", "nowhere")] {
            std::os::unix::fs::symlink(root.join(to), root.join(link)).expect("made");
        }
        for hidden in ["a/b", "link"] {
            let hidden = [root.join(hidden), root.join("not there")];
            let others = others(&hidden);
            let mut here: Vec<&Path> =
                others.iter().filter_map(|path| path.strip_prefix(&root).ok()).collect();
            here.sort_unstable();
            assert_eq!(here, [Path::new("a/d"), Path::new("e"), Path::new("fine")]);
            assert!(others.contains(&"/usr".into()) && !others.contains(&"/".into()));
        }
    }
}
