#!/bin/sh
# test-gpu --out DIR [STEP ...]: compares NVIDIA's driver with ours on this machine's GPU.
#
# Made by `cargo xtask gpu-kit`. Needs an NVIDIA driver, the CUDA toolkit 13 and Python; no network.
# Puts the parts beside it together below TMPDIR once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kit=${TMPDIR:-/tmp}/vgpu-gpu-kit
if ! cmp -s "$here/sums" "$kit/sums"; then
    rm -rf "$kit"
    mkdir -p "$kit"
    (cd "$here" && sha256sum --check --quiet sums)
    cat "$here"/part-* | tar -xzf - -C "$kit"
    cp "$here/sums" "$kit/sums"
fi
export VGPU_STAGE_RELEASE="$kit/stage" VGPU_NODE="$kit/bin/node" VGPU_NODE_CLIENTS="$kit/npm"
exec "$kit/stage/vgpu-tests/usr/lib/vgpu-tests/gpu-test" --repository "$kit/repository" "$@"
