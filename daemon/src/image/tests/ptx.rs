//! Broken PTX: what is wrong, and where.

use crate::image::{ImageError, read};

#[test]
fn a_mistake_is_named_with_its_line() {
    for (line, wrong) in [
        (4, ".visible .entry k(.param .u33 a) { ret; }"),
        (4, ".visible .entry k(.param .u32) { ret; }"),
        (4, ".global .align 3 .u32 x;"),
        (4, ".global .u32 x = {1, 2};"),
        (4, ".global .u32 x[1] = {1, 2};"),
        (4, ".global .u32 x[99999999999999999999];"),
        (4, ".global .b8 x[4294967295][4294967295][4294967295];"),
        (4, ".global .b8 x[1073741824][2] = {{1},{1}};"),
        (4, ".global .b8 x[][18446744073709551615][2] = {1};"),
        (4, ".global .b8 x[268435456] = {1};\n.global .b8 y[268435456] = {1};"),
        (4, ".global .u64 x = generic(y+18446744073709551615)+1"),
        (4, &format!(".global .b8 x[1] = {}1{};", "{".repeat(100_000), "}".repeat(100_000))),
        (4, ".visible .entry k(.param .b8 a[100000]) { ret; }"),
        (4, ".entry k() .maxntid many { ret; }"),
        (5, ".entry k() {\n ret;"),
        (5, "\n.what is this;"),
        (4, ".address_size 32"),
    ] {
        let text = format!(".version 8.0\n.target sm_80\n.address_size 64\n{wrong}\n");
        let refused = read(text.as_bytes(), (9, 0)).expect_err(wrong);
        let ImageError::Ptx { line: found, .. } = refused else { panic!("{wrong}: {refused}") };
        assert!(found.abs_diff(line) <= 1, "{wrong}: line {found}, not {line}");
    }
}

#[test]
fn a_module_without_a_target_is_refused() {
    let refused = read(b".version 8.0\n.entry k() { ret; }", (9, 0)).expect_err("no target");
    assert!(refused.to_string().contains(".target"), "{refused}");
}

#[test]
fn a_definition_replaces_its_declaration() {
    let text = ".version 8.0\n.target sm_80\n.visible .entry k(.param .u32 a);\n\
                .visible .entry k(.param .u32 a) .reqntid 8 { ret; }\n.extern .func gone();\n";
    let image = read(text.as_bytes(), (9, 0)).expect("it is whole");
    assert_eq!(image.kernels.len(), 1);
    assert_eq!(image.kernels[0].required_block, Some([8, 1, 1]));
}
