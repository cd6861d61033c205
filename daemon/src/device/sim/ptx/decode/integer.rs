//! Whole numbers (PTX ISA, "Integer Arithmetic Instructions", "Logic and Shift Instructions").

use crate::device::sim::ptx::code::{F1, F2, F3, F4};
use crate::device::sim::ptx::kind::{Kind, Value as _};

/// Makes a function for the Rust type that a kind of whole numbers has.
macro_rules! by_kind {
    ($kind:expr, $t:ident => $body:expr) => {
        match $kind {
            Kind::U8 | Kind::B8 => {
                type $t = u8;
                Some($body)
            }
            Kind::S8 => {
                type $t = i8;
                Some($body)
            }
            Kind::U16 | Kind::B16 => {
                type $t = u16;
                Some($body)
            }
            Kind::S16 => {
                type $t = i16;
                Some($body)
            }
            Kind::U32 | Kind::B32 => {
                type $t = u32;
                Some($body)
            }
            Kind::S32 => {
                type $t = i32;
                Some($body)
            }
            Kind::U64 | Kind::B64 => {
                type $t = u64;
                Some($body)
            }
            Kind::S64 => {
                type $t = i64;
                Some($body)
            }
            _ => None,
        }
    };
}
pub(super) use by_kind;

/// Operations of one number.
pub(super) fn one(operation: &str, kind: Kind) -> Option<F1> {
    match operation {
        "neg" => by_kind!(kind, T => |a| T::of(a).wrapping_neg().slot()),
        "abs" => match kind {
            Kind::S16 => Some(|a| i16::of(a).wrapping_abs().slot()),
            Kind::S32 => Some(|a| i32::of(a).wrapping_abs().slot()),
            Kind::S64 => Some(|a| i64::of(a).wrapping_abs().slot()),
            _ => None,
        },
        "not" if kind == Kind::Pred => Some(|a| (a == 0).slot()),
        "not" => by_kind!(kind, T => |a| (!T::of(a)).slot()),
        "cnot" => by_kind!(kind, T => |a| T::from(T::of(a) == 0).slot()),
        "popc" => by_kind!(kind, T => |a| T::of(a).count_ones().slot()),
        "clz" => by_kind!(kind, T => |a| T::of(a).leading_zeros().slot()),
        "brev" => by_kind!(kind, T => |a| T::of(a).reverse_bits().slot()),
        _ => None,
    }
}

/// Operations of two numbers.
pub(super) fn two(operation: &str, kind: Kind) -> Option<F2> {
    match operation {
        "add" => by_kind!(kind, T => |a, b| T::of(a).wrapping_add(T::of(b)).slot()),
        "sub" => by_kind!(kind, T => |a, b| T::of(a).wrapping_sub(T::of(b)).slot()),
        // What division by zero gives is not specified; devices give all ones, and the dividend.
        "div" => by_kind!(kind, T => |a, b| match T::of(b) {
            0 => u64::MAX,
            b => T::of(a).wrapping_div(b).slot(),
        }),
        "rem" => by_kind!(kind, T => |a, b| match T::of(b) {
            0 => T::of(a).slot(),
            b => T::of(a).wrapping_rem(b).slot(),
        }),
        "min" => by_kind!(kind, T => |a, b| T::of(a).min(T::of(b)).slot()),
        "max" => by_kind!(kind, T => |a, b| T::of(a).max(T::of(b)).slot()),
        "and" => Some(|a, b| a & b),
        "or" => Some(|a, b| a | b),
        "xor" => Some(|a, b| a ^ b),
        "shl" => by_kind!(kind, T => |a, b| T::of(a).checked_shl(b as u32).unwrap_or(0).slot()),
        // More than all bits leave the sign, or nothing.
        "shr" => by_kind!(kind, T => |a, b| {
            let (a, most) = (T::of(a), T::BITS - 1);
            (a >> (b as u32).min(most) >> u32::from(b as u32 > most)).slot()
        }),
        _ => None,
    }
}

/// Sums and differences that stop at the ends of their type.
pub(super) fn saturating(operation: &str) -> Option<F2> {
    match operation {
        "add" => Some(|a, b| i32::of(a).saturating_add(i32::of(b)).slot()),
        "sub" => Some(|a, b| i32::of(a).saturating_sub(i32::of(b)).slot()),
        _ => None,
    }
}

/// Which half of a product is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Low,
    High,
    /// Both, in a number of twice the width.
    Wide,
}

