//! The driver API (CUDA Driver API, Data types used by CUDA driver).

#[path = "generated/cuda.rs"]
mod generated;

pub use generated::*;

impl Error {
    /// Says whether a context is of no more use after this error: "the context cannot be used, so
    /// it must be destroyed" or "the process must be terminated and relaunched" (CUDA Driver API,
    /// CUresult).
    pub fn breaks_the_context(self) -> bool {
        const BREAKING: [Error; 11] = [
            Error::ECC_UNCORRECTABLE,
            Error::NVLINK_UNCORRECTABLE,
            Error::ILLEGAL_ADDRESS,
            Error::LAUNCH_TIMEOUT,
            Error::ASSERT,
            Error::HARDWARE_STACK_ERROR,
            Error::ILLEGAL_INSTRUCTION,
            Error::MISALIGNED_ADDRESS,
            Error::INVALID_ADDRESS_SPACE,
            Error::INVALID_PC,
            Error::LAUNCH_FAILED,
        ];
        BREAKING.contains(&self)
    }
}

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
