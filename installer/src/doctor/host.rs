//! Checks of what the host says of itself.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
