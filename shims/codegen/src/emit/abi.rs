//! The types of one library: result codes, handles, enums, structures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::emit::HEAD;
use crate::naming;
use crate::signature::{Layout, Signatures};

/// Says how one library's result type is called and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Results {
    /// The C enum.
    pub kind: &'static str,
    /// The type that functions return: the enum or another name of it.
    pub returned: &'static str,
    /// What its constants begin with, beyond the name that we keep.
    pub prefixes: &'static [&'static str],
    /// Names the library in docs.
    pub title: &'static str,
}

/// Returns how the result type of a library is called.
///
/// # Panics
/// For a name that is none of the four libraries.
pub(crate) fn results(library: &str) -> Results {
    match library {
        "cuda" => Results {
            kind: "CUresult",
            returned: "CUresult",
            prefixes: &["CUDA_ERROR_", "CUDA_"],
            title: "the driver API",
        },
        "cudart" => Results {
            kind: "cudaError",
            returned: "cudaError_t",
            prefixes: &["cudaError", "cuda"],
            title: "the runtime API",
        },
        "nvml" => Results {
            kind: "nvmlReturn_t",
            returned: "nvmlReturn_t",
            prefixes: &["NVML_ERROR_", "NVML_"],
            title: "NVML",
        },
        "cublas" => Results {
            kind: "cublasStatus_t",
            returned: "cublasStatus_t",
            prefixes: &["CUBLAS_STATUS_"],
            title: "cuBLAS",
        },
        _ => unreachable!("the four libraries are listed in generate"),
    }
}

/// Splits the types of two majors into the common ones and those that differ.
///
/// An enum is common: the newer header only adds constants.
pub(crate) fn split(
    twelve: Signatures,
    mut thirteen: Signatures,
) -> (Signatures, Signatures, Signatures) {
    let (mut own12, mut own13) = (Signatures::default(), Signatures::default());
    let mut common = thirteen.clone();
    for (name, constants) in &twelve.enums {
        let merged = common.enums.entry(name.clone()).or_default();
        for constant in constants {
            if !merged.iter().any(|(name, _)| *name == constant.0) {
                merged.push(constant.clone());
            }
        }
    }
    common.fill(&twelve);
    for (name, layout) in &twelve.structs {
        if let Some(other) = thirteen.structs.remove(name).filter(|other| other != layout) {
            common.types.remove(name);
            common.structs.remove(name);
            own12.types.insert(name.clone(), "struct".into());
            own13.types.insert(name.clone(), "struct".into());
            own12.structs.insert(name.clone(), layout.clone());
            own13.structs.insert(name.clone(), other);
        }
    }
    (common, own12, own13)
}

/// Writes the types that differ between the majors of the runtime.
pub(crate) fn emit_major(signatures: &Signatures) -> String {
    let mut out = format!("{HEAD}//! Structures whose layout is this major's own.\n\n");
    out.push_str("use crate::cudart::*;\n\n");
    for (name, layout) in &signatures.structs {
        structure(&mut out, name, layout);
    }
    out
}

/// Writes the types of one library.
///
/// `texts` holds what the library says about a code where clients match on it; for other codes
/// the text is made from the constant's name.
pub(crate) fn emit(
    results: Results,
    signatures: &Signatures,
    texts: &BTreeMap<String, String>,
) -> String {
    let mut out = format!("{HEAD}//! Types and constants of {}.\n\n", results.title);
    out.push_str("use std::ffi::CStr;\n\n");
    errors(&mut out, results, signatures, texts);
    for (name, meaning) in &signatures.types {
        match meaning.as_str() {
            "handle" => handle(&mut out, name),
            "enum" if name == results.kind => {}
            "enum" => enumeration(&mut out, name, signatures.enums.get(name)),
            "struct" => {
                if let Some(layout) = signatures.structs.get(name) {
                    structure(&mut out, name, layout);
                } else {
                    opaque(&mut out, name);
                }
            }
            "callback" => {
                let _ = writeln!(
                    out,
                    "/// Address of a function of the application (`{name}` in C).\n\
                     pub type {name} = *const std::ffi::c_void;\n"
                );
            }
            alias => {
                let alias = alias.replace("c_void", "std::ffi::c_void");
                let _ = writeln!(out, "/// `{name}` of C.\npub type {name} = {alias};\n");
            }
        }
    }
    out
}

