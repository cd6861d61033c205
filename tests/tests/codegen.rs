//! One description, many outputs: what is committed is what the generator writes.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use vgpu_codegen::Outputs;
use vgpu_tests::stage;

/// Set to 1, the tests write what they expected and fail once: the difference is then in git.
const UPDATE: &str = "VGPU_UPDATE";

/// Compares files with what a generator made; differences are written if the environment says so.
#[track_caller]
fn check(outputs: &Outputs) {
    let root = stage::repository();
    let update = std::env::var_os(UPDATE).is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    for (path, text) in outputs {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if committed != *text {
            stale.push(format!("{}{}", path.display(), first_difference(&committed, text)));
            if update {
                std::fs::write(root.join(path), text).expect("the checkout is writable");
            }
        }
    }
    assert!(
        stale.is_empty(),
        "{} generated file(s) are not what the generator writes:\n  {}\n  try: {UPDATE}=1 cargo \
         xtask test codegen, then look at the difference",
        stale.len(),
        stale.join("\n  ")
    );
}

/// Names the first line that differs.
fn first_difference(committed: &str, generated: &str) -> String {
    let pairs = committed.lines().zip(generated.lines());
    match pairs.enumerate().find(|(_, (old, new))| old != new) {
        Some((at, (old, new))) => format!(", line {}:\n    - {old}\n    + {new}", at + 1),
        None => ", in length".into(),
    }
}

/// Reads the hand-written files of the wire format, without comments and tests.
fn wire_code() -> String {
    let directory = stage::repository().join("transport/wire/src");
    let mut files = Vec::new();
    let mut open = vec![directory];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a tracked directory") {
            let path = entry.expect("readable").path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "generated") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut code = String::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("a tracked file");
        let text = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
        code.extend(lines.flat_map(|line| [line, "\n"]));
    }
    code
}

fn names(path: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(stage::repository().join("shims/api/names").join(path));
    let text = text.expect("a tracked list");
    let names: BTreeSet<String> =
        text.lines().map(|line| line.split('@').next().unwrap_or(line).to_owned()).collect();
    assert!(names.len() > 50, "{path} holds the whole list");
    names
}

#[test]
fn generated_files_are_what_the_description_says() {
    check(&vgpu_codegen::generate(&stage::repository()).expect("the description is whole"));
}

#[test]
fn signatures_are_what_the_public_headers_say() {
    let distilled = vgpu_codegen::distil(&stage::repository(), &stage::headers());
    check(&distilled.expect("the headers are those of the needed versions, and cc is installed"));
}

#[test]
fn the_protocol_page_was_read_again_when_the_wire_code_changed() {
    let code = wire_code();
    assert!(code.contains("PAYLOAD_BYTES_MAX"), "the wire code was found");
    let digest = Sha256::digest(code);
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = Path::new("docs/protocol.md");
    let page = std::fs::read_to_string(stage::repository().join(path)).expect("a tracked page");
    let before = "that this page describes: `";
    let at = page.find(before).expect("the page names the hash of the wire code") + before.len();
    let renewed = [&page[..at], &hash, &page[at + hash.len()..]].concat();
    check(&Outputs::from([(path.to_owned(), renewed)]));
}

#[test]
fn no_generated_file_is_left_over() {
    let outputs = vgpu_codegen::generate(&stage::repository()).expect("the description is whole");
    let mut left = Vec::new();
    let root = stage::repository();
    for directory in outputs.keys().filter_map(|path| path.parent()).collect::<BTreeSet<_>>() {
        if directory.file_name().is_some_and(|name| name == "generated") {
            let entries = std::fs::read_dir(root.join(directory)).expect("a tracked directory");
            let paths = entries.map(|entry| directory.join(entry.expect("readable").file_name()));
            left.extend(paths.filter(|path: &std::path::PathBuf| !outputs.contains_key(path)));
        }
    }
    assert!(left.is_empty(), "no generator writes {left:?}; remove them");
}

#[test]
fn every_name_that_a_published_backend_needs_is_exported() {
    let driver = names("libcuda-names-union.txt");
    for (needs, runtime, cublas) in [
        (
            "ggml-cuda12-needs.txt",
            "libcudart-12.9.79-exports.txt",
            "libcublas-12.9.3.13-exports.txt",
        ),
        (
            "ggml-cuda13-needs.txt",
            "libcudart-13.5.37-exports.txt",
            "libcublas-13.10.0.20-exports.txt",
        ),
    ] {
        let (runtime, cublas) = (names(runtime), names(cublas));
        let exported =
            |name: &String| [&driver, &runtime, &cublas].iter().any(|list| list.contains(name));
        let missing: Vec<String> = names(needs).into_iter().filter(|one| !exported(one)).collect();
        assert!(missing.is_empty(), "{needs}: nobody exports {missing:?}");
    }
}

#[test]
fn every_function_that_a_header_declares_is_exported() {
    for (signatures, list) in [
        ("cuda", "libcuda-names-union.txt"),
        ("nvml", "libnvml-names-union.txt"),
        ("cudart12", "libcudart-12.9.79-exports.txt"),
        ("cudart13", "libcudart-13.5.37-exports.txt"),
    ] {
        let path = format!("shims/api/signatures/{signatures}.toml");
        let declared =
            vgpu_codegen::signature::Signatures::read(&stage::repository().join(Path::new(&path)));
        let declared = declared.expect("a tracked file").functions;
        assert!(declared.len() > 300, "{path} holds the whole header");
        let list = names(list);
        let missing: Vec<_> = declared.keys().filter(|name| !list.contains(*name)).collect();
        assert!(missing.is_empty(), "{signatures}: the list lacks {missing:?}");
    }
}
