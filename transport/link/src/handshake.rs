//! The first and the last frames, of both sides.

use std::time::{Duration, Instant};

use crate::wire::control::{Goodbye, Hello, Reason, Refusal, Refused, Welcome, opcode};
use crate::wire::header::VERSION;
use crate::wire::limits::SENTENCE_BYTES_MAX;
use crate::wire::{Header, Kind, Payload, Text};
use crate::{Bulk, Link, LinkError, Sender};

/// Introduces a guest and waits for the host's answer, until `limit`. Lifts the limit after.
///
/// # Errors
/// [`LinkError::Refused`] if the host turns us away, [`LinkError::Unexpected`] if it answers
/// something else, and those of [`Link`].
pub fn introduce(link: &mut dyn Link, hello: &Hello, limit: Instant) -> Result<Welcome, LinkError> {
    link.wait_until(Some(limit));
    link.send(&Header::new(Kind::Call, opcode::HELLO), &hello.to_payload(), &[])?;
    let mut payload = Vec::new();
    let answer = link.receive(&mut payload, Bulk::Into(&mut []))?;
    link.wait_until(None);
    match (answer.kind, answer.opcode) {
        (Kind::Reply, opcode::WELCOME) => Welcome::from_payload(&payload)
            .map_err(|source| LinkError::Malformed { what: "Welcome", source }),
        (Kind::Reply, opcode::REFUSED) => Err(refused(&payload)),
        (_, opcode) => {
            Err(LinkError::Unexpected { opcode, expected: "the answer to our introduction" })
        }
    }
}

/// Turns a `Refused` into the error that it stands for.
pub(crate) fn refused(payload: &[u8]) -> LinkError {
    match Refused::from_payload(payload) {
        Ok(Refused { version, refusal, text }) => {
            LinkError::Refused { refusal, version, text: text.to_string() }
        }
        Err(source) => LinkError::Malformed { what: "Refused", source },
    }
}

/// Waits for a guest's introduction, until `limit`, and checks it; lifts the limit after. A guest
/// that cannot be understood is told so before the error is returned.
///
/// # Errors
/// [`LinkError::WrongVersion`], [`LinkError::Unexpected`] for another first frame,
/// [`LinkError::Malformed`], and those of [`Link`].
pub fn meet(link: &mut dyn Link, limit: Instant) -> Result<Hello, LinkError> {
    link.wait_until(Some(limit));
    let mut payload = Vec::new();
    let met = link.receive(&mut payload, Bulk::Into(&mut [])).and_then(|first| {
        if (first.kind, first.opcode) != (Kind::Call, opcode::HELLO) {
            let expected = "an introduction";
            return Err(LinkError::Unexpected { opcode: first.opcode, expected });
        }
        let malformed = |source| LinkError::Malformed { what: "Hello", source };
        match Hello::version(&payload).map_err(malformed)? {
            VERSION => Hello::from_payload(&payload).map_err(malformed),
            theirs => Err(LinkError::WrongVersion { theirs, ours: VERSION }),
        }
    });
    if let Err(error) = &met {
        // Whether the guest hears it or not, what it did is the error to report.
        let _ = match error {
            LinkError::WrongVersion { .. } => refuse(link, Refusal::Version, &told(error)),
            LinkError::Malformed { what: "Hello", .. } => {
                refuse(link, Refusal::Malformed, &told(error))
            }
            _ => part(link, error),
        };
    }
    link.wait_until(None);
    met
}

/// Accepts a guest.
///
/// # Errors
/// Those of [`Sender::send`].
pub fn welcome(link: &mut dyn Sender, welcome: &Welcome) -> Result<(), LinkError> {
    link.send(&Header::new(Kind::Reply, opcode::WELCOME), &welcome.to_payload(), &[])
}

/// Turns a guest away.
///
/// # Errors
/// Those of [`Sender::send`].
pub fn refuse(link: &mut dyn Sender, refusal: Refusal, text: &str) -> Result<(), LinkError> {
    let refused = Refused { version: VERSION, refusal, text: Text::cut(text) };
    link.send(&Header::new(Kind::Reply, opcode::REFUSED), &refused.to_payload(), &[])
}

/// Ends a connection in good order.
///
/// # Errors
/// Those of [`Sender::send`].
pub fn goodbye(link: &mut dyn Sender, reason: Reason, text: &str) -> Result<(), LinkError> {
    let goodbye = Goodbye { reason, text: Text::cut(text) };
    link.send(&Header::new(Kind::Post, opcode::GOODBYE), &goodbye.to_payload(), &[])
}

/// How long last words may take: a peer that does wrong may not read either.
const PART_LIMIT: Duration = Duration::from_millis(100);

/// Tells the peer what it did wrong, where it is to blame and may still listen. Waits a tenth of a
/// second at most.
///
/// # Errors
/// Those of [`Sender::send`].
pub fn part(link: &mut dyn Sender, error: &LinkError) -> Result<(), LinkError> {
    let reason = match error {
        LinkError::Malformed { .. } | LinkError::Truncated { .. } => Reason::Malformed,
        LinkError::Oversized { .. } => Reason::Oversized,
        LinkError::Unexpected { .. } | LinkError::BulkMismatch { .. } | LinkError::TimedOut => {
            Reason::Unexpected
        }
        _ => return Ok(()),
    };
    link.limit_sends(Some(Instant::now() + PART_LIMIT));
    goodbye(link, reason, &told(error))
}

/// Puts an error and its causes into one sentence for the peer.
fn told(error: &LinkError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text.truncate(text.floor_char_boundary(SENTENCE_BYTES_MAX));
    text
}
