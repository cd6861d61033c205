//! Launches: checked as a device checks them, then computed; what cannot be computed is refused.

use vgpu_abi::cuda::{CUlaunchAttributeID as Id, Error};
use vgpu_link::wire::cuda::{Dim3, KernelLaunch, LaunchAttribute};

use super::attributes::SHARED_BYTES_MAX;
use super::{Resolved, occupancy};
use crate::device::Sim;
use crate::device::sim::ptx;
use crate::log;

/// Largest grid and block (compute capability 9.0).
const GRID_MAX: [u32; 3] = [0x7fff_ffff, 65_535, 65_535];
const BLOCK_MAX: [u32; 3] = [1024, 1024, 64];
const BLOCK_THREADS_MAX: u64 = 1024;

/// One launch, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// A function, or a kernel of a library.
    pub function: u64,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// Blocks of a cluster, where the launch says.
    pub cluster: Option<[u32; 3]>,
    /// Whether all blocks are to be on the device at once.
    pub is_cooperative: bool,
    /// All attributes, as they came.
    pub attributes: Vec<(u32, [u8; 64])>,
    /// The packed arguments.
    pub arguments: Vec<u8>,
}

impl From<KernelLaunch> for Launch {
    fn from(asked: KernelLaunch) -> Self {
        let sizes = |dim: &Dim3| [dim.x, dim.y, dim.z];
        let find = |id: Id| asked.attributes.iter().find(|one| one.id == id.0);
        let word = |value: &[u8; 64], at: usize| {
            u32::from_le_bytes(value[at..at + 4].try_into().expect("four bytes"))
        };
        let cluster = find(Id::CLUSTER_DIMENSION)
            .map(|one| [word(&one.value, 0), word(&one.value, 4), word(&one.value, 8)]);
        Self {
            function: asked.function,
            grid: sizes(&asked.grid),
            block: sizes(&asked.block),
            shared_bytes: asked.shared_bytes,
            cluster,
            is_cooperative: find(Id::COOPERATIVE).is_some_and(|one| word(&one.value, 0) != 0),
            attributes: asked.attributes.iter().map(|one| (one.id, one.value)).collect(),
            arguments: asked.arguments,
        }
    }
}

impl From<&Launch> for KernelLaunch {
    fn from(launch: &Launch) -> Self {
        let dim = |[x, y, z]: [u32; 3]| Dim3 { x, y, z };
        let attribute = |&(id, value)| LaunchAttribute { id, value };
        Self {
            function: launch.function,
            grid: dim(launch.grid),
            block: dim(launch.block),
            shared_bytes: launch.shared_bytes,
            attributes: launch.attributes.iter().map(attribute).collect(),
            arguments: launch.arguments.clone(),
        }
    }
}

impl Sim {
    /// Checks all that can be known before a launch, with the codes that CUDA documents.
    pub(in super::super) fn examine_launch(
        &self,
        context: u64,
        launch: &Launch,
    ) -> Result<Resolved, Error> {
        let resolved = self.resolve(context, launch.function)?;
        if let Ok((_, own)) = self.module_of_function(launch.function)
            && own != context
        {
            return Err(Error::INVALID_HANDLE);
        }
        let within = |sizes: [u32; 3], max: [u32; 3]| {
            sizes.iter().zip(max).all(|(size, max)| (1..=max).contains(size))
        };
        let threads = volume(launch.block);
        if !within(launch.grid, GRID_MAX)
            || !within(launch.block, BLOCK_MAX)
            || threads > BLOCK_THREADS_MAX
        {
            return Err(Error::INVALID_VALUE);
        }
        let kernel = resolved.kernel();
        if threads > u64::from(kernel.max_threads_per_block)
            || kernel.required_block.is_some_and(|required| required != launch.block)
        {
            return Err(Error::LAUNCH_OUT_OF_RESOURCES);
        }
        let shared = kernel.static_shared_bytes.checked_add(launch.shared_bytes);
        if launch.shared_bytes > resolved.settings.dynamic_shared_bytes
            || shared.is_none_or(|shared| shared > SHARED_BYTES_MAX)
        {
            return Err(Error::INVALID_VALUE);
        }
        let reaches = |one: &crate::image::Parameter| {
            let end = one.offset as usize + one.bytes as usize;
            end <= launch.arguments.len()
        };
        if !kernel.parameters.iter().all(reaches) {
            return Err(Error::INVALID_VALUE);
        }
        self.examine_cluster(launch, &resolved)?;
        resolved.entry()?;
        Ok(resolved)
    }

