//! Numbers of 16 bits, alone and in pairs (PTX ISA, "Half Precision Floating Point Instructions").

use half::{bf16, f16};

use crate::device::sim::ptx::code::{F1, F2, F3};
use crate::device::sim::ptx::kind::{Kind, Value as _, saturate};

/// Makes a function for a kind of 16-bit numbers, alone or for each of a pair: computed as singles
/// (or doubles), which hold sums, products and quotients well enough to be rounded once.
macro_rules! halves {
    ($kind:expr, $saturate:expr, $f:ty, |$($a:ident),+| $body:expr) => {
        match ($kind, $saturate) {
            (Kind::F16, false) => Some((|$($a),+| {
                $(let $a = f64::from(f16::of($a));)+
                f16::from_f64($body).slot()
            }) as $f),
            (Kind::F16, true) => Some(|$($a),+| {
                $(let $a = f64::from(f16::of($a));)+
                f16::from_f32(saturate($body as f32)).slot()
            }),
            (Kind::Bf16, false) => Some(|$($a),+| {
                $(let $a = f64::from(bf16::of($a));)+
                bf16::from_f64($body).slot()
            }),
            (Kind::F16x2, false) => Some(|$($a),+| {
                let low = { $(let $a = f64::from(f16::of($a));)+ f16::from_f64($body).slot() };
                let high = {
                    $(let $a = f64::from(f16::of($a >> 16));)+
                    f16::from_f64($body).slot()
                };
                high << 16 | low
            }),
            (Kind::F16x2, true) => Some(|$($a),+| {
                let low = {
                    $(let $a = f64::from(f16::of($a));)+
                    f16::from_f32(saturate($body as f32)).slot()
                };
                let high = {
                    $(let $a = f64::from(f16::of($a >> 16));)+
                    f16::from_f32(saturate($body as f32)).slot()
                };
                high << 16 | low
            }),
            (Kind::Bf16x2, false) => Some(|$($a),+| {
                let low = { $(let $a = f64::from(bf16::of($a));)+ bf16::from_f64($body).slot() };
                let high = {
                    $(let $a = f64::from(bf16::of($a >> 16));)+
                    bf16::from_f64($body).slot()
                };
                high << 16 | low
            }),
            _ => None,
        }
    };
}

/// Operations of one number.
pub(super) fn one(operation: &str, kind: Kind) -> Option<F1> {
    let pair = matches!(kind, Kind::F16x2 | Kind::Bf16x2);
    match operation {
        "neg" if pair => Some(|a| a & 0xffff_ffff ^ 0x8000_8000),
        "neg" => Some(|a| a & 0xffff ^ 0x8000),
        "abs" if pair => Some(|a| a & 0x7fff_7fff),
        "abs" => Some(|a| a & 0x7fff),
        "ex2" => halves!(kind, false, F1, |a| a.exp2()),
        "tanh" => halves!(kind, false, F1, |a| a.tanh()),
        _ => None,
    }
}

/// Operations of two numbers.
pub(super) fn two(operation: &str, kind: Kind, saturated: bool) -> Option<F2> {
    match operation {
        "add" => halves!(kind, saturated, F2, |a, b| a + b),
        "sub" => halves!(kind, saturated, F2, |a, b| a - b),
        "mul" => halves!(kind, saturated, F2, |a, b| a * b),
        "min" => halves!(kind, false, F2, |a, b| a.min(b)),
        "max" => halves!(kind, false, F2, |a, b| a.max(b)),
        _ => None,
    }
}

/// The lesser or greater of two numbers, and no number if one of them is none.
pub(super) fn strict(operation: &str, kind: Kind) -> Option<F2> {
    match operation {
        "min" => halves!(kind, false, F2, |a, b| {
            if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
        }),
        "max" => halves!(kind, false, F2, |a, b| {
            if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
        }),
        _ => None,
    }
}

/// Product and sum, rounded once.
pub(super) fn multiply_add(kind: Kind, saturated: bool, positive: bool) -> Option<F3> {
    if positive {
        return halves!(kind, false, F3, |a, b, c| a.mul_add(b, c).max(0.0));
    }
    halves!(kind, saturated, F3, |a, b, c| a.mul_add(b, c))
}
