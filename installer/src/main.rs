//! `vgpu-install`: see `vgpu-install --help`.

fn main() -> std::process::ExitCode {
    vgpu_install::program::main()
}
