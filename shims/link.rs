//! The build script of all six libraries: links each as the loader and its clients expect it.
//!
//! Linker options of a library cannot be given from a dependency, so each of the six packages names
//! this file as its build script, and the table below says what differs.

#![forbid(unsafe_code)]

/// Package, SONAME, and whether it looks for libcuda beside itself (RUNPATH).
const LIBRARIES: [(&str, &str, bool); 6] = [
    ("vgpu-cublas12", "libcublas.so.12", true),
    ("vgpu-cublas13", "libcublas.so.13", true),
    ("vgpu-cuda", "libcuda.so.1", false),
    ("vgpu-cudart12", "libcudart.so.12", true),
    ("vgpu-cudart13", "libcudart.so.13", true),
    ("vgpu-nvml", "libnvidia-ml.so.1", false),
];

fn main() {
    let package = std::env::var("CARGO_PKG_NAME").expect("cargo sets CARGO_PKG_NAME");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let (_, soname, looks_beside) = LIBRARIES
        .into_iter()
        .find(|(name, ..)| *name == package)
        .expect("a package that names this build script has a row above");
    let soname = format!("-soname,{soname}");
    let script = format!("--version-script={directory}/exports.map");
    // Bound to itself, a library hands out and calls its own functions, also in a process that
    // loaded another one with the same names before it.
    let mut arguments = vec![
        soname.as_str(),
        "--build-id=sha1",
        "-z,now",
        "-z,nodelete",
        "-z,defs",
        "-Bsymbolic",
        &script,
    ];
    if looks_beside {
        arguments.extend(["-rpath,$ORIGIN", "--enable-new-dtags"]);
    }
    for argument in arguments {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
    println!("cargo::rerun-if-changed=exports.map");
}
