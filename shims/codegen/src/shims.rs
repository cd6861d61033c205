//! The six libraries and where their descriptions are.

use crate::emit::exports;
use crate::model::Library;

/// The driver API.
pub(crate) const CUDA: Library = Library { name: "cuda", prefix: "cu", title: "the driver API" };
/// NVML.
pub(crate) const NVML: Library = Library { name: "nvml", prefix: "nvml", title: "NVML" };
/// The runtime API.
pub(crate) const CUDART: Library =
    Library { name: "cudart", prefix: "cuda", title: "the runtime API" };
/// cuBLAS.
pub(crate) const CUBLAS: Library = Library { name: "cublas", prefix: "cublas", title: "cuBLAS" };

/// One shim library.
pub(crate) struct Shim {
    /// Whose description it follows.
    pub library: Library,
    /// Directory of its crate below `shims`.
    pub directory: &'static str,
    /// What applications ask for.
    pub soname: &'static str,
    /// Its major, where there are several.
    pub major: Option<u32>,
    /// Stem of its distilled signatures; those of cuBLAS are in no small public package.
    pub signatures: &'static str,
    /// Stem of the list of names that the real library exports.
    pub names: &'static str,
    /// How its exports look.
    pub target: exports::Target,
}

/// All of them.
pub(crate) const SHIMS: [Shim; 6] = [
    Shim {
        library: CUDA,
        directory: "cuda",
        soname: "libcuda.so.1",
        major: None,
        signatures: "cuda",
        names: "libcuda-names-union",
        target: exports::Target {
            abi: "cuda",
            bodies: "crate::api",
            result: "CUresult",
            entry: "vgpu_guest",
            node: None,
        },
    },
    Shim {
        library: NVML,
        directory: "nvml",
        soname: "libnvidia-ml.so.1",
        major: None,
        signatures: "nvml",
        names: "libnvml-names-union",
        target: exports::Target {
            abi: "nvml",
            bodies: "crate::api",
            result: "nvmlReturn_t",
            entry: "vgpu_guest",
            node: None,
        },
    },
    Shim {
        library: CUDART,
        directory: "cudart12",
        soname: "libcudart.so.12",
        major: Some(12),
        signatures: "cudart12",
        names: "libcudart-12.9.79-exports",
        target: exports::Target {
            abi: "cudart12",
            bodies: "vgpu_cudart::api",
            result: "cudaError_t",
            entry: "crate",
            node: Some("libcudart.so.12"),
        },
    },
    Shim {
        library: CUDART,
        directory: "cudart13",
        soname: "libcudart.so.13",
        major: Some(13),
        signatures: "cudart13",
        names: "libcudart-13.5.37-exports",
        target: exports::Target {
            abi: "cudart13",
            bodies: "vgpu_cudart::api",
            result: "cudaError_t",
            entry: "crate",
            node: Some("libcudart.so.13"),
        },
    },
    Shim {
        library: CUBLAS,
        directory: "cublas12",
        soname: "libcublas.so.12",
        major: Some(12),
        signatures: "cublas",
        names: "libcublas-12.9.3.13-exports",
        target: exports::Target {
            abi: "cublas",
            bodies: "vgpu_cublas::api",
            result: "cublasStatus_t",
            entry: "crate",
            node: Some("libcublas.so.12"),
        },
    },
    Shim {
        library: CUBLAS,
        directory: "cublas13",
        soname: "libcublas.so.13",
        major: Some(13),
        signatures: "cublas",
        names: "libcublas-13.10.0.20-exports",
        target: exports::Target {
            abi: "cublas",
            bodies: "vgpu_cublas::api",
            result: "cublasStatus_t",
            entry: "crate",
            node: Some("libcublas.so.13"),
        },
    },
];
