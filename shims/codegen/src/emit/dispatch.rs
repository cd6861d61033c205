//! The host's side: one method per message, and the table from opcode to method.

use std::fmt::Write as _;

use crate::emit::HEAD;
use crate::emit::wire::{self, Bulk, bulk};
use crate::error::Problem;
use crate::model::Function;
use crate::signature::Signatures;

/// Writes the trait and the table.
pub(crate) fn emit(
    signatures: &Signatures,
    functions: &[Function<'_>],
) -> Result<String, (String, Problem)> {
    let sent: Vec<_> = functions.iter().filter(|function| function.has_message()).collect();
    let mut out = format!("{HEAD}//! What a device answers, and which message asks for it.\n\n");
    out.push_str(
        "use vgpu_abi::cuda::Error;
         use vgpu_link::wire::{Malformed, Request, cuda};

         use super::{Answer, Call};

         /// A device: answers the messages of the driver API for one client.
         ///
         /// What a device does not implement is answered NOT_SUPPORTED.
         pub trait Device {\n",
    );
    for function in &sent {
        method(&mut out, signatures, function)
            .map_err(|problem| (function.name.into(), problem))?;
    }
    out.push_str(
        "}

         /// Decodes a message, asks the device, and fills in the answer.
         #[allow(clippy::too_many_lines, reason = \"one line per message\")]
         pub fn dispatch(device: &mut dyn Device, call: &Call, opcode: u32, payload: &[u8],
             bulk: &[u8], answer: &mut Answer) -> Result<(), Malformed> {
         match opcode {\n",
    );
    for function in &sent {
        let snake = &function.snake;
        let with_bulk = match bulk(function) {
            Bulk::None => format!("answer.plain(payload, |r| device.{snake}(call, r))"),
            Bulk::In => format!("answer.plain(payload, |r| device.{snake}(call, r, bulk))"),
            Bulk::Out => format!("answer.bulk(payload, |r, out| device.{snake}(call, r, out))"),
        };
        let _ = writeln!(out, "<cuda::{} as Request>::OPCODE => {with_bulk},", function.camel);
    }
    out.push_str("_ => { answer.refuse(Error::NOT_SUPPORTED); Ok(()) } } }\n");
    Ok(out)
}

fn method(
    out: &mut String,
    signatures: &Signatures,
    function: &Function<'_>,
) -> Result<(), Problem> {
    let (name, snake, camel) = (function.name, &function.snake, &function.camel);
    let reply = if wire::reply(signatures, function)?.is_empty() {
        "()".to_owned()
    } else {
        format!("cuda::{camel}Reply")
    };
    let (parameter, unused) = match bulk(function) {
        Bulk::None => ("", ""),
        Bulk::In => (", bulk: &[u8]", ", bulk"),
        Bulk::Out => (", bulk: &mut Vec<u8>", ", bulk"),
    };
    let _ = writeln!(
        out,
        "/// Does `{name}`.
         fn {snake}(&mut self, call: &Call, request: cuda::{camel}{parameter})
             -> Result<{reply}, Error> {{
             let _ = (call, request{unused});
             Err(Error::NOT_SUPPORTED)
         }}\n"
    );
    Ok(())
}
