//! Checks of the units, as systemd merges and runs them.

mod drop_in;
mod env;
mod hardening;
mod reload;
mod unit;

use super::{Check, Finding};

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "service.unit",
        establishes: "one unit starts Ollama's own program",
        rows: &["F07", "F14", "U09", "P45", "P54"],
        run: unit::check,
    },
    Check {
        id: "service.dropin",
        establishes: "our drop-in is there and has its effect",
        rows: &["F06", "F13", "U10", "P44"],
        run: drop_in::check,
    },
    Check {
        id: "service.reload",
        establishes: "what runs was started after the last change",
        rows: &["F05", "F31", "P23", "P24"],
        run: reload::check,
    },
    Check {
        id: "service.order",
        establishes: "the link was up before Ollama looked",
        rows: &["U03"],
        run: reload::order,
    },
    Check {
        id: "service.hardening",
        establishes: "the unit's sandbox lets our libraries and the link through",
        rows: &["F53", "F54", "U32"],
        run: hardening::check,
    },
    Check {
        id: "service.env",
        establishes: "no variable of the service keeps the GPU away",
        rows: &["F16", "F17", "F19", "F20", "F82", "F84", "U15", "U16", "U20", "U26", "P51"],
        run: env::check,
    },
];

/// What a check of units says where there are none.
fn no_unit() -> Vec<Finding> {
    vec![Finding::skipped("needs a unit of Ollama: none was found")]
}

#[cfg(test)]
mod tests {
    use crate::host::Outcome;
    use crate::host::memory::Memory;

    /// An Ollama with a unit, and our libraries.
    pub(super) const MACHINE: &str = "dir /var/lib
        file /etc/systemd/system/ollama.service [Service]\\nExecStart=/usr/local/bin/ollama serve
        file /usr/local/bin/ollama \u{7f}ELF
        file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
        file /usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1 ours
        file /usr/bin/systemctl elf";
    /// Our drop-in as it matters here.
    pub(super) const DROP_IN: &str = "file /etc/systemd/system/ollama.service.d/50-vgpu.conf \
         [Service]\\n\
         Environment=LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/vgpu\\n\
         Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/vgpu/libcudart.so.13\\n";

    /// A machine with these parts, whose systemd shows these properties of each unit.
    pub(super) fn with(parts: &[&str], shown: &[(&str, &str)]) -> Memory {
        let mut memory = Memory::described(&[&[MACHINE], parts].concat().join("\n"));
        for (unit, properties) in shown {
            let stdout = properties.as_bytes().to_vec();
            let outcome = Outcome { status: Some(0), stdout, ..Outcome::default() };
            memory = memory.answering(&format!("-- {unit}"), outcome);
        }
        if shown.is_empty() { memory } else { memory.running().with_systemd() }
    }
}
