//! Products of matrices whose layout over the lanes is nobody's business (PTX ISA, "Warp-Level
//! Matrix Instructions: wmma").

use super::warp::element;
use super::{Builder, Decoded, Kind, Name, unknown};
use crate::device::sim::ptx::code::{Act, Element, Fragment, NONE, Product, Slot, Space};
use crate::device::sim::ptx::parse::Operand;

/// Rows of A, columns of B, and what is between: all shapes but those of doubles and single bits.
const SHAPES: [(&str, [u8; 3]); 4] = [
    ("m16n16k16", [16, 16, 16]),
    ("m8n32k16", [8, 32, 16]),
    ("m32n8k16", [32, 8, 16]),
    ("m16n16k8", [16, 16, 8]),
];

/// One of the matrices of a product.
#[derive(Clone, Copy)]
enum Matrix {
    A,
    B,
    /// C or D.
    Sum,
}

impl<'m> Builder<'m> {
    pub(super) fn wmma(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        name.ignore(&["sync", "aligned"]);
        let shape = SHAPES.iter().find(|(shape, _)| name.take(shape));
        let Some(&(_, shape)) = shape else { return unknown("") };
        match (name.take_of(&["load", "store", "mma"]), operands) {
            (Some("load"), [registers, at, stride @ ..]) => {
                let matrix = match name.take_of(&["a", "b", "c"]) {
                    Some("a") => Matrix::A,
                    Some("b") => Matrix::B,
                    Some(_) => Matrix::Sum,
                    None => return unknown(""),
                };
                self.fragment_access(name, (shape, matrix, true), (registers, at, stride))
            }
            (Some("store"), [at, registers, stride @ ..]) if name.take("d") => {
                self.fragment_access(name, (shape, Matrix::Sum, false), (registers, at, stride))
            }
            (Some("mma"), [d, a, b, c]) => self.wmma_product(name, shape, [d, a, b, c]),
            _ => unknown(""),
        }
    }

    fn fragment_access(
        &mut self,
        name: &mut Name<'m>,
        (shape, matrix, loads): ([u8; 3], Matrix, bool),
        (registers, at, stride): (&Operand<'m>, &Operand<'m>, &[Operand<'m>]),
    ) -> Decoded<()> {
        let by_columns = match name.take_of(&["row", "col"]) {
            Some(layout) => layout == "col",
            None => return unknown(""),
        };
        let space = match name.take_of(&["global", "shared", "shared::cta"]) {
            Some("global") => Space::Global,
            Some(_) => Space::Shared,
            None => Space::Generic,
        };
        let Some(fragment) = name.rest().first().and_then(|word| fragment(shape, matrix, word))
        else {
            return unknown("");
        };
        let mut slots = self.slots(registers, fragment)?;
        let access = self.access(at, space, Kind::B32)?;
        // Without a stride the rows, or columns, lie one behind the other.
        let [rows, columns] = [fragment.rows, fragment.columns];
        let stride = match stride {
            [stride] => self.source(stride, Kind::U32)?,
            _ => self.number(if by_columns { rows } else { columns }.into()),
        };
        slots.extend([access.base, stride]);
        let (offset, space) = (access.offset, access.space);
        let act = match loads {
            true => Act::LoadFragment { fragment, by_columns, offset, space },
            false => Act::StoreFragment { fragment, by_columns, offset, space },
        };
        self.act(act, NONE, &slots)
    }

    fn wmma_product(
        &mut self,
        name: &mut Name<'m>,
        shape: [u8; 3],
        operands: [&Operand<'m>; 4],
    ) -> Decoded<()> {
        // How A and B lay in memory: the fragments have no layout any more.
        name.ignore(&["row", "col"]);
        let saturate = name.take("satfinite");
        let words = name.rest();
        // Halves say only what D and C are.
        let [d, a, b, c] = match words[..] {
            [d, c] => [d, "f16", "f16", c],
            [d, a, b, c] => [d, a, b, c],
            _ => return unknown(""),
        };
        let matrices = [(Matrix::Sum, d), (Matrix::A, a), (Matrix::B, b), (Matrix::Sum, c)];
        let found: Option<Vec<Fragment>> =
            matrices.into_iter().map(|(matrix, word)| fragment(shape, matrix, word)).collect();
        let Some(&[d, a, b, c]) = found.as_deref() else { return unknown("") };
        let whole = |of: Element| matches!(of, Element::S8 | Element::U8);
        let fits = match (a.element, b.element) {
            (of_a, of_b) if whole(of_a) && whole(of_b) => {
                of_a == of_b && c.element == Element::S32 && d.element == Element::S32
            }
            (Element::F16, Element::F16) => c.element != Element::S32 && d.element != Element::S32,
            (of_a, of_b) => of_a == of_b && c.element == Element::F32 && d.element == Element::F32,
        };
        if !fits || saturate && !whole(a.element) {
            return unknown("");
        }
        let mut slots = Vec::new();
        for (operand, fragment) in operands.into_iter().zip([d, a, b, c]) {
            slots.extend(self.slots(operand, fragment)?);
        }
        self.act(Act::Product(Product { d, a, b, c, saturate }), NONE, &slots)
    }

    fn slots(&mut self, operand: &Operand<'m>, fragment: Fragment) -> Decoded<Vec<Slot>> {
        let slots = self.fragment(operand, Kind::B32)?;
        if slots.len() == usize::from(fragment.slots) { Ok(slots) } else { unknown("") }
    }
}

/// How a matrix is spread (PTX ISA, "Matrix Fragments for WMMA").
fn fragment([m, n, k]: [u8; 3], matrix: Matrix, word: &str) -> Option<Fragment> {
    let element = element(word)?;
    let (rows, columns) = match matrix {
        Matrix::A => (m, k),
        Matrix::B => (k, n),
        Matrix::Sum => (m, n),
    };
    let is_sum = matches!(matrix, Matrix::Sum);
    // Elements of a matrix by bytes of one, over 32 lanes of 4 bytes a register.
    let even = |bytes: u32| (u32::from(rows) * u32::from(columns) * bytes / 128) as u8;
    let slots = match (element, is_sum, k) {
        // Every lane holds more than its share of these.
        (Element::F16, false, 16) => 8,
        (Element::Bf16, false, 16) | (Element::F16, true, 16) => even(2),
        (Element::S8 | Element::U8, false, 16) => even(1),
        (Element::Tf32, false, 8) | (Element::F32, true, _) => even(4),
        (Element::S32, true, 16) => even(4),
        _ => return None,
    };
    Some(Fragment { rows, columns, element, slots })
}
