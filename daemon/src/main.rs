//! The host daemon's program: see the library.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    vgpud::main()
}
