//! Where the parameters of functions and kernels lie: as the driver says, or as their image does.
//!
//! Drivers tell it since CUDA 12.4. For an older one the image is read, as the simulated device
//! reads it; a function of which neither says it is refused, for a guess would hand the kernel
//! wrong addresses.

use std::collections::HashMap;

use vgpu_abi::cuda::{CUdevice_attribute as Attribute, Error};
use vgpu_link::wire::cuda::Parameter;

use super::Nvidia;
use super::handles::{Handles, Kind};
use crate::dispatch::Call;
use crate::image::{self, ImageError, Kernel};
use crate::log;

/// Entries after which those of ended functions are looked for: 4096.
const SWEEP_MIN: usize = 4096;

/// What is known of the parameters of one client's functions.
#[derive(Debug)]
pub(super) struct Layouts {
    /// Whether the driver tells.
    are_told: bool,
    /// As the guest was told, by function or kernel.
    known: HashMap<u64, Vec<Parameter>>,
    /// What images say where the driver does not, by module or library.
    declared: HashMap<u64, Result<Declared, ImageError>>,
    /// How many entries make the next sweep.
    sweep_at: usize,
}

/// The parameters of an image's kernels, by their names.
type Declared = HashMap<Vec<u8>, Vec<Parameter>>;

impl Layouts {
    /// Starts without any.
    pub fn new(are_told: bool) -> Self {
        let (known, declared) = (HashMap::new(), HashMap::new());
        Self { are_told, known, declared, sweep_at: SWEEP_MIN }
    }

    /// Finds the layout that the guest was told.
    pub fn find(&self, function: u64) -> Result<&[Parameter], Error> {
        self.known.get(&function).map(Vec::as_slice).ok_or(Error::INVALID_HANDLE)
    }

    /// Says whether the driver tells.
    pub fn are_told(&self) -> bool {
        self.are_told
    }

    /// Keeps a layout.
    pub fn keep(&mut self, function: u64, parameters: &[Parameter], handles: &Handles) {
        if self.known.len() >= self.sweep_at {
            self.sweep(handles);
            self.sweep_at = SWEEP_MIN.max(2 * self.known.len());
        }
        self.known.insert(function, parameters.to_vec());
    }

    /// Forgets what has ended.
    pub fn sweep(&mut self, handles: &Handles) {
        self.known.retain(|function, _| handles.is_alive(*function));
        self.declared.retain(|owner, _| handles.is_alive(*owner));
    }

    /// Says where the parameters of a function of a module or library lie, as its image says.
    ///
    /// # Errors
    /// NOT_SUPPORTED if that cannot be known, and the log says why.
    fn declared(&self, owner: u64, name: &[u8]) -> Result<Vec<Parameter>, Error> {
        let because = match self.declared.get(&owner) {
            Some(Ok(declared)) => match declared.get(name) {
                Some(parameters) => return Ok(parameters.clone()),
                None => "its image does not say where its parameters lie".to_owned(),
            },
            Some(Err(error)) => log::chain(error),
            None => "its image is not known".to_owned(),
        };
        log::event(
            "function-refused",
            &[
                ("function", &String::from_utf8_lossy(name)),
                ("because", &because),
                ("try", &"a driver of CUDA 12.4 or later, which tells it"),
            ],
        );
        Err(Error::NOT_SUPPORTED)
    }
}

/// Takes the layouts of an image's kernels out of what was read of it. An image may say how long
/// the parameters are and not where they lie.
fn layouts_of(kernels: Vec<Kernel>) -> Declared {
    let is_said = |kernel: &Kernel| !kernel.parameters.is_empty() || kernel.parameter_bytes == 0;
    let told = kernels.into_iter().filter(is_said);
    told.map(|kernel| {
        let parameters = kernel.parameters.iter();
        let wire = parameters.map(|it| Parameter { offset: it.offset, bytes: it.bytes });
        (kernel.name.into_bytes(), wire.collect())
    })
    .collect()
}

