//! A device with a cuBLAS handle.

use crate::library::{Functions, address, place};
use crate::number::{Kind, Number};

/// CUBLAS_STATUS_SUCCESS and others that the cases expect.
pub const SUCCESS: u32 = 0;
pub const NOT_INITIALIZED: u32 = 1;
pub const INVALID_VALUE: u32 = 7;
pub const NOT_SUPPORTED: u32 = 15;

/// The driver API, cuBLAS of one major, and a handle.
pub struct Gpu {
    pub cuda: Functions,
    pub blas: Functions,
    pub handle: i64,
}

impl Gpu {
    /// Makes the first device's primary context current, and a handle.
    pub fn new(major: &str) -> Self {
        let cuda = Functions::open("libcuda.so.1");
        let blas = Functions::open(&format!("libcublas.so.{major}"));
        let mut gpu = Self { cuda, blas, handle: 0 };
        gpu.driver("cuInit", &[0]);
        let mut context = [0_i64];
        gpu.driver("cuDevicePrimaryCtxRetain", &[place(&mut context), 0]);
        gpu.driver("cuCtxSetCurrent", &context);
        gpu.handle = gpu.create();
        gpu
    }

    pub fn create(&self) -> i64 {
        let mut handle = [0_i64];
        self.ok("cublasCreate_v2", &[place(&mut handle)]);
        assert_ne!(handle[0], 0);
        handle[0]
    }

    /// Calls a function of the driver API, which succeeds.
    #[track_caller]
    pub fn driver(&self, name: &str, arguments: &[i64]) {
        assert_eq!(self.cuda.invoke(name, arguments), 0, "{name}{arguments:?}");
    }

    /// Calls a function of cuBLAS, which succeeds.
    #[track_caller]
    pub fn ok(&self, name: &str, arguments: &[i64]) {
        self.answers(SUCCESS, name, arguments);
    }

    /// Calls a function of cuBLAS, which answers this.
    #[track_caller]
    pub fn answers(&self, expected: u32, name: &str, arguments: &[i64]) {
        assert_eq!(self.blas.invoke(name, arguments), expected, "{name}{arguments:?}");
    }

    /// Calls a function of cuBLAS with this handle before the other arguments.
    #[track_caller]
    pub fn run(&self, name: &str, arguments: &[i64]) {
        self.ok(name, &[&[self.handle], arguments].concat());
    }

    /// Waits for the device; earlier errors come here.
    pub fn synchronize(&self) -> u32 {
        self.cuda.invoke("cuCtxSynchronize", &[])
    }

    /// Puts bytes into new memory of the device.
    pub fn put_bytes(&self, bytes: &[u8]) -> i64 {
        let mut memory = [0_i64];
        self.driver("cuMemAlloc_v2", &[place(&mut memory), bytes.len().max(1) as i64]);
        let arguments = [memory[0], address(bytes), bytes.len() as i64];
        self.driver("cuMemcpyHtoD_v2", &arguments);
        memory[0]
    }

    /// Puts numbers into new memory of the device.
    pub fn put(&self, kind: Kind, numbers: &[Number]) -> i64 {
        self.put_bytes(&kind.encode(numbers))
    }

    /// Fetches numbers from the device and frees them there.
    pub fn take(&self, kind: Kind, memory: i64, count: usize) -> Vec<Number> {
        let numbers = self.fetch(kind, memory, count);
        self.free(memory);
        numbers
    }

    /// Fetches numbers from the device.
    pub fn fetch(&self, kind: Kind, memory: i64, count: usize) -> Vec<Number> {
        let mut bytes = vec![0; kind.bytes() * count];
        let length = bytes.len() as i64;
        self.driver("cuMemcpyDtoH_v2", &[place(&mut bytes), memory, length]);
        kind.decode(&bytes)
    }

    pub fn free(&self, memory: i64) {
        self.driver("cuMemFree_v2", &[memory]);
    }
}
