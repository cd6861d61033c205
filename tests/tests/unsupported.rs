//! What is not implemented says so: with the library's own code, and by name in the statistics.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vgpu_codegen::api;
use vgpu_codegen::signature::Signatures;
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud, run, stage};

/// One library: its description, its list of names, and its NOT_SUPPORTED.
struct Library {
    soname: &'static str,
    description: &'static str,
    major: Option<u32>,
    names: &'static str,
    refusal: u32,
    /// A function of it that will be unsupported for long.
    example: &'static str,
}

const LIBRARIES: [Library; 6] = [
    Library {
        soname: "libcuda.so.1",
        description: "cuda",
        major: None,
        names: "libcuda-names-union",
        refusal: 801,
        example: "cuGLInit",
    },
    Library {
        soname: "libnvidia-ml.so.1",
        description: "nvml",
        major: None,
        names: "libnvml-names-union",
        refusal: 3,
        example: "nvmlUnitGetCount",
    },
    Library {
        soname: "libcudart.so.12",
        description: "cudart",
        major: Some(12),
        names: "libcudart-12.9.79-exports",
        refusal: 801,
        example: "cudaGLGetDevices",
    },
    Library {
        soname: "libcudart.so.13",
        description: "cudart",
        major: Some(13),
        names: "libcudart-13.5.37-exports",
        refusal: 801,
        example: "cudaGLGetDevices",
    },
    Library {
        soname: "libcublas.so.12",
        description: "cublas",
        major: Some(12),
        names: "libcublas-12.9.3.13-exports",
        refusal: 15,
        example: "cublasXtCreate",
    },
    Library {
        soname: "libcublas.so.13",
        description: "cublas",
        major: Some(13),
        names: "libcublas-13.10.0.20-exports",
        refusal: 15,
        example: "cublasXtCreate",
    },
];

impl Library {
    /// Lists the names without a row that answer a result code.
    fn unsupported(&self) -> BTreeSet<String> {
        let directory = stage::repository().join("shims/api");
        let rows = api::read(&directory, self.description);
        let rows = rows.expect("a tracked description");
        let returns = self.without_result_code();
        let list = std::fs::read_to_string(directory.join(format!("names/{}.txt", self.names)));
        let list = list.expect("a tracked list");
        let names = list.lines().filter_map(|line| line.split('@').next());
        let applies = |name: &str| {
            let row = rows.rows.get(name);
            row.is_some_and(|row| row.major.is_none() || row.major == self.major)
        };
        let described = |name: &str| {
            let plain = name.strip_suffix("_ptsz").or(name.strip_suffix("_ptds"));
            applies(name) || plain.is_some_and(applies)
        };
        names
            .filter(|name| !described(name) && !returns.contains(*name))
            .map(str::to_owned)
            .collect()
    }

    fn without_result_code(&self) -> BTreeSet<String> {
        let directory = stage::repository().join("shims/api/signatures");
        let majors = [self.description.to_owned(), format!("{}13", self.description)];
        let files = majors.iter().map(|stem| directory.join(format!("{stem}.toml")));
        let known = files.filter(|file| file.exists()).map(|file| Signatures::read(&file));
        let mut names: BTreeSet<String> =
            known.flat_map(|known| known.expect("a tracked file").returns.into_keys()).collect();
        let undeclared = directory.join("../undeclared.toml");
        let undeclared = std::fs::read_to_string(undeclared).expect("a tracked file");
        let undeclared: BTreeMap<String, Signatures> =
            toml::from_str(&undeclared).expect("a valid description");
        let own = undeclared.get(self.description);
        names.extend(own.into_iter().flat_map(|own| own.returns.keys().cloned()));
        names
    }
}

/// Calls all unsupported names of a library in a process of its own, with a host in reach: without
/// one, the runtime has no device to refuse anything for.
#[track_caller]
fn check(library: &Library) {
    let unsupported = library.unsupported();
    assert!(unsupported.contains(library.example), "{} was listed", library.example);
    let names: Vec<&str> = unsupported.iter().map(String::as_str).collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let list = directory.path().join("names");
    std::fs::write(&list, names.join("\n")).expect("a writable directory");

    let stage = Stage::dev();
    let host = Vgpud::start(&stage).expect("the simulated host starts");
    let mut python = over(&stage, Way::SearchPath, &host.link(), "python3");
    python.arg(stage::repository().join("tests/clients/python/refused.py"));
    python.arg(library.soname).arg(&list).env("VGPU_STATS", "1");
    let done = run(&mut python, Duration::from_secs(60)).expect("python3 runs");
    assert!(done.status.success(), "{}", done.stderr);

    let codes: BTreeMap<String, u32> = serde_json::from_str(&done.stdout).expect("one document");
    let wrong: Vec<_> = codes.iter().filter(|(_, code)| **code != library.refusal).collect();
    assert!(wrong.is_empty(), "{} does not refuse {wrong:?}", library.soname);
    assert_eq!(codes.len(), names.len());
    for name in names {
        let line = format!("  {name} (not implemented)\n");
        assert!(done.stderr.contains(&line), "{name} is not in the statistics");
    }
}

#[test]
fn what_is_unsupported_answers_so_and_counts_itself() {
    LIBRARIES.iter().for_each(check);
}
