//! Images made here, whole and broken.

pub(crate) mod made;
mod ptx;

use super::{Image, ImageError, Parameter, Pointer, Space, read};
use made::{Packed, cubin, fat};

/// A kernel of three parameters, with everything else that an outline can say.
const PTX: &str = r#"
// A comment before .version is allowed.
.version 8.0
.target sm_80
.address_size 64
.visible .const .align 16 .f32 ends[4] = {0f3F800000, -2.5};
.visible .global .align 4 .u32 seven = 7;
.visible .global .align 8 .u64 places[2] = {generic(seven), ends+4};
.global .align 1 .b8 table[2][4] = {{1, 2}, {3, 4, 5, 6}};
.extern .shared .align 16 .b8 dynamic[];
.func (.param .b32 result) square(.param .b32 x) { ret; }
.visible .entry simple(.param .u8 a, .param .u64 .ptr .global .align 1 b,
    .param .align 2 .b8 c[3])
.maxntid 128, 2
.minnctapersm 1
{
    .reg .u32 %r<4>; /* { */ // }
    .pragma "nounroll }";
    .shared .align 8 .b8 first[100];
$L1:.shared .u32 second;
    { .local .align 8 .b8 own[40]; }
    ld.shared.u32 %r1, [second];
    ret;
}
"#;

fn parameters(image: &Image) -> Vec<(u32, u32)> {
    let of = |parameter: &Parameter| (parameter.offset, parameter.bytes);
    image.kernels[0].parameters.iter().map(of).collect()
}

#[test]
fn ptx_tells_its_kernels_and_variables() {
    let image = read(PTX.as_bytes(), (9, 0)).expect("it is whole");
    assert_eq!(image.kernels.len(), 1, "a function is no kernel");
    let kernel = &image.kernels[0];
    assert_eq!(parameters(&image), [(0, 1), (8, 8), (16, 3)]);
    assert_eq!((kernel.name.as_str(), kernel.parameter_bytes), ("simple", 19));
    assert_eq!((kernel.static_shared_bytes, kernel.local_bytes), (104, 40));
    assert_eq!((kernel.max_threads_per_block, kernel.constant_bytes), (256, 16));
    assert_eq!((kernel.ptx_version, kernel.binary_version), (80, 90));
    let variable = |name: &str| image.variables.iter().find(|of| of.name == name).expect(name);
    let ends = variable("ends");
    assert_eq!((ends.space, ends.alignment, ends.bytes), (Space::Constant, 16, 16));
    let floats = [1.0_f32, -2.5, 0.0, 0.0].map(f32::to_le_bytes).concat();
    assert_eq!(ends.initial.as_deref(), Some(&floats[..]));
    assert_eq!(variable("table").initial.as_deref(), Some(&[1, 2, 0, 0, 3, 4, 5, 6][..]));
    let pointer = |offset, of: &str, addend| Pointer { offset, of: of.to_owned(), addend };
    assert_eq!(variable("places").pointers, [pointer(0, "seven", 0), pointer(8, "ends", 4)]);
}

#[test]
fn zeros_behind_ptx_are_no_part_of_it() {
    let image = read(format!("{PTX}\0\0").as_bytes(), (9, 0)).expect("it is whole");
    assert_eq!(image.ptx.as_deref(), Some(PTX));
}

#[test]
fn packed_and_plain_entries_give_the_same_image() {
    let plain = read(&fat(&[(1, 80, 0, PTX.as_bytes(), Packed::No)]), (9, 0)).expect("plain");
    for packed in [Packed::Lz4, Packed::Zstd] {
        let bytes = fat(&[(1, 80, 0, PTX.as_bytes(), packed)]);
        assert_eq!(read(&bytes, (9, 0)).expect("packed"), plain, "{packed:?}");
    }
}

#[test]
fn a_device_gets_what_the_driver_would_choose() {
    let ptx = |number: u32, suffix: &str| {
        PTX.replace("sm_80", &format!("sm_{number}{suffix}")).into_bytes()
    };
    let offered = fat(&[
        (1, 75, 0, &ptx(75, ""), Packed::Zstd),
        (2, 80, 0, &cubin(80, false), Packed::No),
        (2, 86, 0, &cubin(86, false), Packed::Lz4),
        (1, 90, 0, &ptx(90, ""), Packed::No),
        (1, 90, 0, &ptx(90, "a"), Packed::No),
        (2, 120, 1 << 20, &cubin(120, true), Packed::No),
        (1, 100, 0, &ptx(100, "f"), Packed::No),
    ]);
    for (capability, expected) in [
        ((7, 5), "PTX for sm_75"),
        ((8, 0), "machine code for sm_80"),
        ((8, 6), "machine code for sm_86"),
        ((8, 9), "machine code for sm_86"),
        ((9, 0), "PTX for sm_90"),
        ((10, 3), "PTX for sm_100f"),
        ((12, 0), "machine code for sm_120a"),
        ((12, 1), "PTX for sm_90"),
    ] {
        let chosen = read(&offered, capability).expect("something fits").chosen;
        let among = format!("{expected} among");
        assert!(chosen.starts_with(&among), "{capability:?}: {chosen}, not {expected}");
    }
    let none = read(&offered, (7, 0)).expect_err("all are newer");
    assert!(matches!(&none, ImageError::NoBinary { .. }), "{none}");
    assert!(none.to_string().contains("sm_70"), "{none}");
}

