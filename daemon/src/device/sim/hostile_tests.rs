//! The simulated device asked by a client that makes everything up: it answers or refuses, and the
//! account of memory stays right.

use vgpu_link::Area;
use vgpu_link::wire::cuda::*;
use vgpu_link::wire::{Payload, Request};

use super::physical::GRANULARITY;
use super::tests::OwnBank;
use super::{Profile, Sim};
use crate::dispatch::{Answer, Call, dispatch};
use crate::store::{Place, Store};

/// Every opcode of the driver API that is handed out so far lies below this.
const OPCODE_MAX: u32 = 0x310;

/// Longest payload of a message without text, in bytes; those that copy spans are the longest.
const FIELDS_BYTES_MAX: usize = 160;

/// Memory of the device: 64 MiB, because a made-up set may well fill it.
const TOTAL: u64 = 64 << 20;

/// Asks for one thing after the other and remembers what it was told.
struct Client {
    random: fastrand::Rng,
    sim: Sim,
    answer: Answer,
    /// Contexts, addresses, streams, events and so on, alive or not.
    told: Vec<u64>,
    /// Those of them that are contexts of its own making.
    contexts: Vec<u64>,
}

impl Client {
    fn ask(&mut self, opcode: u32, payload: &[u8], bulk: &[u8]) -> bool {
        let context = self.value();
        let call = Call { context, thread: self.random.u32(..3) };
        dispatch(&mut self.sim, &call, opcode, payload, bulk, &mut self.answer).is_ok()
    }

    /// Chooses a number that means something here or there, or nearly.
    fn value(&mut self) -> u64 {
        let known = self.random.choice(&self.told).copied().unwrap_or(0);
        match self.random.u32(..14) {
            0 => 0,
            1 => self.random.u64(..4),
            2 => u64::MAX - self.random.u64(..3),
            3 => 1 << self.random.u32(..64),
            4 => self.random.u64(..2000),
            5 => known.wrapping_add(self.random.u64(..2000)),
            6 => self.random.u64(1..4) * GRANULARITY,
            7 => known.wrapping_add(self.random.u64(1..4) * GRANULARITY),
            _ => known,
        }
    }

    /// Makes up the fields of a message, all of them or what fits of the last.
    fn fields(&mut self, bytes: usize) -> Vec<u8> {
        let mut fields = Vec::new();
        while fields.len() < bytes {
            let value = self.value().to_le_bytes();
            let width = *self.random.choice(&[1, 2, 4, 8, 8, 8]).expect("there are some");
            fields.extend_from_slice(&value[..width]);
        }
        fields.truncate(bytes);
        fields
    }

    fn learn(&mut self, opcode: u32) {
        let Some(first) = self.answer.payload.first_chunk::<8>() else { return };
        let told = u64::from_le_bytes(*first);
        if self.told.len() < 500 {
            self.told.push(told);
        }
        if opcode == CtxCreateV2::OPCODE {
            self.contexts.push(told);
        }
    }
}

#[test]
fn made_up_requests_are_answered_or_refused_and_the_account_stays_right() {
    let bank = OwnBank::new(TOTAL);
    let sim = Sim::new(Profile::load(2), bank.clone(), Store::open(&Place::default()));
    let sim = sim.sharing(Some(Area::heap(64 << 12)));
    let random = fastrand::Rng::with_seed(0xbad);
    let mut client =
        Client { random, sim, answer: Answer::default(), told: Vec::new(), contexts: Vec::new() };
    // A message is as long as the only length that is understood.
    let lengths: Vec<(u32, usize)> = (0x100..OPCODE_MAX)
        .filter_map(|opcode| {
            let right = |&bytes: &usize| client.ask(opcode, &vec![0; bytes], &[]);
            let all: Vec<usize> = (0..FIELDS_BYTES_MAX).filter(right).collect();
            match all[..] {
                [bytes] => Some((opcode, bytes)),
                // An unknown opcode is refused at any length.
                _ => None,
            }
        })
        .collect();
    assert!(lengths.len() > 30, "{lengths:x?}");
    let mut done = 0;
    for step in 0..200_000 {
        let &(opcode, bytes) = client.random.choice(&lengths).expect("there are some");
        let payload = match step % 50 {
            0 => DevicePrimaryCtxRetain { dev: client.random.i32(..2) }.to_payload(),
            _ => client.fields(bytes),
        };
        let opcode = if step % 50 == 0 { DevicePrimaryCtxRetain::OPCODE } else { opcode };
        let bulk = vec![1; client.random.usize(..600)];
        client.ask(opcode, &payload, &bulk);
        if client.answer.status == 0 {
            done += 1;
            client.learn(opcode);
        }
        assert!(*bank.used.borrow() <= TOTAL);
    }
    eprintln!("{done} of 200000 made-up requests were done");
    assert!(done > 1000, "most are refused, but not all: {done}");
    for dev in 0..2 {
        client.ask(DevicePrimaryCtxResetV2::OPCODE, &dev_payload(dev), &[]);
    }
    for context in client.contexts.clone() {
        client.ask(CtxDestroyV2::OPCODE, &CtxDestroyV2 { ctx: context }.to_payload(), &[]);
    }
    let without_context = client.sim.physical.bytes();
    assert_eq!(*bank.used.borrow(), without_context, "memory is left without a context");
}

fn dev_payload(dev: i32) -> Vec<u8> {
    DevicePrimaryCtxResetV2 { dev }.to_payload()
}