/// Products.
pub(super) fn multiply(half: Half, kind: Kind) -> Option<F2> {
    match half {
        Half::Low => by_kind!(kind, T => |a, b| T::of(a).wrapping_mul(T::of(b)).slot()),
        Half::High => by_kind!(kind, T => |a, b| {
            let product = i128::from(T::of(a)).wrapping_mul(i128::from(T::of(b)));
            ((product >> T::BITS) as T).slot()
        }),
        Half::Wide => match kind {
            Kind::U16 => Some(|a, b| (u32::from(u16::of(a)) * u32::from(u16::of(b))).slot()),
            Kind::S16 => Some(|a, b| (i32::from(i16::of(a)) * i32::from(i16::of(b))).slot()),
            Kind::U32 => Some(|a, b| u64::from(u32::of(a)) * u64::from(u32::of(b))),
            Kind::S32 => Some(|a, b| (i64::from(i32::of(a)) * i64::from(i32::of(b))).slot()),
            _ => None,
        },
    }
}

/// Products with a third number added.
pub(super) fn multiply_add(half: Half, kind: Kind) -> Option<F3> {
    match half {
        Half::Low => by_kind!(kind, T => |a, b, c| {
            T::of(a).wrapping_mul(T::of(b)).wrapping_add(T::of(c)).slot()
        }),
        Half::High => by_kind!(kind, T => |a, b, c| {
            let product = i128::from(T::of(a)).wrapping_mul(i128::from(T::of(b)));
            ((product >> T::BITS) as T).wrapping_add(T::of(c)).slot()
        }),
        Half::Wide => match kind {
            Kind::U16 => Some(|a, b, c| {
                (u32::from(u16::of(a)) * u32::from(u16::of(b))).wrapping_add(u32::of(c)).slot()
            }),
            Kind::S16 => Some(|a, b, c| {
                (i32::from(i16::of(a)) * i32::from(i16::of(b))).wrapping_add(i32::of(c)).slot()
            }),
            Kind::U32 => {
                Some(|a, b, c| (u64::from(u32::of(a)) * u64::from(u32::of(b))).wrapping_add(c))
            }
            Kind::S32 => Some(|a, b, c| {
                (i64::from(i32::of(a)) * i64::from(i32::of(b))).wrapping_add(i64::of(c)).slot()
            }),
            _ => None,
        },
    }
}

/// Dot products of four bytes with a third number added.
pub(super) fn dot_of_four(a: Kind, b: Kind) -> Option<F3> {
    macro_rules! dot {
        ($a:ty, $b:ty, $c:ty) => {
            |a, b, c| {
                let (a, b) = ((a as u32).to_le_bytes(), (b as u32).to_le_bytes());
                let products = a.iter().zip(b).map(|(&a, b)| (a as $a as $c) * (b as $b as $c));
                products.fold(c as $c, <$c>::wrapping_add).slot()
            }
        };
    }
    match (a, b) {
        (Kind::S32, Kind::S32) => Some(dot!(i8, i8, i32)),
        (Kind::S32, Kind::U32) => Some(dot!(i8, u8, i32)),
        (Kind::U32, Kind::S32) => Some(dot!(u8, i8, i32)),
        (Kind::U32, Kind::U32) => Some(dot!(u8, u8, u32)),
        _ => None,
    }
}

/// Dot products of two 16-bit numbers with two of four bytes, and a third number added.
pub(super) fn dot_of_two(high: bool, a: Kind, b: Kind) -> Option<F3> {
    macro_rules! dot {
        ($a:ty, $b:ty, $c:ty, $shift:literal) => {
            |a, b, c| {
                let product = |at: u32| {
                    let a = (a >> (16 * at)) as $a as $c;
                    let b = (b >> ($shift + 8 * at)) as $b as $c;
                    a.wrapping_mul(b)
                };
                (c as $c).wrapping_add(product(0)).wrapping_add(product(1)).slot()
            }
        };
    }
    match (a, b, high) {
        (Kind::S32, Kind::S32, false) => Some(dot!(i16, i8, i32, 0)),
        (Kind::S32, Kind::S32, true) => Some(dot!(i16, i8, i32, 16)),
        (Kind::S32, Kind::U32, false) => Some(dot!(i16, u8, i32, 0)),
        (Kind::S32, Kind::U32, true) => Some(dot!(i16, u8, i32, 16)),
        (Kind::U32, Kind::S32, false) => Some(dot!(u16, i8, i32, 0)),
        (Kind::U32, Kind::S32, true) => Some(dot!(u16, i8, i32, 16)),
        (Kind::U32, Kind::U32, false) => Some(dot!(u16, u8, u32, 0)),
        (Kind::U32, Kind::U32, true) => Some(dot!(u16, u8, u32, 16)),
        _ => None,
    }
}

/// Absolute differences with a third number added.
pub(super) fn difference_sum(kind: Kind) -> Option<F3> {
    by_kind!(kind, T => |a, b, c| {
        let (a, b) = (T::of(a), T::of(b));
        let difference = if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) };
        T::of(c).wrapping_add(difference).slot()
    })
}

