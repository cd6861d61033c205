//! The table behind `cuGetProcAddress`: every form of every driver function, by base name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::emit::HEAD;
use crate::error::Problem;

/// Writes the table.
///
/// The headers list versions per base name: the first is the plain symbol's, the next that of
/// `_v2`, and so on; a per-thread variant is found by its suffix. What no header lists has no
/// entry point.
pub(crate) fn emit(
    versions: &BTreeMap<String, Vec<i32>>,
    names: &BTreeSet<String>,
) -> Result<String, (String, Problem)> {
    let mut out = format!("{HEAD}//! Every form of every driver function, by base name.\n\n");
    out.push_str(
        "use std::ptr;\n\nuse crate::api::entry::Form;\nuse crate::exports::*;\n\n\
         /// The forms of each function, the oldest first, ordered by base name.\n\
         pub(crate) const ENTRY_POINTS: &[(&str, &[Form])] = &[\n",
    );
    for (base, versions) in versions.iter().filter(|(base, _)| names.contains(*base)) {
        let beyond = format!("{base}_v{}", versions.len() + 1);
        if names.contains(&beyond) {
            return Err((beyond, Problem::NoVersion));
        }
        let _ = writeln!(out, "(\"{base}\", &[");
        for (since, number) in versions.iter().zip(1..) {
            let symbol = if number == 1 { base.clone() } else { format!("{base}_v{number}") };
            if !names.contains(&symbol) {
                return Err((symbol, Problem::NotExported));
            }
            let variants = ["_ptsz", "_ptds"].map(|suffix| format!("{symbol}{suffix}"));
            let variant = variants.into_iter().find(|variant| names.contains(variant));
            let variant = variant.map_or("ptr::null()".into(), |name| format!("{name} as _"));
            let _ = writeln!(
                out,
                "Form {{ since: {since}, plain: {symbol} as _, per_thread: {variant} }},"
            );
        }
        out.push_str("]),\n");
    }
    out.push_str("];\n");
    Ok(out)
}
