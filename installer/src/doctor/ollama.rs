//! Checks of the Ollamas themselves: installs, bundles, discovery, logs.

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[];
