//! What is not implemented says so: with the library's own code, and by name in the statistics.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use vgpu_codegen::api;
use vgpu_codegen::signature::Signatures;
use vgpu_tests::{Stage, run, stage};

/// One library: its description, its list of names, and its NOT_SUPPORTED.
struct Library {
    soname: &'static str,
    description: &'static str,
    major: Option<u32>,
    names: &'static str,
    refusal: u32,
    /// A function of it that is certain to be unsupported for long.
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
        let rows = api::read(&directory.join(format!("{}.toml", self.description)));
        let rows = rows.expect("a tracked description");
        let returns = self.without_result_code();
        let list = std::fs::read_to_string(directory.join(format!("names/{}.txt", self.names)));
        let list = list.expect("a tracked list");
        let names = list.lines().filter_map(|line| line.split('@').next());
        let applies = |name: &str| {
            let row = rows.get(name);
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
        let undeclared: std::collections::BTreeMap<String, Signatures> =
            toml::from_str(&undeclared).expect("a valid description");
        let own = undeclared.get(self.description);
        names.extend(own.into_iter().flat_map(|own| own.returns.keys().cloned()));
        names
    }
}

#[test]
fn every_unsupported_name_answers_not_supported() {
    let mut offences = Vec::new();
    for library in &LIBRARIES {
        let path = Stage::dev().library(library.soname);
        // SAFETY: our libraries run no code of their own when they are loaded (tests/tests/elf.rs).
        let loaded = unsafe { libloading::Library::new(path) }.expect("a staged library loads");
        let unsupported = library.unsupported();
        assert!(unsupported.contains(library.example), "{} was listed", library.example);
        for name in unsupported {
            // SAFETY: the generator makes every function without a row ignore its arguments and
            // return an integer; those that return something else are left out above.
            let code = unsafe {
                let function = loaded.get::<unsafe extern "C" fn() -> u32>(name.as_str());
                function.map(|function| function())
            };
            match code {
                Ok(code) if code == library.refusal => {}
                Ok(code) => offences.push(format!("{}: {name} answers {code}", library.soname)),
                Err(error) => offences.push(format!("{}: {name}: {error}", library.soname)),
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn what_was_refused_is_named_in_the_statistics() {
    let mut again = Command::new(std::env::current_exe().expect("a test has a program"));
    again.args(["--exact", "every_unsupported_name_answers_not_supported"]).env("VGPU_STATS", "1");
    let done = run(&mut again, Duration::from_secs(60)).expect("the test runs in a child, too");
    let seen = format!("{}{}", done.stdout, done.stderr);
    for example in LIBRARIES.map(|library| library.example) {
        let line = format!("  {example} (not implemented)");
        assert!(seen.contains(&line), "no line for {example} in:\n{seen}");
    }
}
