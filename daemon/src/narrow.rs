//! Numbers of 16 bits made of doubles, rounded once.
//!
//! The crate `half` looks at the first 20 bits of a double's fraction only, so what lies just above
//! the middle between two halves would be taken for the middle.

use half::{bf16, f16};

/// The nearest half.
pub(crate) fn half(value: f64) -> f16 {
    f16::from_f32(single(value))
}

/// The nearest number of 16 bits with the range of a single.
pub(crate) fn brain(value: f64) -> bf16 {
    bf16::from_f32(single(value))
}

/// Rounds toward zero and makes the last bit odd where something is lost, so that the result never
/// looks like the middle between two numbers of 16 bits when it is not.
fn single(value: f64) -> f32 {
    let nearest = value as f32;
    let exact = f64::from(nearest);
    if exact == value || value.is_nan() {
        return nearest;
    }
    // The bits of a single count its magnitude.
    let cut = nearest.to_bits() - u32::from(exact.abs() > value.abs());
    f32::from_bits(cut | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_just_beside_the_middle_is_not_taken_for_it() {
        let (one, least) = (2.0_f64.powi(-11), 2.0_f64.powi(-40));
        for (value, bits) in [
            (1.0 + one, 0x3c00),
            (1.0 + one + least, 0x3c01),
            (1.0 + 3.0 * one, 0x3c02),
            (1.0 + 3.0 * one - least, 0x3c01),
            (-1.0 - one - least, 0xbc01),
            (65_519.999_999, 0x7bff),
            (65_520.0, 0x7c00),
            (1e300, 0x7c00),
            (f64::NEG_INFINITY, 0xfc00),
            (2.0_f64.powi(-25), 0),
            (2.0_f64.powi(-25) + 2.0_f64.powi(-60), 1),
            (-1e-300, 0x8000),
        ] {
            assert_eq!(half(value).to_bits(), bits, "{value:e}");
        }
        assert!(half(f64::NAN).is_nan() && brain(f64::NAN).is_nan());
        assert_eq!(brain(1.0 + 2.0_f64.powi(-8)).to_bits(), 0x3f80);
        assert_eq!(brain(1.0 + 2.0_f64.powi(-8) + least).to_bits(), 0x3f81);
        assert_eq!(brain(f64::from(f32::MAX)).to_bits(), 0x7f80);
    }
}
