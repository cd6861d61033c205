//! One value of each message, for the tests of the wire format.

use std::fmt::Write as _;

use crate::emit::HEAD;
use crate::message::{Field, Form, Vocabulary};

/// Writes a function that visits a sample of each message.
pub(crate) fn emit(vocabularies: &[Vocabulary]) -> String {
    let mut out = format!("{HEAD}//! One value of each message; no two fields hold the same.\n\n");
    out.push_str(
        "use vgpu_wire::*;

         use super::Visit;

         /// Shows each message to the visitor.
         #[allow(clippy::too_many_lines, reason = \"one statement per message\")]
         pub fn each(visitor: &mut impl Visit) {\n",
    );
    let mut next = 1;
    for vocabulary in vocabularies {
        let mut samples = Samples { vocabulary, next };
        for message in &vocabulary.messages {
            let request = samples.structure(&message.name, &message.request);
            let _ = writeln!(out, "visitor.request({request});");
            if !message.reply.is_empty() {
                let reply = samples.structure(&format!("{}Reply", message.name), &message.reply);
                let _ = writeln!(out, "visitor.message({reply});");
            }
        }
        next = samples.next;
    }
    out.push_str("}\n");
    out
}

struct Samples<'a> {
    vocabulary: &'a Vocabulary,
    next: u32,
}

impl Samples<'_> {
    fn structure(&mut self, name: &str, fields: &[Field]) -> String {
        let mut text = format!("{}::{name}", self.vocabulary.library.name);
        if fields.is_empty() {
            return text;
        }
        text.push_str(" { ");
        for field in fields {
            let _ = write!(text, "{}: {}, ", field.name, self.value(&field.form));
        }
        text.push('}');
        text
    }

    fn value(&mut self, form: &Form) -> String {
        // From 1 to 127, so that the number fits into every integer type, signed ones included.
        self.next = self.next % 127 + 1;
        let next = self.next;
        match form {
            Form::Plain("f32" | "f64") => format!("{next}.5"),
            Form::Bytes(size) => format!("[{next}; {size}]"),
            Form::Text => format!("\"text {next}\".into()"),
            Form::ByteList(_) => format!("vec![{next}; 3]"),
            Form::List(1, of) => format!("vec![{}]", self.value(of)),
            Form::List(_, of) => format!("vec![{}, {}]", self.value(of), self.value(of)),
            Form::Structure(name) => {
                let found = self.vocabulary.structures.iter().find(|one| one.name == *name);
                found.map_or_else(String::new, |one| self.structure(name, &one.fields))
            }
            Form::Plain(_) | Form::Size | Form::Wrapped { .. } => next.to_string(),
        }
    }
}
