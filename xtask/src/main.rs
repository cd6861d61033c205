//! The logic behind the Justfile and .ci/run.

fn main() {}
