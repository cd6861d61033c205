//! Which function an arithmetic instruction is.

use super::float::{self, Rounding, Singles};
use super::integer::{self, Half, by_kind};
use super::{Builder, Decoded, Kind, Name, half, unknown};
use crate::device::sim::ptx::code::{F2, Op, Slot};
use crate::device::sim::ptx::kind::Value as _;
use crate::device::sim::ptx::parse::Operand;

impl<'m> Builder<'m> {
    pub(super) fn arithmetic(
        &mut self,
        name: &mut Name<'m>,
        operands: &[Operand<'m>],
    ) -> Decoded<()> {
        match name.operation() {
            "bfe" => {
                let kind = name.kind()?;
                let f = integer::extract(kind).ok_or_else(no_function)?;
                self.three(operands, [kind, Kind::U32, Kind::U32], f)
            }
            "bfi" => {
                let kind = name.kind()?;
                let f = integer::insert(kind).ok_or_else(no_function)?;
                self.four(operands, [kind, kind, Kind::U32, Kind::U32], f)
            }
            "bfind" => {
                let distance = name.take("shiftamt");
                let kind = name.kind()?;
                self.one(operands, kind, integer::highest(kind, distance).ok_or_else(no_function)?)
            }
            "bmsk" => {
                let clamp = name.take_of(&["clamp", "wrap"]) == Some("clamp");
                name.kind()?;
                self.two(operands, [Kind::B32; 2], integer::mask(clamp))
            }
            "lop3" => {
                name.kind()?;
                self.four(operands, [Kind::B32; 4], integer::logic)
            }
            "prmt" => {
                name.kind()?;
                let pattern = name.take_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]);
                let f = pattern.map_or(Some(integer::permute as _), integer::permute_pattern);
                self.three(operands, [Kind::B32; 3], f.ok_or_else(no_function)?)
            }
            "shf" => {
                let left = name.take_of(&["l", "r"]) == Some("l");
                let wrap = name.take_of(&["wrap", "clamp"]) == Some("wrap");
                name.kind()?;
                self.three(operands, [Kind::B32; 3], integer::funnel(left, wrap))
            }
            "dp4a" => {
                let (a, b) = (name.kind()?, name.kind()?);
                let f = integer::dot_of_four(a, b).ok_or_else(no_function)?;
                self.three(operands, [Kind::B32; 3], f)
            }
            "dp2a" => {
                let high = name.take_of(&["lo", "hi"]) == Some("hi");
                let (a, b) = (name.kind()?, name.kind()?);
                let f = integer::dot_of_two(high, a, b).ok_or_else(no_function)?;
                self.three(operands, [Kind::B32; 3], f)
            }
            "sad" => {
                let kind = name.kind()?;
                let f = integer::difference_sum(kind).ok_or_else(no_function)?;
                self.three(operands, [kind; 3], f)
            }
            "testp" => {
                let questions =
                    ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
                let Some(question) = name.take_of(&questions) else { return unknown("") };
                let kind = name.kind()?;
                let f = float::test(question, kind == Kind::F64).ok_or_else(no_function)?;
                self.one(operands, kind, f)
            }
            "mul" | "mad" | "mul24" | "mad24" => self.product(name, operands),
            "fma" => self.fused(name, operands),
            "addc" | "subc" | "madc" => self.with_carry(name, operands),
            _ => self.plain(name, operands),
        }
    }

    /// Operations whose name and type are all there is to them.
    fn plain(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let operation = name.operation();
        if name.take("cc") {
            return self.first_carry(name, operands);
        }
        let how = singles(name);
        let strict = name.take("NaN");
        let kind = name.kind()?;
        check_modifiers(operation, kind, how)?;
        let shift = matches!(operation, "shl" | "shr");
        if operands.len() == 2 {
            let f = match kind {
                Kind::F32 => float::one(operation, how),
                Kind::F64 => float::double_one(operation),
                Kind::F16 | Kind::F16x2 | Kind::Bf16 | Kind::Bf16x2 => half::one(operation, kind),
                _ => integer::one(operation, kind),
            };
            return self.one(operands, kind, f.ok_or_else(no_function)?);
        }
        let f = match kind {
            Kind::F32 if strict => float::strict(operation, how),
            Kind::F32 => float::two(operation, how),
            Kind::F64 => float::double_two(operation),
            Kind::F16 | Kind::F16x2 | Kind::Bf16 | Kind::Bf16x2 if strict => {
                half::strict(operation, kind)
            }
            Kind::F16 | Kind::F16x2 | Kind::Bf16 | Kind::Bf16x2 => {
                half::two(operation, kind, how.saturate)
            }
            Kind::S32 if how.saturate => integer::saturating(operation),
            _ => integer::two(operation, kind),
        };
        let second = if shift { Kind::U32 } else { kind };
        self.two(operands, [kind, second], f.ok_or_else(no_function)?)
    }

    fn product(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let half = match name.take_of(&["lo", "hi", "wide"]) {
            Some("lo") => Half::Low,
            Some("hi") => Half::High,
            Some(_) => Half::Wide,
            None if name.operation() == "mul" => return self.plain(name, operands),
            // Without a half it is the fused product of floating-point numbers.
            None if name.operation() == "mad" => return self.fused(name, operands),
            None => return unknown(""),
        };
        if name.operation().ends_with("24") || name.take("cc") {
            return unknown("");
        }
        let kind = name.kind()?;
        let wide = match (half, kind) {
            (Half::Wide, Kind::U16) => Kind::U32,
            (Half::Wide, Kind::S16) => Kind::S32,
            (Half::Wide, Kind::U32) => Kind::U64,
            (Half::Wide, Kind::S32) => Kind::S64,
            _ => kind,
        };
        if name.operation() == "mul" {
            let f = integer::multiply(half, kind).ok_or_else(no_function)?;
            return self.two(operands, [kind; 2], f);
        }
        let f = integer::multiply_add(half, kind).ok_or_else(no_function)?;
        self.three(operands, [kind, kind, wide], f)
    }

    fn fused(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let how = singles(name);
        let positive = name.take("relu");
        let kind = name.kind()?;
        check_modifiers("fma", kind, how)?;
        let f = match kind {
            Kind::F32 if !positive => Some(float::multiply_add(how)),
            Kind::F64 if !positive => Some(float::double_multiply_add as _),
            _ => half::multiply_add(kind, how.saturate, positive),
        };
        self.three(operands, [kind; 3], f.ok_or_else(no_function)?)
    }

    /// A sum or difference that sets the carry flag.
    fn first_carry(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let zero = self.number(0);
        self.carrying(name, operands, zero, true)
    }

    /// A sum or difference that uses the carry flag.
    fn with_carry(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let sets = name.take("cc");
        self.carrying(name, operands, self.carry, sets)
    }

    fn carrying(
        &mut self,
        name: &mut Name<'m>,
        operands: &[Operand<'m>],
        carry: Slot,
        sets: bool,
    ) -> Decoded<()> {
        let kind = name.kind()?;
        let ([d, a, b], true) = (operands, kind.bytes() >= 4) else { return unknown("") };
        let (a, b) = (self.source(a, kind)?, self.source(b, kind)?);
        let (d, sum) = (self.target(d)?, self.registers(1)?);
        let wide = kind.bytes() == 8;
        let (value, flag) = match (name.operation(), wide) {
            ("add" | "addc", false) => sums32(),
            ("add" | "addc", true) => sums64(),
            ("sub" | "subc", false) => differences32(),
            ("sub" | "subc", true) => differences64(),
            _ => return unknown(""),
        };
        self.emit(Op::Three { f: value, d: sum, a, b, c: carry })?;
        if sets {
            self.emit(Op::Three { f: flag, d: self.carry, a, b, c: carry })?;
        }
        self.emit(Op::Move { d, a: sum })
    }

    pub(super) fn four(
        &mut self,
        operands: &[Operand<'m>],
        kinds: [Kind; 4],
        f: crate::device::sim::ptx::code::F4,
    ) -> Decoded<()> {
        let [d, rest @ ..] = operands else { return unknown("") };
        if rest.len() != 4 {
            return unknown("");
        }
        let mut slots = [0; 4];
        for (at, operand) in rest.iter().enumerate() {
            slots[at] = self.source(operand, kinds[at])?;
        }
        let d = self.target(d)?;
        let list = self.list(&slots);
        self.emit(Op::Four { f, d, list })
    }
}

type Carrying = (fn(u64, u64, u64) -> u64, fn(u64, u64, u64) -> u64);

fn sums32() -> Carrying {
    (
        |a, b, c| u32::of(a).wrapping_add(u32::of(b)).wrapping_add(u32::of(c)).slot(),
        |a, b, c| (u64::from(u32::of(a)) + u64::from(u32::of(b)) + c) >> 32,
    )
}

fn sums64() -> Carrying {
    (
        |a, b, c| a.wrapping_add(b).wrapping_add(c),
        |a, b, c| ((u128::from(a) + u128::from(b) + u128::from(c)) >> 64) as u64,
    )
}

fn differences32() -> Carrying {
    (
        |a, b, c| u32::of(a).wrapping_sub(u32::of(b)).wrapping_sub(u32::of(c)).slot(),
        |a, b, c| (u64::from(u32::of(a)) < u64::from(u32::of(b)) + c).slot(),
    )
}

fn differences64() -> Carrying {
    (
        |a, b, c| a.wrapping_sub(b).wrapping_sub(c),
        |a, b, c| (u128::from(a) < u128::from(b) + u128::from(c)).slot(),
    )
}

pub(super) fn no_function() -> super::NotExecutable {
    super::NotExecutable { what: String::new(), line: 0 }
}

/// Makes sure that what singles know of rounding, flushing and limits is not asked of other types
/// in a way that would be passed over.
fn check_modifiers(operation: &str, kind: Kind, how: Singles) -> Decoded<()> {
    let is_half = matches!(kind, Kind::F16 | Kind::F16x2 | Kind::Bf16 | Kind::Bf16x2);
    let is_near = how.rounding == Rounding::Nearest;
    let is_known = match kind {
        Kind::F32 => true,
        // Approximations have no other form.
        Kind::F64 if matches!(operation, "rcp" | "rsqrt") => is_near && !how.saturate,
        // What is flushed is what is nearly 0, and becomes 1.
        _ if is_half && operation == "ex2" => is_near && !how.saturate,
        _ if is_half => is_near && !how.flush,
        Kind::S32 if matches!(operation, "add" | "sub") => is_near && !how.flush,
        _ => is_near && !how.flush && !how.saturate,
    };
    if is_known { Ok(()) } else { unknown("") }
}

/// Reads how singles are to be treated.
pub(super) fn singles(name: &mut Name<'_>) -> Singles {
    // What is only approximate on a device may be exact here.
    name.ignore(&["approx", "full"]);
    let rounding = match name.take_of(&["rn", "rz", "rm", "rp", "rna"]) {
        Some("rz") => Rounding::Zero,
        Some("rm") => Rounding::Down,
        Some("rp") => Rounding::Up,
        _ => Rounding::Nearest,
    };
    Singles { flush: name.take("ftz"), saturate: name.take("sat"), rounding }
}

/// What an atomic access makes of the old value and its operand.
pub(super) fn atomic(operation: &str, kind: Kind) -> Option<F2> {
    match (operation, kind) {
        ("exch", _) => Some(|_, b| b),
        // Counts up to the operand, then from zero; down to zero, then from the operand.
        ("inc", Kind::U32) => Some(|a, b| {
            let (a, b) = (u32::of(a), u32::of(b));
            if a >= b { 0 } else { (a + 1).slot() }
        }),
        ("dec", Kind::U32) => Some(|a, b| {
            let (a, b) = (u32::of(a), u32::of(b));
            if a == 0 || a > b { b.slot() } else { (a - 1).slot() }
        }),
        ("add", Kind::F32) => {
            let how = Singles { flush: false, saturate: false, rounding: Rounding::Nearest };
            float::two("add", how)
        }
        ("add", Kind::F64) => float::double_two("add"),
        ("add" | "min" | "max", Kind::F16 | Kind::F16x2 | Kind::Bf16 | Kind::Bf16x2) => {
            half::two(operation, kind, false)
        }
        ("and" | "or" | "xor", _) => integer::two(operation, kind),
        ("add" | "min" | "max", _) => {
            by_kind!(kind, T => { let _ = T::MIN; })?;
            integer::two(operation, kind)
        }
        _ => None,
    }
}
