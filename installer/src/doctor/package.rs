//! Checks of what is installed, by us and by others.

mod drift;
mod foreign;
mod integrity;
mod journal;

use super::Check;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "package.integrity",
        establishes: "our files are as they were shipped",
        rows: &["F46", "P04", "P21", "P27"],
        run: integrity::check,
    },
    Check {
        id: "package.journal",
        establishes: "no change is unfinished, and nobody else changes anything now",
        rows: &["F43", "P32", "P33", "P34", "P53"],
        run: journal::check,
    },
    Check {
        id: "package.drift",
        establishes: "what we wrote is still as we wrote it",
        rows: &["P25", "P35", "P36", "P48"],
        run: drift::check,
    },
    Check {
        id: "package.foreign",
        establishes: "nobody else's package will overwrite or shadow us",
        rows: &["F44", "U25", "P14", "P15", "P16", "P39", "P47", "P55"],
        run: foreign::check,
    },
];

#[cfg(test)]
pub(super) mod tests {
    use crate::facts::SHIMS;
    use crate::host::memory::Memory;
    use crate::plan::{Policy, Scope, plan};
    use crate::{apply, discover};

    /// A machine on which one scope was applied.
    pub(super) fn applied(scope: Scope) -> Memory {
        applied_all(&[scope])
    }

    /// A machine on which these scopes were applied, one after the other.
    pub(in crate::doctor) fn applied_all(scopes: &[Scope]) -> Memory {
        let mut text = String::from(
            "dir /var/lib
             file /etc/systemd/system/ollama.service [Service]\\nExecStart=/usr/local/bin/ollama
             file /usr/local/bin/ollama program
             file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
             file /usr/local/lib/ollama/cuda_v13/libcudart.so.13 theirs\n",
        );
        for name in SHIMS {
            text.push_str(&format!("file /usr/lib/x86_64-linux-gnu/vgpu/{name} ours\n"));
        }
        let machine = Memory::described(&text);
        for scope in scopes {
            let facts = discover::facts(&machine).unwrap();
            let plan = plan(&facts, &Policy { scope: *scope, ..Policy::default() }).unwrap();
            apply::apply(&machine, &plan, &mut || Ok(())).unwrap();
        }
        machine
    }
}