/// Takes a field of bits out of a number: position, length.
pub(super) fn extract(kind: Kind) -> Option<F3> {
    by_kind!(kind, T => |a, position, length| {
        let (a, signed) = (T::of(a), T::MIN != 0);
        let (position, length) = (position as u8 as u32, length as u8 as u32);
        let last = (position + length).saturating_sub(1).min(T::BITS - 1);
        let sign = signed && length > 0 && a >> last & 1 != 0;
        let field = if position < T::BITS { a.slot() >> position } else { 0 };
        let known = length.min(T::BITS.saturating_sub(position));
        let mask = if known >= 64 { u64::MAX } else { (1 << known) - 1 };
        let above = if sign { !mask } else { 0 };
        (((field & mask) | above) as T).slot()
    })
}

/// Puts a field of bits into a number: field, number, position, length.
pub(super) fn insert(kind: Kind) -> Option<F4> {
    by_kind!(kind, T => |field, into, position, length| {
        let (position, length) = (position as u8 as u32, length as u8 as u32);
        if position >= T::BITS || length == 0 {
            return T::of(into).slot();
        }
        let mask = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
        let mask = mask << position;
        (((into & !mask) | (field << position & mask)) as T).slot()
    })
}

/// The place of the highest bit that differs from the sign; all ones where there is none.
pub(super) fn highest(kind: Kind, distance: bool) -> Option<F1> {
    macro_rules! highest {
        ($distance:literal) => {
            by_kind!(kind, T => |a| {
                let a = T::of(a);
                let significant = if T::MIN != 0 && a >> (T::BITS - 1) & 1 != 0 { !a } else { a };
                let zeros = significant.leading_zeros();
                let found = if $distance { zeros } else { (T::BITS - 1).wrapping_sub(zeros) };
                if zeros == T::BITS { u32::MAX.slot() } else { found.slot() }
            })
        };
    }
    if distance { highest!(true) } else { highest!(false) }
}

/// Any logical function of three numbers: the fourth is its table.
pub(super) fn logic(a: u64, b: u64, c: u64, table: u64) -> u64 {
    let (a, b, c) = (a as u32, b as u32, c as u32);
    let mut result = 0;
    for case in 0..8 {
        if table >> case & 1 == 1 {
            let of = |value: u32, bit: u32| if case >> bit & 1 == 1 { value } else { !value };
            result |= of(a, 2) & of(b, 1) & of(c, 0);
        }
    }
    u64::from(result)
}

/// Shifts two numbers as one: low half, high half, amount.
pub(super) fn funnel(left: bool, wrap: bool) -> F3 {
    fn joined(a: u64, b: u64) -> u64 {
        u64::from(b as u32) << 32 | u64::from(a as u32)
    }
    match (left, wrap) {
        (true, true) => |a, b, c| joined(a, b) << (c & 31) >> 32,
        (true, false) => |a, b, c| joined(a, b) << (c as u32).min(32) >> 32,
        (false, true) => |a, b, c| joined(a, b) >> (c & 31) & 0xffff_ffff,
        (false, false) => |a, b, c| joined(a, b) >> (c as u32).min(32) & 0xffff_ffff,
    }
}

/// Chooses four of eight bytes.
pub(super) fn permute(a: u64, b: u64, c: u64) -> u64 {
    let bytes = (u64::from(b as u32) << 32 | u64::from(a as u32)).to_le_bytes();
    let chosen: [u8; 4] = std::array::from_fn(|at| {
        let selector = c >> (4 * at);
        let byte = bytes[selector as usize & 7];
        // The top bit asks for the byte's sign in place of the byte.
        if selector & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
    });
    u64::from(u32::from_le_bytes(chosen))
}

/// Chooses bytes in one of the named patterns; the amount counts only in its two low bits.
pub(super) fn permute_pattern(pattern: &str) -> Option<F3> {
    fn choose(a: u64, b: u64, of: impl Fn(u64) -> u64) -> u64 {
        permute(a, b, (0..4).map(|at| of(at) << (4 * at)).sum())
    }
    Some(match pattern {
        "f4e" => |a, b, c| choose(a, b, |at| (c & 3) + at),
        "b4e" => |a, b, c| choose(a, b, |at| ((c & 3) + 8 - at) & 7),
        "rc8" => |a, b, c| choose(a, b, |_| c & 3),
        "ecl" => |a, b, c| choose(a, b, |at| at.max(c & 3)),
        "ecr" => |a, b, c| choose(a, b, |at| at.min(c & 3)),
        "rc16" => |a, b, c| choose(a, b, |at| (c & 1) * 2 + (at & 1)),
        _ => return None,
    })
}

/// A mask of ones: position, length.
pub(super) fn mask(clamp: bool) -> F2 {
    if clamp {
        return |a, b| {
            let (position, length) = ((a as u32).min(32), (b as u32).min(32));
            ((1_u64 << length) - 1) << position & 0xffff_ffff
        };
    }
    |a, b| ((1_u64 << (b & 31)) - 1) << (a & 31) & 0xffff_ffff
}
