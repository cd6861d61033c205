//! Single instructions: what they make of numbers at the edges.

use super::Value::Long;
use super::{Buffers, run};

/// Runs one instruction, or a few, on three values, which are there as registers of every type:
/// `%h1` to `%h3`, `%r1`, `%d1`, `%f1`, `%g1`. The result is what it leaves in the given register.
#[track_caller]
pub(super) fn evaluate(instructions: &str, result: &str, values: [u64; 3]) -> u64 {
    let mut memory = Buffers::default();
    let ptx = on_three(instructions, result);
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).chain([0; 8]).collect();
    let at = memory.add(bytes);
    run(&ptx, "k", &mut memory, ([1; 3], [1; 3], 0), &[Long(at)]).expect("it ends");
    let bytes = &memory.by_address[&at][24..];
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}

/// The kernel `k` that does so.
pub(super) fn on_three(instructions: &str, result: &str) -> String {
    let mut loads = String::new();
    for at in 1..=3 {
        let from = 8 * (at - 1);
        for (kind, name) in [("b16", "h"), ("b32", "r"), ("b64", "d"), ("f32", "f"), ("f64", "g")] {
            loads += &format!("ld.global.{kind} %{name}{at}, [%in+{from}];\n");
        }
    }
    let store = match result.as_bytes()[1] {
        b'h' => "st.global.b16",
        b'r' => "st.global.b32",
        b'f' => "st.global.f32",
        b'g' => "st.global.f64",
        _ => "st.global.b64",
    };
    format!(
        ".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 at) {{\n\
         .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>; .reg .f64 %g<9>;\n\
         .reg .pred %p<9>; .reg .b64 %in;\nld.param.u64 %in, [at];\n{loads}{instructions}\n\
         {store} [%in+24], {result};\nret; }}\n"
    )
}

