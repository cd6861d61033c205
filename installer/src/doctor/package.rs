//! Checks of what is installed, by us and by others.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
