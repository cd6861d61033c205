//! Names that log lines, metrics and directories carry.

/// Longest name, in bytes.
const BYTES_MAX: usize = 64;

/// Says whether this can be the name of a tenant or a machine.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=BYTES_MAX).contains(&name.len()) && name.chars().all(plain)
}
