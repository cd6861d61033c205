//! Checks of the units, as systemd merges and runs them.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
