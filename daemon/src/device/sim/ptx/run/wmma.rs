//! Products of matrices of which each lane holds what the device likes (PTX ISA, "wmma"): here
//! equal shares, row by row, and again from the beginning where a fragment has room for more.

use super::LANES;
use super::block::Turn;
use super::collective::Party;
use super::matrix::{number, width};
use crate::device::sim::ptx::Fault;
use crate::device::sim::ptx::code::{Element, Fragment, Product, Slot, Space};
use crate::device::sim::ptx::kind::Value as _;
use crate::narrow::half;

impl Fragment {
    /// Elements of a register.
    fn of_slot(&self) -> usize {
        4 / width(self.element)
    }

    /// Elements that a lane holds, each once.
    fn share(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns) / LANES
    }

    /// Where in the matrix a lane's element lies: row by row.
    fn place(&self, lane: usize, at: usize) -> usize {
        lane * self.share() + at % self.share()
    }

    /// All elements that a lane holds: register, first bit in it, place in the matrix.
    fn elements(&self, lane: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (own, of_slot) = (*self, self.of_slot());
        let bits = 8 * width(self.element);
        (0..usize::from(self.slots) * of_slot)
            .map(move |at| (at / of_slot, at % of_slot * bits, own.place(lane, at)))
    }
}

impl Turn<'_, '_> {
    /// Where in memory an element lies; every lane names the same matrix.
    fn element_at(
        &self,
        fragment: Fragment,
        by_columns: bool,
        offset: i32,
        (thread, list): (usize, &[Slot]),
        place: usize,
    ) -> u64 {
        let columns = usize::from(fragment.columns);
        let (row, column) = ((place / columns) as u64, (place % columns) as u64);
        let [base, stride] = [0, 1].map(|at| list[usize::from(fragment.slots) + at]);
        let stride = u64::from(self.value(thread, stride) as u32);
        let elements = if by_columns { column * stride + row } else { row * stride + column };
        let base = self.value(thread, base).wrapping_add_signed(offset.into());
        base.wrapping_add(elements * width(fragment.element) as u64)
    }

    pub(super) fn load_fragment(
        &mut self,
        fragment: Fragment,
        by_columns: bool,
        (space, offset): (Space, i32),
        list: &[Slot],
        party: &Party,
    ) -> Result<(), Fault> {
        Self::whole(party)?;
        let bytes = width(fragment.element);
        for lane in 0..LANES {
            let thread = party.first + lane;
            let mut slots = vec![0_u64; fragment.slots.into()];
            for (slot, bit, place) in fragment.elements(lane) {
                let at = self.element_at(fragment, by_columns, offset, (thread, list), place);
                let mut word = [0; 8];
                let mut memories = self.memories(thread);
                word[..bytes].copy_from_slice(memories.bytes(space, cut(space, at), bytes)?);
                slots[slot] |= u64::from_le_bytes(word) << bit;
            }
            for (&slot, value) in list.iter().zip(slots) {
                self.set_value(thread, slot, value);
            }
        }
        Ok(())
    }

    pub(super) fn store_fragment(
        &mut self,
        fragment: Fragment,
        by_columns: bool,
        (space, offset): (Space, i32),
        list: &[Slot],
        party: &Party,
    ) -> Result<(), Fault> {
        Self::whole(party)?;
        let bytes = width(fragment.element);
        for lane in 0..LANES {
            let thread = party.first + lane;
            for (slot, bit, place) in fragment.elements(lane) {
                let at = self.element_at(fragment, by_columns, offset, (thread, list), place);
                let value = (self.value(thread, list[slot]) >> bit).to_le_bytes();
                let mut memories = self.memories(thread);
                memories.bytes(space, cut(space, at), bytes)?.copy_from_slice(&value[..bytes]);
            }
        }
        Ok(())
    }

    /// D = A B + C.
    pub(super) fn product(
        &mut self,
        product: Product,
        list: &[Slot],
        party: &Party,
    ) -> Result<(), Fault> {
        Self::whole(party)?;
        let Product { d, a, b, c, saturate } = product;
        let (to, rest) = list.split_at(d.slots.into());
        let (of_a, rest) = rest.split_at(a.slots.into());
        let (of_b, of_c) = rest.split_at(b.slots.into());
        let (left, right) = (self.collect(a, of_a, party), self.collect(b, of_b, party));
        let mut sums = self.collect(c, of_c, party);
        let (inner, columns) = (usize::from(a.columns), usize::from(b.columns));
        for (at, sum) in sums.iter_mut().enumerate() {
            let row = &left[at / columns * inner..][..inner];
            let column = right[at % columns..].iter().step_by(columns);
            // Products are exact in doubles, and so are sums of whole numbers.
            *sum += row.iter().zip(column).map(|(a, b)| a * b).sum::<f64>();
        }
        for lane in 0..LANES {
            let mut slots = vec![0_u64; d.slots.into()];
            for (slot, bit, place) in d.elements(lane) {
                slots[slot] |= bits(sums[place], d.element, saturate) << bit;
            }
            for (&slot, value) in to.iter().zip(slots) {
                self.set_value(party.first + lane, slot, value);
            }
        }
        Ok(())
    }

    /// Puts a matrix together, row by row.
    fn collect(&self, fragment: Fragment, slots: &[Slot], party: &Party) -> Vec<f64> {
        let mut all = vec![0.0; fragment.share() * LANES];
        for lane in 0..LANES {
            for (slot, bit, place) in fragment.elements(lane) {
                let value = self.value(party.first + lane, slots[slot]);
                all[place] = number(value >> bit, fragment.element);
            }
        }
        all
    }
}

/// Addresses within the kernel's own memories have 32 bits.
fn cut(space: Space, at: u64) -> u64 {
    if space == Space::Shared { u64::from(at as u32) } else { at }
}

fn bits(value: f64, element: Element, saturate: bool) -> u64 {
    match element {
        Element::F16 => half(value).slot(),
        Element::S32 if saturate => (value as i32).slot(),
        Element::S32 => (value as i64 as i32).slot(),
        _ => (value as f32).slot(),
    }
}