/// Whole numbers: instruction on `%r` or `%d`, values, result.
#[test]
fn whole_numbers_wrap_shift_and_divide_as_the_manual_says() {
    let m1 = u64::from(u32::MAX);
    for (instruction, values, expected) in [
        ("add.s32 %r4, %r1, %r2;", [m1, 1, 0], 0),
        ("add.sat.s32 %r4, %r1, %r2;", [0x7fff_ffff, 1, 0], 0x7fff_ffff),
        ("sub.u32 %r4, %r1, %r2;", [0, 1, 0], m1),
        ("mul.hi.s32 %r4, %r1, %r2;", [m1, 2, 0], m1),
        ("mul.hi.u32 %r4, %r1, %r2;", [m1, 2, 0], 1),
        ("mad.lo.s32 %r4, %r1, %r2, %r3;", [m1, 5, 7], 2),
        ("mad.hi.u32 %r4, %r1, %r2, %r3;", [1 << 31, 4, 1], 3),
        ("div.s32 %r4, %r1, %r2;", [m1 - 6, 2, 0], m1 - 2),
        ("div.s32 %r4, %r1, %r2;", [0x8000_0000, m1, 0], 0x8000_0000),
        ("div.u32 %r4, %r1, %r2;", [7, 0, 0], m1),
        ("rem.s32 %r4, %r1, %r2;", [m1 - 6, 4, 0], m1 - 2),
        ("rem.u32 %r4, %r1, %r2;", [7, 0, 0], 7),
        ("shl.b32 %r4, %r1, %r2;", [1, 31, 0], 0x8000_0000),
        ("shl.b32 %r4, %r1, %r2;", [1, 32, 0], 0),
        ("shr.u32 %r4, %r1, %r2;", [m1, 40, 0], 0),
        ("shr.s32 %r4, %r1, %r2;", [0x8000_0000, 40, 0], m1),
        ("shr.s32 %r4, %r1, %r2;", [0x8000_0000, 31, 0], m1),
        ("shf.l.wrap.b32 %r4, %r1, %r2, %r3;", [0x8000_0000, 1, 1], 3),
        ("shf.r.clamp.b32 %r4, %r1, %r2, %r3;", [1, 0xabcd, 32], 0xabcd),
        ("bfe.u32 %r4, %r1, 4, 8;", [0x1234, 0, 0], 0x23),
        ("bfe.s32 %r4, %r1, 4, 8;", [0x0ff0, 0, 0], m1),
        ("bfe.s32 %r4, %r1, 28, 8;", [0xf000_0000, 0, 0], m1),
        ("bfe.u32 %r4, %r1, 40, 8;", [m1, 0, 0], 0),
        ("bfi.b32 %r4, %r1, %r2, 8, 4;", [0xff, 0, 0], 0xf00),
        ("bfi.b32 %r4, %r1, %r2, 0, 32;", [5, m1, 0], 5),
        ("bfind.u32 %r4, %r1;", [0x10, 0, 0], 4),
        ("bfind.s32 %r4, %r1;", [m1, 0, 0], m1),
        ("bfind.shiftamt.u32 %r4, %r1;", [1, 0, 0], 31),
        ("clz.b32 %r4, %r1;", [0, 0, 0], 32),
        ("brev.b32 %r4, %r1;", [1, 0, 0], 0x8000_0000),
        ("popc.b32 %r4, %r1;", [m1, 0, 0], 32),
        ("prmt.b32 %r4, %r1, %r2, 0x7520;", [0x0403_0201, 0x0807_0605, 0], 0x0806_0301),
        ("prmt.b32 %r4, %r1, %r2, 0x8888;", [0x80, 0, 0], m1),
        ("lop3.b32 %r4, %r1, %r2, %r3, 0x96;", [12, 10, 6], 12 ^ 10 ^ 6),
        ("lop3.b32 %r4, %r1, %r2, %r3, 0xca;", [0xf0, 0x55, 0xaa], 0x5a),
        ("dp4a.s32.s32 %r4, %r1, %r2, %r3;", [0xff02_03ff, 0x0101_0101, 10], 13),
        ("dp4a.u32.s32 %r4, %r1, %r2, %r3;", [0x0000_00ff, 0x0000_00ff, 0], m1 - 254),
        ("dp2a.lo.s32.s32 %r4, %r1, %r2, %r3;", [0xffff_0002, 0x0000_0503, 1], 2),
        ("sad.s32 %r4, %r1, %r2, %r3;", [m1, 2, 4], 7),
        ("bmsk.clamp.b32 %r4, %r1, %r2;", [4, 8, 0], 0xff0),
        ("bmsk.clamp.b32 %r4, %r1, %r2;", [0, 99, 0], m1),
        ("abs.s32 %r4, %r1;", [m1, 0, 0], 1),
        ("neg.s32 %r4, %r1;", [1, 0, 0], m1),
        ("min.s32 %r4, %r1, %r2;", [m1, 1, 0], m1),
        ("min.u32 %r4, %r1, %r2;", [m1, 1, 0], 1),
        ("add.cc.u32 %r4, %r1, %r1; addc.u32 %r4, %r2, %r2;", [m1, 3, 0], 7),
        ("sub.cc.u32 %r4, %r1, %r2; subc.u32 %r4, %r2, %r2;", [0, 1, 0], m1),
        ("mov.b32 %r4, {%h1, %h2};", [0x1_2345, 0x6789, 0], 0x6789_2345),
        ("mov.b32 {%h4, %h5}, %r1; cvt.u32.u16 %r4, %h5;", [0xabcd_1234, 0, 0], 0xabcd),
        ("set.lt.u32.s32 %r4, %r1, %r2;", [m1, 0, 0], m1),
        ("selp.b32 %r4, 1, 2, 0;", [0, 0, 0], 2),
    ] {
        assert_eq!(evaluate(instruction, "%r4", values), expected, "{instruction} {values:x?}");
    }
}

