//! Checks of the system as a whole.

mod disk;
mod kernel;
mod leftovers;
mod platform;
mod preload;

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "system.platform",
        establishes: "this kind of system is served",
        rows: &["F07", "U09", "U31", "P28", "P29", "P42"],
        run: platform::check,
    },
    Check {
        id: "system.preload",
        establishes: "no library is preloaded into every process",
        rows: &["F32", "F33", "F40", "P38"],
        run: preload::check,
    },
    Check {
        id: "system.disk",
        establishes: "there is room where the installer writes",
        rows: &["F47"],
        run: disk::check,
    },
    Check {
        id: "system.lockdown",
        establishes: "the kernel lets the link map its device",
        rows: &["F55"],
        run: kernel::lockdown,
    },
    Check {
        id: "system.kmod",
        establishes: "NVIDIA's kernel module holds no device here",
        rows: &["F48", "P39"],
        run: kernel::modules,
    },
    Check {
        id: "system.leftovers",
        establishes: "nothing of an earlier system of this kind is left",
        rows: &["F10"],
        run: leftovers::check,
    },
];
