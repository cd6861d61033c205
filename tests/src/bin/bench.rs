//! Measures everything and prints the table and the JSON document, or writes the latter to a file.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vgpu_tests::bench;

#[derive(Parser)]
struct Arguments {
    /// Write the JSON document here instead of after the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let document = match bench::measure() {
        Ok(document) => document,
        Err(error) => {
            eprintln!("bench: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("  try: {hint}");
            }
            return ExitCode::FAILURE;
        }
    };
    println!("{}", bench::render(&document));
    match arguments.json {
        None => println!("{document:#}"),
        Some(path) => {
            if let Err(error) = std::fs::write(&path, format!("{document:#}\n")) {
                eprintln!("bench: writing {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
