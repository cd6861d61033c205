//! The messages of functions that the host answers.

use std::fmt::Write as _;

use sha2::Digest as _;

use crate::api::{Class, Role};
use crate::emit::HEAD;
use crate::error::Problem;
use crate::model::{Bound, Function};
use crate::signature::Signatures;

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub name: String,
    /// Its form on the wire.
    pub form: Form,
}

/// How a value travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the Rust type of this name.
    Plain(&'static str),
    /// As a `u64`, from a `usize`.
    Size,
    /// As the wrapped integer of a type of abi, such as a handle or an enum.
    Wrapped {
        /// The type in abi.
        kind: String,
        /// The integer.
        inner: &'static str,
    },
    /// As bytes without a length, from a structure of this size.
    Bytes(usize),
    /// As a text.
    Text,
}

impl Form {
    /// Returns the type of the field in the message.
    pub(crate) fn rust(&self) -> String {
        match self {
            Self::Plain(name) | Self::Wrapped { inner: name, .. } => (*name).into(),
            Self::Size => "u64".into(),
            Self::Bytes(size) => format!("[u8; {size}]"),
            Self::Text => "String".into(),
        }
    }

    fn write(&self, name: &str) -> String {
        match self {
            Self::Bytes(_) => format!("writer.fixed(&self.{name});"),
            Self::Text => format!("writer.text(&self.{name});"),
            _ => format!("writer.{}(self.{name});", self.rust()),
        }
    }

    fn read(&self) -> String {
        match self {
            Self::Bytes(_) => "reader.fixed()?".into(),
            Self::Text => "reader.text(TEXT_BYTES_MAX)?.to_owned()".into(),
            _ => format!("reader.{}()?", self.rust()),
        }
    }
}

/// Finds the wire form of a type.
pub(crate) fn form(signatures: &Signatures, kind: &str) -> Option<Form> {
    const PLAIN: [&str; 6] = ["u8", "u16", "u32", "u64", "i32", "f32"];
    if let Some(plain) = PLAIN.iter().find(|plain| **plain == kind) {
        return Some(Form::Plain(plain));
    }
    if kind == "usize" {
        return Some(Form::Size);
    }
    let wrapped = |inner| Some(Form::Wrapped { kind: kind.into(), inner });
    match signatures.types.get(kind)?.as_str() {
        "handle" => wrapped("u64"),
        "enum" => wrapped("u32"),
        "struct" => Some(Form::Bytes(signatures.structs.get(kind)?.size)),
        alias => form(signatures, alias),
    }
}

/// Lists the fields of a function's request.
pub(crate) fn request(
    signatures: &Signatures,
    function: &Function<'_>,
) -> Result<Vec<Field>, Problem> {
    let counts_bulk_out = |bound: &Bound<'_>| {
        function.parameters.iter().any(|other| {
            matches!(other.role, Some(Role::BulkOut(_)))
                && other.length.as_deref() == Some(bound.name.as_str())
        })
    };
    let mut fields = Vec::new();
    for bound in &function.parameters {
        let kind = match bound.role {
            None if bound.is_length && !counts_bulk_out(bound) => continue,
            None => bound.kind,
            Some(Role::In | Role::Inout) => bound.pointee.unwrap_or_default(),
            Some(Role::Memory) => "u64",
            Some(Role::Text) => {
                fields.push(Field { name: bound.name.clone(), form: Form::Text });
                continue;
            }
            Some(_) => continue,
        };
        fields.push(field(signatures, bound, kind)?);
    }
    Ok(fields)
}

/// Lists the fields of a function's reply.
pub(crate) fn reply(
    signatures: &Signatures,
    function: &Function<'_>,
) -> Result<Vec<Field>, Problem> {
    let answered =
        |role: Option<&Role>| role.is_some_and(|role| role.is_result() || *role == Role::Inout);
    let results = function.parameters.iter().filter(|bound| answered(bound.role));
    results.map(|bound| field(signatures, bound, bound.pointee.unwrap_or_default())).collect()
}

fn field(signatures: &Signatures, bound: &Bound<'_>, kind: &str) -> Result<Field, Problem> {
    let form = form(signatures, kind)
        .ok_or_else(|| Problem::NoWireForm { parameter: bound.name.clone(), kind: kind.into() })?;
    Ok(Field { name: bound.name.clone(), form })
}

/// What travels in the bulk part of a message's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bulk {
    /// Nothing.
    None,
    /// Memory contents to the host.
    In,
    /// Memory contents from the host.
    Out,
}

/// Says what travels in the bulk part of a function's frames.
pub(crate) fn bulk(function: &Function<'_>) -> Bulk {
    let has = |wanted: fn(&Role) -> bool| {
        function.parameters.iter().any(|bound| bound.role.is_some_and(wanted))
    };
    if has(|role| matches!(role, Role::BulkIn(_))) {
        Bulk::In
    } else if has(|role| matches!(role, Role::BulkOut(_))) {
        Bulk::Out
    } else {
        Bulk::None
    }
}

