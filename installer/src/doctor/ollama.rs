//! Checks of the Ollamas themselves: installs, bundles, discovery, logs.

mod discovery;
mod files;
mod log;

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ollama.install",
        establishes: "one Ollama is installed, in a way that can be served",
        rows: &["P08", "U14", "U29", "U30"],
        run: files::install,
    },
    Check {
        id: "ollama.bundle",
        establishes: "Ollama has its CUDA backend, with its own libraries beside it",
        rows: &["F18", "F29", "U08", "U33"],
        run: files::bundle,
    },
    Check {
        id: "ollama.discovery",
        establishes: "Ollama's own children find the GPU, and in time",
        rows: &["F03", "U05", "U18", "U21", "U39"],
        run: discovery::check,
    },
    Check {
        id: "ollama.log",
        establishes: "the service found the GPU at its last start",
        rows: &["F81", "F83", "U17", "U23", "U27"],
        run: log::check,
    },
    Check {
        id: "ollama.arch",
        establishes: "the bundle was built for this GPU",
        rows: &["F71", "U13"],
        run: discovery::arch,
    },
];
