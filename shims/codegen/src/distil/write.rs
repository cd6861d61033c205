//! Writes the distilled form: TOML with one line per function, type and constant.

use std::fmt::Write as _;

use crate::signature::Signatures;

/// Spells the distilled form of one library.
pub(super) fn toml(signatures: &Signatures) -> String {
    let mut out = String::from(
        "# Distilled from the public headers by vgpu-codegen. Not edited by hand.\n\n[functions]\n",
    );
    for (name, parameters) in &signatures.functions {
        let _ = writeln!(out, "{name} = {parameters:?}");
    }
    out.push_str("\n[returns]\n");
    for (name, kind) in &signatures.returns {
        let _ = writeln!(out, "{name} = {kind:?}");
    }
    out.push_str("\n[types]\n");
    for (name, meaning) in &signatures.types {
        let _ = writeln!(out, "{name} = {meaning:?}");
    }
    out.push_str("\n[enums]\n");
    for (name, constants) in &signatures.enums {
        let _ = writeln!(out, "{name} = [");
        for (constant, value) in constants {
            let _ = writeln!(out, "  [{constant:?}, {value}],");
        }
        out.push_str("]\n");
    }
    for (name, layout) in &signatures.structs {
        let _ =
            writeln!(out, "\n[structs.{name}]\nsize = {}\nalign = {}", layout.size, layout.align);
        out.push_str("fields = [\n");
        for (field, kind, offset) in &layout.fields {
            let _ = writeln!(out, "  [{field:?}, {kind:?}, {offset}],");
        }
        out.push_str("]\n");
    }
    out
}
