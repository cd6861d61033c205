//! What operands are: registers, numbers, addresses, and the slots that hold them.

use super::{Builder, Decoded, unknown};
use crate::device::sim::ptx::code::{F1, F2, F3, Op, Slot, Symbol};
use crate::device::sim::ptx::kind::{Kind, Value as _};
use crate::device::sim::ptx::parse::Operand;
use crate::device::sim::ptx::scope::Named;
use crate::device::sim::ptx::special::Special;
use crate::image::ptx::Number;

impl<'m> Builder<'m> {
    /// The slot of a register.
    pub(super) fn register(&self, name: &str) -> Decoded<Slot> {
        match self.scopes.find(name) {
            Some(Named::Register { slot, .. }) => Ok(slot),
            _ => unknown(format!("there is no register {name}")),
        }
    }

    /// The slot of a result.
    pub(super) fn target(&self, operand: &Operand<'m>) -> Decoded<Slot> {
        match operand {
            Operand::Word("_") => Ok(self.sink),
            Operand::Word(name) => self.register(name),
            _ => unknown(""),
        }
    }

    /// The slots of a result and the predicate that may stand beside it.
    pub(super) fn targets(&self, operand: &Operand<'m>) -> Decoded<(Slot, Slot)> {
        let slot = |name: &str| if name == "_" { Ok(self.sink) } else { self.register(name) };
        match operand {
            Operand::Pair(first, second) => Ok((slot(first)?, slot(second)?)),
            _ => Ok((self.target(operand)?, self.sink)),
        }
    }

    /// The slot of a number.
    pub(super) fn number(&mut self, value: u64) -> Slot {
        let next = self.code.constants.len() as Slot;
        let slot = *self.numbers.entry(value).or_insert(next);
        if slot == next {
            self.code.constants.push(value);
        }
        slot
    }

    pub(super) fn special(&mut self, special: Special) -> Slot {
        if let Some((slot, _)) = self.code.specials.iter().find(|(_, known)| *known == special) {
            return *slot;
        }
        let slot = self.code.constants.len() as Slot;
        self.code.constants.push(0);
        self.code.specials.push((slot, special));
        slot
    }

    pub(super) fn symbol(&mut self, name: &str, addend: u64) -> Slot {
        let known = self.code.symbols.iter().find(|of| of.name == name && of.addend == addend);
        if let Some(known) = known {
            return known.slot;
        }
        let slot = self.code.constants.len() as Slot;
        self.code.constants.push(0);
        self.code.symbols.push(Symbol { slot, name: name.to_owned(), addend });
        slot
    }

    /// The slot of an operand that is read as a type.
    pub(super) fn source(&mut self, operand: &Operand<'m>, kind: Kind) -> Decoded<Slot> {
        match operand {
            Operand::Word(word) => self.word(word, kind),
            Operand::Minus(word) => {
                let Some(number) = Number::read(word) else { return unknown("") };
                Ok(self.number(bits(number, kind, true)))
            }
            Operand::Sum(name, offset) => self.address_of(name, *offset),
            Operand::Not(name) => {
                let a = self.register(name)?;
                let d = self.registers(1)?;
                self.emit(Op::One { f: |a| (a == 0).slot(), d, a })?;
                Ok(d)
            }
            _ => unknown(""),
        }
    }

    pub(super) fn word(&mut self, word: &str, kind: Kind) -> Decoded<Slot> {
        if let Some(Named::Register { slot, .. }) = self.scopes.find(word) {
            return Ok(slot);
        }
        if word.starts_with('%') {
            return match Special::read(word) {
                Some(special) => Ok(self.special(special)),
                None => unknown(format!("the register {word}")),
            };
        }
        if word == "WARP_SZ" {
            return Ok(self.number(32));
        }
        match Number::read(word) {
            Some(number) => Ok(self.number(bits(number, kind, false))),
            None => self.address_of(word, 0),
        }
    }

    /// The slot that holds the address of a variable, plus a number.
    pub(super) fn address_of(&mut self, name: &str, offset: i64) -> Decoded<Slot> {
        let offset = offset as u64;
        Ok(match self.scopes.find(name) {
            Some(Named::Shared(at) | Named::Local(at)) => {
                self.number(u64::from(at).wrapping_add(offset))
            }
            Some(Named::Parameter(at)) => self.number(at.wrapping_add(offset)),
            Some(Named::Register { .. }) => return unknown(format!("a sum with {name}")),
            None if self.variables.contains(name) => self.symbol(name, offset),
            None => return unknown(format!("the name {name}")),
        })
    }

    /// Puts slots into the lists; returns where they begin.
    pub(super) fn list(&mut self, slots: &[Slot]) -> u32 {
        let at = self.code.lists.len() as u32;
        self.code.lists.extend_from_slice(slots);
        at
    }

    pub(super) fn one(&mut self, operands: &[Operand<'m>], kind: Kind, f: F1) -> Decoded<()> {
        let [d, a] = operands else { return unknown("") };
        let a = self.source(a, kind)?;
        let d = self.target(d)?;
        self.emit(Op::One { f, d, a })
    }

    pub(super) fn two(&mut self, operands: &[Operand<'m>], kinds: [Kind; 2], f: F2) -> Decoded<()> {
        let [d, a, b] = operands else { return unknown("") };
        let (a, b) = (self.source(a, kinds[0])?, self.source(b, kinds[1])?);
        let d = self.target(d)?;
        self.emit(Op::Two { f, d, a, b })
    }

    pub(super) fn three(
        &mut self,
        operands: &[Operand<'m>],
        kinds: [Kind; 3],
        f: F3,
    ) -> Decoded<()> {
        let [d, a, b, c] = operands else { return unknown("") };
        let (a, b) = (self.source(a, kinds[0])?, self.source(b, kinds[1])?);
        let c = self.source(c, kinds[2])?;
        let d = self.target(d)?;
        self.emit(Op::Three { f, d, a, b, c })
    }
}

/// The bits of a number as a value of a type.
fn bits(number: Number, kind: Kind, negative: bool) -> u64 {
    let sign = if negative { -1.0 } else { 1.0 };
    match (kind, number) {
        (Kind::F64, Number::Integer(_) | Number::Decimal(_) | Number::Single(_)) => {
            (sign * number.double()).to_bits()
        }
        (Kind::F32, Number::Integer(_) | Number::Decimal(_) | Number::Double(_)) => {
            ((sign * number.double()) as f32).slot()
        }
        (_, Number::Single(bits)) => (u64::from(bits)) ^ (u64::from(negative) << 31),
        (_, Number::Double(bits)) => bits ^ (u64::from(negative) << 63),
        (_, Number::Integer(number)) if negative => number.wrapping_neg(),
        (_, Number::Integer(number)) => number,
        (_, Number::Decimal(number)) => ((sign * number) as f32).slot(),
    }
}
