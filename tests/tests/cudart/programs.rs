//! The programs of `tests/c`, compiled by gcc for each major and linked with our runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use vgpu_tests::stage::repository;
use vgpu_tests::{Major, Stage};

/// What the names of programs end with that were compiled for per-thread default streams: the
/// headers then call the `_ptsz` and `_ptds` functions.
pub const PER_THREAD: &str = "-per-thread";

/// The compiled programs, made once in each run.
struct Programs {
    directory: PathBuf,
}

impl Programs {
    const NAMES: [&str; 10] = [
        "beside",
        "capture",
        "device",
        "error",
        "graph",
        "layout",
        "memory",
        "properties",
        "stream",
        "volume",
    ];

    fn path(&self, name: &str, major: Major) -> PathBuf {
        self.directory.join(format!("{name}-{major:?}"))
    }

    fn compile() -> Self {
        let programs = Self { directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("cudart") };
        std::fs::create_dir_all(&programs.directory).expect("a directory for the programs");
        for major in Major::ALL {
            for name in Self::NAMES {
                programs.compile_one(name, "", &[], major);
            }
            for name in ["graph", "memory", "stream", "volume"] {
                let define = ["-DCUDA_API_PER_THREAD_DEFAULT_STREAM"];
                programs.compile_one(name, PER_THREAD, &define, major);
            }
        }
        programs
    }

    fn compile_one(&self, name: &str, suffix: &str, defines: &[&str], major: Major) {
        let sources = repository().join("tests/c");
        let output = Command::new("gcc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"])
            .args(defines)
            .arg("-I")
            .arg(sources.join("include"))
            .arg("-isystem")
            .arg(major.package().join("include"))
            .arg(sources.join(name).with_extension("c"))
            .arg("-o")
            .arg(self.path(&format!("{name}{suffix}"), major))
            .arg(Stage::dev().library(major.soname()))
            .output()
            .expect("gcc runs (Debian package gcc)");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compiling {name}.c for {major:?}:\n{text}");
    }
}

/// The path of a compiled program.
pub fn program(name: &str, major: Major) -> PathBuf {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(Programs::compile).path(name, major)
}
