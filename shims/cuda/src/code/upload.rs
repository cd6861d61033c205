//! Images on their way to the host: named by their hash, and sent only where it lacks them.

use vgpu_abi::cuda::Error;
use vgpu_guest::session;
use vgpu_guest::wire::Request;
use vgpu_guest::wire::cuda::{Image, ImagePart};
use vgpu_guest::wire::header::BULK_BYTES_MAX;

use crate::remote;

/// Asks for something that needs an image on the host; sends the image if it says that it lacks
/// it, and asks again. The parts are read from where the program has the image, never copied.
pub(crate) fn with_image<R: Request>(
    bytes: &[u8],
    ask: impl Fn(Image) -> R,
    is_missing: impl Fn(&R::Reply) -> bool,
) -> Result<R::Reply, Error> {
    let image = Image { hash: *blake3::hash(bytes).as_bytes(), bytes: bytes.len() as u64 };
    let request = ask(image.clone());
    let reply = remote::call_without_context(&request)?;
    if !is_missing(&reply) {
        return Ok(reply);
    }
    let offsets = (0..).map(|index| index * BULK_BYTES_MAX as u64);
    let parts = bytes.chunks(BULK_BYTES_MAX).zip(offsets);
    session::post_parts(
        parts.map(|(part, offset)| (ImagePart { image: image.clone(), offset }, part)),
    )?;
    let reply = remote::call_without_context(&request)?;
    // A host that has just taken it all and lacks it had no room for it.
    if is_missing(&reply) { Err(Error::OUT_OF_MEMORY) } else { Ok(reply) }
}
