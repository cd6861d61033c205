# A thin front for `cargo xtask`, which holds the logic; everything here works without just, too.

# List the recipes.
default:
    @just --list

# Run the tests: all, or the parts that are named (lint, tidy, unit, harness, clients, elf, system).
[group('check')]
test *names:
    cargo xtask test {{ names }}

# Feed parsers hostile bytes, and the ring a hostile peer, for so many seconds.
[group('check')]
fuzz seconds="60":
    cargo xtask fuzz {{ seconds }}

# Run the test that boots a container with systemd.
[group('check')]
test-system:
    cargo xtask test system

# Run the tests in a virtual machine under QEMU; a quarter of an hour, and not part of `just test`.
[group('check')]
test-vm:
    cargo xtask test vm

# Compare NVIDIA's driver with ours on this machine's GPU (docs/gpu.md).
[group('check')]
test-gpu:
    cargo xtask test-gpu

# Pack what test-gpu needs for a machine without network or Rust into target/gpu-kit.
[group('check')]
gpu-kit:
    cargo xtask gpu-kit

# Show the main job end to end: install, find the GPU, roll back.
[group('show')]
demo:
    cargo xtask demo

# Measure, and print a table and JSON.
[group('show')]
bench:
    cargo xtask bench

# Build what the packages ship into target/stage-release.
[group('build')]
stage:
    cargo xtask stage --release

# Pack what the packages ship into debs under target/deb.
[group('build')]
deb:
    cargo xtask deb

# Make the committed generated files anew from headers and shims/api.
[group('build')]
regen:
    cargo xtask regen

# Install what the tests need from outside; says what and why first.
[group('build')]
setup:
    cargo xtask setup
