//! Links the library as the loader and its clients expect it.

#![forbid(unsafe_code)]

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("--version-script={directory}/exports.map");
    // Bound to itself, the library never calls into another one with the same names.
    let arguments = ["-soname,libnvidia-ml.so.1", "-z,now", "-z,nodelete", "-z,defs", "-Bsymbolic"];
    for argument in arguments.into_iter().chain([script.as_str()]) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
    println!("cargo::rerun-if-changed=exports.map");
}
