//! Checks of the API as a program of the service's user meets it.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