fn errors(
    out: &mut String,
    results: Results,
    signatures: &Signatures,
    texts: &BTreeMap<String, String>,
) {
    let kind = results.kind;
    let constants = signatures.enums.get(kind).map_or(&[][..], Vec::as_slice);
    let _ = writeln!(
        out,
        "crate::code::result_type! {{\n\
         /// What a function of {} answers: success, or an [`Error`].\n{kind}\n}}\n",
        results.title
    );
    out.push_str("impl Error {\n");
    let mut codes = BTreeMap::new();
    for (name, code) in constants {
        if *code != 0 {
            let bare = error_name(results, name);
            let _ = writeln!(out, "/// `{name}`.\npub const {bare}: Self = Self::of({code});");
        }
        codes.entry(*code).or_insert(name);
    }
    out.push_str("}\n\n/// Code, name and text of each result, by code.\n");
    let _ = writeln!(out, "pub(crate) const CODES: [(u32, &CStr, &CStr); {}] = [", codes.len());
    for (code, name) in codes {
        let text = texts
            .get(name)
            .cloned()
            .unwrap_or_else(|| error_name(results, name).to_lowercase().replace('_', " "));
        let _ = writeln!(out, "({code}, c\"{name}\", c\"{text}\"),");
    }
    out.push_str("];\n\n");
}

/// Drops the library's prefix: `CUDA_ERROR_NO_DEVICE` and `cudaErrorNoDevice` are `NO_DEVICE`.
fn error_name(results: Results, name: &str) -> String {
    let bare = results.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if bare.chars().any(|letter| letter.is_ascii_lowercase()) {
        naming::snake(bare).to_uppercase()
    } else {
        bare.to_owned()
    }
}

fn handle(out: &mut String, name: &str) {
    let _ = writeln!(
        out,
        "/// Handle of C type `{name}`: a number that only its maker can read.
         #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
         #[repr(transparent)]
         pub struct {name}(pub u64);\n"
    );
}

fn opaque(out: &mut String, name: &str) {
    let _ = writeln!(
        out,
        "/// Structure of C type `{name}`, which is passed on and never read.
         #[derive(Debug)]
         #[repr(C)]
         pub struct {name} {{ _opaque: [u8; 0] }}\n"
    );
}

fn enumeration(out: &mut String, name: &str, constants: Option<&Vec<(String, i64)>>) {
    let _ = writeln!(
        out,
        "/// Constant of C type `{name}`. Any number may come from C, so it is not a Rust enum.
         #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
         #[repr(transparent)]
         pub struct {name}(pub u32);\n"
    );
    let Some(constants) = constants else { return };
    let _ = writeln!(out, "impl {name} {{");
    let prefix = naming::common_prefix(constants.iter().map(|(name, _)| name.as_str()));
    for (constant, value) in constants {
        let bare = naming::constant(&constant[prefix..]);
        let value = *value as u32;
        let _ = writeln!(out, "/// `{constant}`.\npub const {bare}: Self = Self({value});");
    }
    out.push_str("}\n\n");
}

fn structure(out: &mut String, name: &str, layout: &Layout) {
    let _ = writeln!(
        out,
        "/// Structure of C type `{name}`.
         #[derive(Debug, Clone, Copy)]
         #[repr(C)]
         pub struct {name} {{",
    );
    for (field, kind, _) in &layout.fields {
        let rust = naming::field(field);
        let kind = kind.replace("c_void", "std::ffi::c_void");
        let kind = kind.replace("c_char", "std::ffi::c_char");
        let _ = writeln!(out, "/// `{field}`.\npub {rust}: {kind},");
    }
    let _ = writeln!(
        out,
        "}}\n\nconst _: () = {{\nassert!(size_of::<{name}>() == {});\n\
         assert!(align_of::<{name}>() == {});",
        layout.size, layout.align
    );
    for (field, _, offset) in &layout.fields {
        let rust = naming::field(field);
        let _ = writeln!(out, "assert!(std::mem::offset_of!({name}, {rust}) == {offset});");
    }
    out.push_str("};\n\n");
}
