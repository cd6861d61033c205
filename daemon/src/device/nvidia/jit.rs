//! Options and logs of the driver's compiler and linker (CUDA Driver API, `CUjit_option`).

use vgpu_abi::cuda::{CUjit_option as Jit, Error};
use vgpu_link::wire::cuda::{JitOption, JitReport};

use super::foreign::{Pointer, Raw};

/// Longest log, as the messages say.
const LOG_BYTES_MAX: usize = 262_144;

/// Options whose values are pointers of the program: the guest sends none of them.
const POINTERS: [Jit; 6] = [
    Jit::INFO_LOG_BUFFER,
    Jit::ERROR_LOG_BUFFER,
    Jit::GLOBAL_SYMBOL_NAMES,
    Jit::GLOBAL_SYMBOL_ADDRESSES,
    Jit::REFERENCED_KERNEL_NAMES,
    Jit::REFERENCED_VARIABLE_NAMES,
];

/// Options whose values the driver answers.
const ANSWERED: [Jit; 2] = [Jit::THREADS_PER_BLOCK, Jit::WALL_TIME];

/// The options of one call, or of one link, with the buffers for its logs. The driver may write
/// into it as long as the link lives, so it does not move (its lists are on the heap).
#[derive(Debug)]
pub(super) struct Options {
    names: Vec<u32>,
    values: Vec<Pointer>,
    info: Vec<u8>,
    error: Vec<u8>,
}

impl Options {
    /// Prepares what the guest asked for.
    ///
    /// # Errors
    /// INVALID_VALUE for options whose values would be pointers, and for one that comes twice.
    pub fn new(asked: &[JitOption]) -> Result<Self, Error> {
        let mut options =
            Self { names: Vec::new(), values: Vec::new(), info: Vec::new(), error: Vec::new() };
        for one in asked {
            let option = Jit(one.option);
            // A log that is asked for twice would leave the driver with the first one's buffer.
            if POINTERS.contains(&option) || options.names.contains(&one.option) {
                return Err(Error::INVALID_VALUE);
            }
            let room = (one.value as usize).min(LOG_BYTES_MAX);
            if option == Jit::INFO_LOG_BUFFER_SIZE_BYTES {
                options.info = vec![0; room];
                let buffer = Raw::write(&mut options.info).address().expose_provenance();
                options.push(Jit::INFO_LOG_BUFFER, buffer);
                options.push(option, room);
            } else if option == Jit::ERROR_LOG_BUFFER_SIZE_BYTES {
                options.error = vec![0; room];
                let buffer = Raw::write(&mut options.error).address().expose_provenance();
                options.push(Jit::ERROR_LOG_BUFFER, buffer);
                options.push(option, room);
            } else {
                options.push(option, one.value as usize);
            }
        }
        Ok(options)
    }

    fn push(&mut self, option: Jit, value: usize) {
        self.names.push(option.0);
        self.values.push(Pointer(value));
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.names.len() as u32
    }

    /// The two lists.
    pub fn lists(&mut self) -> (Raw<'_>, Raw<'_>) {
        (Raw::write(&mut self.names), Raw::write(&mut self.values))
    }

    /// Says what the driver said.
    pub fn report(&self, result: Result<(), Error>) -> JitReport {
        let pairs = || self.names.iter().zip(&self.values);
        let answered = pairs().filter(|(name, _)| ANSWERED.contains(&Jit(**name)));
        // Numbers of 32 bits in the place of pointers.
        let values = answered
            .map(|(&option, value)| JitOption { option, value: value.0 as u64 & 0xffff_ffff });
        JitReport {
            result: result.err().map_or(0, Error::code),
            info_log: log(&self.info),
            error_log: log(&self.error),
            values: values.collect(),
        }
    }
}

/// Returns what was written into a buffer, up to its end mark.
fn log(buffer: &[u8]) -> Vec<u8> {
    buffer.iter().copied().take_while(|&byte| byte != 0).collect()
}
