//! Checks of the way to the host.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
