//! Single instructions where they are easily got wrong, and those that must not be guessed at.

use super::Program;
use super::numbers::{evaluate, on_three, single};

const NAN: u64 = 0x7fff_ffff;
const MINUS: u64 = 0xffff_ffff;

#[test]
fn what_is_no_number_and_what_is_zero_keep_to_the_manual() {
    let nan = f64::NAN.to_bits();
    let tiny = single(f32::MIN_POSITIVE);
    for (instructions, result, values, expected) in [
        // The greater of two that are no numbers is the manual's own, as is the lesser.
        ("max.f32 %f4, %f1, %f2;", "%f4", [NAN, NAN, 0], NAN),
        ("min.f32 %f4, %f1, %f2;", "%f4", [NAN, NAN, 0], NAN),
        ("max.f64 %g4, %g1, %g2;", "%g4", [0, 1 << 63, 0], 0),
        ("max.f64 %g4, %g1, %g2;", "%g4", [1 << 63, 0, 0], 0),
        ("min.f64 %g4, %g1, %g2;", "%g4", [0, 1 << 63, 0], 1 << 63),
        ("min.f64 %g4, %g1, %g2;", "%g4", [1 << 63, 0, 0], 1 << 63),
        ("max.f16 %h4, %h1, %h2;", "%h4", [0x8000, 0, 0], 0),
        ("min.f16 %h4, %h1, %h2;", "%h4", [0, 0x8000, 0], 0x8000),
        // Toward zero what is too small is zero, whatever its sign.
        ("mul.rz.f32 %f4, %f1, %f2;", "%f4", [tiny | 1 << 31, tiny, 0], 1 << 31),
        ("mul.rm.f32 %f4, %f1, %f2;", "%f4", [tiny | 1 << 31, tiny, 0], 1 << 31 | 1),
        ("fma.rz.f32 %f4, %f1, %f2, %f3;", "%f4", [tiny | 1 << 31, tiny, 1 << 31], 1 << 31),
        ("testp.normal.f32 %p1, %f1; selp.b32 %r4, 1, 0, %p1;", "%r4", [0, 0, 0], 1),
        ("testp.normal.f64 %p1, %g1; selp.b32 %r4, 1, 0, %p1;", "%r4", [1 << 63, 0, 0], 1),
        ("testp.normal.f32 %p1, %f1; selp.b32 %r4, 1, 0, %p1;", "%r4", [1, 0, 0], 0),
        ("cvt.rzi.s32.f32 %r4, %f1;", "%r4", [NAN, 0, 0], 0),
        ("cvt.rzi.s32.f64 %r4, %g1;", "%r4", [nan, 0, 0], 1 << 31),
        ("cvt.rzi.u32.f64 %r4, %g1;", "%r4", [nan, 0, 0], 1 << 31),
        ("cvt.rzi.s64.f32 %d4, %f1;", "%d4", [NAN, 0, 0], 1 << 63),
        ("cvt.rzi.u64.f64 %d4, %g1;", "%d4", [nan, 0, 0], 1 << 63),
        ("cvt.rzi.u64.f64 %d4, %g1;", "%d4", [(-1.0_f64).to_bits(), 0, 0], 0),
        ("cvt.rna.tf32.f32 %r4, %f1;", "%r4", [NAN, 0, 0], NAN),
        ("cvt.rna.tf32.f32 %r4, %f1;", "%r4", [0x3f80_1000, 0, 0], 0x3f80_2000),
        ("cvt.ftz.sat.f32.f32 %f4, %f1;", "%f4", [1, 0, 0], 0),
        ("cvt.sat.f32.f32 %f4, %f1;", "%f4", [1, 0, 0], 1),
        ("fma.rn.relu.f16 %h4, %h1, %h2, %h3;", "%h4", [0x3c00, 0xc000, 0x3c00], 0),
    ] {
        let found = evaluate(instructions, result, values);
        assert_eq!(found, expected, "{instructions} {values:x?}: {found:x}");
    }
    for fused in ["fma.rn.relu.f16", "fma.rn.relu.bf16"] {
        let text = format!("{fused} %h4, %h1, %h2, %h3;");
        let found = evaluate(&text, "%h4", [0x7fff, 0, 0]);
        assert!(found & 0x7fff > 0x7f80, "{fused}: no number stays none, {found:x}");
    }
}

