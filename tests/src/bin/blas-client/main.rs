//! A client of cuBLAS: runs the case that its second argument names over `libcublas.so.MAJOR`, with
//! the major as its first argument. Ends with a panic at the first difference.

mod gpu;
mod library;
mod number;
mod product;

use std::process::ExitCode;

use gpu::Gpu;

/// The cases by name.
const CASES: &[(&str, fn(&Gpu))] = &[
    ("products_of_every_type", product::typed),
    ("products_of_mixed_types", product::extended),
    ("products_with_single_precision_factors", product::mixed),
    ("large_products", product::large),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [major, wanted] = arguments.as_slice() else {
        eprintln!("usage: blas-client 12|13 CASE");
        for (name, _) in CASES {
            eprintln!("  {name}");
        }
        return ExitCode::from(64);
    };
    let Some((_, run)) = CASES.iter().find(|(name, _)| name == wanted) else {
        eprintln!("there is no case {wanted}");
        return ExitCode::from(64);
    };
    run(&Gpu::new(major));
    ExitCode::SUCCESS
}
