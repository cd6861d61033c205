//! Singles and doubles (PTX ISA, "Floating Point Instructions").

use crate::device::sim::ptx::code::{F1, F2, F3};
use crate::device::sim::ptx::kind::{Value as _, flush, saturate};

/// How a result that is no number of its type is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

/// What is done to operands and results of singles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Singles {
    pub flush: bool,
    pub saturate: bool,
    pub rounding: Rounding,
}

/// Makes a function of singles for each way that operands and results can be treated.
macro_rules! singles {
    ($how:expr, $f:ty, |$($a:ident),+| $body:expr) => {
        match ($how.flush, $how.saturate) {
            (false, false) => (|$($a),+| { $(let $a = f32::of($a);)+ $body.slot() }) as $f,
            (true, false) => |$($a),+| { $(let $a = flush(f32::of($a));)+ flush($body).slot() },
            (false, true) => |$($a),+| { $(let $a = f32::of($a);)+ saturate($body).slot() },
            (true, true) => |$($a),+| {
                $(let $a = flush(f32::of($a));)+
                saturate(flush($body)).slot()
            },
        }
    };
}

/// Makes the same function for each rounding: it gives the nearest result and what is missing.
macro_rules! rounded {
    ($how:expr, $f:ty, |$($a:ident),+| $nearest:expr, $missing:expr) => {
        match $how.rounding {
            Rounding::Nearest => singles!($how, $f, |$($a),+| $nearest),
            Rounding::Zero => singles!($how, $f, |$($a),+| {
                toward_zero($nearest, $missing)
            }),
            Rounding::Down => singles!($how, $f, |$($a),+| toward($nearest, $missing, false)),
            Rounding::Up => singles!($how, $f, |$($a),+| toward($nearest, $missing, true)),
        }
    };
}

/// Moves a nearest result one step down or up, if the exact one lies there.
pub(super) fn toward(nearest: f32, missing: f64, up: bool) -> f32 {
    match up {
        true if missing > 0.0 => nearest.next_up(),
        false if missing < 0.0 => nearest.next_down(),
        _ => nearest,
    }
}

/// Moves a nearest result one step toward zero, if the exact one lies there.
pub(super) fn toward_zero(nearest: f32, missing: f64) -> f32 {
    // By the sign, not by a comparison: what is too small for a single is -0 at the nearest.
    toward(nearest, missing, nearest.is_sign_negative())
}

fn sum_missing(a: f32, b: f32) -> f64 {
    let (a, b) = (f64::from(a), f64::from(b));
    let sum = a + b;
    // What the sum of doubles itself lost (Knuth's two-sum).
    let part = sum - a;
    let lost = (a - (sum - part)) + (b - part);
    (sum - f64::from((a + b) as f32)) + lost
}

fn product_sum_missing(a: f32, b: f32, c: f32) -> f64 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let part = sum - product;
    let lost = (product - (sum - part)) + (c - part);
    (sum - f64::from(a.mul_add(b, c as f32))) + lost
}

/// Operations of one single.
pub(super) fn one(operation: &str, how: Singles) -> Option<F1> {
    Some(match operation {
        "neg" => singles!(how, F1, |a| -a),
        "abs" => singles!(how, F1, |a| a.abs()),
        "sqrt" => rounded!(how, F1, |a| a.sqrt(), {
            let root = f64::from(a.sqrt());
            f64::from(a) - root * root
        }),
        "rcp" => rounded!(how, F1, |a| 1.0 / a, f64::from(a).recip() - f64::from(1.0 / a)),
        "rsqrt" => singles!(how, F1, |a| (1.0 / f64::from(a).sqrt()) as f32),
        "sin" => singles!(how, F1, |a| f64::from(a).sin() as f32),
        "cos" => singles!(how, F1, |a| f64::from(a).cos() as f32),
        "lg2" => singles!(how, F1, |a| f64::from(a).log2() as f32),
        "ex2" => singles!(how, F1, |a| f64::from(a).exp2() as f32),
        "tanh" => singles!(how, F1, |a| f64::from(a).tanh() as f32),
        _ => return None,
    })
}

/// Operations of two singles.
pub(super) fn two(operation: &str, how: Singles) -> Option<F2> {
    Some(match operation {
        "add" => rounded!(how, F2, |a, b| a + b, sum_missing(a, b)),
        "sub" => rounded!(how, F2, |a, b| a - b, sum_missing(a, -b)),
        "mul" => {
            rounded!(how, F2, |a, b| a * b, f64::from(a) * f64::from(b) - f64::from(a * b))
        }
        "div" => rounded!(how, F2, |a, b| a / b, {
            let quotient = f64::from(a / b);
            // The sign of the remainder, seen from the divisor.
            (f64::from(a) - quotient * f64::from(b)) * f64::from(b).signum()
        }),
        "min" => singles!(how, F2, |a, b| lesser(a, b)),
        "max" => singles!(how, F2, |a, b| greater(a, b)),
        "copysign" => singles!(how, F2, |a, b| b.copysign(a)),
        _ => return None,
    })
}

