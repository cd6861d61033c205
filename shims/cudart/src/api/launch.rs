//! Launches (CUDA Runtime API, "Execution Control").
//!
//! For `<<<>>>` the compiler pushes the configuration before it evaluates the kernel's arguments
//! and pops it in the stub, which then launches as a program may do itself.

use vgpu_abi::cudart::{cudaLaunchConfig_t, cudaStream_t, dim3};
use vgpu_guest::convert::{Memory, Pointing};

use crate::code::{self, Code};
use crate::driver::{self, Address, LaunchConfig, Stream};
use crate::primary;
use crate::result::{Error, Result};
use crate::thread::{self, Launch};

/// Keeps a configuration.
///
/// # Errors
/// `MEMORY_ALLOCATION` if more are kept than any program nests.
pub fn push_call_configuration(
    grid: dim3,
    block: dim3,
    shared_bytes: usize,
    stream: cudaStream_t,
) -> Result<()> {
    thread::push_launch(Launch { grid, block, shared_bytes, stream })
}

/// Returns the configuration that was kept last: grid, block, shared memory in bytes, stream.
pub fn pop_call_configuration() -> Result<(dim3, dim3, usize, cudaStream_t)> {
    let launch = thread::pop_launch()?;
    Ok((launch.grid, launch.block, launch.shared_bytes, launch.stream))
}

/// Launches a kernel.
pub fn launch_kernel(
    function: Memory<'_>,
    grid: dim3,
    block: dim3,
    parameters: Memory<'_>,
    shared_bytes: usize,
    stream: Stream,
) -> Result<()> {
    let code = code::of(function.address())?;
    Shape { grid, block, shared_bytes, stream }.launch(code, parameters)
}

/// Launches a kernel whose blocks may wait for each other.
pub fn launch_cooperative_kernel(
    function: Memory<'_>,
    grid: dim3,
    block: dim3,
    parameters: Memory<'_>,
    shared_bytes: usize,
    stream: Stream,
) -> Result<()> {
    let code = code::of(function.address())?;
    let shape = Shape { grid, block, shared_bytes, stream };
    let driver = primary::current()?;
    let shared_bytes = shape.shared_bytes()?;
    let launched = driver.launch_cooperative_kernel(
        code.entry(),
        grid.x,
        grid.y,
        grid.z,
        block.x,
        block.y,
        block.z,
        shared_bytes,
        stream,
        parameters.into(),
    );
    launched.map_err(|error| shape.blame(error))
}

/// Launches a kernel with attributes, which are laid out and numbered as the driver's.
pub fn launch_kernel_ex_c(
    config: Pointing<'_, cudaLaunchConfig_t>,
    function: Memory<'_>,
    parameters: Memory<'_>,
) -> Result<()> {
    let shape = Shape::of(&config);
    shape.launch_with(&config, function, parameters)
}

/// As [`launch_kernel_ex_c`]; stream 0 is the thread's own default stream.
pub fn launch_kernel_ex_c_ptsz(
    config: Pointing<'_, cudaLaunchConfig_t>,
    function: Memory<'_>,
    parameters: Memory<'_>,
) -> Result<()> {
    let shape = Shape::of(&config);
    let stream = shape.stream.per_thread();
    Shape { stream, ..shape }.launch_with(&config, function, parameters)
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Blocks of the grid.
    pub grid: dim3,
    /// Threads of a block.
    pub block: dim3,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: usize,
    /// The stream.
    pub stream: Stream,
}

impl Shape {
    /// Reads the part of a configuration that every launch has.
    pub(super) fn of(config: &Pointing<'_, cudaLaunchConfig_t>) -> Self {
        let config = config.value();
        Self {
            grid: config.gridDim,
            block: config.blockDim,
            shared_bytes: config.dynamicSmemBytes,
            stream: config.stream,
        }
    }

    /// Launches something; `parameters` is its list of arguments.
    pub(super) fn launch(&self, code: Code, parameters: Memory<'_>) -> Result<()> {
        let (grid, block) = (self.grid, self.block);
        let driver = primary::current()?;
        let launched = driver.launch_kernel(
            code.entry(),
            grid.x,
            grid.y,
            grid.z,
            block.x,
            block.y,
            block.z,
            self.shared_bytes()?,
            self.stream,
            parameters.into(),
            Address::NULL,
        );
        launched.map_err(|error| self.blame(error))
    }

    /// Launches something with the attributes of a configuration.
    fn launch_with(
        &self,
        config: &Pointing<'_, cudaLaunchConfig_t>,
        function: Memory<'_>,
        parameters: Memory<'_>,
    ) -> Result<()> {
        let code = code::of(function.address())?;
        let driver = primary::current()?;
        let config = self.config(config)?;
        let launched =
            driver.launch_kernel_ex(&config, code.entry(), parameters.into(), Address::NULL);
        launched.map_err(|error| self.blame(error))
    }

    /// Returns the driver's form of a configuration.
    pub(super) fn config(&self, config: &Pointing<'_, cudaLaunchConfig_t>) -> Result<LaunchConfig> {
        Ok(LaunchConfig {
            grid: [self.grid.x, self.grid.y, self.grid.z],
            block: [self.block.x, self.block.y, self.block.z],
            shared_bytes: self.shared_bytes()?,
            stream: self.stream,
            attributes: config.memory(|config| config.attrs.cast(), 0).into(),
            attribute_count: config.value().numAttrs,
        })
    }

    fn shared_bytes(&self) -> Result<u32> {
        u32::try_from(self.shared_bytes).map_err(|_| Error::INVALID_VALUE)
    }

    /// Tells a shape that no kernel of the device can have from other invalid values: the
    /// runtime calls it `INVALID_CONFIGURATION`, the driver does not.
    fn blame(&self, error: Error) -> Error {
        if error == Error::INVALID_VALUE && self.fits() == Ok(false) {
            return Error::INVALID_CONFIGURATION;
        }
        error
    }

    fn fits(&self) -> Result<bool> {
        /// Attributes of a device (`CUdevice_attribute`): threads of a block, then sides.
        const MAX_THREADS: i32 = 1;
        const MAX_BLOCK: [i32; 3] = [2, 3, 4];
        const MAX_GRID: [i32; 3] = [5, 6, 7];
        let (driver, device) = driver::device(primary::device()?)?;
        let limit = |attribute| {
            let mut value = 0;
            driver.device_get_attribute(&mut value, attribute, device)?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        let (grid, block) = (self.grid, self.block);
        let sides = [grid.x, grid.y, grid.z, block.x, block.y, block.z];
        for (side, attribute) in sides.into_iter().zip(MAX_GRID.into_iter().chain(MAX_BLOCK)) {
            if side == 0 || side > limit(attribute)? {
                return Ok(false);
            }
        }
        let threads = u64::from(block.x) * u64::from(block.y) * u64::from(block.z);
        Ok(threads <= u64::from(limit(MAX_THREADS)?))
    }
}
