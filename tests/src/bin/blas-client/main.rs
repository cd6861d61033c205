//! A client of cuBLAS: runs the case that its second argument names over `libcublas.so.MAJOR`, with
//! the major as its first argument. Ends with a panic at the first difference.

mod gpu;
mod handle;
mod library;
mod matrix;
mod number;
mod product;
mod vector;

use std::process::ExitCode;

use gpu::Gpu;

/// What a case does with the GPU.
type Case = fn(&Gpu);

/// The cases by name.
const CASES: &[(&str, Case)] = &[
    ("products_of_every_type", product::typed),
    ("products_of_mixed_types", product::extended),
    ("products_with_single_precision_factors", product::mixed),
    ("large_products", product::large),
    ("vectors_are_changed", vector::changes),
    ("numbers_are_made_of_vectors", vector::numbers),
    ("vectors_of_given_types", vector::extended),
    ("matrices_with_vectors", matrix::with_vectors),
    ("sums_of_matrices_and_scaled_lines", matrix::sums_and_scaled_lines),
    ("symmetric_and_hermitian_matrices", matrix::symmetric),
    ("triangular_matrices", matrix::triangular),
    ("a_handle_lives_until_it_is_destroyed", handle::lives),
    ("settings_are_kept_with_a_handle", handle::settings),
    ("wrong_arguments_are_refused_at_once", handle::arguments),
    ("memory_that_is_not_there_breaks_the_context", handle::bad_memory),
    ("vectors_and_matrices_are_copied", handle::copies),
    ("a_captured_product_runs_with_its_graph", handle::captured),
    ("a_thread_without_a_context_uses_the_first_device", handle::other_thread),
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
