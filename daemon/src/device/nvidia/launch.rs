//! Launches on the genuine driver.

use std::mem::offset_of;

use vgpu_abi::cuda::{CUlaunchAttribute, CUlaunchAttributeID as Id, CUlaunchConfig, Error};
use vgpu_link::wire::cuda::{KernelLaunch, LaunchAttribute, LaunchKernel};

use super::Nvidia;
use super::foreign::{Bytes, Pointer, Raw};
use super::handles::Kind;
use crate::dispatch::Call;

const CONFIG_BYTES: usize = size_of::<CUlaunchConfig>();
const ATTRIBUTE_BYTES: usize = size_of::<CUlaunchAttribute>();

/// Attributes whose values are numbers, or addresses of the device.
const PLAIN: [Id; 11] = [
    Id::ACCESS_POLICY_WINDOW,
    Id::COOPERATIVE,
    Id::SYNCHRONIZATION_POLICY,
    Id::CLUSTER_DIMENSION,
    Id::CLUSTER_SCHEDULING_POLICY_PREFERENCE,
    Id::PROGRAMMATIC_STREAM_SERIALIZATION,
    Id::PRIORITY,
    Id::MEM_SYNC_DOMAIN_MAP,
    Id::MEM_SYNC_DOMAIN,
    Id::PREFERRED_CLUSTER_DIMENSION,
    Id::PREFERRED_SHARED_MEMORY_CARVEOUT,
];

/// Attributes whose values begin with an event.
const WITH_EVENT: [Id; 2] = [Id::PROGRAMMATIC_EVENT, Id::LAUNCH_COMPLETION_EVENT];

/// A launch in the driver's words; the configuration points to the attributes.
pub(super) struct Config {
    pub bytes: Bytes<CONFIG_BYTES>,
    _attributes: Vec<[u64; ATTRIBUTE_BYTES / 8]>,
}

impl Nvidia {
    /// Puts a launch into the driver's words.
    pub(super) fn config(
        &mut self,
        call: &Call,
        stream: u64,
        launch: &KernelLaunch,
    ) -> Result<Config, Error> {
        let stream = self.stream(call, stream)?;
        let attributes = launch
            .attributes
            .iter()
            .map(|attribute| self.attribute(attribute))
            .collect::<Result<Vec<_>, _>>()?;
        let mut bytes = Bytes([0; CONFIG_BYTES]);
        let KernelLaunch { grid, block, shared_bytes, .. } = launch;
        let sizes = [grid.x, grid.y, grid.z, block.x, block.y, block.z, *shared_bytes];
        // Seven u32, one behind the other.
        for (at, size) in sizes.into_iter().enumerate() {
            bytes.put(offset_of!(CUlaunchConfig, gridDimX) + 4 * at, size.to_ne_bytes());
        }
        bytes.put(offset_of!(CUlaunchConfig, hStream), stream.0.to_ne_bytes());
        let list = Raw::read(&attributes).address().expose_provenance();
        let list = if attributes.is_empty() { 0 } else { list };
        bytes.put(offset_of!(CUlaunchConfig, attrs), list.to_ne_bytes());
        let count = attributes.len() as u32;
        bytes.put(offset_of!(CUlaunchConfig, numAttrs), count.to_ne_bytes());
        Ok(Config { bytes, _attributes: attributes })
    }

    /// Refuses an attribute whose value is more than numbers.
    pub(super) fn check_plain(&self, id: u32) -> Result<(), Error> {
        if PLAIN.contains(&Id(id)) { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
    }

    /// Puts an attribute's value into the driver's words.
    pub(super) fn attribute_value(&self, attribute: &LaunchAttribute) -> Result<Bytes<64>, Error> {
        let mut value = Bytes(attribute.value);
        if WITH_EVENT.contains(&Id(attribute.id)) {
            let event = self.handles.find(Kind::Event, u64::from_ne_bytes(value.take(0)))?;
            value.put(0, event.0.to_ne_bytes());
        } else {
            self.check_plain(attribute.id)?;
        }
        Ok(value)
    }

    fn attribute(&self, attribute: &LaunchAttribute) -> Result<[u64; ATTRIBUTE_BYTES / 8], Error> {
        let value = self.attribute_value(attribute)?;
        let mut words = [0; ATTRIBUTE_BYTES / 8];
        // The id fills the first half of the first word (little-endian, as all that CUDA runs on).
        words[0] = u64::from(attribute.id);
        for (at, word) in words[1..].iter_mut().enumerate() {
            *word = u64::from_ne_bytes(value.take(8 * at));
        }
        Ok(words)
    }

    /// Points to each parameter among the packed arguments, by the layout that the driver told.
    pub(super) fn arguments(&self, launch: &mut KernelLaunch) -> Result<Vec<Pointer>, Error> {
        let layout = self.layouts.find(launch.function)?;
        let packed = launch.arguments.len() as u64;
        let fits = |offset: u32, bytes: u32| u64::from(offset) + u64::from(bytes) <= packed;
        if !layout.iter().all(|parameter| fits(parameter.offset, parameter.bytes)) {
            return Err(Error::INVALID_VALUE);
        }
        let start = Raw::write(&mut launch.arguments).address().expose_provenance();
        Ok(layout.iter().map(|parameter| Pointer(start + parameter.offset as usize)).collect())
    }
}

pub(super) fn launch_kernel(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LaunchKernel,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let mut launch = r.launch;
    let function = nvidia.function(launch.function)?;
    let mut arguments = nvidia.arguments(&mut launch)?;
    let arguments = Raw::write(&mut arguments);
    if !launch.attributes.is_empty() {
        let mut config = nvidia.config(call, r.stream, &launch)?;
        return nvidia.driver.launch_kernel_ex(&mut config.bytes, function, arguments, Raw::NULL);
    }
    let stream = nvidia.stream(call, r.stream)?;
    let KernelLaunch { grid, block, shared_bytes, .. } = launch;
    nvidia.driver.launch_kernel(
        function,
        grid.x,
        grid.y,
        grid.z,
        block.x,
        block.y,
        block.z,
        shared_bytes,
        stream,
        arguments,
        Raw::NULL,
    )
}
