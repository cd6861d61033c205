//! Every message of the driver API, there and back.

#![forbid(unsafe_code)]

mod generated;

use std::collections::BTreeMap;
use std::fmt::Debug;

use vgpu_wire::{Malformed, Payload, Request};

/// Is shown a sample of each message.
pub trait Visit {
    /// Sees a message of either direction.
    fn message<M: Payload + Debug + PartialEq>(&mut self, sample: M);

    /// Sees a request, with its opcode.
    fn request<R: Request + Debug + PartialEq>(&mut self, sample: R) {
        self.message(sample);
    }
}

/// Says where a message that does not make sense stopped doing so.
fn refusal<M: Payload + Debug + PartialEq>(payload: &[u8]) -> Malformed {
    M::from_payload(payload).expect_err("the payload is not whole")
}

struct ThereAndBack(usize);

impl Visit for ThereAndBack {
    fn message<M: Payload + Debug + PartialEq>(&mut self, sample: M) {
        assert_eq!(M::from_payload(&sample.to_payload()), Ok(sample));
        self.0 += 1;
    }
}

struct Mutilated(usize);

impl Visit for Mutilated {
    fn message<M: Payload + Debug + PartialEq>(&mut self, sample: M) {
        let whole = sample.to_payload();
        for length in 0..whole.len() {
            assert!(refusal::<M>(&whole[..length]).offset <= length, "{sample:?}");
            self.0 += 1;
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(refusal::<M>(&longer).offset, whole.len(), "{sample:?}");
    }
}

#[derive(Default)]
struct Opcodes(BTreeMap<u32, String>);

impl Visit for Opcodes {
    fn message<M: Payload + Debug + PartialEq>(&mut self, _: M) {}

    fn request<R: Request + Debug + PartialEq>(&mut self, sample: R) {
        let other = self.0.insert(R::OPCODE, format!("{sample:?}"));
        assert_eq!(other, None, "{sample:?} has the opcode of another message");
    }
}

#[test]
fn every_message_reads_back_what_it_wrote() {
    let mut visitor = ThereAndBack(0);
    generated::each(&mut visitor);
    assert!(visitor.0 >= 50, "{} messages were seen", visitor.0);
}

#[test]
fn a_message_that_is_cut_or_too_long_is_malformed() {
    let mut visitor = Mutilated(0);
    generated::each(&mut visitor);
    assert!(visitor.0 >= 500, "{} cuts were tried", visitor.0);
}

#[test]
fn every_request_has_an_opcode_of_its_own_above_those_of_the_connection() {
    let mut visitor = Opcodes::default();
    generated::each(&mut visitor);
    assert!(visitor.0.keys().all(|opcode| *opcode >= 0x100), "{:?}", visitor.0);
}
