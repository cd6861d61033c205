//! Writes exports, messages, dispatch and docs from one description.

fn main() {}
