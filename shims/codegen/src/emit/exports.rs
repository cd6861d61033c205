//! The exported functions: every name of the list, implemented or not.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::api::{Class, Role};
use crate::emit::HEAD;
use crate::error::Problem;
use crate::message;
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
    /// Path of what leads into the bodies, `boundary` and `unimplemented`: the guest's own, or the
    /// crate's where a library does more on the way.
    pub entry: &'static str,
    /// Version node of the symbols, which is the SONAME; `None` for unversioned ones.
    pub node: Option<&'static str>,
}

/// Writes the exports of one library.
pub(crate) fn emit(
    target: Target,
    signatures: &Signatures,
    functions: &[Function<'_>],
    names: &BTreeSet<String>,
) -> Result<String, (String, Problem)> {
    let mut text = String::new();
    let mut done = BTreeSet::new();
    for function in functions {
        for suffix in ["", "_ptsz", "_ptds"] {
            let name = format!("{}{suffix}", function.name);
            let own = !suffix.is_empty() && functions.iter().any(|other| other.name == name);
            if names.contains(&name) && !own {
                wrapper(&mut text, target, signatures, function, &name)
                    .map_err(|problem| (name.clone(), problem))?;
                done.insert(name);
            }
        }
    }
    let missing = || names.iter().filter(|name| !done.contains(*name));
    let (odd, plain): (Vec<_>, Vec<_>) =
        missing().partition(|name| signatures.returns.contains_key(*name));
    unimplemented(&mut text, target, &plain);
    for name in odd {
        let returns = signatures.returns[name].as_str();
        let value = otherwise(returns).ok_or((name.clone(), Problem::Otherwise))?;
        unimplemented_value(&mut text, target, name, returns, value);
    }
    let imports = imports(target, &text);
    Ok(format!("{HEAD}//! Every exported name.\n\n{imports}vgpu_guest::mark!();\n\n{text}"))
}

/// Brings in what the text uses.
fn imports(target: Target, text: &str) -> String {
    let mut out = String::from(
        "#![allow(non_snake_case, reason = \"the names are C's\")]\n\
         #![allow(clippy::too_many_arguments, reason = \"the parameters are C's\")]\n\
         #![allow(clippy::redundant_closure, reason = \"one form for all\")]\n\
         #![allow(clippy::unnecessary_cast, reason = \"one form for all\")]\n\n",
    );
    let std: Vec<&str> =
        ["c_char", "c_void"].into_iter().filter(|name| text.contains(name)).collect();
    if !std.is_empty() {
        let _ = writeln!(out, "use std::ffi::{{{}}};\n", std.join(", "));
    }
    let _ = writeln!(out, "use vgpu_abi::{}::*;", target.abi);
    out.push_str("use vgpu_guest::Counter;\n");
    let boundary = format!("{}::boundary", target.entry);
    let uninitialised = format!("{}::boundary_uninitialised", target.entry);
    let value = format!("{}::boundary_value", target.entry);
    for (word, path) in [
        ("boundary(", boundary.as_str()),
        ("boundary_uninitialised(", uninitialised.as_str()),
        ("boundary_value(", value.as_str()),
        ("convert::", "vgpu_guest::convert"),
        ("cuda::", "vgpu_guest::wire::cuda"),
    ] {
        if text.contains(word) {
            let _ = writeln!(out, "use {path};");
        }
    }
    out.push('\n');
    for (word, path) in [("api::", target.bodies), ("remote::", "crate::remote")] {
        if text.contains(word) {
            let _ = writeln!(out, "use {path};");
        }
    }
    out.push('\n');
    out
}

/// The assembler's line that gives a symbol its version node; it must stand in the same module.
fn symver(target: Target, name: &str) -> String {
    target.node.map_or_else(String::new, |node| {
        format!("std::arch::global_asm!(\".symver {name}, {name}@@@{node}\");\n")
    })
}

fn unimplemented(out: &mut String, target: Target, names: &[&String]) {
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
         macro_rules! not_implemented {{
             ($($name:ident,)*) => {{ $(
                 #[unsafe(no_mangle)]
                 pub(crate) extern \"C\" fn $name() -> {} {{
                     static CALLS: Counter = Counter::new(stringify!($name));
                     {}::unimplemented(&CALLS)
                 }}
                 {symver}
             )* }};
         }}\n\nnot_implemented! {{",
        target.result, target.entry
    );
    for name in names {
        let _ = writeln!(out, "    {name},");
    }
    out.push_str("}\n\n");
}

