//! What the threads of a warp do together.

use super::arithmetic::no_function;
use super::{Builder, Decoded, Kind, Name, integer, unknown};
use crate::device::sim::ptx::code::{
    Act, Element, Multiply, NONE, Op, Shuffle, Slot, Space, Vote, Warp,
};
use crate::device::sim::ptx::parse::Operand;

impl<'m> Builder<'m> {
    pub(super) fn warp(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        name.ignore(&["sync", "aligned"]);
        match name.operation() {
            "shfl" => self.shuffle(name, operands),
            "vote" => self.vote(name, operands),
            "match" => self.matching(name, operands),
            "redux" => self.redux(name, operands),
            "activemask" => {
                name.kind()?;
                let [d] = operands else { return unknown("") };
                let d = self.target(d)?;
                self.act(Act::Active, NONE, &[d])
            }
            "elect" => {
                let [d, mask] = operands else { return unknown("") };
                let (d, p) = self.targets(d)?;
                let mask = self.source(mask, Kind::B32)?;
                self.act(Act::Elect, mask, &[d, p])
            }
            "mma" => self.multiply(name, operands),
            _ => self.matrix(name, operands),
        }
    }

    pub(super) fn act(&mut self, act: Act, mask: Slot, slots: &[Slot]) -> Decoded<()> {
        let list = self.list(slots);
        self.emit(Op::Warp(Warp { act, mask, list }))
    }

    fn shuffle(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let shuffle = match name.take_of(&["up", "down", "bfly", "idx"]) {
            Some("up") => Shuffle::Up,
            Some("down") => Shuffle::Down,
            Some("bfly") => Shuffle::Butterfly,
            Some(_) => Shuffle::Index,
            None => return unknown(""),
        };
        name.kind()?;
        let [d, a, b, c, rest @ ..] = operands else { return unknown("") };
        let (a, b) = (self.source(a, Kind::B32)?, self.source(b, Kind::B32)?);
        let c = self.source(c, Kind::B32)?;
        let mask = match rest {
            [mask] => self.source(mask, Kind::B32)?,
            _ => NONE,
        };
        let (d, p) = self.targets(d)?;
        self.act(Act::Shuffle(shuffle), mask, &[d, p, a, b, c])
    }

    fn vote(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let vote = match name.take_of(&["all", "any", "uni", "ballot"]) {
            Some("all") => Vote::All,
            Some("any") => Vote::Any,
            Some("uni") => Vote::Uniform,
            Some(_) => Vote::Ballot,
            None => return unknown(""),
        };
        name.kind()?;
        let [d, a, rest @ ..] = operands else { return unknown("") };
        let a = self.source(a, Kind::Pred)?;
        let mask = match rest {
            [mask] => self.source(mask, Kind::B32)?,
            _ => NONE,
        };
        let d = self.target(d)?;
        self.act(Act::Vote(vote), mask, &[d, a])
    }

    fn matching(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let all = name.take_of(&["any", "all"]) == Some("all");
        let wide = name.kind()?.bytes() == 8;
        let [d, a, mask] = operands else { return unknown("") };
        let (a, mask) = (self.source(a, Kind::B64)?, self.source(mask, Kind::B32)?);
        let (d, p) = self.targets(d)?;
        self.act(Act::Match { all, wide }, mask, &[d, p, a])
    }

    fn redux(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let operations = ["add", "min", "max", "and", "or", "xor"];
        let Some(operation) = name.take_of(&operations) else { return unknown("") };
        let kind = name.kind()?;
        let f = integer::two(operation, kind).ok_or_else(no_function)?;
        let [d, a, mask] = operands else { return unknown("") };
        let (a, mask) = (self.source(a, kind)?, self.source(mask, Kind::B32)?);
        let d = self.target(d)?;
        self.act(Act::Reduce { f }, mask, &[d, a])
    }

