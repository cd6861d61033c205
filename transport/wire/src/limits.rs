//! Every limit of the control messages, with its derivation. (Limits of a frame: `header`.)

/// Longest name of a client's program: 256 bytes, Linux's NAME_MAX of 255 and a round number.
pub const EXE_BYTES_MAX: usize = 256;

/// Longest device name: 256 bytes, the `name` field of `cudaDeviceProp`.
pub const DEVICE_NAME_BYTES_MAX: usize = 256;

/// Longest version text: 96 bytes; NVML's own buffers for the driver and library versions hold 80.
pub const VERSION_BYTES_MAX: usize = 96;

/// Longest serial or part number: 96 bytes; NVML's own buffers hold 30 to 80.
pub const PART_BYTES_MAX: usize = 96;

/// Longest sentence in `Refused` and `Goodbye`: 512 bytes, a few lines of a log.
pub const SENTENCE_BYTES_MAX: usize = 512;

/// Most devices in a snapshot: 64, four times what the largest NVIDIA systems show one process.
pub const DEVICES_MAX: usize = 64;

/// Most attributes of a device: 256; CUDA 13 defines about 150.
pub const ATTRIBUTES_MAX: usize = 256;

/// Most processes of a device in `DeviceState`: 1,024, at most 276 KiB, far below a payload's
/// limit. A host with more clients sends the largest users of memory.
pub const PROCESSES_MAX: usize = 1024;

/// Most copies in one answer to `Collect`: 4,096, as many as a guest has under way.
pub const COLLECTED_MAX: usize = 4096;
