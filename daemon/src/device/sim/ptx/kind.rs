//! The fundamental types of PTX, and their values in 64-bit slots.

use half::{bf16, f16};

/// A fundamental type (PTX ISA, "Fundamental Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
    Pred,
}

impl Kind {
    /// Reads a type without its dot.
    pub fn read(word: &str) -> Option<Self> {
        Some(match word {
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "pred" => Self::Pred,
            _ => return None,
        })
    }

    /// Its size in bytes; a predicate has none and counts as one.
    pub fn bytes(self) -> u32 {
        match self {
            Self::B8 | Self::U8 | Self::S8 | Self::Pred => 1,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 2,
            Self::B32 | Self::U32 | Self::S32 | Self::F32 | Self::F16x2 | Self::Bf16x2 => 4,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 8,
        }
    }

    /// Whether its values are widened with their sign.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Whether it is a whole number or untyped bits.
    pub fn is_integer(self) -> bool {
        !matches!(
            self,
            Self::F16
                | Self::F16x2
                | Self::Bf16
                | Self::Bf16x2
                | Self::F32
                | Self::F64
                | Self::Pred
        )
    }
}

/// A value that lives in the low bits of a slot.
pub(super) trait Value: Copy {
    /// Takes it out of a slot.
    fn of(slot: u64) -> Self;
    /// Puts it into a slot; the rest of the slot is zero.
    fn slot(self) -> u64;
}

macro_rules! values {
    ($($kind:ty as $unsigned:ty),*) => {$(
        impl Value for $kind {
            #[inline(always)]
            fn of(slot: u64) -> Self {
                slot as Self
            }
            #[inline(always)]
            fn slot(self) -> u64 {
                u64::from(self as $unsigned)
            }
        }
    )*};
}

values!(u8 as u8, u16 as u16, u32 as u32, u64 as u64);
values!(i8 as u8, i16 as u16, i32 as u32, i64 as u64);

impl Value for bool {
    #[inline(always)]
    fn of(slot: u64) -> Self {
        slot != 0
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        self.into()
    }
}

impl Value for f32 {
    #[inline(always)]
    fn of(slot: u64) -> Self {
        Self::from_bits(slot as u32)
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        self.to_bits().into()
    }
}

impl Value for f64 {
    #[inline(always)]
    fn of(slot: u64) -> Self {
        Self::from_bits(slot)
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        self.to_bits()
    }
}

impl Value for f16 {
    #[inline(always)]
    fn of(slot: u64) -> Self {
        Self::from_bits(slot as u16)
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        self.to_bits().into()
    }
}

impl Value for bf16 {
    #[inline(always)]
    fn of(slot: u64) -> Self {
        Self::from_bits(slot as u16)
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        self.to_bits().into()
    }
}

/// Sets subnormal numbers to zero, with their sign, as `.ftz` asks.
#[inline(always)]
pub(super) fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0.0_f32.copysign(value) } else { value }
}

/// Limits to 0 to 1, not-a-number to 0, as `.sat` asks.
#[inline(always)]
pub(super) fn saturate(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}
