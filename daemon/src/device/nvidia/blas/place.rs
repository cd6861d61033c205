//! Where NVIDIA's libcublas is: in the directory of the configuration, else where the loader finds
//! it, else where CUDA toolkits lie.

use std::path::{Path, PathBuf};

use super::super::find;
use crate::error::DaemonError;

/// The majors that there are, each with its library.
const MAJORS: [(u32, &str); 2] = [(12, "libcublas.so.12"), (13, "libcublas.so.13")];

/// Where toolkits lie: NVIDIA's installers, and Arch's package.
const TOOLKITS: [&str; 2] = ["/usr/local", "/opt"];

/// A toolkit's libraries, for this machine; `lib64` leads there as well.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = "targets/x86_64-linux/lib";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "targets/sbsa-linux/lib";

/// Finds the library: the guest's major, else the other one; none of a later major than the
/// driver's, over which it would not run.
///
/// # Errors
/// What stands there and is none of NVIDIA's, else [`DaemonError::DriverMissing`] with all places.
pub(super) fn find(
    major: u32,
    driver_version: i32,
    directory: Option<&Path>,
) -> Result<PathBuf, DaemonError> {
    let places = match directory {
        Some(directory) => vec![Some(directory.to_path_buf())],
        None => {
            let toolkits = TOOLKITS.iter().flat_map(|root| toolkits(Path::new(root)));
            std::iter::once(None).chain(toolkits.map(Some)).collect()
        }
    };
    let runs =
        |(other, _): &(u32, _)| *other == MAJORS[0].0 || *other as i32 <= driver_version / 1000;
    let mut names: Vec<_> = MAJORS.into_iter().filter(runs).collect();
    names.sort_by_key(|(other, _)| *other != major);
    let (mut refused, mut all) = (None, Vec::new());
    for (_, name) in &names {
        for place in &places {
            match find::find_one(name, place.as_deref()) {
                Ok(path) => return Ok(path),
                Err(DaemonError::DriverMissing { searched, .. }) => all.extend(searched),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
    }
    Err(refused.unwrap_or(DaemonError::DriverMissing { name: names[0].1, searched: all }))
}

/// Lists the directories with libraries of the toolkits below a root: that of `cuda`, which the
/// machine's owner points at one of them, then those with a version, the newest first.
fn toolkits(root: &Path) -> Vec<PathBuf> {
    let version = |path: &Path| {
        let version = path.file_name()?.to_str()?.strip_prefix("cuda-")?;
        version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut versioned: Vec<_> = entries
        .filter_map(|entry| version(&entry.path()).map(|version| (version, entry.path())))
        .collect();
    versioned.sort_by(|one, other| other.cmp(one));
    let all = std::iter::once(root.join("cuda")).chain(versioned.into_iter().map(|(_, path)| path));
    all.flat_map(|toolkit| [toolkit.join("lib64"), toolkit.join(TARGET)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolkits_are_searched_from_the_chosen_one_to_the_oldest() {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["cuda-12.9", "cuda-13.0", "cuda-12.10", "cuda-old", "other"] {
            std::fs::create_dir(root.path().join(name)).expect("created");
        }
        let found = toolkits(root.path());
        let names = ["cuda", "cuda-13.0", "cuda-12.10", "cuda-12.9"];
        let expected =
            names.map(|name| ["lib64", TARGET].map(|under| root.path().join(name).join(under)));
        assert_eq!(found, expected.concat());
    }

    #[test]
    fn what_is_missing_is_told_with_every_place_and_what_is_none_before_that() {
        let directory = tempfile::tempdir().expect("a directory");
        match find(13, 13000, Some(directory.path())) {
            Err(DaemonError::DriverMissing { name: "libcublas.so.13", searched }) => {
                let names = ["libcublas.so.13", "libcublas.so.12"];
                assert_eq!(searched, names.map(|name| directory.path().join(name)));
            }
            other => panic!("{other:?}"),
        }
        std::fs::write(directory.path().join("libcublas.so.12"), b"text").expect("written");
        let none = find(13, 13000, Some(directory.path()));
        assert!(matches!(none, Err(DaemonError::DriverIsNone { .. })), "{none:?}");
    }

    #[test]
    fn a_library_of_a_later_major_than_the_drivers_is_not_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("libcublas.so.13"), b"text").expect("written");
        match find(13, 12080, Some(directory.path())) {
            Err(DaemonError::DriverMissing { name: "libcublas.so.12", searched }) => {
                assert_eq!(searched, [directory.path().join("libcublas.so.12")]);
            }
            other => panic!("{other:?}"),
        }
    }
}
