//! Every request that names something of the client's, with a place for each name: for the test
//! that nothing but the client's own is taken.

use std::fmt::Write as _;

use crate::api::{Class, Direction};
use crate::emit::HEAD;
use crate::message::{Field, Form, Message, Vocabulary};

/// Writes a function that shows each request to the visitor.
pub(crate) fn emit(vocabularies: &[Vocabulary]) -> String {
    let mut out = format!("{HEAD}//! Every request that names something of the client's.\n\n");
    out.push_str(
        "use vgpu_link::wire::{Payload as _, Request as _, cublas, cuda};

         use super::{Asked, Kind};

         /// Lists the requests; each is made with what is chosen for its names, in their order.
         #[allow(clippy::too_many_lines, reason = \"one element per message\")]
         pub(super) fn all() -> Vec<Asked> {
             vec![\n",
    );
    for vocabulary in vocabularies {
        let requests = Requests { vocabulary };
        vocabulary.messages.iter().for_each(|message| requests.one(&mut out, message));
    }
    out.push_str("]\n}\n");
    out
}

struct Requests<'a> {
    vocabulary: &'a Vocabulary,
}

impl Requests<'_> {
    fn one(&self, out: &mut String, message: &Message) {
        let name = format!("{}::{}", self.vocabulary.library.name, message.name);
        let (mut text, mut kinds) = (String::new(), Vec::new());
        for field in &message.request {
            // In a structure, a handle is of what the structure's kind says.
            let is_memory = field.name == "handle" && field.form == Form::Plain("u64");
            if is_memory {
                kinds.push("Memory");
                let _ = write!(text, "handle: of[{}], ", kinds.len() - 1);
                continue;
            }
            let _ =
                write!(text, "{}: {}, ", field.name, self.value(&message.name, field, &mut kinds));
        }
        if kinds.is_empty() {
            return;
        }
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("Kind::{kind}")).collect();
        let _ = writeln!(
            out,
            "Asked {{ name: {:?}, opcode: {name}::OPCODE, is_call: {}, has_ticket: {}, \
             answers_code: {}, carries: {}, kinds: &[{}], \
             make: |of| {name} {{ {text} }}.to_payload() }},",
            message.title,
            !matches!(message.class, Class::Async),
            message.request.iter().any(|field| field.name == "ticket"),
            message.reply.first().is_some_and(|field| field.name == "code"),
            message.bulk == Some(Direction::In),
            kinds.join(", ")
        );
    }

    /// Writes a field's value, and notes what it names.
    fn value(&self, message: &str, field: &Field, kinds: &mut Vec<&'static str>) -> String {
        if let Some(kind) = named(field) {
            kinds.push(kind);
            return format!("of[{}]", kinds.len() - 1);
        }
        match &field.form {
            Form::Plain("f32" | "f64") => "1.0".to_owned(),
            // A factor of one: with zero, what it multiplies is not looked at.
            Form::Bytes(16) if field.name == "value" => {
                "[0, 0, 0x80, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]".to_owned()
            }
            Form::Bytes(size) => format!("[0; {size}]"),
            Form::Text => "\"nothing\".into()".to_owned(),
            Form::ByteList(_) => "b\"touch\".to_vec()".to_owned(),
            Form::List(_, of) => match &**of {
                Form::Structure(name) if is_taken(name) => {
                    format!("vec![{}]", self.structure(name, kinds))
                }
                _ => "vec![]".to_owned(),
            },
            Form::Structure(name) => self.structure(name, kinds),
            Form::Plain(_) | Form::Size | Form::Wrapped { .. } => {
                plain(message, &field.name).to_string()
            }
        }
    }

    fn structure(&self, name: &str, kinds: &mut Vec<&'static str>) -> String {
        let found = self.vocabulary.structures.iter().find(|one| one.name == name);
        let mut text = format!("{}::{name} {{ ", self.vocabulary.library.name);
        for field in found.map_or(&[][..], |one| &one.fields) {
            let _ = write!(text, "{}: {}, ", field.name, self.value(name, field, kinds));
        }
        text + "}"
    }
}

/// Lists of these hold one, others none: a node of a graph is one launch.
fn is_taken(structure: &str) -> bool {
    ["KernelLaunch", "GraphEdge", "GraphLink"].contains(&structure)
}

/// What a field names, by its type, or where that is a number by its own name.
fn named(field: &Field) -> Option<&'static str> {
    if let Form::Wrapped { kind, .. } = &field.form {
        return Some(match kind.as_str() {
            "CUcontext" => "Context",
            "CUstream" | "cudaStream_t" => "Stream",
            "CUevent" => "Event",
            "CUmodule" => "Module",
            "CUfunction" => "Function",
            "CUlibrary" => "Library",
            "CUkernel" => "Kernel",
            "CUlinkState" => "Link",
            "CUgraph" => "Graph",
            "CUgraphNode" => "Node",
            "CUgraphExec" => "Exec",
            "CUmemoryPool" => "Pool",
            "CUarray" => "Array",
            "cublasHandle_t" => "Blas",
            _ => return None,
        });
    }
    if field.form != Form::Plain("u64") {
        return None;
    }
    match field.name.as_str() {
        "stream" => Some("Stream"),
        "event" => Some("Event"),
        "pool" => Some("Pool"),
        "array" => Some("Array"),
        other => address(other),
    }
}

/// Addresses, but for those that are only wished for and those that another field takes the place
/// of.
fn address(name: &str) -> Option<&'static str> {
    match name {
        "addr" | "device" | "workspace" => None,
        "ptr" | "start" => Some("Range"),
        "address" | "source" | "target" | "result" | "to" => Some("Address"),
        name if name.starts_with("dst") || name.starts_with("src") || name == "dptr" => {
            Some("Address")
        }
        _ => None,
    }
}

/// A number that is right in as many messages as possible.
fn plain(message: &str, name: &str) -> u32 {
    match name {
        // CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD, without which no stream is looked at.
        "flags" if message == "GraphInstantiate" => 2,
        "of_two" => 1,
        "bytes" | "byte_count" | "width" | "width_bytes" | "pitch" | "dst_pitch" => 16,
        "size" | "alignment" => 2 << 20,
        "height" | "depth" | "x" | "y" | "z" | "m" | "n" | "k" | "step" | "count" => 1,
        "element_bytes" => 1,
        _ => 0,
    }
}
