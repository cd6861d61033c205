//! Numbers in the forms that cuBLAS takes, and random ones.

use half::{bf16, f16};

/// A real and an imaginary part.
pub type Number = (f64, f64);

/// A type of elements (`cudaDataType_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    S = 0,
    D = 1,
    H = 2,
    I8 = 3,
    C = 4,
    Z = 5,
    C8 = 7,
    I32 = 10,
    B = 14,
}

impl Kind {
    /// The bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::H | Self::B | Self::C8 => 2,
            Self::S | Self::I32 => 4,
            Self::D | Self::C => 8,
            Self::Z => 16,
        }
    }

    pub fn is_complex(self) -> bool {
        matches!(self, Self::C | Self::Z | Self::C8)
    }

    fn is_integer(self) -> bool {
        matches!(self, Self::I8 | Self::C8 | Self::I32)
    }

    /// The distance of 1 from the next number.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::H => f16::EPSILON.to_f64(),
            Self::B => bf16::EPSILON.to_f64(),
            Self::S | Self::C => f32::EPSILON.into(),
            Self::D | Self::Z => f64::EPSILON,
            Self::I8 | Self::C8 | Self::I32 => 0.0,
        }
    }

    pub fn encode(self, numbers: &[Number]) -> Vec<u8> {
        let one = |&(re, im): &Number| match self {
            Self::I8 => vec![re as i8 as u8],
            Self::C8 => vec![re as i8 as u8, im as i8 as u8],
            Self::H => f16::from_f64(re).to_le_bytes().to_vec(),
            Self::B => bf16::from_f64(re).to_le_bytes().to_vec(),
            Self::I32 => (re as i32).to_le_bytes().to_vec(),
            Self::S => (re as f32).to_le_bytes().to_vec(),
            Self::D => re.to_le_bytes().to_vec(),
            Self::C => [(re as f32).to_le_bytes(), (im as f32).to_le_bytes()].concat(),
            Self::Z => [re.to_le_bytes(), im.to_le_bytes()].concat(),
        };
        numbers.iter().flat_map(one).collect()
    }

    pub fn decode(self, bytes: &[u8]) -> Vec<Number> {
        bytes.chunks_exact(self.bytes()).map(|one| self.decode_one(one)).collect()
    }

    fn decode_one(self, one: &[u8]) -> Number {
        let two = |at: usize| [one[at], one[at + 1]];
        let four = |at: usize| [one[at], one[at + 1], one[at + 2], one[at + 3]];
        let eight = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&one[at..at + 8]);
            f64::from_le_bytes(bytes)
        };
        let single = |at: usize| f64::from(f32::from_le_bytes(four(at)));
        match self {
            Self::I8 => ((one[0] as i8).into(), 0.0),
            Self::C8 => ((one[0] as i8).into(), (one[1] as i8).into()),
            Self::H => (f16::from_le_bytes(two(0)).to_f64(), 0.0),
            Self::B => (bf16::from_le_bytes(two(0)).to_f64(), 0.0),
            Self::I32 => (i32::from_le_bytes(four(0)).into(), 0.0),
            Self::S => (single(0), 0.0),
            Self::D => (eight(0), 0.0),
            Self::C => (single(0), single(4)),
            Self::Z => (eight(0), eight(8)),
        }
    }

    /// Makes numbers that this type holds.
    pub fn random(self, source: &mut fastrand::Rng, count: usize) -> Vec<Number> {
        let mut part = || {
            if self.is_integer() {
                source.i32(-50..50).into()
            } else {
                source.f64().mul_add(2.0, -1.0)
            }
        };
        let mut numbers = Vec::new();
        for _ in 0..count {
            let real = part();
            numbers.push((real, if self.is_complex() { part() } else { 0.0 }));
        }
        self.decode(&self.encode(&numbers))
    }
}

pub fn add(a: Number, b: Number) -> Number {
    (a.0 + b.0, a.1 + b.1)
}

pub fn multiply(a: Number, b: Number) -> Number {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// Ends the program unless both are equal but for `tolerance`.
#[track_caller]
pub fn assert_near(found: &[Number], expected: &[Number], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
        let agree = near(found.0, expected.0) && near(found.1, expected.1);
        assert!(agree, "{what}: element {at} is {found:?}, not {expected:?}");
    }
}