/// What a function that is not implemented and has no result code answers: nothing that could be
/// taken for a result.
fn otherwise(returns: &str) -> Option<&'static str> {
    Some(match returns {
        "()" => "()",
        "f32" => "f32::NAN",
        "f64" => "f64::NAN",
        "c_char" | "i32" | "u32" | "usize" => "0",
        "cudaChannelFormatDesc" => {
            "cudaChannelFormatDesc { x: 0, y: 0, z: 0, w: 0, f: cudaChannelFormatKind::NONE }"
        }
        "cuComplex" => "cuComplex { x: f32::NAN, y: f32::NAN }",
        "cuDoubleComplex" => "cuDoubleComplex { x: f64::NAN, y: f64::NAN }",
        pointer if pointer.starts_with("*const") => "std::ptr::null()",
        pointer if pointer.starts_with("*mut") => "std::ptr::null_mut()",
        _ => return None,
    })
}

fn unimplemented_value(out: &mut String, target: Target, name: &str, returns: &str, value: &str) {
    let (arrow, value) = match returns {
        "()" => (String::new(), ""),
        _ => (format!("-> {returns}"), value),
    };
    let _ = writeln!(
        out,
        "/// Counts `{name}`, which is not implemented and has no result code.
         #[unsafe(no_mangle)]
         extern \"C\" fn {name}() {arrow} {{
             static CALLS: Counter = Counter::new(\"{name}\");
             let _: {} = {}::unimplemented(&CALLS);
             {value}
         }}\n{}",
        target.result,
        target.entry,
        symver(target, name)
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
        "/// Answers `{name}` {place}.\n///\n/// # Safety\n\
         /// The caller's promise (`vgpu_guest::convert`)."
    );
    let parameters: Vec<String> =
        function.parameters.iter().map(|bound| format!("{}: {}", bound.name, bound.kind)).collect();
    let arrow = match function.returns {
        None => format!("-> {}", target.result),
        Some("()") => String::new(),
        Some(kind) => format!("-> {kind}"),
    };
    let _ = writeln!(
        out,
        "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn {name}({}) {arrow} {{",
        parameters.join(", "),
    );
    let _ = writeln!(out, "static CALLS: Counter = Counter::new(\"{name}\");");
    let body = body(signatures, function, name.len() > function.name.len())?;
    let _ = match function.returns {
        None if function.row.uninitialised => {
            writeln!(out, "boundary_uninitialised(&CALLS, || {body})")
        }
        None => writeln!(out, "boundary(&CALLS, || {body})"),
        Some(_) => {
            let otherwise = function.row.otherwise.as_deref().unwrap_or_default();
            writeln!(out, "boundary_value(&CALLS, {otherwise}, || {body})")
        }
    };
    let _ = writeln!(out, "}}\n{}", symver(target, name));
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
        let _ = writeln!(
            out,
            "// SAFETY: the caller's promise, by calling a documented function.\n\
             let {} = unsafe {{ {} }};",
            tuple(&names),
            tuple(&values)
        );
    }
    let results: Vec<&Bound<'_>> =
        function.parameters.iter().filter(|bound| is_result(bound)).collect();
    for bound in results.iter().filter(|bound| bound.role == Some(&Role::ClearedOut)) {
        let _ = writeln!(out, "{}.set(Default::default());", bound.name);
    }
    let Some(module) = &function.row.body else {
        message(&mut out, signatures, function, per_thread)?;
        return Ok(out);
    };
    let call = format!("api::{module}::{}({})", function.snake, arguments(function, per_thread));
    if results.is_empty() {
        let pointer = if function.returns == Some("*const c_char") { ".as_ptr()" } else { "" };
        let _ = writeln!(out, "{call}{pointer} }}");
        return Ok(out);
    }
    let names: Vec<String> = results.iter().map(|bound| format!("{}_value", bound.name)).collect();
    let pattern: Vec<&str> = names.iter().map(String::as_str).collect();
    let _ = writeln!(out, "let {} = {call}?;", tuple(&pattern));
    for (bound, name) in results.iter().zip(&names) {
        store(&mut out, bound, name);
    }
    out.push_str("Ok(()) }");
    Ok(out)
}

