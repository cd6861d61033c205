//! Every message of the wire, and the header before it.

#[path = "../../transport/wire/tests/messages/generated.rs"]
mod generated;

use std::sync::OnceLock;

use vgpu_link::wire::control::{
    Collect, Collected, DeviceState, DeviceStateReply, DueFunction, Goodbye, Hello, NextFunction,
    Refused, Snapshot, SnapshotReply, Welcome,
};
use vgpu_link::wire::header::HEADER_BYTES;
use vgpu_link::wire::{Header, Malformed, Payload};

/// Is shown a sample of each message; here only its type counts.
pub trait Visit {
    /// Sees a message of either direction.
    fn message<M: Payload>(&mut self, sample: M);

    /// Sees a request.
    fn request<R: Payload>(&mut self, sample: R) {
        self.message(sample);
    }
}

type Check = fn(&[u8]);

#[derive(Default)]
struct Checks(Vec<Check>);

impl Visit for Checks {
    fn message<M: Payload>(&mut self, _: M) {
        self.0.push(there_and_back::<M>);
    }
}

/// What is read as a message is written back byte for byte; what is not is refused at a place
/// that exists.
fn there_and_back<M: Payload>(payload: &[u8]) {
    match M::from_payload(payload) {
        Ok(message) => assert!(message.to_payload() == payload, "read and not written back"),
        Err(Malformed { offset, .. }) => assert!(offset <= payload.len(), "refused at {offset}"),
    }
}

fn header(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    match Header::from_bytes(bytes) {
        Ok(header) => assert!(header.to_bytes() == *bytes, "read and not written back"),
        Err(Malformed { offset, .. }) => assert!(offset <= HEADER_BYTES, "refused at {offset}"),
    }
}

/// All messages, in an order that only grows at its end: inputs keep their meaning.
fn checks() -> &'static [Check] {
    static CHECKS: OnceLock<Vec<Check>> = OnceLock::new();
    CHECKS.get_or_init(|| {
        let control: [Check; 13] = [
            header,
            there_and_back::<Hello>,
            there_and_back::<Welcome>,
            there_and_back::<Refused>,
            there_and_back::<Goodbye>,
            there_and_back::<Snapshot>,
            there_and_back::<SnapshotReply>,
            there_and_back::<DeviceState>,
            there_and_back::<DeviceStateReply>,
            there_and_back::<Collect>,
            there_and_back::<Collected>,
            there_and_back::<NextFunction>,
            there_and_back::<DueFunction>,
        ];
        let mut all = Checks(control.to_vec());
        generated::each(&mut all);
        all.0
    })
}

/// Reads the bytes after the first two as the message whose number these are.
pub fn message(data: &[u8]) {
    let Some((number, payload)) = data.split_first_chunk::<2>() else { return };
    let checks = checks();
    checks[usize::from(u16::from_le_bytes(*number)) % checks.len()](payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a sample of each message: what the corpus began with.
    #[derive(Default)]
    struct Samples(Vec<Vec<u8>>);

    impl Visit for Samples {
        fn message<M: Payload>(&mut self, sample: M) {
            self.0.push(sample.to_payload());
        }
    }

    #[test]
    fn the_number_of_a_message_chooses_the_reader_that_takes_its_sample() {
        let mut samples = Samples::default();
        generated::each(&mut samples);
        let controls = checks().len() - samples.0.len();
        for (at, sample) in samples.0.iter().enumerate() {
            let number = u16::try_from(controls + at).expect("fewer messages than 65536");
            message(&[&number.to_le_bytes(), sample.as_slice()].concat());
        }
    }
}
