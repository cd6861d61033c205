//! The host daemon's program: see the library.

fn main() -> std::process::ExitCode {
    vgpud::main()
}
