//! Numbers of 16 bits, alone and in pairs (PTX ISA, "Half Precision Floating Point Instructions").

use half::{bf16, f16};

use super::float::{greater_double, lesser_double};
use crate::device::sim::ptx::code::{F1, F2, F3};
use crate::device::sim::ptx::kind::{Kind, Value as _};
use crate::narrow;

/// Makes a function for a kind of 16-bit numbers, alone or for each of a pair: computed as doubles,
/// which hold sums and products of them whole, so that they are rounded once.
macro_rules! halves {
    ($kind:expr, $saturate:expr, $f:ty, |$($a:ident),+| $body:expr) => {
        match ($kind, $saturate) {
            (Kind::F16, false) => Some((|$($a),+| {
                $(let $a = f64::from(f16::of($a));)+
                narrow::half($body).slot()
            }) as $f),
            (Kind::F16, true) => Some(|$($a),+| {
                $(let $a = f64::from(f16::of($a));)+
                narrow::half(saturate($body)).slot()
            }),
            (Kind::Bf16, false) => Some(|$($a),+| {
                $(let $a = f64::from(bf16::of($a));)+
                narrow::brain($body).slot()
            }),
            (Kind::F16x2, false) => Some(|$($a),+| {
                let low = { $(let $a = f64::from(f16::of($a));)+ narrow::half($body).slot() };
                let high = {
                    $(let $a = f64::from(f16::of($a >> 16));)+
                    narrow::half($body).slot()
                };
                high << 16 | low
            }),
            (Kind::F16x2, true) => Some(|$($a),+| {
                let low = {
                    $(let $a = f64::from(f16::of($a));)+
                    narrow::half(saturate($body)).slot()
                };
                let high = {
                    $(let $a = f64::from(f16::of($a >> 16));)+
                    narrow::half(saturate($body)).slot()
                };
                high << 16 | low
            }),
            (Kind::Bf16x2, false) => Some(|$($a),+| {
                let low = { $(let $a = f64::from(bf16::of($a));)+ narrow::brain($body).slot() };
                let high = {
                    $(let $a = f64::from(bf16::of($a >> 16));)+
                    narrow::brain($body).slot()
                };
                high << 16 | low
            }),
            _ => None,
        }
    };
}

/// Limits to 0 to 1, what is no number to 0, as `.sat` asks.
fn saturate(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

/// The sum of a product, which a double holds, and a third number. What the double lost makes its
/// last bit odd, so that it is as good as the whole sum where it is rounded to 16 bits.
fn product_sum(a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    let sum = product + c;
    let part = sum - product;
    let lost = (product - (sum - part)) + (c - part);
    match sum.to_bits() {
        _ if lost == 0.0 || !lost.is_finite() => sum,
        bits if bits & 1 == 1 => sum,
        bits if (lost > 0.0) == (sum > 0.0) => f64::from_bits(bits + 1),
        bits => f64::from_bits(bits - 1),
    }
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
        "min" => halves!(kind, false, F2, |a, b| lesser_double(a, b)),
        "max" => halves!(kind, false, F2, |a, b| greater_double(a, b)),
        _ => None,
    }
}

/// The lesser or greater of two numbers, and no number if one of them is none.
pub(super) fn strict(operation: &str, kind: Kind) -> Option<F2> {
    match operation {
        "min" => halves!(kind, false, F2, |a, b| {
            if a.is_nan() || b.is_nan() { f64::NAN } else { lesser_double(a, b) }
        }),
        "max" => halves!(kind, false, F2, |a, b| {
            if a.is_nan() || b.is_nan() { f64::NAN } else { greater_double(a, b) }
        }),
        _ => None,
    }
}

/// Product and sum, rounded once.
pub(super) fn multiply_add(kind: Kind, saturated: bool, positive: bool) -> Option<F3> {
    if positive {
        // What is no number stays none, unlike with `max`.
        return halves!(kind, false, F3, |a, b, c| {
            let sum = product_sum(a, b, c);
            if sum <= 0.0 { 0.0 } else { sum }
        });
    }
    halves!(kind, saturated, F3, |a, b, c| product_sum(a, b, c))
}
