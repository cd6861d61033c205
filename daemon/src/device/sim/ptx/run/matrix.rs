//! Matrices spread over the lanes of a warp (PTX ISA, "Warp Level Matrix Instructions").

use half::{bf16, f16};

use super::LANES;
use super::block::Turn;
use super::collective::Party;
use crate::device::sim::ptx::Fault;
use crate::device::sim::ptx::code::{Element, Multiply, Slot, Space};
use crate::device::sim::ptx::kind::Value as _;
use crate::narrow::half;

/// Rows and columns of the matrices that are loaded and moved.
const SIDE: usize = 8;

/// An 8 by 8 matrix of 16-bit elements.
type Small = [[u16; SIDE]; SIDE];

/// Rows and columns of a product.
const ROWS: usize = 16;
const COLUMNS: usize = 8;

impl Turn<'_, '_> {
    /// Whole warps only: every lane holds a part of a matrix.
    pub(super) fn whole(party: &Party) -> Result<(), Fault> {
        if party.mask == u32::MAX { Ok(()) } else { Err(Fault::Failed) }
    }

    /// Does something with the row of 16 bytes that a lane's address names.
    fn row(
        &mut self,
        (space, offset): (Space, i32),
        thread: usize,
        base: Slot,
        each: impl FnOnce(&mut [u8]),
    ) -> Result<(), Fault> {
        let at = self.value(thread, base).wrapping_add_signed(offset.into());
        let at = if space == Space::Shared { u64::from(at as u32) } else { at };
        self.memories(thread).bytes(space, at, 2 * SIDE).map(each)
    }

    pub(super) fn load_matrix(
        &mut self,
        matrices: u8,
        transposed: bool,
        place: (Space, i32),
        list: &[Slot],
        party: &Party,
    ) -> Result<(), Fault> {
        Self::whole(party)?;
        let count = usize::from(matrices);
        let mut all = [[[0; SIDE]; SIDE]; 4];
        // Each lane's address names a row: eight lanes a matrix.
        for (lane, row) in all[..count].iter_mut().flatten().enumerate() {
            self.row(place, party.first + lane, list[count], |bytes| {
                for (element, pair) in row.iter_mut().zip(bytes.chunks_exact(2)) {
                    *element = u16::from_le_bytes([pair[0], pair[1]]);
                }
            })?;
        }
        for (matrix, small) in all[..count].iter().enumerate() {
            for lane in 0..LANES {
                let value = part(small, lane, transposed);
                self.set_value(party.first + lane, list[matrix], value);
            }
        }
        Ok(())
    }