#[test]
fn long_numbers_are_as_the_manual_says() {
    let m1 = u64::from(u32::MAX);
    for (instruction, values, expected) in [
        ("mul.wide.s32 %d4, %r1, %r2;", [m1, 2, 0], u64::MAX - 1),
        ("mul.wide.u32 %d4, %r1, %r2;", [m1, 2, 0], 2 * m1),
        ("mad.wide.s32 %d4, %r1, %r2, %d3;", [m1, 2, 5], 3),
        ("mul.hi.u64 %d4, %d1, %d2;", [u64::MAX, 16, 0], 15),
        ("mul.hi.s64 %d4, %d1, %d2;", [u64::MAX, 16, 0], u64::MAX),
        ("shl.b64 %d4, %d1, %r2;", [1, 63, 0], 1 << 63),
        ("shr.s64 %d4, %d1, %r2;", [1 << 63, 64, 0], u64::MAX),
        ("cvt.s64.s32 %d4, %r1;", [m1, 0, 0], u64::MAX),
        ("cvt.u64.u32 %d4, %r1;", [u64::MAX, 0, 0], m1),
        ("cvt.s64.s8 %d4, %r1;", [0x1ff, 0, 0], u64::MAX),
        ("mov.b64 %d4, {%r1, %r2};", [1, 2, 0], 2 << 32 | 1),
        ("mov.b64 {%r4, %r5}, %d1; cvt.u64.u32 %d4, %r5;", [7 << 32, 0, 0], 7),
        ("popc.b64 %r4, %d1; cvt.u64.u32 %d4, %r4;", [u64::MAX, 0, 0], 64),
        ("setp.lt.s32 %p1, %r1, %r2; selp.b64 %d4, 1, 0, %p1;", [m1, 0, 0], 1),
        ("setp.lt.u32 %p1, %r1, %r2; selp.b64 %d4, 1, 0, %p1;", [m1, 0, 0], 0),
        ("setp.eq.s32 %p1|%p2, %r1, %r2; selp.b64 %d4, 1, 0, %p2;", [1, 2, 0], 1),
    ] {
        assert_eq!(evaluate(instruction, "%d4", values), expected, "{instruction} {values:x?}");
    }
}

pub(super) fn single(value: f32) -> u64 {
    value.to_bits().into()
}

