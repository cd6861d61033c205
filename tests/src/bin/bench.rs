//! Measures everything, once or several times, and prints the table and the JSON documents, or
//! writes them to files.

#![forbid(unsafe_code)]

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vgpu_tests::bench;

#[derive(Parser)]
struct Arguments {
    /// Measure so often, one after the other.
    #[arg(long, value_name = "N", default_value = "1")]
    runs: NonZeroU8,
    /// Write the JSON documents, a list of one for each run, here instead of after the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the table into this page, in place of the one that it has, and do not print it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { runs, json, markdown } = Arguments::parse();
    match bench::measure_and_tell(runs.get(), json.as_deref(), markdown.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("  try: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