    pub(super) fn store_matrix(
        &mut self,
        matrices: u8,
        transposed: bool,
        place: (Space, i32),
        list: &[Slot],
        party: &Party,
    ) -> Result<(), Fault> {
        Self::whole(party)?;
        let count = usize::from(matrices);
        for matrix in 0..count {
            let mut small = self.gather(list[matrix], party);
            if transposed {
                small = std::array::from_fn(|row| small.map(|other| other[row]));
            }
            for (row, elements) in small.iter().enumerate() {
                let lane = matrix * SIDE + row;
                self.row(place, party.first + lane, list[count], |bytes| {
                    for (element, pair) in elements.iter().zip(bytes.chunks_exact_mut(2)) {
                        pair.copy_from_slice(&element.to_le_bytes());
                    }
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn move_matrix(&mut self, list: &[Slot], party: &Party) -> Result<(), Fault> {
        Self::whole(party)?;
        let small = self.gather(list[1], party);
        for lane in 0..LANES {
            self.set_value(party.first + lane, list[0], part(&small, lane, true));
        }
        Ok(())
    }

    /// Puts together the matrix of which each lane holds two neighbours of a row.
    fn gather(&self, slot: Slot, party: &Party) -> Small {
        let mut small = [[0; SIDE]; SIDE];
        for lane in 0..LANES {
            let value = self.value(party.first + lane, slot);
            small[lane / 4][lane % 4 * 2] = value as u16;
            small[lane / 4][lane % 4 * 2 + 1] = (value >> 16) as u16;
        }
        small
    }

    /// D = A B + C.
    pub(super) fn multiply(
        &mut self,
        multiply: Multiply,
        list: &[Slot],
        party: &Party,
    ) -> Result<(), Fault> {
        Self::whole(party)?;
        let k = usize::from(multiply.k);
        let of_c = width(multiply.c);
        let of_a = k * width(multiply.a) / 8;
        let (d, rest) = list.split_at(of_c);
        let (a, rest) = rest.split_at(of_a);
        let (b, rest) = rest.split_at(of_a / 2);
        let mut left = [[0.0; 32]; ROWS];
        let mut right = [[0.0; 32]; COLUMNS];
        for lane in 0..LANES {
            let thread = party.first + lane;
            self.operand(thread, a, multiply.a, |at, value| {
                let (row, column) = place(lane, at, multiply.a, ROWS);
                left[row][column] = value;
            });
            self.operand(thread, b, multiply.b, |at, value| {
                let (row, column) = place(lane, at, multiply.b, COLUMNS);
                right[row][column] = value;
            });
        }
        for lane in 0..LANES {
            let thread = party.first + lane;
            let mut sums = [0.0; 4];
            self.operand(thread, &rest[..of_c], multiply.c, |at, value| sums[at] = value);
            for (at, sum) in sums.iter_mut().enumerate() {
                let (row, column) = (lane / 4 + at / 2 * 8, lane % 4 * 2 + at % 2);
                let products = left[row][..k].iter().zip(&right[column][..k]);
                // Products are exact in doubles, and so are sums of whole numbers.
                *sum += products.map(|(a, b)| a * b).sum::<f64>();
            }
            for (at, &slot) in d.iter().enumerate() {
                let value = match multiply.c {
                    Element::F16 => {
                        let (low, high) = (sums[2 * at], sums[2 * at + 1]);
                        half(high).slot() << 16 | half(low).slot()
                    }
                    Element::S32 if multiply.saturate => (sums[at] as i32).slot(),
                    Element::S32 => (sums[at] as i64 as i32).slot(),
                    _ => (sums[at] as f32).slot(),
                };
                self.set_value(thread, slot, value);
            }
        }
        Ok(())
    }

    /// Takes a lane's elements of an operand apart: each with its number.
    fn operand(
        &self,
        thread: usize,
        slots: &[Slot],
        element: Element,
        mut each: impl FnMut(usize, f64),
    ) {
        let of_slot = 4 / width(element);
        for (at, &slot) in slots.iter().enumerate() {
            let value = self.value(thread, slot);
            for part in 0..of_slot {
                let bits = value >> (8 * width(element) * part);
                each(at * of_slot + part, number(bits, element));
            }
        }
    }
}

/// The two elements of a matrix that a lane holds.
fn part(small: &Small, lane: usize, transposed: bool) -> u64 {
    let (row, column) = (lane / 4, lane % 4 * 2);
    let (low, high) = match transposed {
        true => (small[column][row], small[column + 1][row]),
        false => (small[row][column], small[row][column + 1]),
    };
    u64::from(high) << 16 | u64::from(low)
}

pub(super) fn width(element: Element) -> usize {
    match element {
        Element::S8 | Element::U8 => 1,
        Element::F16 | Element::Bf16 => 2,
        Element::Tf32 | Element::F32 | Element::S32 => 4,
    }
}

pub(super) fn number(bits: u64, element: Element) -> f64 {
    match element {
        Element::F16 => f16::of(bits).to_f64(),
        Element::Bf16 => bf16::of(bits).to_f64(),
        // The device looks at the upper 19 bits only.
        Element::Tf32 => f32::of(bits & 0xffff_e000).into(),
        Element::F32 => f32::of(bits).into(),
        Element::S8 => (bits as i8).into(),
        Element::U8 => (bits as u8).into(),
        Element::S32 => (bits as i32).into(),
    }
}

/// Where a lane's element lies among rows of `k`: a group of four lanes has a row, each lane as
/// many neighbours as a register holds; A has rows 8 further down in every second register, and
/// what is left lies further along the rows.
fn place(lane: usize, at: usize, element: Element, rows: usize) -> (usize, usize) {
    let of_slot = 4 / width(element);
    let (slot, part) = (at / of_slot, at % of_slot);
    let (down, along) = if rows == ROWS { (slot % 2, slot / 2) } else { (0, slot) };
    (lane / 4 + 8 * down, lane % 4 * of_slot + part + along * 4 * of_slot)
}