#[test]
fn singles_round_flush_and_saturate_as_their_modifiers_say() {
    let (tiny, third) = (f32::from_bits(1), 1.0_f32 / 3.0);
    let nan = single(f32::NAN);
    for (instruction, values, expected) in [
        ("add.f32 %f4, %f1, %f2;", [single(1.0), single(f32::EPSILON / 4.0), 0], 1.0),
        ("add.rp.f32 %f4, %f1, %f2;", [single(1.0), single(tiny), 0], 1.0_f32.next_up()),
        ("add.rm.f32 %f4, %f1, %f2;", [single(1.0), single(tiny), 0], 1.0),
        ("add.rz.f32 %f4, %f1, %f2;", [single(1.0), single(-tiny), 0], 1.0_f32.next_down()),
        ("mul.rz.f32 %f4, %f1, %f2;", [single(3.0), single(third), 0], 1.0),
        ("mul.ftz.f32 %f4, %f1, %f2;", [single(tiny), single(1e30), 0], 0.0),
        ("mul.f32 %f4, %f1, %f2;", [single(tiny), single(2.0), 0], f32::from_bits(2)),
        ("add.sat.f32 %f4, %f1, %f2;", [single(0.75), single(0.75), 0], 1.0),
        ("add.sat.f32 %f4, %f1, %f2;", [nan, single(0.75), 0], 0.0),
        ("div.rn.f32 %f4, %f1, %f2;", [single(1.0), single(3.0), 0], third),
        ("div.approx.ftz.f32 %f4, %f1, %f2;", [single(6.0), single(3.0), 0], 2.0),
        ("sqrt.rn.f32 %f4, %f1;", [single(2.0), 0, 0], 2.0_f32.sqrt()),
        ("rsqrt.approx.ftz.f32 %f4, %f1;", [single(0.25), 0, 0], 2.0),
        ("rcp.approx.ftz.f32 %f4, %f1;", [single(8.0), 0, 0], 0.125),
        ("ex2.approx.ftz.f32 %f4, %f1;", [single(-3.0), 0, 0], 0.125),
        ("lg2.approx.ftz.f32 %f4, %f1;", [single(0.125), 0, 0], -3.0),
        ("sin.approx.ftz.f32 %f4, %f1;", [single(0.0), 0, 0], 0.0),
        ("cos.approx.ftz.f32 %f4, %f1;", [single(0.0), 0, 0], 1.0),
        ("min.f32 %f4, %f1, %f2;", [nan, single(1.0), 0], 1.0),
        ("max.f32 %f4, %f1, %f2;", [single(-0.0), single(0.0), 0], 0.0),
        ("abs.ftz.f32 %f4, %f1;", [single(-2.0), 0, 0], 2.0),
        ("copysign.f32 %f4, %f1, %f2;", [single(-1.0), single(3.0), 0], -3.0),
        ("fma.rn.f32 %f4, %f1, %f2, %f3;", [single(2.0), single(3.0), single(1.0)], 7.0),
        ("cvt.rn.f32.s32 %f4, %r1;", [u64::from(u32::MAX), 0, 0], -1.0),
        ("cvt.rz.f32.u32 %f4, %r1;", [0xffff_ffff, 0, 0], 4_294_967_040.0),
        ("cvt.rn.f32.u64 %f4, %d1;", [1 << 40, 0, 0], 1_099_511_627_776.0),
        ("cvt.f32.f16 %f4, %h1;", [0x3c00, 0, 0], 1.0),
        ("cvt.rni.f32.f32 %f4, %f1;", [single(2.5), 0, 0], 2.0),
        ("cvt.rpi.ftz.f32.f32 %f4, %f1;", [single(2.25), 0, 0], 3.0),
        ("cvt.rn.f32.f64 %f4, %g1;", [0.1_f64.to_bits(), 0, 0], 0.1),
        ("mov.f32 %f4, 0f40490FDB;", [0; 3], std::f32::consts::PI),
        ("neg.f32 %f4, %f1;", [single(1.5), 0, 0], -1.5),
        ("slct.f32.s32 %f4, %f1, %f2, %r3;", [single(1.0), single(2.0), 0x8000_0000], 2.0),
    ] {
        let found = f32::from_bits(evaluate(instruction, "%f4", values) as u32);
        assert_eq!(found, expected, "{instruction} {values:x?}");
    }
}

#[test]
fn conversions_to_whole_numbers_stop_at_the_ends() {
    for (instruction, value, expected) in [
        ("cvt.rzi.s32.f32 %r4, %f1;", single(-2.75), (-2_i32) as u32),
        ("cvt.rmi.s32.f32 %r4, %f1;", single(-2.25), (-3_i32) as u32),
        ("cvt.rni.s32.f32 %r4, %f1;", single(3.5), 4),
        ("cvt.rzi.s32.f32 %r4, %f1;", single(1e30), i32::MAX as u32),
        ("cvt.rzi.u32.f32 %r4, %f1;", single(-1.0), 0),
        ("cvt.rzi.s32.f32 %r4, %f1;", single(f32::NAN), 0),
        ("cvt.sat.u8.s32 %r4, %r1;", 300, 255),
        ("cvt.sat.s8.s32 %r4, %r1;", u64::from((-300_i32) as u32), (-128_i32) as u32),
        ("cvt.rn.f16x2.f32 %r4, %f1, 0f3F800000;", single(2.0), 0x4000_3c00),
        ("cvt.rn.bf16x2.f32 %r4, %f1, 0f3F800000;", single(2.0), 0x4000_3f80),
    ] {
        let found = evaluate(instruction, "%r4", [value, 0, 0]) as u32;
        assert_eq!(found, expected, "{instruction} {value:x}");
    }
}

