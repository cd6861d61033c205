//! The images of the two published backends, as `vgpud kernels` reads them: every kernel has a
//! layout, and machine code and PTX of the same kernel agree about it.

use std::collections::BTreeMap;
use std::path::Path;

use vgpu_tests::client::clean;
use vgpu_tests::{Stage, stage};

use crate::finish;

/// What must agree, by image and kernel: the parameters' places and their bytes.
type Layouts = BTreeMap<(String, String), (String, String)>;

/// Reads the layouts that a device of a capability gets; all from images chosen as `kind`.
#[track_caller]
fn layouts(file: &Path, capability: &str, kind: &str) -> Layouts {
    let mut command = clean(Stage::dev().vgpud());
    let done = finish(command.args(["kernels", "--capability", capability]).arg(file));
    assert!(done.status.success(), "{}: {}", done.command, done.stderr);
    let mut layouts = Layouts::new();
    let mut image = String::new();
    for line in done.stdout.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "image" => {
                image = words[1].to_owned();
                assert!(line.contains(&format!(": {kind} for sm_")), "{line}");
            }
            "kernel" => {
                let value = |name: &str| {
                    let found = words.iter().find_map(|word| word.strip_prefix(name));
                    found.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
                };
                let layout = (value("parameters="), value("bytes="));
                let before = layouts.insert((image.clone(), words[1].to_owned()), layout);
                assert_eq!(before, None, "twice: {line}");
            }
            _ => {}
        }
    }
    layouts
}

#[track_caller]
fn agree(file: &Path, kernels: usize) {
    let code = layouts(file, "8.9", "machine code");
    let ptx = layouts(file, "9.0", "PTX");
    assert_eq!(code.len(), kernels, "kernels in {}", file.display());
    let differ = code.iter().find(|(kernel, layout)| ptx.get(*kernel) != Some(*layout));
    assert_eq!(differ, None, "{}", file.display());
    assert_eq!(ptx.len(), kernels, "kernels in the PTX of {}", file.display());
}

#[test]
fn all_kernels_of_the_cuda_13_backend_have_a_layout_that_code_and_ptx_agree_about() {
    agree(&stage::ggml_cuda13().join("libggml-cuda.so"), 6731);
}

#[test]
fn all_kernels_of_the_cuda_12_backend_have_a_layout_that_code_and_ptx_agree_about() {
    agree(&stage::ggml_cuda12(), 6659);
}

#[test]
fn the_simulated_device_executes_all_kernels_of_both_backends() {
    let cuda13 = stage::ggml_cuda13().join("libggml-cuda.so");
    for (file, kernels) in [(cuda13, 6731), (stage::ggml_cuda12(), 6659)] {
        let mut command = clean(Stage::dev().vgpud());
        let done = finish(command.args(["kernels", "--simulated"]).arg(&file));
        assert!(done.status.success(), "{}: {}", done.command, done.stderr);
        let lines = done.stdout.lines().filter(|line| line.starts_with("kernel "));
        let (executed, others): (Vec<_>, Vec<_>) =
            lines.partition(|line| line.ends_with(" simulated=yes"));
        assert_eq!(others, Vec::<&str>::new(), "each says why not");
        assert_eq!(executed.len(), kernels);
    }
}
