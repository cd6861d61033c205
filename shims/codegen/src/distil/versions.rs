//! The versions in which a driver function's meaning changed, for `cuGetProcAddress`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Oldest version of CUDA; a smaller number after `_v` belongs to the name.
const VERSION_MIN: u32 = 1000;

/// Lists, for each base name, the versions that the `*Typedefs.h` headers give it.
///
/// Their function types are called `PFN_<base>_v<version>`. Types of the per-thread variants
/// are left out: a variant is found by its symbol. Some of these headers include others that no
/// package holds (OpenGL's), so they are read as text.
pub(super) fn table(directories: &[&Path]) -> Result<String> {
    let mut versions: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for directory in directories {
        let failed = |source| Error::File { verb: "searching", path: (*directory).into(), source };
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.to_string_lossy().ends_with("Typedefs.h") {
                let text = std::fs::read(&path).map_err(|source| Error::File {
                    verb: "reading",
                    path,
                    source,
                })?;
                note(&String::from_utf8_lossy(&text), &mut versions);
            }
        }
    }
    let mut out = String::from(
        "# Versions of each driver function, distilled by vgpu-codegen. Not edited by hand.\n\n",
    );
    for (base, versions) in versions {
        let versions: Vec<u32> = versions.into_iter().collect();
        let _ = writeln!(out, "{base} = {versions:?}");
    }
    Ok(out)
}

fn note(text: &str, versions: &mut BTreeMap<String, BTreeSet<u32>>) {
    for rest in text.split("PFN_").skip(1) {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        if let Some((base, version)) = name.rsplit_once("_v")
            && let Ok(version) = version.parse()
            && version >= VERSION_MIN
        {
            versions.entry(base.to_owned()).or_default().insert(version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_type_names_its_base_and_version() {
        let mut versions = BTreeMap::new();
        let text = "#define PFN_cuA PFN_cuA_v3020\ntypedef int (*PFN_cuA_v2000)(int);\n\
                    typedef int (*PFN_cuA_v7000_ptds)(int); #define PFN_cuB_v2 PFN_cuB_v2_v11070";
        note(text, &mut versions);
        let expected = [("cuA", vec![2000, 3020]), ("cuB_v2", vec![11070])];
        let found: Vec<_> = versions
            .iter()
            .map(|(base, versions)| (base.as_str(), versions.iter().copied().collect()))
            .collect();
        assert_eq!(found, expected);
    }
}
