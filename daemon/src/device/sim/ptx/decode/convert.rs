//! Moves, conversions, comparisons and choices.

use half::{bf16, f16};

use super::arithmetic::{no_function, singles};
use super::compare::{QUESTIONS, compare, comparison};
use super::float::{Rounding, toward, toward_zero};
use super::integer::by_kind;
use super::{Builder, Decoded, Kind, Name, unknown};
use crate::device::sim::ptx::code::{Combine, F1, F2, F3, Op, Slot};
use crate::device::sim::ptx::kind::{Value as _, flush, saturate};
use crate::device::sim::ptx::parse::Operand;
use crate::narrow::{brain, half};

/// Registers that change while a thread runs.
const CLOCKS: [&str; 4] = ["%clock", "%clock64", "%globaltimer", "%globaltimer_lo"];

impl<'m> Builder<'m> {
    pub(super) fn convert(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        match name.operation() {
            "mov" => {
                let kind = name.kind()?;
                self.mov(kind, operands)
            }
            "cvt" => self.cvt(name, operands),
            "setp" => self.setp(name, operands),
            "set" => self.set(name, operands),
            "selp" => {
                let kind = name.kind()?;
                let f: F3 = |a, b, c| if c != 0 { a } else { b };
                self.three(operands, [kind, kind, Kind::Pred], f)
            }
            _ => {
                let how = singles(name);
                let (kind, by) = (name.kind()?, name.kind()?);
                let f: F3 = match (by, how.flush) {
                    (Kind::S32, _) => |a, b, c| if i32::of(c) >= 0 { a } else { b },
                    (Kind::F32, false) => |a, b, c| if f32::of(c) >= 0.0 { a } else { b },
                    (Kind::F32, true) => |a, b, c| if flush(f32::of(c)) >= 0.0 { a } else { b },
                    _ => return unknown(""),
                };
                self.three(operands, [kind, kind, by], f)
            }
        }
    }

