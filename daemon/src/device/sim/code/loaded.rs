//! An image as the device has it, and what its kernels do.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Once, OnceLock};

use vgpu_abi::cuda::Error;

use crate::device::sim::ptx::{Entry, NotExecutable, Program};
use crate::image::Image;
use crate::log;

/// What was loaded: an image as this device has it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub image: Image,
    /// Bytes of the image as it came.
    pub bytes: u64,
    /// Bytes that it takes here, about.
    pub weight: u64,
    /// Places of kernels by name.
    names: HashMap<String, usize>,
    /// What its PTX does; read when a kernel is first launched.
    program: OnceLock<Result<Program, NotExecutable>>,
    /// Of each kernel, whether the log has its refusal.
    refused: Box<[Once]>,
}

impl Loaded {
    /// Takes up an image that came as so many bytes.
    pub fn new(image: Image, bytes: u64) -> Arc<Self> {
        let names = image.kernels.iter().enumerate().map(|(at, one)| (one.name.clone(), at));
        let refused = image.kernels.iter().map(|_| Once::new()).collect();
        let (names, weight) = (names.collect(), weight(&image));
        Arc::new(Self { names, image, bytes, weight, program: OnceLock::new(), refused })
    }

    /// Finds the place of a kernel by its name.
    pub fn find(&self, name: &[u8]) -> Result<usize, Error> {
        let name = std::str::from_utf8(name).map_err(|_| Error::NOT_FOUND)?;
        self.names.get(name).copied().ok_or(Error::NOT_FOUND)
    }

    /// Finds what a kernel does.
    ///
    /// NO_BINARY_FOR_GPU if the image has machine code only, NOT_SUPPORTED if its PTX cannot be
    /// executed here; the log says why, once for each kernel.
    pub fn entry(&self, kernel: usize) -> Result<&Entry, Error> {
        let name = &self.image.kernels[kernel].name;
        let refuse = |because: &dyn Display, code: Error| {
            self.refused[kernel].call_once(|| {
                log::event("launch-refused", &[("kernel", name), ("because", because)]);
            });
            code
        };
        let Some(ptx) = &self.image.ptx else {
            return Err(refuse(&"it is machine code, without PTX", Error::NO_BINARY_FOR_GPU));
        };
        let read = || Program::parse(ptx).map_err(NotExecutable::from);
        let program = self.program.get_or_init(read).as_ref();
        let entry = program.map_err(Clone::clone).and_then(|program| program.entry(name));
        entry.map_err(|why| refuse(&why, Error::NOT_SUPPORTED))
    }
}

/// About how many bytes an image takes when it is read.
fn weight(image: &Image) -> u64 {
    let text = image.ptx.as_ref().map_or(0, |ptx| ptx.len());
    let variables = image.variables.iter().map(|of| {
        let pointers = size_of_val(of.pointers.as_slice());
        of.name.len() + of.initial.as_ref().map_or(0, Vec::len) + pointers + size_of_val(of)
    });
    let kernels = image
        .kernels
        .iter()
        .map(|of| 2 * of.name.len() + size_of_val(of.parameters.as_slice()) + size_of_val(of));
    (text + variables.chain(kernels).sum::<usize>()) as u64
}