/// One line for each message: all that both ends must agree on.
fn lines(
    signatures: &Signatures,
    functions: &[Function<'_>],
) -> Result<Vec<String>, (String, Problem)> {
    let spell = |fields: Vec<Field>| {
        let fields: Vec<String> =
            fields.iter().map(|field| format!("{}: {}", field.name, field.form.rust())).collect();
        fields.join(", ")
    };
    let sent = functions.iter().filter(|function| function.has_message());
    let line = |function: &Function<'_>| -> Result<String, Problem> {
        let opcode = function.row.opcode.unwrap_or_default();
        let kind = if function.row.class == Class::Async { "post" } else { "call" };
        let bulk = match bulk(function) {
            Bulk::None => "",
            Bulk::In => "to host",
            Bulk::Out => "from host",
        };
        let request = spell(request(signatures, function)?);
        let reply = spell(reply(signatures, function)?);
        Ok(format!("| {opcode:#x} | {} | {kind} | {request} | {reply} | {bulk} |", function.name))
    };
    sent.map(|function| line(function).map_err(|problem| (function.name.into(), problem))).collect()
}

/// Returns the first eight bytes of the SHA-256 of all lines.
fn hash(lines: &[String]) -> u64 {
    let digest = sha2::Sha256::digest(lines.join("\n"));
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Writes docs/messages.md.
pub(crate) fn page(
    signatures: &Signatures,
    functions: &[Function<'_>],
) -> Result<String, (String, Problem)> {
    let lines = lines(signatures, functions)?;
    Ok(format!(
        "<!-- Generated by vgpu-codegen from shims/api. Not edited by hand: \
         `cargo run -p vgpu-codegen`. -->\n\n# Messages of the driver API\n\n\
         One line is all that both ends must agree on. Their hash, `vgpu_wire::cuda::HASH`: \
         `{:#018x}`.\n\n\
         | opcode | function | kind | request | reply | bulk |\n|---|---|---|---|---|---|\n{}\n",
        hash(&lines),
        lines.join("\n")
    ))
}

/// Writes the messages of one library.
pub(crate) fn emit(
    signatures: &Signatures,
    functions: &[Function<'_>],
) -> Result<String, (String, Problem)> {
    let mut out = format!("{HEAD}//! Messages of the driver API.\n\n");
    out.push_str("use crate::codec::{Malformed, Reader, Writer};\n");
    out.push_str("use crate::message::{Payload, Request};\n\n");
    let _ = writeln!(
        out,
        "/// First eight bytes of the SHA-256 of all messages, as docs/messages.md lists them.\n\
         pub const HASH: u64 = {:#018x};\n",
        hash(&lines(signatures, functions)?)
    );
    for function in functions.iter().filter(|function| function.has_message()) {
        let failed = |problem| (function.name.to_owned(), problem);
        let request = request(signatures, function).map_err(failed)?;
        let reply = reply(signatures, function).map_err(failed)?;
        let opcode = function.row.opcode.unwrap_or_default();
        let (name, camel) = (function.name, &function.camel);
        structure(&mut out, camel, &format!("Asks for `{name}`."), &request);
        let answer = if reply.is_empty() {
            "()".to_owned()
        } else {
            let answer = format!("{camel}Reply");
            structure(&mut out, &answer, &format!("Answers `{name}`."), &reply);
            answer
        };
        let _ = writeln!(
            out,
            "impl Request for {camel} {{\nconst OPCODE: u32 = {opcode:#x};\n\
             type Reply = {answer};\n}}\n"
        );
    }
    if out.contains("TEXT_BYTES_MAX") {
        out.push_str(
            "/// Longest text in a message: 64 KiB. The longest texts are mangled names of C++\n\
             /// kernels, which reach some thousand bytes.\n\
             pub const TEXT_BYTES_MAX: usize = 64 << 10;\n",
        );
    }
    Ok(out)
}

fn structure(out: &mut String, name: &str, doc: &str, fields: &[Field]) {
    let _ = writeln!(out, "/// {doc}\n#[derive(Debug, Clone, PartialEq)]");
    if fields.is_empty() {
        let _ = writeln!(out, "pub struct {name};\n");
        let _ = writeln!(
            out,
            "impl Payload for {name} {{
                 fn write(&self, _: &mut Writer<'_>) {{}}

                 fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {{ Ok(Self) }}
             }}\n"
        );
        return;
    }
    let _ = writeln!(out, "pub struct {name} {{");
    for field in fields {
        let what = field.name.replace('_', " ");
        let _ = writeln!(out, "/// {what}.\npub {}: {},", field.name, field.form.rust());
    }
    out.push_str("}\n\n");
    let _ = writeln!(out, "impl Payload for {name} {{ fn write(&self, writer: &mut Writer<'_>) {{");
    for field in fields {
        let _ = writeln!(out, "{}", field.form.write(&field.name));
    }
    out.push_str("}\n\nfn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> { Ok(Self {\n");
    for field in fields {
        let _ = writeln!(out, "{}: {},", field.name, field.form.read());
    }
    out.push_str("}) } }\n\n");
}
