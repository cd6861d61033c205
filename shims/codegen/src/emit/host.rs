//! The genuine driver behind each message: the image of a function, or what is written by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::api::{Direction, Host, Role};
use crate::emit::HEAD;
use crate::message::{Form, Message, Vocabulary, form};
use crate::model::{Bound, Function};
use crate::naming;
use crate::signature::Signatures;

/// Handles that the host translates, and its word for each. Others are passed on by nobody.
const KINDS: [(&str, &str); 15] = [
    ("CUarray", "Array"),
    ("CUcontext", "Context"),
    ("CUevent", "Event"),
    ("CUfunction", "Function"),
    ("CUgraph", "Graph"),
    ("CUgraphExec", "Exec"),
    ("CUgraphNode", "Node"),
    ("CUkernel", "Kernel"),
    ("CUlibrary", "Library"),
    ("CUlinkState", "Linker"),
    ("CUmemGenericAllocationHandle", "Memory"),
    ("CUmemoryPool", "Pool"),
    ("CUmipmappedArray", "Mipmap"),
    ("CUmodule", "Module"),
    ("CUstream", "Stream"),
];

/// What ends with what, besides with a context: (owner, owned).
const OWNERS: [(&str, &str); 7] = [
    ("CUgraph", "CUgraphNode"),
    ("CUgraphNode", "CUgraph"),
    ("CUkernel", "CUfunction"),
    ("CUlibrary", "CUkernel"),
    ("CUlibrary", "CUmodule"),
    ("CUmipmappedArray", "CUarray"),
    ("CUmodule", "CUfunction"),
];

/// Finds the host's word for a kind of handle.
fn kind_of(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(name, _)| *name == kind).map(|(_, word)| *word)
}

/// Says whether a message is the image of its function, and lists what the host calls for it.
pub(crate) fn images<'a>(
    signatures: &Signatures,
    functions: &'a [Function<'a>],
) -> Vec<&'a Function<'a>> {
    let images = functions.iter().filter(|function| {
        function.has_message()
            && function.row.host.is_none()
            && function.parameters.iter().all(|bound| is_plain(signatures, bound))
            // The tables of handles are not at hand where a call waits.
            && !(function.row.waits && changes_handles(function))
    });
    images.collect()
}

/// Says whether a function makes or ends a handle.
fn changes_handles(function: &Function<'_>) -> bool {
    function.row.ends.is_some()
        || function.parameters.iter().any(|bound| bound.pointee.and_then(kind_of).is_some())
}

/// Says whether a parameter can be passed on without knowing what it means.
fn is_plain(signatures: &Signatures, bound: &Bound<'_>) -> bool {
    let known = |kind: &str| {
        let is_handle = matches!(form(signatures, kind), Some(Form::Wrapped { inner: "u64", .. }));
        kind_of(kind).is_some()
            || (!is_handle && form(signatures, kind).is_some() && points_nowhere(signatures, kind))
    };
    match bound.role {
        None => !bound.is_length && known(bound.kind),
        Some(Role::Out | Role::ClearedOut | Role::OptionalOut | Role::Inout) => {
            known(bound.pointee.unwrap_or("?"))
        }
        Some(Role::In) => {
            let pointee = bound.pointee.unwrap_or("?");
            matches!(form(signatures, pointee), Some(Form::Bytes(_))) && known(pointee)
        }
        Some(Role::Text) => true,
        Some(_) => false,
    }
}

/// Says whether a type holds no pointer and no handle.
fn points_nowhere(signatures: &Signatures, kind: &str) -> bool {
    let element = kind.rsplit(' ').next().unwrap_or(kind).trim_end_matches(']');
    if kind.contains('*') || kind_of(element).is_some() {
        return false;
    }
    match signatures.types.get(element).map(String::as_str) {
        Some("handle" | "callback") => false,
        Some("struct") => signatures.structs.get(element).is_some_and(|layout| {
            layout.fields.iter().all(|(_, kind, _)| points_nowhere(signatures, kind))
        }),
        Some("enum") | None => true,
        Some(alias) => points_nowhere(signatures, alias),
    }
}