#[test]
fn a_cubin_tells_its_kernels_and_variables() {
    let image = read(&cubin(90, false), (9, 0)).expect("it is whole");
    let kernel = &image.kernels[0];
    assert_eq!((kernel.name.as_str(), kernel.parameter_bytes), ("simple", 19));
    assert_eq!(parameters(&image), [(0, 1), (8, 8), (16, 3)]);
    assert_eq!((kernel.registers, kernel.local_bytes), (40, 16));
    assert_eq!(kernel.static_shared_bytes, 100, "without what the system reserves");
    assert_eq!(kernel.required_block, Some([32, 2, 1]));
    assert_eq!(kernel.max_threads_per_block, 64, "no other block can be launched");
    let [variable] = &image.variables[..] else { panic!("{:?}", image.variables) };
    assert_eq!((variable.name.as_str(), variable.space), ("seven", Space::Constant));
    assert_eq!(variable.initial.as_deref(), Some(&[7, 0, 0, 0][..]));
}

#[test]
fn a_cubin_runs_on_its_own_major_only() {
    let of = |number, exact, device| read(&cubin(number, exact), device).is_ok();
    assert!(of(80, false, (8, 9)) && !of(86, false, (8, 0)) && !of(80, false, (9, 0)));
    assert!(of(90, true, (9, 0)) && !of(100, true, (10, 3)));
}

#[test]
fn a_frame_that_grows_beyond_what_it_declares_is_refused() {
    for packed in [Packed::Lz4, Packed::Zstd] {
        for wrong in [PTX.len() as u64 - 1, PTX.len() as u64 + 1, 1 << 40, u64::MAX] {
            let mut bytes = fat(&[(1, 80, 0, PTX.as_bytes(), packed)]);
            bytes[16 + 56..16 + 64].copy_from_slice(&wrong.to_le_bytes());
            let refused = read(&bytes, (9, 0)).expect_err("the size is wrong");
            assert!(matches!(refused, ImageError::Invalid { .. }), "{packed:?} {wrong}: {refused}");
        }
    }
}

#[test]
fn a_fat_binary_of_very_many_entries_is_refused() {
    let entry = (1, 80, 0, PTX.as_bytes(), Packed::No);
    read(&fat(&[entry; 1024]), (9, 0)).expect("as many as there may be");
    let refused = read(&fat(&[entry; 1025]), (9, 0)).expect_err("one more");
    assert!(refused.to_string().contains("too many entries"), "{refused}");
}

#[test]
fn nothing_and_other_things_are_no_images() {
    for bytes in [&b""[..], b"\0", b"hello", b"\x7fELF", &[0x50, 0xed, 0x55, 0xba], &[0xff; 64]] {
        let refused = read(bytes, (9, 0)).expect_err("no image");
        assert!(matches!(refused, ImageError::Invalid { .. }), "{bytes:?}: {refused}");
    }
}

/// All kinds of whole images, for breaking.
fn whole() -> Vec<Vec<u8>> {
    vec![
        PTX.as_bytes().to_vec(),
        cubin(90, false),
        fat(&[(1, 80, 0, PTX.as_bytes(), Packed::No), (2, 90, 0, &cubin(90, false), Packed::No)]),
        fat(&[(1, 80, 0, PTX.as_bytes(), Packed::Lz4)]),
        fat(&[(2, 90, 0, &cubin(90, false), Packed::Zstd)]),
    ]
}

#[test]
fn images_cut_short_anywhere_are_refused_without_panic() {
    for bytes in whole() {
        read(&bytes, (9, 0)).expect("it is whole");
        let ptx = bytes[0] == b'\n';
        // The last bytes of a fat binary are padding.
        for length in 0..bytes.len() - 8 {
            let refused = read(&bytes[..length], (9, 0)).is_err();
            // PTX that ends between two of its statements is PTX.
            assert!(refused || ptx, "{length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn images_with_random_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for bytes in whole() {
        for _ in 0..4000 {
            let mut broken = bytes.clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(..broken.len());
                broken[at] = random.u8(..);
            }
            // Whether it is still an image is not the question.
            let _ = read(&broken, (9, 0));
        }
    }
}
