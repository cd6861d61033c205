//! `model WEIGHTS FILE`: writes our test model with weights f32, f16 or q4_0.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use vgpu_tests::model::{self, Shape, Weights};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, file] = &arguments[..] else {
        eprintln!("usage: model f32|f16|q4_0 FILE");
        return ExitCode::from(64);
    };
    let weights = match weights.as_str() {
        "f32" => Weights::F32,
        "f16" => Weights::F16,
        "q4_0" => Weights::Q4_0,
        _ => {
            eprintln!("model: weights are f32, f16 or q4_0, not {weights}");
            return ExitCode::from(64);
        }
    };
    let written = File::create(file).and_then(|file| {
        let mut file = BufWriter::new(file);
        model::write(&mut file, Shape::SMALL, weights)?;
        file.flush()
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("model: writing {file}: {error}");
            ExitCode::FAILURE
        }
    }
}
