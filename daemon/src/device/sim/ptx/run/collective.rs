//! What the threads of a warp do together, once all that take part have come.

use std::ops::Range;

use super::LANES;
use super::block::Turn;
use super::thread::State;
use crate::device::sim::ptx::Fault;
use crate::device::sim::ptx::code::{Act, NONE, Op, Shuffle, Slot, Vote, Warp};
use crate::device::sim::ptx::kind::Value as _;

/// The lanes that take part: their threads, by lane.
pub(super) struct Party {
    /// The first thread of the warp.
    pub first: usize,
    /// One bit for each lane.
    pub mask: u32,
}

impl Party {
    /// The lanes that take part, in order.
    pub fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let mask = self.mask;
        (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
    }

    pub fn has(&self, lane: usize) -> bool {
        lane < LANES && self.mask >> lane & 1 == 1
    }
}

impl Turn<'_, '_> {
    /// Does what is complete among what the threads of a warp wait for; says whether anything was.
    pub(super) fn meet(&mut self, threads: Range<usize>) -> Result<bool, Fault> {
        let (mut live, mut waiting, mut ready) = (0_u32, 0_u32, false);
        for (lane, thread) in threads.clone().enumerate() {
            match self.block.threads[thread].state {
                State::Done => continue,
                State::Warp => waiting |= 1 << lane,
                State::Ready => ready = true,
                State::Barrier | State::Cluster => {}
            }
            live |= 1 << lane;
        }
        let (mut met, mut left, mut active) = (false, waiting, None);
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let (warp, at, named) = self.awaited(threads.start + first);
            let together = |lane: &usize| {
                let (other, its, mask) = self.awaited(threads.start + lane);
                // Waits that do nothing else are for a mask, wherever they stand.
                let is_sync = matches!((warp.act, other.act), (Act::Sync, Act::Sync));
                mask == named && (its == at || is_sync)
            };
            let here = (first..LANES).filter(|lane| left >> lane & 1 == 1).filter(together);
            let here = here.fold(0, |mask, lane| mask | 1 << lane);
            left &= !here;
            if matches!(warp.act, Act::Active) {
                active.get_or_insert((warp, here));
                continue;
            }
            if here & named == live & named && here & named != 0 {
                self.act(warp, Party { first: threads.start, mask: here & named })?;
                met = true;
            }
        }
        // Who runs together is known once nobody else can come.
        if let (false, false, Some((warp, here))) = (met, ready, active) {
            self.act(warp, Party { first: threads.start, mask: here })?;
            met = true;
        }
        Ok(met)
    }

    /// What a thread waits for, at which instruction, and for which lanes.
    fn awaited(&self, thread: usize) -> (Warp, u32, u32) {
        let at = self.block.threads[thread].at;
        let Op::Warp(warp) = self.grid.code.instructions[at as usize].op else {
            unreachable!("the thread waits for its warp");
        };
        let named = match warp.mask {
            NONE => u32::MAX,
            mask => self.value(thread, mask) as u32,
        };
        (warp, at, named)
    }

    fn act(&mut self, warp: Warp, party: Party) -> Result<(), Fault> {
        let code = self.grid.code;
        let list = &code.lists[warp.list as usize..];
        match warp.act {
            Act::Sync => {}
            Act::Shuffle(shuffle) => self.shuffle(shuffle, list, &party),
            Act::Vote(vote) => self.vote(vote, list, &party),
            Act::Match { all, wide } => self.matching(all, wide, list, &party),
            Act::Reduce { f } => {
                let mut lanes = party.lanes();
                let first = lanes.next().expect("somebody takes part");
                let of = |lane: usize| self.value(party.first + lane, list[1]);
                let result = lanes.fold(of(first), |result, lane| f(result, of(lane)));
                self.give(&party, list[0], result);
            }
            Act::Active => self.give(&party, list[0], party.mask.into()),
            Act::Elect => {
                let leader = party.mask.trailing_zeros() as usize;
                self.give(&party, list[0], leader as u64);
                for lane in party.lanes() {
                    self.set_value(party.first + lane, list[1], (lane == leader).slot());
                }
            }
            Act::LoadMatrix { matrices, transposed, offset, space } => {
                self.load_matrix(matrices, transposed, (space, offset), list, &party)?;
            }
            Act::StoreMatrix { matrices, transposed, offset, space } => {
                self.store_matrix(matrices, transposed, (space, offset), list, &party)?;
            }
            Act::MoveMatrix => self.move_matrix(list, &party)?,
            Act::LoadFragment { fragment, by_columns, offset, space } => {
                self.load_fragment(fragment, by_columns, (space, offset), list, &party)?;
            }
            Act::StoreFragment { fragment, by_columns, offset, space } => {
                self.store_fragment(fragment, by_columns, (space, offset), list, &party)?;
            }
            Act::Product(product) => self.product(product, list, &party)?,
            Act::Multiply(multiply) => self.multiply(multiply, list, &party)?,
        }
        for lane in party.lanes() {
            self.block.threads[party.first + lane].go_on();
        }
        Ok(())
    }

    /// Gives all the same value.
    fn give(&mut self, party: &Party, slot: Slot, value: u64) {
        for lane in party.lanes() {
            self.set_value(party.first + lane, slot, value);
        }
    }

    /// Gives each lane another's value, within segments of the warp (PTX ISA, "shfl.sync").
    fn shuffle(&mut self, shuffle: Shuffle, list: &[Slot], party: &Party) {
        let &[d, p, a, b, c, ..] = list else { unreachable!("five operands") };
        let mut results = [(0, false); LANES];
        for lane in party.lanes() {
            let thread = party.first + lane;
            let by = self.value(thread, b) as usize & 31;
            let limits = self.value(thread, c) as usize;
            let (clamp, segment) = (limits & 31, limits >> 8 & 31);
            let most = (lane & segment) | (clamp & !segment);
            let least = lane & segment;
            let from = match shuffle {
                Shuffle::Up => lane.wrapping_sub(by),
                Shuffle::Down => lane + by,
                Shuffle::Butterfly => lane ^ by,
                Shuffle::Index => least | (by & !segment),
            };
            let within = match shuffle {
                Shuffle::Up => lane >= by && from >= most,
                _ => from <= most,
            };
            let from = if within { from } else { lane };
            // A lane that does not take part has no value to give; devices give anything.
            let from = if party.has(from) { from } else { lane };
            results[lane] = (self.value(party.first + from, a) & 0xffff_ffff, within);
        }
        for lane in party.lanes() {
            let (value, within) = results[lane];
            self.set_value(party.first + lane, d, value);
            self.set_value(party.first + lane, p, within.slot());
        }
    }

    fn vote(&mut self, vote: Vote, list: &[Slot], party: &Party) {
        let mut ballot = 0_u32;
        for lane in party.lanes() {
            ballot |= u32::from(self.value(party.first + lane, list[1]) != 0) << lane;
        }
        let all = ballot == party.mask;
        let result = match vote {
            Vote::All => all.slot(),
            Vote::Any => (ballot != 0).slot(),
            Vote::Uniform => (all || ballot == 0).slot(),
            Vote::Ballot => ballot.into(),
        };
        self.give(party, list[0], result);
    }

    fn matching(&mut self, all: bool, wide: bool, list: &[Slot], party: &Party) {
        let cut = if wide { u64::MAX } else { 0xffff_ffff };
        let values: Vec<(usize, u64)> = party
            .lanes()
            .map(|lane| (lane, self.value(party.first + lane, list[2]) & cut))
            .collect();
        for &(lane, value) in &values {
            let same = values.iter().filter(|(_, other)| *other == value);
            let same = same.fold(0_u32, |mask, (lane, _)| mask | 1 << lane);
            let complete = same == party.mask;
            let result = if all && !complete { 0 } else { same };
            self.set_value(party.first + lane, list[0], result.into());
            self.set_value(party.first + lane, list[1], complete.slot());
        }
    }
}
