//! The table behind `cuGetProcAddress`: every form of every driver function, by base name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::emit::HEAD;

/// Writes the table.
///
/// The headers list versions per base name: the first is the plain symbol's, the next that of
/// `_v2`, and so on. A last version without such a symbol is that of the per-thread variants,
/// which are found by their suffix. What no header lists has no entry point.
pub(crate) fn emit(versions: &BTreeMap<String, Vec<i32>>, names: &BTreeSet<String>) -> String {
    let mut out = format!("{HEAD}//! Every form of every driver function, by base name.\n\n");
    out.push_str(
        "use std::ptr;\n\nuse crate::api::entry::Form;\nuse crate::exports::*;\n\n\
         /// The forms of each function, the oldest first, ordered by base name.\n\
         pub(crate) const ENTRY_POINTS: &[(&str, &[Form])] = &[\n",
    );
    for (base, versions) in versions {
        let _ = writeln!(out, "(\"{base}\", &[");
        for (since, number) in versions.iter().zip(1..) {
            let symbol = if number == 1 { base.clone() } else { format!("{base}_v{number}") };
            if !names.contains(&symbol) {
                continue;
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
    out
}
