//! The genuine libraries as the host calls them: one typed method for each C function.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::emit::HEAD;
use crate::error::Problem;
use crate::message::{Form, form};
use crate::naming;
use crate::signature::Signatures;

/// Functions by name, each with its parameters that the caller vouches for.
pub(crate) type Called = BTreeMap<String, Vec<String>>;

/// What sets the table of one library apart.
pub(crate) struct Table<'a> {
    /// Its type.
    pub name: &'a str,
    /// What it is, for its documentation.
    pub about: &'a str,
    /// Module of `vgpu_abi` with its result codes.
    pub abi: &'a str,
    /// Prefix of its functions.
    pub prefix: &'a str,
}

/// One parameter: its name, its type in a method, its type in C, and how one becomes the other.
struct Passed {
    name: String,
    method: String,
    c: &'static str,
    turned: String,
}

/// Writes the table of one library.
pub(crate) fn emit(
    table: &Table<'_>,
    signatures: &Signatures,
    called: &Called,
) -> Result<String, (String, Problem)> {
    let mut functions = Vec::new();
    for (name, raw) in called {
        let passed = passed(signatures, name, raw).map_err(|problem| (name.clone(), problem))?;
        functions.push((name, passed));
    }
    let Table { name: kind, about, abi, .. } = table;
    let mut out = format!(
        "{HEAD}//! {about}: its C functions, found by their names.\n\n
         #![allow(unsafe_code, reason = \"calls the C functions of the genuine library\")]
         #![allow(clippy::too_many_lines, reason = \"one line per function\")]
         #![allow(clippy::type_complexity, reason = \"C's own argument lists\")]\n
         use std::ffi::{{CStr, c_char, c_void}};\n
         use vgpu_abi::{abi}::Error;\n
         use crate::device::nvidia::foreign::{{Bytes, Library, Pointer, Raw, missing}};\n
         /// {about}; a function that it lacks is `None`.
         #[derive(Debug)]
         pub(crate) struct {kind} {{\n"
    );
    for (name, passed) in &functions {
        let kinds: Vec<&str> = passed.iter().map(|one| one.c).collect();
        let field = field(name, table.prefix);
        let _ =
            writeln!(out, "{field}: Option<unsafe extern \"C\" fn({}) -> u32>,", kinds.join(", "));
    }
    let _ = writeln!(
        out,
        "}}\n\nimpl {kind} {{
         /// Finds the functions of an open library.
         pub fn of(library: &Library) -> Self {{
         // SAFETY: each field has the prototype that the library's public header gives its name.
         unsafe {{ Self {{"
    );
    for (name, _) in &functions {
        let _ = writeln!(out, "{}: library.find(b\"{name}\\0\"),", field(name, table.prefix));
    }
    out.push_str("} } }\n\n");
    functions.iter().for_each(|(name, passed)| method(&mut out, table, name, passed));
    let _ = writeln!(
        out,
        "}}\n\n/// Turns what a function returns into a result.
         fn checked(code: u32) -> Result<(), Error> {{ Error::new(code).map_or(Ok(()), Err) }}"
    );
    for unused in ["CStr", "c_char", "c_void", "Bytes", "Raw"] {
        if !uses(&out, unused) {
            out = without_import(&out, unused);
        }
    }
    Ok(out)
}

/// Says whether more than its import mentions a name.
fn uses(text: &str, name: &str) -> bool {
    let is_word = |at: usize| {
        let letter =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let bytes = text.as_bytes();
        !letter(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && !letter(bytes.get(at + name.len()))
    };
    text.match_indices(name).filter(|(at, _)| is_word(*at)).count() > 1
}

fn without_import(text: &str, name: &str) -> String {
    text.replacen(&format!("{name}, "), "", 1).replacen(&format!(", {name}}}"), "}", 1)
}

fn field(name: &str, prefix: &str) -> String {
    naming::snake(naming::without_prefix(name, prefix))
}

fn method(out: &mut String, table: &Table<'_>, name: &str, passed: &[Passed]) {
    let field = field(name, table.prefix);
    let declared: Vec<String> =
        passed.iter().map(|one| format!("{}: {}", one.name, one.method)).collect();
    let turned: Vec<&str> = passed.iter().map(|one| one.turned.as_str()).collect();
    let many = if passed.len() > 6 {
        "#[allow(clippy::too_many_arguments, reason = \"C's own argument list\")]\n"
    } else {
        ""
    };
    let comma = if declared.is_empty() { "" } else { ", " };
    let _ = writeln!(
        out,
        "/// Calls `{name}`.\n{many}pub fn {field}(&self{comma}{}) -> Result<(), Error> {{
         let Some(c_function) = self.{field} else {{ missing(\"{name}\"); \
         return Err(Error::NOT_SUPPORTED) }};
         // SAFETY: `of` found it by its documented prototype. References are valid by type,
         // pointers are the library's own or NULL, and a Raw's maker vouches for its length.
         checked(unsafe {{ c_function({}) }})\n}}\n",
        declared.join(", "),
        turned.join(", ")
    );
}

fn passed(signatures: &Signatures, name: &str, raw: &[String]) -> Result<Vec<Passed>, Problem> {
    let parameters = signatures.parameters(name).ok_or(Problem::NoSignature)?;
    if let Some(wrong) = raw.iter().find(|raw| parameters.iter().all(|one| one.name != **raw)) {
        return Err(Problem::NoParameter(wrong.clone()));
    }
    let each = parameters.iter().map(|parameter| {
        let bound = naming::parameter(parameter.name);
        let vouched = raw.iter().any(|raw| raw == parameter.name);
        let (method, c, turned) =
            turn(signatures, parameter.kind, vouched, &bound).ok_or_else(|| {
                Problem::NoWireForm { parameter: bound.clone(), kind: parameter.kind.into() }
            })?;
        Ok(Passed { name: bound, method, c, turned })
    });
    each.collect()
}

/// Finds how a parameter of a type is passed.
fn turn(
    signatures: &Signatures,
    kind: &str,
    vouched: bool,
    name: &str,
) -> Option<(String, &'static str, String)> {
    let raw = || Some(("Raw<'_>".to_owned(), "*mut c_void", format!("{name}.address()")));
    let Some(pointee) = kind.strip_prefix("*mut ").or_else(|| kind.strip_prefix("*const ")) else {
        return match form(signatures, kind) {
            Some(Form::Plain(plain)) => Some((plain.into(), plain, name.into())),
            Some(Form::Size) => Some(("usize".into(), "usize", name.into())),
            Some(Form::Wrapped { inner: "u64", .. }) => {
                Some(("Pointer".into(), "usize", format!("{name}.0")))
            }
            Some(Form::Wrapped { inner, .. }) => Some((inner.into(), inner, name.into())),
            // A callback, or a structure by value.
            _ if signatures.types.get(kind).is_some_and(|kind| kind == "callback") => raw(),
            _ => None,
        };
    };
    if vouched {
        return raw();
    }
    if pointee == "c_char" && kind.starts_with("*const") {
        return Some(("&CStr".into(), "*const c_char", format!("{name}.as_ptr()")));
    }
    match form(signatures, pointee) {
        None if pointee.starts_with('*') => {
            Some(("&mut Pointer".into(), place("usize"), format!("&raw mut {name}.0")))
        }
        Some(Form::Plain("u8")) => raw(),
        Some(Form::Plain(plain)) => Some((format!("&mut {plain}"), place(plain), name.into())),
        Some(Form::Size) => Some(("&mut usize".into(), place("usize"), name.into())),
        Some(Form::Wrapped { inner: "u64", .. }) => {
            Some(("&mut Pointer".into(), place("usize"), format!("&raw mut {name}.0")))
        }
        Some(Form::Wrapped { inner, .. }) => {
            Some((format!("&mut {inner}"), place(inner), name.into()))
        }
        Some(Form::Bytes(size)) => {
            let turned = format!("(&raw mut {name}.0).cast()");
            Some((format!("&mut Bytes<{size}>"), "*mut c_void", turned))
        }
        _ => raw(),
    }
}

fn place(plain: &str) -> &'static str {
    match plain {
        "u16" => "*mut u16",
        "u32" => "*mut u32",
        "i32" => "*mut i32",
        "f32" => "*mut f32",
        "f64" => "*mut f64",
        "usize" => "*mut usize",
        _ => "*mut u64",
    }
}
