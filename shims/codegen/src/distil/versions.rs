//! The versions in which a driver function's meaning changed, for `cuGetProcAddress`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::parse::Declarations;

/// Lists, for each base name, the versions that `cudaTypedefs.h` gives it; `_ptsz` variants apart.
pub(super) fn table(headers: &[Declarations]) -> String {
    let mut versions: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for name in headers.iter().flat_map(|header| header.pointers.keys()) {
        let Some(rest) = name.strip_prefix("PFN_") else { continue };
        let rest = rest.strip_suffix("_ptsz").or(rest.strip_suffix("_ptds")).unwrap_or(rest);
        if let Some((base, version)) = rest.rsplit_once("_v")
            && let Ok(version) = version.parse()
        {
            versions.entry(base).or_default().insert(version);
        }
    }
    let mut out = String::from(
        "# Versions of each driver function, distilled by vgpu-codegen. Not edited by hand.\n\n",
    );
    for (base, versions) in versions {
        let _ = writeln!(out, "{base} = {versions:?}");
    }
    out.replace("{", "[").replace("}", "]")
}
