//! Attributes of functions and kernels (CUDA Driver API, `CUfunction_attribute`).

use vgpu_abi::cuda::{CUfunction_attribute as Attribute, Error};
use vgpu_link::wire::cuda::{FunctionAttribute, FunctionFacts, Parameter};

use crate::image::Kernel;

/// Shared memory of a block without asking for more: 48 KiB (CUDA C++ Programming Guide,
/// "Compute Capabilities").
const SHARED_BYTES: u32 = 48 << 10;

/// Shared memory of a block that asks for it, compute capability 9.0: 227 KiB.
pub(super) const SHARED_BYTES_MAX: u32 = 227 << 10;

/// What a client may choose for a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Most dynamic shared memory of a block.
    pub dynamic_shared_bytes: u32,
    /// Percentage of the cache that is to be shared memory; -1 leaves it to the driver.
    carveout: i32,
    /// Blocks of a cluster that every launch must have; zeros where a launch says.
    pub cluster: [u32; 3],
    /// Whether clusters may be larger than every device takes.
    pub non_portable_cluster: bool,
    scheduling: i32,
    /// CUfunc_cache.
    pub cache_config: u32,
}

impl Settings {
    /// What a kernel has until somebody chooses otherwise.
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            dynamic_shared_bytes: SHARED_BYTES.saturating_sub(kernel.static_shared_bytes),
            carveout: -1,
            cluster: kernel.required_cluster.unwrap_or_default(),
            non_portable_cluster: false,
            scheduling: 0,
            cache_config: 0,
        }
    }

    /// Changes an attribute; one that cannot be changed, or a value that it cannot have, is
    /// INVALID_VALUE, and one that the kernel itself fixes is NOT_PERMITTED.
    pub fn change(&mut self, kernel: &Kernel, attribute: u32, value: i32) -> Result<(), Error> {
        let size = || u32::try_from(value).map_err(|_| Error::INVALID_VALUE);
        let flag =
            || if (0..=1).contains(&value) { Ok(value == 1) } else { Err(Error::INVALID_VALUE) };
        match Attribute(attribute) {
            Attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let size = size()?;
                if size > SHARED_BYTES_MAX.saturating_sub(kernel.static_shared_bytes) {
                    return Err(Error::INVALID_VALUE);
                }
                self.dynamic_shared_bytes = size;
            }
            Attribute::PREFERRED_SHARED_MEMORY_CARVEOUT if (-1..=100).contains(&value) => {
                self.carveout = value;
            }
            Attribute::REQUIRED_CLUSTER_WIDTH
            | Attribute::REQUIRED_CLUSTER_HEIGHT
            | Attribute::REQUIRED_CLUSTER_DEPTH => {
                if kernel.required_cluster.is_some() {
                    return Err(Error::NOT_PERMITTED);
                }
                let at = attribute - Attribute::REQUIRED_CLUSTER_WIDTH.0;
                self.cluster[at as usize] = size()?;
            }
            Attribute::NON_PORTABLE_CLUSTER_SIZE_ALLOWED => self.non_portable_cluster = flag()?,
            Attribute::CLUSTER_SCHEDULING_POLICY_PREFERENCE if (0..=2).contains(&value) => {
                self.scheduling = value;
            }
            _ => return Err(Error::INVALID_VALUE),
        }
        Ok(())
    }

    /// Chooses a split of cache and shared memory (CUfunc_cache; PREFER_EQUAL is the last).
    pub fn prefer(&mut self, config: u32) -> Result<(), Error> {
        if config > 3 {
            return Err(Error::INVALID_VALUE);
        }
        self.cache_config = config;
        Ok(())
    }

    /// Lists all attributes of a kernel with these settings.
    pub fn attributes(&self, kernel: &Kernel) -> Vec<FunctionAttribute> {
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let [width, height, depth] = self.cluster.map(number);
        let all = [
            (Attribute::MAX_THREADS_PER_BLOCK, number(kernel.max_threads_per_block)),
            (Attribute::SHARED_SIZE_BYTES, number(kernel.static_shared_bytes)),
            (Attribute::CONST_SIZE_BYTES, number(kernel.constant_bytes)),
            (Attribute::LOCAL_SIZE_BYTES, number(kernel.local_bytes)),
            (Attribute::NUM_REGS, number(kernel.registers)),
            (Attribute::PTX_VERSION, number(kernel.ptx_version)),
            (Attribute::BINARY_VERSION, number(kernel.binary_version)),
            (Attribute::CACHE_MODE_CA, 0),
            (Attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES, number(self.dynamic_shared_bytes)),
            (Attribute::PREFERRED_SHARED_MEMORY_CARVEOUT, self.carveout),
            (Attribute::CLUSTER_SIZE_MUST_BE_SET, 0),
            (Attribute::REQUIRED_CLUSTER_WIDTH, width),
            (Attribute::REQUIRED_CLUSTER_HEIGHT, height),
            (Attribute::REQUIRED_CLUSTER_DEPTH, depth),
            (Attribute::NON_PORTABLE_CLUSTER_SIZE_ALLOWED, i32::from(self.non_portable_cluster)),
            (Attribute::CLUSTER_SCHEDULING_POLICY_PREFERENCE, self.scheduling),
        ];
        let each = |(attribute, value): (Attribute, i32)| FunctionAttribute {
            attribute: attribute.0,
            value,
        };
        all.map(each).to_vec()
    }

    /// What a guest must know of a kernel with these settings.
    pub fn facts(&self, kernel: &Kernel) -> FunctionFacts {
        FunctionFacts { attributes: self.attributes(kernel), parameters: parameters(kernel) }
    }
}

/// Lists where a kernel's parameters lie.
pub(crate) fn parameters(kernel: &Kernel) -> Vec<Parameter> {
    let each = |one: &crate::image::Parameter| Parameter { offset: one.offset, bytes: one.bytes };
    kernel.parameters.iter().map(each).collect()
}
