//! The host's side: one method per message, and the table from opcode to method.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::api::Direction;
use crate::emit::HEAD;
use crate::message::{Message, Vocabulary};
use crate::naming;

/// Writes a trait for each group of messages, by the name of its file, and `mod` with the table.
pub(crate) fn emit(vocabulary: &Vocabulary) -> BTreeMap<String, String> {
    let mut groups: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in &vocabulary.messages {
        groups.entry(&message.group).or_default().push(message);
    }
    let mut files = BTreeMap::new();
    files.insert("mod".into(), table(vocabulary, groups.keys().copied()));
    for (group, messages) in groups {
        files.insert(group.into(), calls(group, &messages));
    }
    files
}

/// Names the trait of a group.
fn name_of(group: &str) -> String {
    format!("{}Calls", naming::camel(group))
}

fn table<'a>(vocabulary: &Vocabulary, groups: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut out = format!("{HEAD}//! What a device answers, and which message asks for it.\n\n");
    for group in groups.clone() {
        let _ = writeln!(out, "mod {group};");
    }
    for group in groups.clone() {
        let _ = writeln!(out, "pub use {group}::{};", name_of(group));
    }
    let names: Vec<String> = groups.map(name_of).collect();
    let bounds = names.join(" + ");
    let waiting = vocabulary.messages.iter().filter(|message| message.waits);
    let waiting: Vec<String> =
        waiting.map(|message| format!("<cuda::{} as Request>::OPCODE", message.name)).collect();
    let waiting = waiting.join(", ");
    let _ = writeln!(
        out,
        "
         use vgpu_abi::cuda::Error;
         use vgpu_link::wire::{{Malformed, Request, cuda}};

         use super::{{Answer, Call, Finish}};

         /// A device: answers the messages of the driver API for one client.
         ///
         /// What a device does not implement is answered NOT_SUPPORTED.
         pub trait Device: {bounds} {{}}

         impl<D: {bounds}> Device for D {{}}

         /// Calls that wait for earlier work of their context.
         pub const WAITING: &[u32] = &[{waiting}];

         /// Decodes a message, asks the device, and fills in the answer, or returns what will.
         #[allow(clippy::too_many_lines, reason = \"one line per message\")]
         pub fn dispatch(device: &mut dyn Device, call: &Call, opcode: u32, payload: &[u8],
             bulk: &[u8], answer: &mut Answer) -> Result<Option<Finish>, Malformed> {{
         match opcode {{"
    );
    for message in &vocabulary.messages {
        let Message { name, method, .. } = message;
        let way = if message.waits { "wait" } else { "done" };
        let more = match message.bulk {
            None => "",
            Some(Direction::In) => ", bulk",
            Some(Direction::Out) => ", out",
        };
        let place = if message.bulk == Some(Direction::Out) { "out" } else { "_" };
        let asked = format!("answer.{way}(payload, |r, {place}| device.{method}(call, r{more}))");
        let _ = writeln!(out, "<cuda::{name} as Request>::OPCODE => {asked},");
    }
    out.push_str("_ => { answer.refuse(Error::NOT_SUPPORTED); Ok(None) } } }\n");
    out
}

fn calls(group: &str, messages: &[&Message]) -> String {
    let what = group.replace('_', " ");
    let waits = messages.iter().any(|message| message.waits);
    let uses =
        if waits { "use super::Call;\nuse crate::dispatch::Wait;" } else { "use super::Call;" };
    let mut out = format!("{HEAD}//! What a device answers: {what}.\n\n");
    let _ = writeln!(
        out,
        "use vgpu_abi::cuda::Error;
         use vgpu_link::wire::cuda;

         {uses}

         /// Answers the messages of this group; those without an own method are not supported.
         pub trait {} {{",
        name_of(group)
    );
    messages.iter().for_each(|message| method(&mut out, message));
    out.push_str("}\n");
    out
}

fn method(out: &mut String, message: &Message) {
    let Message { name, method, title, .. } = message;
    let mut reply =
        if message.reply.is_empty() { "()".to_owned() } else { format!("cuda::{name}Reply") };
    if message.waits {
        reply = format!("Wait<{reply}>");
    }
    let (parameter, unused) = match message.bulk {
        None => ("", ""),
        Some(Direction::In) => (", bulk: &[u8]", ", bulk"),
        Some(Direction::Out) => (", bulk: &mut Vec<u8>", ", bulk"),
    };
    let _ = writeln!(
        out,
        "/// Does `{title}`.
         fn {method}(&mut self, call: &Call, request: cuda::{name}{parameter})
             -> Result<{reply}, Error> {{
             let _ = (call, request{unused});
             Err(Error::NOT_SUPPORTED)
         }}\n"
    );
}
