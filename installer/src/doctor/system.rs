//! Checks of the system as a whole.

mod preload;

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[Check {
    id: "system.preload",
    establishes: "no library is preloaded into every process",
    rows: &["F32", "F33", "F40", "P38"],
    run: preload::check,
}];
