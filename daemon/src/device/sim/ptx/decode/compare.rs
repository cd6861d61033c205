//! Comparisons.

use std::cmp::Ordering;

use half::{bf16, f16};

use super::arithmetic::no_function;
use super::convert::flushed;
use super::integer::by_kind;
use super::{Decoded, Kind, Name, unknown};
use crate::device::sim::ptx::code::{Combine, F2};
use crate::device::sim::ptx::kind::Value as _;

pub(super) const QUESTIONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

/// Reads question, type and combination of a comparison.
pub(super) fn comparison(name: &mut Name<'_>) -> Decoded<(F2, Kind, Option<Combine>)> {
    let ftz = name.take("ftz");
    let Some(question) = name.take_of(&QUESTIONS) else { return unknown("") };
    let combine = match name.take_of(&["and", "or", "xor"]) {
        Some("and") => Some(Combine::And),
        Some("or") => Some(Combine::Or),
        Some(_) => Some(Combine::Xor),
        None => None,
    };
    let kind = name.kind()?;
    Ok((compare(question, kind, ftz).ok_or_else(no_function)?, kind, combine))
}

/// Makes a comparison. Those that end in `u` hold also where one side is no number.
pub(super) fn compare(question: &str, kind: Kind, ftz: bool) -> Option<F2> {
    macro_rules! floats {
        ($of:expr) => {
            match question {
                "eq" => |a, b| $of(a).partial_cmp(&$of(b)).is_some_and(Ordering::is_eq).slot(),
                "ne" => |a, b| $of(a).partial_cmp(&$of(b)).is_some_and(Ordering::is_ne).slot(),
                "lt" => |a, b| $of(a).partial_cmp(&$of(b)).is_some_and(Ordering::is_lt).slot(),
                "le" => |a, b| $of(a).partial_cmp(&$of(b)).is_some_and(Ordering::is_le).slot(),
                "gt" => |a, b| $of(a).partial_cmp(&$of(b)).is_some_and(Ordering::is_gt).slot(),
                "ge" => |a, b| $of(a).partial_cmp(&$of(b)).is_some_and(Ordering::is_ge).slot(),
                "equ" => |a, b| $of(a).partial_cmp(&$of(b)).is_none_or(Ordering::is_eq).slot(),
                "neu" => |a, b| $of(a).partial_cmp(&$of(b)).is_none_or(Ordering::is_ne).slot(),
                "ltu" => |a, b| $of(a).partial_cmp(&$of(b)).is_none_or(Ordering::is_lt).slot(),
                "leu" => |a, b| $of(a).partial_cmp(&$of(b)).is_none_or(Ordering::is_le).slot(),
                "gtu" => |a, b| $of(a).partial_cmp(&$of(b)).is_none_or(Ordering::is_gt).slot(),
                "geu" => |a, b| $of(a).partial_cmp(&$of(b)).is_none_or(Ordering::is_ge).slot(),
                "num" => |a, b| (!$of(a).is_nan() && !$of(b).is_nan()).slot(),
                "nan" => |a, b| ($of(a).is_nan() || $of(b).is_nan()).slot(),
                _ => return None,
            }
        };
    }
    Some(match kind {
        Kind::F32 if ftz => floats!(flushed),
        Kind::F32 => floats!(f32::of),
        Kind::F64 => floats!(f64::of),
        Kind::F16 => floats!(f16::of),
        Kind::Bf16 => floats!(bf16::of),
        _ => match question {
            "eq" => by_kind!(kind, T => (|a, b| (T::of(a) == T::of(b)).slot()) as F2)?,
            "ne" => by_kind!(kind, T => (|a, b| (T::of(a) != T::of(b)).slot()) as F2)?,
            "lt" | "lo" => by_kind!(kind, T => (|a, b| (T::of(a) < T::of(b)).slot()) as F2)?,
            "le" | "ls" => by_kind!(kind, T => (|a, b| (T::of(a) <= T::of(b)).slot()) as F2)?,
            "gt" | "hi" => by_kind!(kind, T => (|a, b| (T::of(a) > T::of(b)).slot()) as F2)?,
            "ge" | "hs" => by_kind!(kind, T => (|a, b| (T::of(a) >= T::of(b)).slot()) as F2)?,
            _ => return None,
        },
    })
}