/// Writes the methods of the genuine driver, by the name of their file.
pub(crate) fn emit(
    vocabulary: &Vocabulary,
    signatures: &Signatures,
    images: &[&Function<'_>],
) -> BTreeMap<String, String> {
    let mut groups: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in &vocabulary.messages {
        groups.entry(&message.group).or_default().push(message);
    }
    let mut files = BTreeMap::new();
    let mut list = format!("{HEAD}//! What the genuine driver answers to each message.\n\n");
    for name in groups.keys().copied().chain(["driver", "nvml"]) {
        let _ = writeln!(list, "pub(super) mod {name};");
    }
    files.insert("mod".into(), list);
    for (group, messages) in groups {
        files.insert(group.into(), calls(group, &messages, signatures, images));
    }
    files
}

fn calls(
    group: &str,
    messages: &[&Message],
    signatures: &Signatures,
    images: &[&Function<'_>],
) -> String {
    let mut methods = String::new();
    for message in messages {
        if message.host == Some(Host::Own) {
            own(&mut methods, group, message);
        } else if let Some(function) = images.iter().find(|one| one.name == message.title) {
            image(&mut methods, message, function, signatures);
        }
    }
    let what = group.replace('_', " ");
    let name = naming::camel(group);
    let mut out = format!("{HEAD}//! What the genuine driver answers: {what}.\n\n");
    let with = |word: &str, line: &'static str| if methods.contains(word) { line } else { "" };
    let _ = writeln!(
        out,
        "{}{}{}\n{}{}use crate::device::nvidia::Nvidia;\n\
         use crate::dispatch::{{{}{name}Calls}};\n\n\
         impl {name}Calls for Nvidia {{\n{methods}}}",
        with("CString", "use std::ffi::CString;\n\n"),
        with("Error", "use vgpu_abi::cuda::Error;\n"),
        with("cuda::", "use vgpu_link::wire::cuda;\n"),
        with("Kind::", "use crate::device::nvidia::handles::Kind;\n"),
        match (methods.contains("Bytes("), methods.contains("Pointer::")) {
            (true, true) => "use crate::device::nvidia::foreign::{Bytes, Pointer};\n",
            (true, false) => "use crate::device::nvidia::foreign::Bytes;\n",
            (false, true) => "use crate::device::nvidia::foreign::Pointer;\n",
            (false, false) => "",
        },
        match (methods.contains("Call"), methods.contains("Wait<")) {
            (true, true) => "Call, Wait, ",
            (true, false) => "Call, ",
            _ => "",
        },
    );
    out
}

/// Writes the head of a method; returns the names of its further arguments.
fn head(out: &mut String, message: &Message, call: &str) -> &'static str {
    let Message { name, method, .. } = message;
    let mut reply =
        if message.reply.is_empty() { "()".to_owned() } else { format!("cuda::{name}Reply") };
    if message.waits {
        reply = format!("Wait<{reply}>");
    }
    let (parameter, passed) = match message.bulk {
        None => ("", ""),
        Some(Direction::In) => (", bulk: &[u8]", ", bulk"),
        Some(Direction::Out) => (", bulk: &mut Vec<u8>", ", bulk"),
    };
    let r = if message.request.is_empty() && message.host.is_none() { "_" } else { "r" };
    let _ = writeln!(
        out,
        "fn {method}(&mut self, {call}: &Call, {r}: cuda::{name}{parameter})
             -> Result<{reply}, Error> {{"
    );
    passed
}

fn own(out: &mut String, group: &str, message: &Message) {
    let passed = head(out, message, "call");
    let method = &message.method;
    let _ = writeln!(out, "crate::device::nvidia::{group}::{method}(self, call, r{passed})\n}}\n");
}

fn image(out: &mut String, message: &Message, function: &Function<'_>, signatures: &Signatures) {
    let mut body = String::new();
    // What is asked of a device needs no context, so none is made for it.
    if !function.name.starts_with("cuDevice") {
        body.push_str("self.enter(call)?;\n");
    }
    let mut passed = Vec::new();
    let mut reply = Vec::new();
    // What is looked up here, and what happens where the call is made: beside this thread, if it
    // may wait.
    let mut made = String::new();
    for bound in &function.parameters {
        let name = &bound.name;
        let kind = bound.pointee.unwrap_or(bound.kind);
        match bound.role {
            None => passed.push(value(&mut body, function, bound)),
            Some(Role::Text) => {
                let _ = writeln!(
                    made,
                    "let {name} = CString::new(r.{name}).map_err(|_| Error::INVALID_VALUE)?;"
                );
                passed.push(format!("&{name}"));
            }
            Some(role) => {
                let begins = match (role, form(signatures, kind)) {
                    (Role::In | Role::Inout, Some(Form::Bytes(_))) => format!("Bytes(r.{name})"),
                    (_, Some(Form::Bytes(size))) => format!("Bytes([0; {size}])"),
                    (Role::Inout, Some(Form::Size)) => format!("r.{name} as usize"),
                    (Role::Inout, _) => format!("r.{name}"),
                    _ if kind_of(kind).is_some() && kind != "CUmemGenericAllocationHandle" => {
                        "Pointer::default()".into()
                    }
                    (_, Some(Form::Plain("f32" | "f64"))) => "0.0".into(),
                    _ => "0".into(),
                };
                let _ = writeln!(made, "let mut {name} = {begins};");
                passed.push(format!("&mut {name}"));
                if *role != Role::In {
                    reply.push(field(function, name, kind, signatures));
                }
            }
        }
    }
    let last = reply.is_empty() && function.row.ends.is_none();
    let end = if last { "" } else { "?;" };
    let driver = if message.waits { "driver" } else { "self.driver" };
    let _ = writeln!(made, "{driver}.{}({}){end}", function.snake, passed.join(", "));
    if let Some(ends) = &function.row.ends {
        let _ = writeln!(made, "self.handles.end(r.{});", naming::parameter(ends));
    }
    if !reply.is_empty() {
        let _ = writeln!(made, "Ok(cuda::{}Reply {{ {} }})", message.name, reply.join(", "));
    } else if !last {
        made.push_str("Ok(())\n");
    }
    let _ = match message.waits {
        true => writeln!(body, "Ok(self.later(move |driver, _| {{ {made} }}))\n}}\n"),
        false => writeln!(body, "{made}}}\n"),
    };
    head(out, message, if body.contains("call") { "call" } else { "_" });
    out.push_str(&body);
}

/// Writes how a plain value of the request becomes an argument.
fn value(out: &mut String, function: &Function<'_>, bound: &Bound<'_>) -> String {
    let name = &bound.name;
    let ends = function.row.ends.as_deref().map(naming::parameter);
    let found = match (bound.kind, kind_of(bound.kind)) {
        // The default streams cannot be ended.
        ("CUstream", _) if ends.as_ref() != Some(name) => format!("self.stream(call, r.{name})?"),
        // A kernel may stand in the place of a function.
        ("CUfunction", _) => format!("self.function(r.{name})?"),
        ("CUdevice", _) => format!("self.device(r.{name})?"),
        ("usize", _) => return format!("r.{name} as usize"),
        ("CUmemGenericAllocationHandle", _) => {
            format!("self.handles.find(Kind::Memory, r.{name})?.0 as u64")
        }
        ("CUcontext", _) => format!("self.context(r.{name})?"),
        (_, Some(kind)) => format!("self.handles.find(Kind::{kind}, r.{name})?"),
        _ => return format!("r.{name}"),
    };
    let _ = writeln!(out, "let {name} = {found};");
    name.clone()
}

/// Writes how a result becomes a field of the reply.
fn field(function: &Function<'_>, name: &str, kind: &str, signatures: &Signatures) -> String {
    let Some(word) = kind_of(kind) else {
        return match form(signatures, kind) {
            Some(Form::Size) => format!("{name}: {name} as u64"),
            Some(Form::Bytes(_)) => format!("{name}: {name}.0"),
            _ => name.to_owned(),
        };
    };
    let owner = function
        .parameters
        .iter()
        .find(|bound| bound.role.is_none() && OWNERS.contains(&(bound.kind, kind)));
    let owner = owner.map_or("call.context".to_owned(), |bound| format!("r.{}", bound.name));
    let pointer = match kind {
        "CUmemGenericAllocationHandle" => format!("Pointer({name} as usize)"),
        _ => name.to_owned(),
    };
    format!("{name}: self.handles.keep(Kind::{word}, {pointer}, {owner})?")
}
