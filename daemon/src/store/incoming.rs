//! An image on its way to us.

use vgpu_link::wire::cuda::Image;

/// The parts of one image that have come so far.
#[derive(Debug)]
pub(super) struct Incoming {
    /// What it is to become.
    pub image: Image,
    /// What has come.
    pub bytes: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Incoming {
    /// Expects an image.
    pub fn new(image: Image) -> Self {
        Self { image, bytes: Vec::new(), hasher: blake3::Hasher::new() }
    }

    /// Takes up a part; `true` if the image is complete and right.
    ///
    /// Parts that came already, from another thread of the client, are passed over.
    pub fn take(&mut self, offset: u64, part: &[u8]) -> Result<bool, &'static str> {
        let come = self.bytes.len() as u64;
        let end = offset.checked_add(part.len() as u64).filter(|end| *end <= self.image.bytes);
        let end = end.ok_or("a part goes beyond the image")?;
        if end <= come {
            return Ok(false);
        }
        if offset != come {
            return Err("a part is missing");
        }
        self.hasher.update(part);
        self.bytes.extend_from_slice(part);
        if end < self.image.bytes {
            return Ok(false);
        }
        if *self.hasher.finalize().as_bytes() == self.image.hash {
            Ok(true)
        } else {
            Err("the contents are not what its name says")
        }
    }
}
