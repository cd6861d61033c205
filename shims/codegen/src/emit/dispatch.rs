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
    let _ = writeln!(
        out,
        "
         use vgpu_abi::cuda::Error;
         use vgpu_link::wire::{{Malformed, Request, cuda}};

         use super::{{Answer, Call}};

         /// A device: answers the messages of the driver API for one client.
         ///
         /// What a device does not implement is answered NOT_SUPPORTED.
         pub trait Device: {bounds} {{}}

         impl<D: {bounds}> Device for D {{}}

         /// Decodes a message, asks the device, and fills in the answer.
         #[allow(clippy::too_many_lines, reason = \"one line per message\")]
         pub fn dispatch(device: &mut dyn Device, call: &Call, opcode: u32, payload: &[u8],
             bulk: &[u8], answer: &mut Answer) -> Result<(), Malformed> {{
         match opcode {{"
    );
    for message in &vocabulary.messages {
        let Message { name, method, .. } = message;
        let asked = match message.bulk {
            None => format!("answer.plain(payload, |r| device.{method}(call, r))"),
            Some(Direction::In) => {
                format!("answer.plain(payload, |r| device.{method}(call, r, bulk))")
            }
            Some(Direction::Out) => {
                format!("answer.bulk(payload, |r, out| device.{method}(call, r, out))")
            }
        };
        let _ = writeln!(out, "<cuda::{name} as Request>::OPCODE => {asked},");
    }
    out.push_str("_ => { answer.refuse(Error::NOT_SUPPORTED); Ok(()) } } }\n");
    out
}

fn calls(group: &str, messages: &[&Message]) -> String {
    let what = group.replace('_', " ");
    let mut out = format!("{HEAD}//! What a device answers: {what}.\n\n");
    let _ = writeln!(
        out,
        "use vgpu_abi::cuda::Error;
         use vgpu_link::wire::cuda;

         use super::Call;

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
    let reply =
        if message.reply.is_empty() { "()".to_owned() } else { format!("cuda::{name}Reply") };
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
