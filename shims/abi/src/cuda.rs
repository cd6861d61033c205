//! The driver API (CUDA Driver API, Data types used by CUDA driver).

#[path = "generated/cuda.rs"]
mod generated;

pub use generated::*;

impl CUstream {
    /// The default stream that synchronises with all others (`CU_STREAM_LEGACY`).
    pub const LEGACY: Self = Self(1);
    /// The calling thread's own default stream (`CU_STREAM_PER_THREAD`).
    pub const PER_THREAD: Self = Self(2);

    /// Reads stream 0 as the `_ptsz` names do: as the calling thread's own default stream.
    pub fn per_thread(self) -> Self {
        if self.0 == 0 { Self::PER_THREAD } else { self }
    }
}
