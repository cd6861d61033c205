//! The host's side: one method per message, and the table from opcode to method.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::api::{Class, Direction};
use crate::emit::HEAD;
use crate::message::{Message, Vocabulary};
use crate::model::Library;
use crate::naming;
use crate::shims::CUDA;

/// A noun of the driver API, or all of cuBLAS.
struct Group<'a> {
    library: Library,
    messages: Vec<&'a Message>,
}

/// Writes a trait for each group of messages, by the name of its file, and `mod` with the table.
pub(crate) fn emit(vocabularies: &[Vocabulary]) -> BTreeMap<String, String> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for vocabulary in vocabularies {
        let library = vocabulary.library;
        for message in &vocabulary.messages {
            let name = if library == CUDA { message.group.as_str() } else { "blas" };
            let group = groups.entry(name).or_insert(Group { library, messages: Vec::new() });
            group.messages.push(message);
        }
    }
    let mut files = BTreeMap::new();
    files.insert("mod".into(), table(vocabularies, groups.keys().copied()));
    for (name, group) in groups {
        files.insert(name.into(), calls(name, &group));
    }
    files
}

/// Names the trait of a group.
fn name_of(group: &str) -> String {
    format!("{}Calls", naming::camel(group))
}

fn table<'a>(vocabularies: &[Vocabulary], groups: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut out = format!("{HEAD}//! What a device answers, and which message asks for it.\n\n");
    for group in groups.clone() {
        let _ = writeln!(out, "mod {group};");
    }
    for group in groups.clone() {
        let _ = writeln!(out, "pub use {group}::{};", name_of(group));
    }
    let names: Vec<String> = groups.map(name_of).collect();
    let bounds = names.join(" + ");
    let messages = vocabularies.iter().flat_map(|vocabulary| {
        let library = vocabulary.library.name;
        vocabulary.messages.iter().map(move |message| (library, message))
    });
    let _ = writeln!(
        out,
        "
         use vgpu_abi::cuda::Error;
         use vgpu_link::wire::{{Malformed, Request, cublas, cuda}};

         use super::{{Answer, Call, Finish}};

         /// A device: answers the messages of the driver API and of cuBLAS for one client.
         ///
         /// What a device does not implement is answered NOT_SUPPORTED.
         pub trait Device: {bounds} {{}}

         impl<D: {bounds}> Device for D {{}}

         /// Decodes a message, asks the device, and fills in the answer, or returns what will.
         #[allow(clippy::too_many_lines, reason = \"one line per message\")]
         pub fn dispatch(device: &mut dyn Device, call: &Call, opcode: u32, payload: &[u8],
             bulk: &[u8], answer: &mut Answer) -> Result<Option<Finish>, Malformed> {{
         match opcode {{"
    );
    for (library, message) in messages {
        let Message { name, method, .. } = message;
        let way = if message.waits { "wait" } else { "done" };
        let more = match message.bulk {
            None => "",
            Some(Direction::In) => ", bulk",
            Some(Direction::Out) => ", out",
        };
        let place = if message.bulk == Some(Direction::Out) { "out" } else { "_" };
        let asked = format!("answer.{way}(payload, |r, {place}| device.{method}(call, r{more}))");
        let _ = writeln!(out, "<{library}::{name} as Request>::OPCODE => {asked},");
    }
    out.push_str("_ => { answer.refuse(Error::NOT_SUPPORTED); Ok(None) } } }\n");
    out
}

fn calls(name: &str, group: &Group<'_>) -> String {
    let what = name.replace('_', " ");
    let library = group.library.name;
    // An error of a post is reported by the driver API, whatever library was called.
    let posted =
        if group.library == CUDA { "" } else { "use vgpu_abi::cuda::Error as DriverError;\n" };
    let waits = group.messages.iter().any(|message| message.waits);
    let uses =
        if waits { "use super::Call;\nuse crate::dispatch::Wait;" } else { "use super::Call;" };
    let mut out = format!("{HEAD}//! What a device answers: {what}.\n\n");
    let _ = writeln!(
        out,
        "use vgpu_abi::{library}::Error;
         {posted}use vgpu_link::wire::{library};

         {uses}

         /// Answers the messages of this group; those without an own method are not supported.
         pub trait {} {{",
        name_of(name)
    );
    group.messages.iter().for_each(|message| method(&mut out, group.library, message));
    out.push_str("}\n");
    out
}

fn method(out: &mut String, library: Library, message: &Message) {
    let Message { name, method, title, .. } = message;
    let mut reply = if message.reply.is_empty() {
        "()".to_owned()
    } else {
        format!("{}::{name}Reply", library.name)
    };
    let (parameter, unused) = match message.bulk {
        None => ("", ""),
        Some(Direction::In) => (", bulk: &[u8]", ", bulk"),
        Some(Direction::Out) => (", bulk: &mut Vec<u8>", ", bulk"),
    };
    let error = match message.class {
        Class::Async if library != CUDA => "DriverError",
        _ => "Error",
    };
    if message.waits {
        let of = if library == CUDA { "" } else { ", Error" };
        reply = format!("Wait<{reply}{of}>");
    }
    let library = library.name;
    let _ = writeln!(
        out,
        "/// Does `{title}`.
         fn {method}(&mut self, call: &Call, request: {library}::{name}{parameter})
             -> Result<{reply}, {error}> {{
             let _ = (call, request{unused});
             Err({error}::NOT_SUPPORTED)
         }}\n"
    );
}