#[test]
fn comparisons_know_what_is_no_number() {
    let nan = single(f32::NAN);
    for (question, a, b, expected) in [
        ("eq", nan, nan, false),
        ("ne", nan, nan, false),
        ("neu", nan, nan, true),
        ("lt", single(1.0), single(2.0), true),
        ("ltu", nan, single(2.0), true),
        ("geu", nan, single(2.0), true),
        ("ge", nan, single(2.0), false),
        ("num", nan, single(2.0), false),
        ("nan", nan, single(2.0), true),
    ] {
        let text = format!("setp.{question}.f32 %p1, %f1, %f2; selp.b32 %r4, 1, 0, %p1;");
        let found = evaluate(&text, "%r4", [a, b, 0]) != 0;
        assert_eq!(found, expected, "{question}");
    }
}

#[test]
fn halves_are_computed_alone_and_in_pairs() {
    for (instruction, result, values, expected) in [
        ("add.f16 %h4, %h1, %h2;", "%h4", [0x3c00, 0x4000, 0], 0x4200),
        ("mul.f16x2 %r4, %r1, %r2;", "%r4", [0x4000_3c00, 0x4200_4200, 0], 0x4600_4200),
        ("fma.rn.f16x2 %r4, %r1, %r2, %r3;", "%r4", [0x4000_3c00, 0x4000_3c00, 0], 0x4400_3c00),
        ("neg.f16x2 %r4, %r1;", "%r4", [0x4000_3c00, 0, 0], 0xc000_bc00),
        ("max.f16 %h4, %h1, %h2;", "%h4", [0x7e00, 0x3c00, 0], 0x3c00),
        ("add.rn.bf16 %h4, %h1, %h2;", "%h4", [0x3f80, 0x4000, 0], 0x4040),
        ("fma.rn.bf16x2 %r4, %r1, %r2, %r3;", "%r4", [0x3f80_4000, 0x4000_4000, 0], 0x4000_4080),
        ("cvt.rn.f16.f32 %h4, %f1;", "%h4", [0x477f_f000, 0, 0], 0x7c00),
        ("cvt.rz.f16.f32 %h4, %f1;", "%h4", [0x477f_f000, 0, 0], 0x7bff),
        // 448 and the least subnormal, 2 to the -9th; -1.125 and no number.
        ("cvt.rn.f16x2.e4m3x2 %r4, %h1;", "%r4", [0x7e01, 0, 0], 0x5f00_1800),
        ("cvt.rn.f16x2.e4m3x2 %r4, %h1;", "%r4", [0xb97f, 0, 0], 0xbc80_7fff),
    ] {
        assert_eq!(evaluate(instruction, result, values), expected, "{instruction} {values:x?}");
    }
}

#[test]
fn branches_by_index_go_where_the_table_says() {
    let text = "TABLE: .branchtargets ZERO, ONE, TWO;\nbrx.idx %r1, TABLE;\n\
                ZERO: mov.u32 %r4, 10; bra END;\nONE: mov.u32 %r4, 11; bra END;\n\
                TWO: mov.u32 %r4, 12;\nEND:";
    for index in 0..3 {
        assert_eq!(evaluate(text, "%r4", [index, 0, 0]), 10 + index);
    }
}

/// As `nvcc -lineinfo` writes them.
#[test]
fn lines_of_the_source_are_passed_over() {
    let text = ".loc 1 25 3\nmov.u32 %r4, 1;\n\
                .loc 1 26 3, function_name $L__info_string0, inlined_at 1 12 3\n\
                add.u32 %r4, %r4, 2;\n\
                .loc\t2 7 1, function_name $L__info_string0+19, inlined_at 1 9 5\n\
                add.u32 %r4, %r4, 4;";
    assert_eq!(evaluate(text, "%r4", [0; 3]), 7);
}

#[test]
fn braces_hide_names_and_labels_until_they_close() {
    let text = "mov.u32 %r4, 1;\n{ .reg .b32 %r<2>; mov.u32 %r1, 5; bra L; L: }\n\
                { .reg .pred q; setp.eq.s32 q, %r1, 9; @!q bra L; mov.u32 %r4, 2; L: }";
    assert_eq!(evaluate(text, "%r4", [9, 0, 0]), 2);
    assert_eq!(evaluate(text, "%r4", [8, 0, 0]), 1);
}
