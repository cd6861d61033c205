//! The runtime API: what its majors 12 and 13 share (CUDA Runtime API, Data types used by CUDA
//! Runtime).

#[path = "generated/cudart.rs"]
mod generated;

pub use generated::*;

impl cudaStream_t {
    /// The default stream that synchronises with all others (`cudaStreamLegacy`).
    pub const LEGACY: Self = Self(1);
    /// The calling thread's own default stream (`cudaStreamPerThread`).
    pub const PER_THREAD: Self = Self(2);

    /// Reads stream 0 as the `_ptsz` names do: as the calling thread's own default stream.
    pub fn per_thread(self) -> Self {
        if self.0 == 0 { Self::PER_THREAD } else { self }
    }
}
