//! Checks of what ld.so gives to the service.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