impl Nvidia {
    /// Reads the image of a module or library that was loaded, where the driver does not tell of
    /// its functions.
    pub(super) fn learn(&mut self, call: &Call, owner: u64, image: &[u8]) {
        if self.layouts.are_told() || self.layouts.declared.contains_key(&owner) {
            return;
        }
        // Where no context is current a library is read for the first device.
        let device = self.device_of(call).unwrap_or(0) as usize;
        let facts = self.snapshot.devices.get(device);
        let number = |attribute: Attribute| {
            let value = facts.and_then(|facts| facts.attribute(attribute.0));
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0)
        };
        let major = number(Attribute::COMPUTE_CAPABILITY_MAJOR);
        let minor = number(Attribute::COMPUTE_CAPABILITY_MINOR);
        let read = image::read(image, (major, minor));
        let declared = read.map(|read| layouts_of(read.kernels));
        let handles = &self.handles;
        self.layouts.declared.retain(|owner, _| handles.is_alive(*owner));
        self.layouts.declared.insert(owner, declared);
    }

    /// Says where the parameters of a function or kernel lie, and keeps it for launches: what
    /// `tell` has from the driver, else what the image says under this name. A function that
    /// stands for a kernel has the kernel's.
    pub(super) fn layout(
        &mut self,
        number: u64,
        name: Option<&[u8]>,
        tell: impl FnOnce(&Self) -> Result<Vec<Parameter>, Error>,
    ) -> Result<Vec<Parameter>, Error> {
        let names = |kind, number| self.handles.find(kind, number).is_ok_and(|it| it.0 != 0);
        let mut owner = self.handles.owner(number);
        if names(Kind::Module, owner) && names(Kind::Library, self.handles.owner(owner)) {
            // The module of a library in a context: the image is the library's.
            owner = self.handles.owner(owner);
        }
        let parameters = match (self.layouts.are_told(), name) {
            (true, _) => tell(self)?,
            (false, _) if names(Kind::Kernel, owner) => self.layouts.find(owner)?.to_vec(),
            (false, Some(name)) => self.layouts.declared(owner, name)?,
            (false, None) => return Err(Error::NOT_SUPPORTED),
        };
        self.layouts.keep(number, &parameters, &self.handles);
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &str, bytes: u32, parameters: &[(u32, u32)]) -> Kernel {
        let parameters =
            parameters.iter().map(|&(offset, bytes)| image::Parameter { offset, bytes });
        let (name, parameters) = (name.to_owned(), parameters.collect());
        Kernel { name, parameters, parameter_bytes: bytes, ..Kernel::default() }
    }

    #[test]
    fn a_kernel_whose_image_says_only_how_long_its_parameters_are_is_refused() {
        let kernels = vec![kernel("a", 12, &[(0, 8), (8, 4)]), kernel("b", 8, &[])];
        let all = layouts_of([kernels, vec![kernel("none", 0, &[])]].concat());
        let mut layouts = Layouts::new(false);
        layouts.declared.insert(5, Ok(all));
        let two = vec![Parameter { offset: 0, bytes: 8 }, Parameter { offset: 8, bytes: 4 }];
        assert_eq!(layouts.declared(5, b"a"), Ok(two));
        assert_eq!(layouts.declared(5, b"none"), Ok(Vec::new()));
        for (owner, name) in [(5, b"b"), (5, b"c"), (6, b"a")] {
            assert_eq!(layouts.declared(owner, name), Err(Error::NOT_SUPPORTED), "{owner}");
        }
    }

    #[test]
    fn what_has_ended_is_forgotten_at_the_latest_when_there_is_much_of_it() {
        let (mut layouts, mut handles) = (Layouts::new(true), Handles::new());
        for at in 1..=3 * SWEEP_MIN {
            let pointer = crate::device::nvidia::foreign::Pointer(16 * at);
            let function = handles.keep(Kind::Function, pointer, 0).expect("room");
            layouts.keep(function, &[], &handles);
            handles.end(function);
        }
        assert!(layouts.known.len() <= SWEEP_MIN, "{}", layouts.known.len());
    }
}
