//! The comparison with a real GPU: the same programs over the genuine driver and over ours, on one
//! machine, in one run.
//!
//! It needs a machine with an NVIDIA driver, the CUDA toolkit and Python; everything else comes
//! with `cargo xtask gpu-kit`. Each step is one of: held, broken, or not run because of what the
//! machine lacks, which it names.

mod compliance;
mod figures;
mod isolation;
mod models;
mod programs;
mod report;
mod setting;
mod speed;

pub use report::{Outcome, State};
pub use setting::{Native, Setting, Subject};

use std::time::Instant;

use crate::system::Result;

/// One step of the comparison.
struct Step {
    name: &'static str,
    run: fn(&Setting) -> Result<Outcome>,
}

/// All steps, the ones that say most first: the machine may be lent for minutes only.
const STEPS: &[Step] = &[
    Step { name: "programs", run: programs::compare },
    Step { name: "models", run: models::compare },
    Step { name: "compliance", run: compliance::compare },
    Step { name: "isolation", run: isolation::compare },
    Step { name: "figures", run: figures::compare },
    Step { name: "speed", run: speed::compare },
];

/// Names the steps.
pub fn steps() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.name)
}

/// Runs the steps, those whose names are given or all, and writes `report.json`, `report.md` and
/// the recordings into the setting's directory. Returns whether all held; one that was not run did
/// not.
///
/// # Errors
/// If the report cannot be written; what goes wrong in a step is its outcome.
pub fn run(setting: &Setting, only: &[String]) -> Result<bool> {
    let mut outcomes = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|o| o == step.name)) {
        println!("== {}", step.name);
        let began = Instant::now();
        let outcome = (step.run)(setting).unwrap_or_else(|error| Outcome::broken(&error));
        println!("{} {} after {:.1?}", step.name, outcome.line(), began.elapsed());
        outcomes.push((step.name, outcome));
        // After every step: a lease that ends early leaves what there is.
        report::write(setting, &outcomes)?;
    }
    Ok(!outcomes.is_empty() && outcomes.iter().all(|(_, outcome)| outcome.state == State::Held))
}
