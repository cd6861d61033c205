//! Links. The simulated device compiles nothing: a link of one input gives that input, which is an
//! image as good as what would come of it; one of several is refused.

use std::sync::Arc;

use vgpu_abi::cuda::{CUjitInputType as Input, Error};
use vgpu_link::wire::cuda;

use crate::device::Sim;
use crate::image::{self, ImageError};

/// Said in the error log of a second input.
const ONE_INPUT: &str = "the simulated device links one input only";

/// A link that was begun.
#[derive(Debug, Default)]
pub(super) struct Link {
    input: Option<Arc<[u8]>>,
    /// What came of it.
    result: Option<Arc<[u8]>>,
}

/// Why an input was not added.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is no image that the device can use.
    Image(ImageError),
    /// There is one already, or it is of a kind that only a compiler reads.
    Unsupported(&'static str),
}

impl Sim {
    /// Begins a link.
    pub(in super::super) fn begin_link(&mut self) -> Result<u64, Error> {
        self.codes.links.insert(Link::default())
    }

    /// Adds an input; `None` if its bytes are missing.
    pub(in super::super) fn add_to_link(
        &mut self,
        handle: u64,
        kind: u32,
        named: &cuda::Image,
    ) -> Result<Option<Result<(), Refused>>, Error> {
        let link = self.codes.links.find(handle).ok_or(Error::INVALID_HANDLE)?;
        let has_one = link.input.is_some();
        if !self.images.takes(named.bytes) {
            return Err(Error::OUT_OF_MEMORY);
        }
        let Some(bytes) = self.images.find(named) else { return Ok(None) };
        if has_one {
            return Ok(Some(Err(Refused::Unsupported(ONE_INPUT))));
        }
        let bytes = match Input(kind) {
            // A text may come without its end mark.
            Input::INPUT_PTX if !bytes.ends_with(&[0]) => {
                bytes.iter().copied().chain([0]).collect()
            }
            Input::INPUT_PTX | Input::INPUT_CUBIN | Input::INPUT_FATBINARY => bytes,
            Input::INPUT_OBJECT | Input::INPUT_LIBRARY | Input::INPUT_NVVM => {
                let why = "the simulated device links PTX, cubins and fat binaries only";
                return Ok(Some(Err(Refused::Unsupported(why))));
            }
            _ => return Err(Error::INVALID_VALUE),
        };
        if let Err(error) = image::read(&bytes, self.profile.capability()) {
            return Ok(Some(Err(Refused::Image(error))));
        }
        let linked_bytes = self.codes.linked_bytes + bytes.len() as u64;
        if linked_bytes > self.codes.held_bytes_max {
            return Err(Error::OUT_OF_MEMORY);
        }
        let link = self.codes.links.find_mut(handle).ok_or(Error::INVALID_HANDLE)?;
        link.input = Some(bytes);
        self.codes.linked_bytes = linked_bytes;
        Ok(Some(Ok(())))
    }

    /// Ends a link; returns the length of what came of it.
    pub(in super::super) fn complete_link(&mut self, handle: u64) -> Result<u64, Error> {
        let link = self.codes.links.find_mut(handle).ok_or(Error::INVALID_HANDLE)?;
        let input = link.input.as_ref().ok_or(Error::INVALID_VALUE)?;
        link.result = Some(Arc::clone(input));
        Ok(input.len() as u64)
    }

    /// Reads a part of what came of a link.
    pub(in super::super) fn result_of_link(
        &self,
        handle: u64,
        offset: u64,
        bytes: u64,
    ) -> Result<&[u8], Error> {
        let link = self.codes.links.find(handle).ok_or(Error::INVALID_HANDLE)?;
        let result = link.result.as_ref().ok_or(Error::INVALID_VALUE)?;
        let end = offset.checked_add(bytes).ok_or(Error::INVALID_VALUE)?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let part = range.and_then(|(offset, end)| result.get(offset..end));
        part.ok_or(Error::INVALID_VALUE)
    }

    /// Ends a link with what came of it.
    pub(in super::super) fn end_link(&mut self, handle: u64) -> Result<(), Error> {
        let link = self.codes.links.remove(handle).ok_or(Error::INVALID_HANDLE)?;
        self.codes.linked_bytes -= link.input.map_or(0, |input| input.len() as u64);
        Ok(())
    }
}