    /// Loads, stores and moves of 8 by 8 matrices.
    fn matrix(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        if !name.take("m8n8") {
            return unknown("");
        }
        let transposed = name.take("trans");
        let matrices = match name.take_of(&["x1", "x2", "x4"]) {
            Some("x4") => 4,
            Some("x2") => 2,
            _ => 1,
        };
        let given = name.take_of(&["shared", "shared::cta"]).is_some();
        let space = if given { Space::Shared } else { Space::Generic };
        if name.kind()? != Kind::B16 {
            return unknown("");
        }
        let (registers, at, loads) = match (name.operation(), operands) {
            ("movmatrix", [d, a]) if transposed => {
                let slots = [self.target(d)?, self.source(a, Kind::B32)?];
                return self.act(Act::MoveMatrix, NONE, &slots);
            }
            ("ldmatrix", [registers, at]) => (registers, at, true),
            ("stmatrix", [at, registers]) => (registers, at, false),
            _ => return unknown(""),
        };
        let mut slots = self.fragment(registers, Kind::B32)?;
        if slots.len() != usize::from(matrices) {
            return unknown("");
        }
        let access = self.access(at, space, Kind::B16)?;
        slots.push(access.base);
        let (offset, space) = (access.offset, access.space);
        let act = match loads {
            true => Act::LoadMatrix { matrices, transposed, offset, space },
            false => Act::StoreMatrix { matrices, transposed, offset, space },
        };
        self.act(act, NONE, &slots)
    }

    pub(super) fn fragment(&mut self, operand: &Operand<'m>, kind: Kind) -> Decoded<Vec<Slot>> {
        match operand {
            Operand::Vector(parts) => parts.iter().map(|part| self.source(part, kind)).collect(),
            other => Ok(vec![self.source(other, kind)?]),
        }
    }

    /// Matrix multiplications of 16 by 8 results.
    fn multiply(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let k = match name.take_of(&["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"]) {
            Some("m16n8k4") => 4,
            Some("m16n8k8") => 8,
            Some("m16n8k16") => 16,
            Some(_) => 32,
            None => return unknown(""),
        };
        if !name.take("row") || !name.take("col") {
            return unknown("");
        }
        let saturate = name.take("satfinite");
        let elements: Option<Vec<Element>> = name.rest().into_iter().map(element).collect();
        let Some([d, a, b, c]) = elements.as_deref() else { return unknown("") };
        let multiply = Multiply { k, a: *a, b: *b, c: *c, saturate };
        // Bytes of A: 16 rows, k columns, over 32 threads of 4 bytes.
        let width = |element| match element {
            Element::S8 | Element::U8 => 1,
            Element::F16 | Element::Bf16 => 2,
            Element::Tf32 | Element::F32 | Element::S32 => 4,
        };
        let of_a = usize::from(k) * width(*a) / 8;
        let of_c = width(*c);
        let kinds_fit = match a {
            Element::S8 | Element::U8 => {
                matches!(b, Element::S8 | Element::U8) && *c == Element::S32 && (k == 16 || k == 32)
            }
            Element::F16 => {
                b == a && matches!(c, Element::F16 | Element::F32) && (k == 8 || k == 16)
            }
            Element::Bf16 => b == a && *c == Element::F32 && (k == 8 || k == 16),
            Element::Tf32 => b == a && *c == Element::F32 && (k == 4 || k == 8),
            Element::F32 | Element::S32 => false,
        };
        let [to, x, y, z] = operands else { return unknown("") };
        let mut slots = self.fragment(to, Kind::B32)?;
        let lengths = [of_a, of_a / 2, of_c];
        let fits = kinds_fit && d == c && slots.len() == of_c;
        for (operand, length) in [x, y, z].into_iter().zip(lengths) {
            let fragment = self.fragment(operand, Kind::B32)?;
            if !fits || fragment.len() != length {
                return unknown("");
            }
            slots.extend(fragment);
        }
        self.act(Act::Multiply(multiply), NONE, &slots)
    }
}

pub(super) fn element(word: &str) -> Option<Element> {
    Some(match word {
        "f16" => Element::F16,
        "bf16" => Element::Bf16,
        "tf32" => Element::Tf32,
        "f32" => Element::F32,
        "s8" => Element::S8,
        "u8" => Element::U8,
        "s32" => Element::S32,
        _ => return None,
    })
}
