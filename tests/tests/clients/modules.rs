//! Code: every image of the published backends is loaded through our libcuda, launches are made in
//! every way, and what CUDA refuses is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};
use vgpu_tests::client::{Way, clean, over};
use vgpu_tests::{Stage, Vgpud, stage};

use crate::{answer, finish};

#[track_caller]
fn simulated(arguments: &[&str]) -> Vgpud {
    Vgpud::simulated(&Stage::dev(), arguments).expect("the staged vgpud starts")
}

#[track_caller]
fn ask(host: &Vgpud, arguments: &[&str]) -> Value {
    let program = env!("CARGO_BIN_EXE_modules-client");
    answer(over(&Stage::dev(), Way::SearchPath, &host.link(), program).args(arguments), host)
}

/// How many bytes of arguments each kernel of a file has, as the host's own reader says.
fn bytes_of_kernels(file: &Path) -> BTreeMap<String, u64> {
    let done = finish(clean(Stage::dev().vgpud()).arg("kernels").arg(file));
    assert!(done.status.success(), "{}: {}", done.command, done.stderr);
    let lines = done.stdout.lines().filter_map(|line| line.strip_prefix("kernel "));
    let one = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_owned();
        let bytes = words.find_map(|word| word.strip_prefix("bytes=")).expect("its bytes");
        (name, bytes.parse().expect("a number"))
    };
    lines.map(one).collect()
}

#[track_caller]
fn every_kernel_is_loaded(host: &Vgpud, file: &Path, images: u64, kernels: u64) {
    let seen = ask(host, &["images", &file.to_string_lossy()]);
    assert_eq!((&seen["images"], &seen["kernels"]), (&json!(images), &json!(kernels)));
    let layouts = seen["layouts"].as_object().expect("layouts by name");
    let expected = bytes_of_kernels(file);
    assert_eq!(layouts.len(), expected.len());
    for (name, bytes) in expected {
        assert_eq!(layouts[&name][1], bytes, "{name}");
    }
}

/// The files of a directory, with what changes when one is written again.
fn inodes(directory: &Path) -> BTreeMap<String, u64> {
    let listed = std::fs::read_dir(directory).expect("the host made it");
    let one = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("listed");
        let metadata = entry.metadata().expect("there");
        (entry.file_name().to_string_lossy().into_owned(), metadata.ino())
    };
    listed.map(one).collect()
}

#[test]
fn every_kernel_of_the_cuda_13_backend_is_loaded_and_its_images_are_sent_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let images = directory.path().join("images");
    let arguments = ["--images", &images.to_string_lossy()];
    let file = stage::ggml_cuda13().join("libggml-cuda.so");
    every_kernel_is_loaded(&simulated(&arguments), &file, 143, 6731);
    let kept = inodes(&images);
    assert!(kept.len() > 100, "{} images are kept", kept.len());
    every_kernel_is_loaded(&simulated(&arguments), &file, 143, 6731);
    assert_eq!(inodes(&images), kept, "another host had them all");
}

#[test]
fn every_kernel_of_the_cuda_12_backend_is_loaded_without_a_directory_too() {
    every_kernel_is_loaded(&simulated(&[]), &stage::ggml_cuda12(), 141, 6659);
}

#[test]
fn a_kernel_is_launched_in_every_way_and_its_module_has_its_variable() {
    let seen = ask(&simulated(&[]), &["launch"]);
    let ways = ["by list", "by buffer", "as kernel", "of kernel", "configured"];
    let right: Vec<Value> = ways.iter().map(|way| json!([way, true])).collect();
    assert_eq!(seen["right"], json!(right));
    assert_eq!(seen["variable"], json!([5, 4]));
    assert_eq!(seen["potential"][0], json!(132), "a grid for each multiprocessor");
}

#[test]
fn a_link_of_one_text_is_a_module_and_its_log_says_what_was_wrong() {
    let seen = ask(&simulated(&[]), &["link"]);
    let log = seen["log"].as_str().expect("a log");
    assert!(log.starts_with("reading PTX, line 3: "), "{log}");
    let expected = json!({
        "broken": 218,
        "log": log,
        "second": 801,
        "bytes": true,
        "found": true,
        "ends": [0, 400],
    });
    assert_eq!(seen, expected);
}

#[test]
fn what_cuda_refuses_is_refused_at_once_and_leaves_no_trace() {
    let expected = json!({
        "null_image": 1,
        "no_image": 200,
        "broken_ptx": 218,
        "later_device": 209,
        "unknown_file": 301,
        "unknown_function": 500,
        "dead_module": 400,
        "dead_function": 400,
        "module_as_function": 400,
        "no_blocks": 1,
        "no_threads": 1,
        "too_many_threads": 1,
        "too_much_shared": 1,
        "no_arguments": 1,
        "free_a_variable": 1,
        "still_good": 0,
        "after_all": 0,
    });
    assert_eq!(ask(&simulated(&[]), &["refused"]), expected);
}
