//! The device's registers, as far as the link needs them; all others stay untouched.

/// State of the current call: one of those below.
pub const STATUS: u32 = 0x004;
/// Why a call failed, once STATUS says ERROR.
pub const ERROR_CODE: u32 = 0x014;
/// Not zero once a call is answered, whatever STATUS says.
pub const RESPONSE_LEN: u32 = 0x01c;
/// Version of the registers.
pub const PROTOCOL_VER: u32 = 0x020;
/// What the device can do, as bits.
pub const CAPABILITIES: u32 = 0x024;
/// The calling process, for the device's own log.
pub const SCRATCH: u32 = 0x03c;
/// Which call.
pub const OP: u32 = 0x080;
/// The caller's number of the call.
pub const SEQUENCE: u32 = 0x084;
/// How many arguments there are.
pub const NUM_ARGS: u32 = 0x088;
/// Bytes of data that go with the call.
pub const DATA_LEN: u32 = 0x08c;
/// Writing 1 begins the call; reads as 0.
pub const DOORBELL: u32 = 0x0a8;
/// The first of 16 arguments.
pub const ARGS: u32 = 0x0b0;
/// The host's result: 0, or one of CUDA's errors.
pub const RESULT_STATUS: u32 = 0x0f0;
/// How many results there are.
pub const RESULT_NUM: u32 = 0x0f4;
/// Bytes of data that came with the answer.
pub const RESULT_DATA_LEN: u32 = 0x0f8;
/// Where up to [`SMALL_BYTES`] of the call's data go.
pub const REQUEST_DATA: u32 = 0x100;
/// Where up to [`SMALL_BYTES`] of the answer's data lie.
pub const RESPONSE_DATA: u32 = 0x500;
/// The first of 8 results of 64 bits, the low half first.
pub const RESULTS: u32 = 0x900;
/// Writing 0 gives registered shared memory back; reads as 1 while some is registered.
pub const SHMEM_CTRL: u32 = 0x94c;

/// Most data that goes through the registers: 1 KiB; more goes through the second region.
pub const SMALL_BYTES: usize = 1024;

/// Where the answer's data lie in the second region; the call's lie at its beginning.
pub const FROM_HOST: u32 = 0x80_0000;

/// Values of STATUS.
pub mod status {
    /// No call was made yet.
    pub const IDLE: u32 = 0;
    /// A call is under way.
    pub const BUSY: u32 = 1;
    /// The call succeeded.
    pub const DONE: u32 = 2;
    /// The call failed.
    pub const ERROR: u32 = 3;
}

/// The only version of the registers there is.
pub const VERSION: u32 = 0x0001_0000;

/// Capabilities that the link needs: bit 4, calls of our own; bit 5, data by the second region.
pub const NEEDED: u32 = 1 << 4 | 1 << 5;

/// What a device reads as that is no longer there.
pub const GONE: u32 = u32::MAX;

/// Reaches the device: its two regions, in accesses of the widths that it takes.
///
/// Offsets and sizes are ours, never the device's: an implementation may panic beyond its regions.
pub trait Registers: Send + 'static {
    /// Reads a register.
    fn read32(&self, at: u32) -> u32;

    /// Writes a register.
    fn write32(&self, at: u32, value: u32);

    /// Copies data for the host to the beginning of the second region, up to seven zeroes behind
    /// it included.
    fn put(&self, data: &[u8]);

    /// Copies data of the host out of the second region.
    fn take(&self, into: &mut [u8]);
}
