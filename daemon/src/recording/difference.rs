//! What did not match.

use std::fmt;

use vgpu_link::wire::{Header, Kind};

use super::{Contents, Entry};

/// So many bytes are shown to people.
const SHOWN_BYTES_MAX: usize = 64;

/// Says which message differs from the recording, what was recorded, and what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Number of the client's thread.
    pub thread: u32,
    /// Number of the message among those of its thread, from 1.
    pub message: usize,
    /// What was recorded there; none if the recording ends before.
    pub recorded: Option<String>,
    /// What came.
    pub came: String,
    /// Which part differs.
    pub part: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded = self.recorded.as_deref().unwrap_or("nothing more");
        write!(
            out,
            "message {} of thread {} differs in {}: recorded was {recorded}, came {}",
            self.message, self.thread, self.part, self.came
        )
    }
}

impl std::error::Error for Difference {}

/// Spells a message for people.
pub(super) fn spell(header: &Header, payload: &[u8]) -> String {
    let kind = match header.kind {
        Kind::Call => "call",
        Kind::Post => "post",
        Kind::Reply => "reply",
    };
    let name = vgpu_link::wire::name(header.opcode).unwrap_or("of an unknown opcode");
    format!(
        "{kind} {name} ({:#x}) in context {:#x} with payload [{}] and {} bytes of bulk",
        header.opcode,
        header.context,
        shown(payload),
        header.bulk_bytes
    )
}

/// Names the first part in which a message differs from a recorded one.
pub(super) fn compare(recorded: &Entry, came: &Entry) -> Option<String> {
    let (one, two) = (&recorded.header, &came.header);
    if one.opcode != two.opcode {
        return Some("its function".into());
    }
    if one.kind != two.kind {
        return Some("whether it waits for an answer".into());
    }
    if one.context != two.context {
        return Some("its context".into());
    }
    if recorded.payload.len() != came.payload.len() {
        let (one, two) = (recorded.payload.len(), came.payload.len());
        return Some(format!("the length of its payload ({one} bytes, {two} bytes)"));
    }
    let mut pairs = recorded.payload.iter().zip(&came.payload);
    if let Some(at) = pairs.position(|(one, two)| one != two) {
        return Some(format!("byte {at} of its payload"));
    }
    if one.bulk_bytes != two.bulk_bytes {
        let (one, two) = (one.bulk_bytes, two.bulk_bytes);
        return Some(format!("the length of its memory contents ({one} bytes, {two} bytes)"));
    }
    (recorded.bulk != came.bulk).then(|| match (&recorded.bulk, &came.bulk) {
        (Contents::Whole(one), Contents::Whole(two)) => {
            let at = one.iter().zip(two).position(|(one, two)| one != two).unwrap_or(0);
            format!(
                "byte {at} of its memory contents ({}, {})",
                shown(&one[at..]),
                shown(&two[at..])
            )
        }
        _ => "its memory contents".into(),
    })
}

/// The first bytes, in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    let shown = bytes.iter().take(SHOWN_BYTES_MAX).map(|byte| format!("{byte:02x}"));
    shown.collect::<String>() + more
}
