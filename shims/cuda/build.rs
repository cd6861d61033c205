//! Links the library as the loader and its clients expect it.

#![forbid(unsafe_code)]

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("--version-script={directory}/exports.map");
    // Bound to itself, the library hands out its own functions (cuGetProcAddress), also in a
    // process that loaded another libcuda before it.
    let arguments = ["-soname,libcuda.so.1", "-z,now", "-z,nodelete", "-z,defs", "-Bsymbolic"];
    for argument in arguments.into_iter().chain([script.as_str()]) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
    println!("cargo::rerun-if-changed=exports.map");
}
