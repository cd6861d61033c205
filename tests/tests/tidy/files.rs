//! The tracked files of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vgpu_tests::{run, stage};

/// A tracked text file.
pub struct Tracked {
    /// Path below the root.
    pub path: PathBuf,
    /// Content.
    pub text: String,
}

impl Tracked {
    pub fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Files that a program writes: their size and shape are the program's.
    pub fn is_generated(&self) -> bool {
        let name = |component: &Path| component.file_name().is_some_and(|name| name == "generated");
        self.path.ancestors().any(name)
            || self.path.file_name().is_some_and(|name| name == "generated.rs")
    }
}

/// All tracked and all new, not ignored files that are text.
pub fn all() -> Vec<Tracked> {
    let root = stage::repository();
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
    let listed = run(&mut git, Duration::from_secs(60)).and_then(|done| done.success());
    let listed = listed.expect("these tests run in a git checkout, with git in PATH");
    listed
        .lines()
        .filter_map(|line| {
            let text = std::fs::read_to_string(root.join(line)).ok()?;
            Some(Tracked { path: PathBuf::from(line), text })
        })
        .collect()
}
