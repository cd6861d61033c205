//! docs/doctor.md lists the checks and the known failures as the program does.
//!
//! `VGPU_ACCEPT=1 cargo test -p vgpu-install --test memory doctor_page` writes its tables anew.
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

use std::path::Path;

use vgpu_install::doctor::rows::ROWS;
use vgpu_install::doctor::{Check, catalogue};

fn checks() -> String {
    let row = |check: &Check| {
        let Check { id, establishes, rows, .. } = check;
        format!("| {id} | {establishes} | {} |\n", rows.join(" "))
    };
    let rows: String = catalogue().map(row).collect();
    format!("| check | what it establishes | failures that it can name |\n|---|---|---|\n{rows}")
}

fn failures() -> String {
    let rows = ROWS
        .iter()
        .map(|row| format!("| {} | {} | {} |\n", row.id, row.what, row.checks.join(", ")));
    format!("| failure | what it is | found by |\n|---|---|---|\n{}", rows.collect::<String>())
}

/// Puts a table between the marks of its name.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let mark = format!("<!-- {name}: written by installer/tests/memory/doctor_page.rs -->\n");
    let (before, rest) = page.split_once(&mark).expect("the page has the table's mark");
    let (_, after) = rest.split_once("<!-- end -->").expect("the page has the table's end");
    format!("{before}{mark}{table}<!-- end -->{after}")
}

#[test]
fn the_doctors_page_lists_what_the_doctor_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let wanted = with_table(&with_table(&page, "checks", &checks()), "rows", &failures());
    if std::env::var_os("VGPU_ACCEPT").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    let remedy =
        "VGPU_ACCEPT=1 cargo test -p vgpu-install --test memory doctor_page writes it anew";
    assert!(page == wanted, "docs/doctor.md is not what the checks say: {remedy}");
}
