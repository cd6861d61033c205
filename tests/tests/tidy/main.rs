//! The laws of the source tree, each with what to do when it is broken.
//!
//! What clippy checks is not repeated here: length of functions, SAFETY comments, documentation of
//! public items. `cargo xtask test lint` runs it with warnings denied.

#![forbid(unsafe_code)]

mod arrows;
mod dependencies;
mod files;
mod needs;
mod prevented;
mod shipped;
mod source;

/// Fails with every offence at once, and the remedy.
#[track_caller]
fn check(law: &str, remedy: &str, offences: Vec<String>) {
    assert!(
        offences.is_empty(),
        "{law}: {} offence(s)\n  {}\n  try: {remedy}",
        offences.len(),
        offences.join("\n  ")
    );
}