    fn examine_cluster(&self, launch: &Launch, resolved: &Resolved) -> Result<(), Error> {
        let held = self.blocks_held(resolved, launch);
        if launch.is_cooperative && volume(launch.grid) > occupancy::blocks_at_once(held) {
            return Err(Error::COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        let required = Some(resolved.settings.cluster).filter(|sizes| *sizes != [0; 3]);
        if let (Some(required), Some(asked)) = (required, launch.cluster)
            && required != asked
        {
            return Err(Error::INVALID_CLUSTER_SIZE);
        }
        let Some(cluster) = launch.cluster.or(required) else { return Ok(()) };
        let max = occupancy::cluster_blocks_max(resolved.kernel(), &resolved.settings);
        let divides = |(size, of): (u32, u32)| size > 0 && of.is_multiple_of(size);
        let fits =
            cluster.into_iter().zip(launch.grid).all(divides) && volume(cluster) <= u64::from(max);
        if fits { Ok(()) } else { Err(Error::INVALID_CLUSTER_SIZE) }
    }

    /// Does a launch in a context.
    pub(in super::super) fn perform_launch(
        &mut self,
        context: u64,
        launch: &Launch,
    ) -> Result<(), Error> {
        let resolved = self.examine_launch(context, launch)?;
        let entry = resolved.entry()?;
        let module = self.module_launched(context, launch.function)?;
        let module = self.codes.modules.find(module).ok_or(Error::INVALID_HANDLE)?;
        let symbols = |name: &str| module.variables.get(name).map(|(address, _)| *address);
        let required = Some(resolved.settings.cluster).filter(|sizes| *sizes != [0; 3]);
        let run = ptx::Launch {
            grid: launch.grid,
            block: launch.block,
            cluster: launch.cluster.or(required),
            is_cooperative: launch.is_cooperative,
            shared_bytes: launch.shared_bytes,
            parameters: &launch.arguments,
        };
        entry.run(&run, &mut ptx::Reach::new(&mut self.memory), &symbols).map_err(|fault| {
            let kernel = &resolved.kernel().name;
            log::event("kernel-failed", &[("kernel", kernel), ("because", &fault)]);
            fault.error()
        })
    }

    /// The module in a context that a function, or a kernel of a library, is launched of.
    fn module_launched(&mut self, context: u64, handle: u64) -> Result<u64, Error> {
        let is_function = self.codes.functions.find(handle).is_some();
        let function = if is_function { handle } else { self.function_of_kernel(context, handle)? };
        self.module_of_function(function).map(|(module, _)| module)
    }

    /// Says how many clusters of a launch's shape the device holds at once.
    pub(in super::super) fn clusters_held(
        &self,
        context: u64,
        launch: &Launch,
    ) -> Result<u32, Error> {
        let resolved = self.resolve(context, launch.function)?;
        let cluster = launch.cluster.unwrap_or([1; 3]);
        let size = u32::try_from(volume(cluster)).map_err(|_| Error::INVALID_CLUSTER_SIZE)?;
        let max = occupancy::cluster_blocks_max(resolved.kernel(), &resolved.settings);
        if size == 0 || size > max {
            return Err(Error::INVALID_CLUSTER_SIZE);
        }
        Ok(occupancy::clusters(self.blocks_held(&resolved, launch), size))
    }

    /// Says how many blocks the largest cluster of a launch's shape may have; 0 where the launch
    /// itself does not fit.
    pub(in super::super) fn cluster_blocks(
        &self,
        context: u64,
        launch: &Launch,
    ) -> Result<u32, Error> {
        let resolved = self.resolve(context, launch.function)?;
        let fits = self.blocks_held(&resolved, launch) > 0;
        let max = occupancy::cluster_blocks_max(resolved.kernel(), &resolved.settings);
        Ok(if fits { max } else { 0 })
    }

    fn blocks_held(&self, resolved: &Resolved, launch: &Launch) -> u32 {
        let threads = u32::try_from(volume(launch.block)).unwrap_or(u32::MAX);
        let shared = u64::from(launch.shared_bytes);
        occupancy::blocks(resolved.kernel(), &resolved.settings, threads, shared)
    }
}

fn volume(sizes: [u32; 3]) -> u64 {
    sizes.into_iter().map(u64::from).fold(1, u64::saturating_mul)
}