    fn mov(&mut self, kind: Kind, operands: &[Operand<'m>]) -> Decoded<()> {
        let [d, a] = operands else { return unknown("") };
        match (d, a) {
            (Operand::Vector(parts), a) => {
                let a = self.source(a, kind)?;
                self.unpack(parts, kind, a)
            }
            (d, Operand::Vector(parts)) => {
                let d = self.target(d)?;
                self.pack(d, kind, parts)
            }
            (d, Operand::Word(clock)) if CLOCKS.contains(clock) => {
                let d = self.target(d)?;
                self.emit(Op::Clock { d })
            }
            (d, a) => {
                let a = self.source(a, kind)?;
                let d = self.target(d)?;
                self.emit(Op::Move { d, a })
            }
        }
    }

    fn unpack(&mut self, parts: &[Operand<'m>], kind: Kind, a: Slot) -> Decoded<()> {
        let width = 8 * kind.bytes() / parts.len().max(1) as u32;
        for (at, part) in parts.iter().enumerate() {
            let d = self.target(part)?;
            let b = self.number(u64::from(width) * at as u64);
            let f: F2 = match width {
                8 => |a, b| a >> b & 0xff,
                16 => |a, b| a >> b & 0xffff,
                32 => |a, b| a >> b & 0xffff_ffff,
                _ => return unknown(""),
            };
            self.emit(Op::Two { f, d, a, b })?;
        }
        Ok(())
    }

    fn pack(&mut self, d: Slot, kind: Kind, parts: &[Operand<'m>]) -> Decoded<()> {
        let width = 8 * kind.bytes() / parts.len().max(1) as u32;
        let (part_kind, f): (_, F3) = match width {
            8 => (Kind::B8, |a, b, c| b | (a & 0xff) << c),
            16 => (Kind::B16, |a, b, c| b | (a & 0xffff) << c),
            32 => (Kind::B32, |a, b, c| b | (a & 0xffff_ffff) << c),
            _ => return unknown(""),
        };
        // Not into the result itself: it may be one of the parts.
        let whole = self.registers(1)?;
        let zero = self.number(0);
        for (at, part) in parts.iter().enumerate() {
            let a = self.source(part, part_kind)?;
            let c = self.number(u64::from(width) * at as u64);
            let b = if at == 0 { zero } else { whole };
            self.emit(Op::Three { f, d: whole, a, b, c })?;
        }
        self.emit(Op::Move { d, a: whole })
    }

    fn setp(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let (f, kind, combine) = comparison(name)?;
        let [d, a, b, rest @ ..] = operands else { return unknown("") };
        let (a, b) = (self.source(a, kind)?, self.source(b, kind)?);
        let (d, other) = self.targets(d)?;
        if let (None, []) = (combine, rest)
            && other == self.sink
        {
            return self.emit(Op::Two { f, d, a, b });
        }
        let (combine, c) = match (combine, rest) {
            (Some(combine), [c]) => (combine, self.source(c, Kind::Pred)?),
            (None, []) => (Combine::And, self.number(1)),
            _ => return unknown(""),
        };
        let list = self.list(&[d, other, a, b, c]);
        self.emit(Op::Compare { f, list, combine })
    }

    /// A comparison whose result is a number: all ones, or 1.0.
    fn set(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let to = match name.rest().as_slice() {
            // The result's type stands before that of what is compared.
            [.., to, from] => {
                let (Some(to), Some(from)) = (Kind::read(to), Kind::read(from)) else {
                    return unknown("");
                };
                (to, from)
            }
            _ => return unknown(""),
        };
        let (to, kind) = to;
        let mut again = Name::read(name.whole());
        let ftz = again.take("ftz");
        let Some(question) = again.take_of(&QUESTIONS) else { return unknown("") };
        // With a further predicate to combine there would be one more operand.
        let ([d, a, b], Some(f)) = (operands, compare(question, kind, ftz)) else {
            return unknown("");
        };
        let (a, b) = (self.source(a, kind)?, self.source(b, kind)?);
        let (d, truth) = (self.target(d)?, self.registers(1)?);
        self.emit(Op::Two { f, d: truth, a, b })?;
        let f: F1 = match to {
            Kind::F32 => |a| f32::from(a as u8).slot(),
            Kind::U32 | Kind::S32 => |a| u64::from((a as u32).wrapping_neg()),
            _ => return unknown(""),
        };
        self.emit(Op::One { f, d, a: truth })
    }

    fn cvt(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let to_integer = name.take_of(&["rni", "rzi", "rmi", "rpi"]);
        // The middle between two goes away from zero, which only this type knows.
        if name.take("rna") {
            if !name.take("tf32") || name.kind()? != Kind::F32 {
                return unknown("");
            }
            return self.one(operands, Kind::F32, to_tf32);
        }
        let how = singles(name);
        let positive = name.take("relu");
        if name.take("e4m3x2") && !positive {
            // Two floats of 8 bits: 4 of exponent, 3 of fraction.
            if name.kind()? != Kind::F16x2 {
                return unknown("");
            }
            return self.one(operands, Kind::B16, |a| eight_bits(a >> 8) << 16 | eight_bits(a));
        }
        let (to, from) = (name.kind()?, name.kind()?);
        if let (Kind::F16x2 | Kind::Bf16x2, Kind::F32) = (to, from) {
            if how.rounding != Rounding::Nearest || how.flush || how.saturate {
                return unknown("");
            }
            let f: F2 = match (to, positive) {
                (Kind::F16x2, false) => {
                    |a, b| f16::from_f32(f32::of(a)).slot() << 16 | f16::from_f32(f32::of(b)).slot()
                }
                (Kind::Bf16x2, false) => |a, b| {
                    bf16::from_f32(f32::of(a)).slot() << 16 | bf16::from_f32(f32::of(b)).slot()
                },
                _ => return unknown(""),
            };
            return self.two(operands, [Kind::F32; 2], f);
        }
        if positive {
            return unknown("");
        }
        let f = match (to.is_integer(), from.is_integer()) {
            (true, true) => between_integers(to, from, how.saturate),
            (false, true) if how.saturate => None,
            (false, true) => from_integer(to, from, how.rounding),
            (true, false) => to_whole(to, from, to_integer.unwrap_or("rzi"), how.flush),
            (false, false) => match to_integer {
                Some(way) if to == from => whole_float(to, way, how.flush, how.saturate),
                Some(_) => None,
                None => between_floats(to, from, how),
            },
        };
        self.one(operands, from, f.ok_or_else(no_function)?)
    }
}

/// A single with a fraction of 10 bits; the middle between two goes away from zero.
fn to_tf32(slot: u64) -> u64 {
    match f32::of(slot) {
        value if value.is_nan() => 0x7fff_ffff,
        value => (u64::from(value.to_bits()) + 0x1000) & 0xffff_e000,
    }
}

/// The half that an 8-bit float (e4m3) is.
fn eight_bits(slot: u64) -> u64 {
    let (sign, magnitude) = ((slot & 0x80) << 8, slot & 0x7f);
    if magnitude == 0x7f {
        return sign | 0x7fff;
    }
    // As a half it has the fraction seven places further left and an exponent 8 too small.
    let scaled = f16::of(magnitude << 7).to_f32() * 256.0;
    sign | f16::from_f32(scaled).slot()
}

/// Reads a float, and what is nearly zero as zero.
pub(super) fn flushed(slot: u64) -> f32 {
    flush(f32::of(slot))
}

/// A whole number, which fills a register that is wider than its type with its sign (PTX ISA,
/// "Operand Size Exceeding Instruction-Type Size").
macro_rules! widened {
    ($value:expr) => {
        $value as i64 as u64
    };
}

fn between_integers(to: Kind, from: Kind, clamp: bool) -> Option<F1> {
    if clamp {
        return by_kind!(from, S => by_kind!(to, D => (|a| {
            let value = i128::from(S::of(a)).clamp(i128::from(D::MIN), i128::from(D::MAX));
            widened!(value as D)
        }) as F1))?;
    }
    by_kind!(from, S => by_kind!(to, D => (|a| widened!(S::of(a) as D)) as F1))?
}

fn from_integer(to: Kind, from: Kind, rounding: Rounding) -> Option<F1> {
    macro_rules! single {
        ($round:expr) => {
            by_kind!(from, S => |a| {
                let nearest = S::of(a) as f32;
                // Exact but for the largest, whose nearest single is beyond 128 bits of nothing.
                let missing = i128::from(S::of(a)) - nearest as i128;
                let round: fn(f32, f64) -> f32 = $round;
                round(nearest, missing as f64).slot()
            })
        };
    }
    match (to, rounding) {
        (Kind::F32, Rounding::Nearest) => by_kind!(from, S => |a| (S::of(a) as f32).slot()),
        (Kind::F32, Rounding::Zero) => single!(toward_zero),
        (Kind::F32, Rounding::Down) => single!(|nearest, missing| toward(nearest, missing, false)),
        (Kind::F32, Rounding::Up) => single!(|nearest, missing| toward(nearest, missing, true)),
        (Kind::F64, Rounding::Nearest) => by_kind!(from, S => |a| (S::of(a) as f64).slot()),
        (Kind::F16, Rounding::Nearest) => {
            by_kind!(from, S => |a| half(S::of(a) as f64).slot())
        }
        // Longer ones would be rounded twice.
        (Kind::Bf16, Rounding::Nearest) if from.bytes() <= 4 => {
            by_kind!(from, S => |a| brain(S::of(a) as f64).slot())
        }
        _ => None,
    }
}

/// Rounds to a whole number and stops at the ends of the type. What is no number becomes 0, but
/// where one side has 64 bits it becomes the highest bit of the result's type.
fn to_whole(to: Kind, from: Kind, way: &str, ftz: bool) -> Option<F1> {
    macro_rules! whole {
        ($to:ty, $value:expr, $long:expr) => {
            match $value {
                value if value.is_nan() && ($long || <$to>::BITS == 64) => {
                    widened!((1_u64 << (<$to>::BITS - 1)) as $to)
                }
                value => widened!(value as $to),
            }
        };
    }
    macro_rules! way {
        ($of:expr, $long:expr) => {
            match way {
                "rni" => by_kind!(to, D => |a| whole!(D, $of(a).round_ties_even(), $long)),
                "rzi" => by_kind!(to, D => |a| whole!(D, $of(a).trunc(), $long)),
                "rmi" => by_kind!(to, D => |a| whole!(D, $of(a).floor(), $long)),
                _ => by_kind!(to, D => |a| whole!(D, $of(a).ceil(), $long)),
            }
        };
    }
    match from {
        Kind::F32 if ftz => way!(flushed, false),
        Kind::F32 => way!(f32::of, false),
        Kind::F64 => way!(f64::of, true),
        Kind::F16 => way!(half_single, false),
        Kind::Bf16 => way!(brain_single, false),
        _ => None,
    }
}

fn half_single(slot: u64) -> f32 {
    f16::of(slot).to_f32()
}

fn brain_single(slot: u64) -> f32 {
    bf16::of(slot).to_f32()
}

fn whole_float(kind: Kind, way: &str, ftz: bool, saturated: bool) -> Option<F1> {
    if saturated {
        return None;
    }
    macro_rules! way {
        ($of:expr, $to:expr) => {
            match way {
                "rni" => |a| $to($of(a).round_ties_even()).slot(),
                "rzi" => |a| $to($of(a).trunc()).slot(),
                "rmi" => |a| $to($of(a).floor()).slot(),
                _ => |a| $to($of(a).ceil()).slot(),
            }
        };
    }
    Some(match kind {
        Kind::F32 if ftz => way!(flushed, f32::from),
        Kind::F32 => way!(f32::of, f32::from),
        Kind::F64 => way!(f64::of, f64::from),
        Kind::F16 => way!(half_single, f16::from_f32),
        Kind::Bf16 => way!(brain_single, bf16::from_f32),
        _ => return None,
    })
}

fn between_floats(to: Kind, from: Kind, how: super::float::Singles) -> Option<F1> {
    let nearest = how.rounding == Rounding::Nearest;
    Some(match (to, from, how.saturate) {
        (Kind::F32, Kind::F32, true) if how.flush => |a| saturate(flushed(a)).slot(),
        (Kind::F32, Kind::F32, true) => |a| saturate(f32::of(a)).slot(),
        (Kind::F16, Kind::F32, true) => |a| f16::from_f32(saturate(f32::of(a))).slot(),
        (_, _, true) => return None,
        (Kind::F32, Kind::F16, _) => |a| f16::of(a).to_f32().slot(),
        // The other types' least numbers are no subnormal singles.
        (Kind::F32, Kind::Bf16, _) if how.flush => |a| flush(brain_single(a)).slot(),
        (Kind::F32, Kind::Bf16, _) => |a| bf16::of(a).to_f32().slot(),
        (Kind::F64, Kind::F16, _) => |a| f16::of(a).to_f64().slot(),
        (Kind::F64, Kind::F32, _) if how.flush => |a| f64::from(flushed(a)).slot(),
        (Kind::F64, Kind::F32, _) => |a| f64::from(f32::of(a)).slot(),
        (Kind::F32, Kind::F32, _) if how.flush => |a| flushed(a).slot(),
        (Kind::F32, Kind::F32, _) | (Kind::F64, Kind::F64, _) => |a| a,
        (Kind::F32, Kind::F64, _) if nearest && how.flush => |a| flush(f64::of(a) as f32).slot(),
        (Kind::F32, Kind::F64, _) if nearest => |a| (f64::of(a) as f32).slot(),
        (Kind::F32, Kind::F64, _) if how.rounding == Rounding::Zero && !how.flush => |a| {
            let nearest = f64::of(a) as f32;
            toward_zero(nearest, f64::of(a) - f64::from(nearest)).slot()
        },
        (Kind::F16, Kind::F32, _) if nearest && how.flush => |a| f16::from_f32(flushed(a)).slot(),
        (Kind::F16, Kind::F32, _) if nearest => |a| f16::from_f32(f32::of(a)).slot(),
        (Kind::F16, Kind::F32, _) if how.rounding == Rounding::Zero => |a| {
            let nearest = f16::from_f32(f32::of(a));
            // One step back where rounding went away from zero: the bits count magnitudes.
            let beyond = nearest.to_f32().abs() > f32::of(a).abs();
            nearest.slot() - u64::from(beyond)
        },
        (Kind::F16, Kind::F64, _) if nearest => |a| half(f64::of(a)).slot(),
        (Kind::Bf16, Kind::F32, _) if nearest && how.flush => |a| bf16::from_f32(flushed(a)).slot(),
        (Kind::Bf16, Kind::F32, _) if nearest => |a| bf16::from_f32(f32::of(a)).slot(),
        (Kind::Bf16, Kind::F64, _) if nearest => |a| brain(f64::of(a)).slot(),
        (Kind::Bf16, Kind::F16, _) if nearest => |a| bf16::from_f32(half_single(a)).slot(),
        (Kind::F16, Kind::Bf16, _) if nearest => |a| f16::from_f32(brain_single(a)).slot(),
        _ => return None,
    })
}