/// Makes functions for the lesser and the greater of two numbers, where -0 is less than +0, and
/// what is no number does not count.
macro_rules! extremes {
    ($kind:ty, $none:expr, $lesser:ident, $greater:ident) => {
        pub(super) fn $lesser(a: $kind, b: $kind) -> $kind {
            match () {
                () if a.is_nan() && b.is_nan() => $none,
                () if a.is_nan() => b,
                () if b.is_nan() => a,
                () if a < b || a == b && a.is_sign_negative() => a,
                () => b,
            }
        }

        pub(super) fn $greater(a: $kind, b: $kind) -> $kind {
            match () {
                () if a.is_nan() && b.is_nan() => $none,
                () if a.is_nan() => b,
                () if b.is_nan() => a,
                () if a > b || a == b && a.is_sign_positive() => a,
                () => b,
            }
        }
    };
}

extremes!(f32, f32::from_bits(0x7fff_ffff), lesser, greater);
extremes!(f64, f64::from_bits(0x7fff_ffff_ffff_ffff), lesser_double, greater_double);

/// The lesser or greater of two singles, and no number if one of them is none.
pub(super) fn strict(operation: &str, how: Singles) -> Option<F2> {
    Some(match operation {
        "min" => singles!(how, F2, |a, b| {
            if a.is_nan() || b.is_nan() { f32::from_bits(0x7fff_ffff) } else { lesser(a, b) }
        }),
        "max" => singles!(how, F2, |a, b| {
            if a.is_nan() || b.is_nan() { f32::from_bits(0x7fff_ffff) } else { greater(a, b) }
        }),
        _ => return None,
    })
}

/// Product and sum, rounded once.
pub(super) fn multiply_add(how: Singles) -> F3 {
    rounded!(how, F3, |a, b, c| a.mul_add(b, c), product_sum_missing(a, b, c))
}

/// Operations of one double.
pub(super) fn double_one(operation: &str) -> Option<F1> {
    Some(match operation {
        "neg" => |a| (-f64::of(a)).slot(),
        "abs" => |a| f64::of(a).abs().slot(),
        "sqrt" => |a| f64::of(a).sqrt().slot(),
        "rcp" => |a| f64::of(a).recip().slot(),
        "rsqrt" => |a| f64::of(a).sqrt().recip().slot(),
        _ => return None,
    })
}

/// Operations of two doubles.
pub(super) fn double_two(operation: &str) -> Option<F2> {
    Some(match operation {
        "add" => |a, b| (f64::of(a) + f64::of(b)).slot(),
        "sub" => |a, b| (f64::of(a) - f64::of(b)).slot(),
        "mul" => |a, b| (f64::of(a) * f64::of(b)).slot(),
        "div" => |a, b| (f64::of(a) / f64::of(b)).slot(),
        "min" => |a, b| lesser_double(f64::of(a), f64::of(b)).slot(),
        "max" => |a, b| greater_double(f64::of(a), f64::of(b)).slot(),
        "copysign" => |a, b| f64::of(b).copysign(f64::of(a)).slot(),
        _ => return None,
    })
}

/// Product and sum of doubles, rounded once.
pub(super) fn double_multiply_add(a: u64, b: u64, c: u64) -> u64 {
    f64::of(a).mul_add(f64::of(b), f64::of(c)).slot()
}

/// Questions about what kind of number a value is.
pub(super) fn test(question: &str, double: bool) -> Option<F1> {
    macro_rules! test {
        ($t:ty) => {
            match question {
                "finite" => |a| <$t>::of(a).is_finite().slot(),
                "infinite" => |a| <$t>::of(a).is_infinite().slot(),
                "number" => |a| (!<$t>::of(a).is_nan()).slot(),
                "notanumber" => |a| <$t>::of(a).is_nan().slot(),
                // "As a special case, positive and negative zero are considered normal numbers."
                "normal" => |a| (<$t>::of(a).is_normal() || <$t>::of(a) == 0.0).slot(),
                "subnormal" => |a| <$t>::of(a).is_subnormal().slot(),
                _ => return None,
            }
        };
    }
    Some(if double { test!(f64) } else { test!(f32) })
}