#[test]
fn what_is_converted_fills_a_wider_register_with_its_sign() {
    for (instructions, result, values, expected) in [
        ("cvt.s8.s32 %r4, %r1;", "%r4", [0x1fe, 0, 0], MINUS - 1),
        ("cvt.u8.s32 %r4, %r1;", "%r4", [0x1fe, 0, 0], 0xfe),
        ("cvt.s16.s32 %d4, %r1;", "%d4", [0x8000, 0, 0], (-0x8000_i64) as u64),
        ("cvt.sat.s8.s32 %r4, %r1;", "%r4", [MINUS - 999, 0, 0], MINUS - 127),
        ("cvt.rzi.s8.f32 %r4, %f1;", "%r4", [single(-3.0), 0, 0], MINUS - 2),
        ("cvt.rzi.u16.f32 %r4, %f1;", "%r4", [single(65_535.0), 0, 0], 0xffff),
    ] {
        let found = evaluate(instructions, result, values);
        assert_eq!(found, expected, "{instructions} {values:x?}: {found:x}");
    }
}

#[test]
fn numbers_of_16_bits_are_rounded_once() {
    let least = f64::from_bits(0x3ff0_0200_0000_0001);
    for (instructions, result, values, expected) in [
        ("cvt.rn.f16.f64 %h4, %g1;", "%h4", [least.to_bits(), 0, 0], 0x3c01),
        // 1 + 2^-11 + 2^-21: just above the middle.
        ("fma.rn.f16 %h4, %h1, %h2, %h3;", "%h4", [0x1001, 0x1001, 0x3c00], 0x3c00),
        ("fma.rn.f16 %h4, %h1, %h2, %h3;", "%h4", [0x3801, 0x1400, 0x3c00], 0x3c01),
        // 2^-8 is half of the last place of 1, and 2^-120 is beyond what a double holds beside it.
        ("fma.rn.bf16 %h4, %h1, %h2, %h3;", "%h4", [0x3f82, 0x3f82, 0x0380], 0x3f84),
        ("fma.rn.bf16 %h4, %h1, %h2, %h3;", "%h4", [0x3f88, 0x3f88, 0x0380], 0x3f91),
        ("fma.rn.bf16 %h4, %h1, %h2, %h3;", "%h4", [0x3f88, 0x3f88, 0x8380], 0x3f90),
    ] {
        let found = evaluate(instructions, result, values);
        assert_eq!(found, expected, "{instructions} {values:x?}: {found:x}");
    }
}

#[test]
fn what_is_not_known_of_an_instruction_is_not_passed_over() {
    for instructions in [
        "add.rz.f64 %g4, %g1, %g2;",
        "rcp.rz.f64 %g4, %g1;",
        "sqrt.rp.f64 %g4, %g1;",
        "fma.rz.f64 %g4, %g1, %g2, %g3;",
        "add.ftz.f16 %h4, %h1, %h2;",
        "fma.rn.ftz.f16 %h4, %h1, %h2, %h3;",
        "cvt.rn.tf32.f32 %r4, %f1;",
        "cvt.rz.tf32.f32 %r4, %f1;",
        "cvt.rn.satfinite.tf32.f32 %r4, %f1;",
        "cvt.rz.ftz.f32.f64 %f4, %g1;",
        "cvt.rn.sat.f32.s32 %f4, %r1;",
        "cvt.rn.bf16.s64 %h4, %d1;",
        "cvt.rz.f16x2.f32 %r4, %f1, %f2;",
        "mov.u32 %r4, %clock_hi;",
        "brkpt;",
    ] {
        let ptx = on_three(instructions, "%r4");
        let program = Program::parse(&ptx).expect("it is PTX");
        assert!(program.entry("k").is_err(), "{instructions}");
    }
}
