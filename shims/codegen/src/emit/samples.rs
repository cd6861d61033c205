//! One value of each message, for the tests of the wire format.

use std::fmt::Write as _;

use crate::emit::HEAD;
use crate::emit::wire::{self, Field, Form};
use crate::error::Problem;
use crate::model::Function;
use crate::signature::Signatures;

/// Writes a function that visits a sample of each message.
pub(crate) fn emit(
    signatures: &Signatures,
    functions: &[Function<'_>],
) -> Result<String, (String, Problem)> {
    let mut out = format!("{HEAD}//! One value of each message; no two fields hold the same.\n\n");
    out.push_str(
        "use vgpu_wire::cuda::*;

         use super::Visit;

         /// Shows each message to the visitor.
         #[allow(clippy::too_many_lines, reason = \"one statement per message\")]
         pub fn each(visitor: &mut impl Visit) {\n",
    );
    let mut next = 1;
    for function in functions.iter().filter(|function| function.has_message()) {
        let failed = |problem| (function.name.to_owned(), problem);
        let request = wire::request(signatures, function).map_err(failed)?;
        let reply = wire::reply(signatures, function).map_err(failed)?;
        let camel = &function.camel;
        let _ = writeln!(out, "visitor.request({});", sample(camel, &request, &mut next));
        if !reply.is_empty() {
            let reply = sample(&format!("{camel}Reply"), &reply, &mut next);
            let _ = writeln!(out, "visitor.message({reply});");
        }
    }
    out.push_str("}\n");
    Ok(out)
}

fn sample(name: &str, fields: &[Field], next: &mut u32) -> String {
    let mut text = name.to_owned();
    if fields.is_empty() {
        return text;
    }
    text.push_str(" { ");
    for field in fields {
        // From 1 to 127, so that the number fits into every integer type, signed ones included.
        *next = *next % 127 + 1;
        let value = match &field.form {
            Form::Plain("f32") => format!("{next}.5"),
            Form::Bytes(size) => format!("[{next}; {size}]"),
            Form::Text => format!("\"text {next}\".into()"),
            _ => next.to_string(),
        };
        let _ = write!(text, "{}: {value}, ", field.name);
    }
    text.push('}');
    text
}
