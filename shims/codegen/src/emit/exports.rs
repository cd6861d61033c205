//! The exported functions: every name of the list, implemented or not.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::api::{Class, Role};
use crate::emit::{HEAD, wire};
use crate::error::Problem;
use crate::model::{Bound, Function};
use crate::signature::Signatures;

/// Says what the exports of one library look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Module of abi with the types.
    pub abi: &'static str,
    /// Path of the module with the bodies.
    pub bodies: &'static str,
    /// Name of the C result type.
    pub result: &'static str,
    /// Version node of the symbols, which is the SONAME; `None` for unversioned ones.
    pub node: Option<&'static str>,
}

/// Writes the exports of one library.
pub(crate) fn emit(
    target: Target,
    signatures: &Signatures,
    functions: &[Function<'_>],
    names: &BTreeSet<&str>,
) -> Result<String, (String, Problem)> {
    let mut out = format!("{HEAD}//! Every exported name.\n\n");
    let _ = writeln!(
        out,
        "#![allow(non_snake_case, reason = \"the names are C's\")]

         use std::ffi::*;

         use vgpu_abi::{abi}::*;
         use vgpu_guest::{{Counter, boundary, convert}};
         use vgpu_link::wire::cuda;

         use {bodies} as api;
         use crate::remote;\n",
        abi = target.abi,
        bodies = target.bodies,
    );
    let mut done = BTreeSet::new();
    for function in functions {
        for suffix in ["", "_ptsz", "_ptds"] {
            let name = format!("{}{suffix}", function.name);
            if names.contains(name.as_str()) {
                wrapper(&mut out, target, signatures, function, &name)
                    .map_err(|problem| (name.clone(), problem))?;
                done.insert(name);
            }
        }
    }
    unimplemented(&mut out, target);
    out.push_str("unimplemented! {\n");
    for name in names.iter().filter(|name| !done.contains(**name)) {
        let _ = writeln!(out, "    {name},");
    }
    out.push_str("}\n");
    Ok(out)
}

fn unimplemented(out: &mut String, target: Target) {
    let symver = target.node.map_or_else(String::new, |node| {
        format!(
            "std::arch::global_asm!(concat!(\".symver \", stringify!($name), \", \", \
             stringify!($name), \"@@@{node}\"));\n"
        )
    });
    let _ = writeln!(
        out,
        "/// Exports names that are not implemented: each counts itself and is refused. A function
         /// that ignores its arguments may be called with any, by the C convention.
         macro_rules! unimplemented {{
             ($($name:ident,)*) => {{ $(
                 #[unsafe(no_mangle)]
                 extern \"C\" fn $name() -> {} {{
                     static CALLS: Counter = Counter::new(stringify!($name));
                     vgpu_guest::unimplemented(&CALLS)
                 }}
                 {symver}
             )* }};
         }}\n",
        target.result
    );
}

fn wrapper(
    out: &mut String,
    target: Target,
    signatures: &Signatures,
    function: &Function<'_>,
    name: &str,
) -> Result<(), Problem> {
    let place = match function.row.class {
        Class::Local => "in the guest",
        Class::Async => "on the host, without waiting",
        Class::Sync => "on the host",
    };
    let _ = writeln!(
        out,
        "/// Answers `{name}` {place}.\n///\n/// # Safety\n/// The caller's promise (`vgpu_guest::convert`)."
    );
    let parameters: Vec<String> =
        function.parameters.iter().map(|bound| format!("{}: {}", bound.name, bound.kind)).collect();
    let _ = writeln!(
        out,
        "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn {name}({}) -> {} {{",
        parameters.join(", "),
        target.result
    );
    let _ = writeln!(out, "static CALLS: Counter = Counter::new(\"{name}\");");
    let body = body(signatures, function, name.len() > function.name.len())?;
    let _ = writeln!(out, "boundary(&CALLS, || {body})\n}}\n");
    Ok(())
}