/// Spells one item as itself and several as a tuple.
fn tuple(items: &[&str]) -> String {
    match items {
        [item] => (*item).to_owned(),
        items => format!("({})", items.join(", ")),
    }
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
        Role::Out | Role::ClearedOut => {
            let value = format!("convert::output::<_, Error>({name})?");
            return Some((format!("mut {name}"), value));
        }
        Role::OptionalOut => format!("convert::optional_output({name})"),
        Role::Inout => format!("convert::exchanged::<_, Error>({name})?"),
        Role::OptionalInout => format!("convert::optional_exchanged::<_, Error>({name})?"),
        Role::InMemory => format!("convert::Pointing::new::<Error>({name})?"),
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
        Role::Memories(_) => {
            format!("convert::Memory::list::<Error>({name}, {length} as usize)?")
        }
        Role::Memory if bound.pointee.is_none() => format!("convert::Memory::at({name})"),
        Role::Memory => format!("convert::Memory::new({name}.cast())"),
        Role::Raw => return None,
    };
    Some((name.clone(), value))
}

/// The value of a plain parameter; a `_ptsz` name's default stream is the thread's own.
fn plain(bound: &Bound<'_>, per_thread: bool) -> String {
    match (per_thread, bound.kind) {
        (true, "CUstream" | "cudaStream_t") => format!("{}.per_thread()", bound.name),
        // cuLaunchKernelEx: the stream stands in the configuration.
        (true, "*const CUlaunchConfig") => {
            format!("{}.changed(|it| it.hStream = it.hStream.per_thread())", bound.name)
        }
        // cuGetProcAddress: its name chooses the default of its flags.
        (true, "cuuint64_t") if bound.name == "flags" => "api::entry::per_thread(flags)".into(),
        _ => bound.name.clone(),
    }
}

fn arguments(function: &Function<'_>, per_thread: bool) -> String {
    let member = function.row.member.as_ref();
    let kind =
        member.and_then(|member| member.kind.as_ref()).map(|kind| format!("api::Kind::{kind}"));
    let taken = function.parameters.iter().filter(|bound| !bound.is_length && !is_result(bound));
    let values = taken.map(|bound| match bound.kind {
        // The body of a family takes every integer as 64 bits.
        "i32" if member.is_some() => format!("i64::from({})", bound.name),
        _ => plain(bound, per_thread),
    });
    kind.into_iter().chain(values).collect::<Vec<_>>().join(", ")
}

/// Writes the call of a function that is nothing but a message.
fn message(
    out: &mut String,
    signatures: &Signatures,
    function: &Function<'_>,
    per_thread: bool,
) -> Result<(), Problem> {
    let how = if function.row.class == Class::Async { "post" } else { "call" };
    let mut fields = Vec::new();
    for field in message::request(signatures, function)? {
        let bound = function.parameters.iter().find(|bound| bound.name == field.name);
        let value = bound.map_or_else(|| field.name.clone(), |bound| plain(bound, per_thread));
        let value = match field.form {
            message::Form::Size => format!("{value} as u64"),
            message::Form::Wrapped { .. } => format!("{value}.0"),
            message::Form::Plain(_) => value,
            _ => {
                return Err(Problem::NoWireForm { parameter: field.name, kind: value });
            }
        };
        fields.push(if value == field.name { value } else { format!("{}: {value}", field.name) });
    }
    let camel = &function.camel;
    let message = if fields.is_empty() {
        camel.clone()
    } else {
        format!("{camel} {{ {} }}", fields.join(", "))
    };
    let call = format!("remote::{how}(&cuda::{message})");
    let replies = message::reply(signatures, function)?;
    if replies.is_empty() {
        let _ = writeln!(out, "{call} }}");
        return Ok(());
    }
    let _ = writeln!(out, "let reply = {call}?;");
    let answered = |bound: &&Bound<'_>| is_result(bound) || bound.role == Some(&Role::Inout);
    for (bound, field) in function.parameters.iter().filter(answered).zip(replies) {
        let value = match field.form {
            message::Form::Size => format!("reply.{} as usize", field.name),
            message::Form::Wrapped { kind, .. } => format!("{kind}(reply.{})", field.name),
            _ => format!("reply.{}", field.name),
        };
        store(out, bound, &value);
    }
    out.push_str("Ok(()) }");
    Ok(())
}
