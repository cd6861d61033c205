//! Options of the just-in-time compiler and the linker (CUDA Driver API, `CUjit_option`).
//!
//! A value is a number in the place of a pointer. Log buffers are the program's: their sizes go
//! to the host, and what was said comes back into them.

use vgpu_abi::cuda::{CUjit_option as Jit, Error};
use vgpu_guest::convert::{Kept, Memory};
use vgpu_guest::wire::cuda::{JitOption, JitReport};

/// Most options of one call: 64, more than CUDA has.
const OPTIONS_MAX: u32 = 64;

/// Longest log: 256 KiB, as much as a message takes of each.
const LOG_BYTES_MAX: u64 = 262_144;

/// Options whose values are lists of the program, which are not carried.
const LISTS: [Jit; 4] = [
    Jit::GLOBAL_SYMBOL_NAMES,
    Jit::GLOBAL_SYMBOL_ADDRESSES,
    Jit::REFERENCED_KERNEL_NAMES,
    Jit::REFERENCED_VARIABLE_NAMES,
];

/// The options of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// What goes to the host.
    pub sent: Vec<JitOption>,
    /// Where each option's value stands.
    places: Vec<(u32, Kept)>,
    info_log: Option<Kept>,
    error_log: Option<Kept>,
}

impl Options {
    /// Reads the two lists; NULL is INVALID_VALUE unless they are empty.
    pub(crate) fn read(count: u32, options: Memory<'_>, values: Memory<'_>) -> Result<Self, Error> {
        if count > OPTIONS_MAX {
            return Err(Error::INVALID_VALUE);
        }
        let (mut read, options) = (Self::default(), options.readable());
        for index in 0..count as usize {
            let place = values.behind(8 * index);
            let option = Jit(options.value::<_, Error>(4 * index)?);
            let at = place.behind(0).readable();
            let mut value: u64 = at.value::<_, Error>(0)?;
            match option {
                Jit::INFO_LOG_BUFFER | Jit::ERROR_LOG_BUFFER => {
                    let buffer = Some(at.follow::<Error>(0)?.keep());
                    let is_info = option == Jit::INFO_LOG_BUFFER;
                    *(if is_info { &mut read.info_log } else { &mut read.error_log }) = buffer;
                    continue;
                }
                Jit::INFO_LOG_BUFFER_SIZE_BYTES | Jit::ERROR_LOG_BUFFER_SIZE_BYTES => {
                    // An int in the place of a pointer: the upper half may be anything.
                    value = (value & u64::from(u32::MAX)).min(LOG_BYTES_MAX);
                }
                _ if LISTS.contains(&option) => return Err(Error::NOT_SUPPORTED),
                _ => {}
            }
            read.places.push((option.0, place.keep()));
            read.sent.push(JitOption { option: option.0, value });
        }
        Ok(read)
    }

    /// Gives the program what was said: logs, and values that the compiler answers.
    pub(crate) fn answer(&self, report: &JitReport) -> Result<(), Error> {
        let info = self.log(Jit::INFO_LOG_BUFFER_SIZE_BYTES, self.info_log, &report.info_log)?;
        let error =
            self.log(Jit::ERROR_LOG_BUFFER_SIZE_BYTES, self.error_log, &report.error_log)?;
        let answers = report.values.iter().map(|one| (one.option, one.value));
        for (option, value) in info.into_iter().chain(error).chain(answers) {
            for (_, place) in self.places.iter().filter(|(named, _)| *named == option) {
                place.memory().store::<u64, Error>(&[value])?;
            }
        }
        Error::new(report.result).map_or(Ok(()), Err)
    }

    /// Stores a log with its end mark, shortened to the buffer; returns its length as the value of
    /// the size's option, as CUDA documents.
    fn log(
        &self,
        size: Jit,
        buffer: Option<Kept>,
        log: &[u8],
    ) -> Result<Option<(u32, u64)>, Error> {
        let room = self.sent.iter().find(|one| one.option == size.0).map_or(0, |one| one.value);
        let (Some(buffer), Some(room)) = (buffer, (room as usize).checked_sub(1)) else {
            return Ok(None);
        };
        let kept = &log[..log.len().min(room)];
        let text: Vec<u8> = kept.iter().copied().chain([0]).collect();
        buffer.memory().store::<u8, Error>(&text)?;
        Ok(Some((size.0, kept.len() as u64)))
    }
}