fn body(
    signatures: &Signatures,
    function: &Function<'_>,
    per_thread: bool,
) -> Result<String, Problem> {
    let mut out = String::from("{");
    let conversions: Vec<(String, String)> =
        function.parameters.iter().filter_map(conversion).collect();
    if !conversions.is_empty() {
        let names: Vec<&str> = conversions.iter().map(|(name, _)| name.as_str()).collect();
        let values: Vec<&str> = conversions.iter().map(|(_, value)| value.as_str()).collect();
        let (names, values) = match names.len() {
            1 => (names.concat(), values.concat()),
            _ => (format!("({})", names.join(", ")), format!("({})", values.join(", "))),
        };
        let _ = writeln!(
            out,
            "// SAFETY: the caller's promise, by calling a documented function.\n\
             let {names} = unsafe {{ {values} }};"
        );
    }
    let results: Vec<&Bound<'_>> =
        function.parameters.iter().filter(|bound| is_result(bound)).collect();
    let call = match &function.row.body {
        Some(module) => {
            format!("api::{module}::{}({})", function.snake, arguments(function, per_thread))
        }
        None => message(signatures, function, per_thread)?,
    };
    if results.is_empty() {
        let _ = writeln!(out, "{call} }}");
        return Ok(out);
    }
    if function.row.body.is_some() {
        let names: Vec<String> =
            results.iter().map(|bound| format!("{}_value", bound.name)).collect();
        let pattern =
            if names.len() == 1 { names.concat() } else { format!("({})", names.join(", ")) };
        let _ = writeln!(out, "let {pattern} = {call}?;");
        for (bound, name) in results.iter().zip(&names) {
            store(&mut out, bound, name);
        }
    } else {
        let _ = writeln!(out, "let reply = {call}?;");
        for (bound, field) in results.iter().zip(wire::reply(signatures, function)?) {
            let value = match field.form {
                wire::Form::Size => format!("reply.{} as usize", field.name),
                wire::Form::Wrapped { kind, .. } => format!("{kind}(reply.{})", field.name),
                _ => format!("reply.{}", field.name),
            };
            store(&mut out, bound, &value);
        }
    }
    out.push_str("Ok(()) }");
    Ok(out)
}

fn store(out: &mut String, bound: &Bound<'_>, value: &str) {
    let name = &bound.name;
    let _ = match bound.role {
        Some(Role::OptionalOut) => {
            writeln!(out, "if let Some(mut {name}) = {name} {{ {name}.set({value}); }}")
        }
        Some(Role::Inout) => writeln!(out, "*{name} = {value};"),
        _ => writeln!(out, "{name}.set({value});"),
    };
}

fn is_result(bound: &Bound<'_>) -> bool {
    bound.role.is_some_and(Role::is_result)
}

/// The name that a conversion binds, and the expression that makes it.
fn conversion(bound: &Bound<'_>) -> Option<(String, String)> {
    let name = &bound.name;
    let length = bound.length.as_deref().unwrap_or_default();
    let value = match bound.role? {
        Role::Out => {
            return Some((format!("mut {name}"), format!("convert::output::<_, Error>({name})?")));
        }
        Role::OptionalOut => format!("convert::optional_output({name})"),
        Role::Inout => format!("convert::exchanged::<_, Error>({name})?"),
        Role::In => format!("convert::input::<_, Error>({name})?"),
        Role::OptionalIn => format!("convert::optional_input({name})"),
        Role::Text => format!("convert::text::<Error>({name})?"),
        Role::TextOut(_) => {
            format!("convert::TextBuffer::new::<Error>({name}, i64::from({length}))?")
        }
        Role::Slice(_) => format!("convert::slice::<_, Error>({name}, {length} as usize)?"),
        Role::SliceOut(_) => format!("convert::slice_mut::<_, Error>({name}, {length} as usize)?"),
        Role::BulkIn(_) => format!("convert::slice::<u8, Error>({name}.cast(), {length})?"),
        Role::BulkOut(_) => format!("convert::slice_mut::<u8, Error>({name}.cast(), {length})?"),
        Role::Memory => format!("convert::Memory::new({name})"),
        Role::Raw => return None,
    };
    Some((name.clone(), value))
}

/// The value of a plain parameter; a `_ptsz` name's default stream is the thread's own.
fn plain(bound: &Bound<'_>, per_thread: bool) -> String {
    match (per_thread, bound.kind) {
        (true, "CUstream" | "cudaStream_t") => format!("{}.per_thread()", bound.name),
        _ => bound.name.clone(),
    }
}

fn arguments(function: &Function<'_>, per_thread: bool) -> String {
    let taken = function.parameters.iter().filter(|bound| !bound.is_length && !is_result(bound));
    taken.map(|bound| plain(bound, per_thread)).collect::<Vec<_>>().join(", ")
}

fn message(
    signatures: &Signatures,
    function: &Function<'_>,
    per_thread: bool,
) -> Result<String, Problem> {
    let how = if function.row.class == Class::Async { "post" } else { "call" };
    let mut fields = Vec::new();
    for field in wire::request(signatures, function)? {
        let bound = function.parameters.iter().find(|bound| bound.name == field.name);
        let value = bound.map_or_else(|| field.name.clone(), |bound| plain(bound, per_thread));
        let value = match field.form {
            wire::Form::Size => format!("{value} as u64"),
            wire::Form::Wrapped { .. } => format!("{value}.0"),
            wire::Form::Text => format!("{value}.to_string_lossy().into_owned()"),
            _ => value,
        };
        fields.push(if value == field.name { value } else { format!("{}: {value}", field.name) });
    }
    let camel = &function.camel;
    let message = if fields.is_empty() {
        camel.clone()
    } else {
        format!("{camel} {{ {} }}", fields.join(", "))
    };
    Ok(format!("remote::{how}(&cuda::{message})"))
}
