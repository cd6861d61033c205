//! How C names become Rust names.

/// Turns `MemcpyHtoD_v2` into `memcpy_hto_d_v2`: a word begins at each capital that follows a
/// small letter or a digit, and at the last capital of a row of them (`PCIBusId`: `pci_bus_id`).
pub(crate) fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(at + 1);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if begins && !out.ends_with('_') {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Turns `MemcpyHtoD_v2` into `MemcpyHtoDV2`.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// Names a parameter as Rust would: `hStream` and `phStream` are both a `stream`.
pub(crate) fn parameter(name: &str) -> String {
    let bare = name.strip_prefix('p').filter(|rest| rest.starts_with('h')).unwrap_or(name);
    let bare = bare
        .strip_prefix('h')
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
        .unwrap_or(name);
    let name = snake(bare);
    match name.as_str() {
        "type" => "kind".into(),
        "ref" | "mod" | "move" | "fn" | "in" | "use" | "where" | "loop" => format!("{name}_"),
        _ => name,
    }
}

/// Drops the prefix of the library: `cuMemAlloc_v2` is `MemAlloc_v2`, and `__cudaGetKernel` is
/// `GetKernel`.
pub(crate) fn without_prefix<'a>(name: &'a str, prefix: &str) -> &'a str {
    let bare = name.trim_start_matches('_');
    bare.strip_prefix(prefix).unwrap_or(bare)
}

/// Returns the length of what the names of an enum's constants share, up to a word's end.
pub(crate) fn common_prefix<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let names: Vec<&str> = names.collect();
    let Some(first) = names.first() else { return 0 };
    let begins_word = |name: &str, at: usize| {
        let after = name.as_bytes().get(at).copied();
        let before = name.as_bytes().get(at.wrapping_sub(1)).copied();
        match (before, after) {
            (Some(b'_'), Some(after)) => after != b'_',
            (Some(before), Some(after)) => {
                before.is_ascii_lowercase() && after.is_ascii_uppercase()
            }
            _ => false,
        }
    };
    let shared = (0..first.len()).rev().find(|&at| {
        names.iter().all(|name| name.starts_with(&first[..at]) && begins_word(name, at))
    });
    shared.unwrap_or(0)
}

/// Names a constant as Rust would; one that would begin with a digit keeps an underscore.
pub(crate) fn constant(bare: &str) -> String {
    let lower = bare.chars().any(|letter| letter.is_ascii_lowercase());
    let upper = bare.chars().any(|letter| letter.is_ascii_uppercase());
    let name = if lower && upper { snake(bare).to_uppercase() } else { bare.to_uppercase() };
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Names a field of a structure: as in C, unless that is a word of Rust.
pub(crate) fn field(name: &str) -> String {
    match name {
        "type" | "ref" | "mod" | "move" | "fn" | "in" | "use" | "where" => format!("r#{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_names_become_rust_names() {
        let cases = [
            ("MemAlloc_v2", "mem_alloc_v2", "MemAllocV2"),
            ("MemcpyHtoD_v2", "memcpy_hto_d_v2", "MemcpyHtoDV2"),
            ("DeviceGetPCIBusId", "device_get_pci_bus_id", "DeviceGetPCIBusId"),
            ("MemsetD2D8", "memset_d2_d8", "MemsetD2D8"),
        ];
        for (name, as_snake, as_camel) in cases {
            assert_eq!(snake(name), as_snake);
            assert_eq!(camel(name), as_camel);
        }
    }

    #[test]
    fn hungarian_prefixes_of_handles_are_dropped() {
        let cases = [("hStream", "stream"), ("phStream", "stream"), ("ByteCount", "byte_count")];
        for (name, expected) in cases.into_iter().chain([("hint", "hint"), ("phase", "phase")]) {
            assert_eq!(parameter(name), expected);
        }
    }
}
