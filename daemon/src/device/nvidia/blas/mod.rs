//! cuBLAS over NVIDIA's libcublas, which is loaded at a client's first use of it.
//!
//! Each message is the call of the function that the guest's program called, in its form for
//! integers of 64 bits; before it the handle is set as the message says, where that differs.

mod entries;
mod names;
mod place;
mod scratch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vgpu_abi::cublas::{Error, cublasPointerMode_t};
use vgpu_abi::cuda::Error as DriverError;
use vgpu_link::wire::cublas::{
    AddMatrices, AddOuter, AddSquare, CreateHandle, CreateHandleReply, DestroyHandle, Multiply,
    MultiplySymmetric, MultiplyTriangular, MultiplyVector, Reduce, ReduceReply, ReduceToDevice,
    Scalar, ScaleLines, Setting, SolveTriangular, Vectors,
};

use super::Nvidia;
use super::foreign::{Bytes, Pointer};
use crate::device::Copied;
use crate::dispatch::{BlasCalls, Call, Wait};
use crate::error::DaemonError;
use crate::log;
use entries::{Entries, Word};
use scratch::{PLACE_BYTES, Place, Scratch};

/// The kind of handle, in its top byte, as with the simulated device.
const KIND: u64 = 0x40 << 56;

/// cuBLAS, as one client has it.
#[derive(Debug, Default)]
pub(super) struct Blas {
    /// Where it is, if the configuration says so.
    directory: Option<PathBuf>,
    library: Option<Entries>,
    handles: BTreeMap<u64, Handle>,
    created: u64,
    scratch: Scratch,
    /// Whether the log names what is missing already.
    is_told: bool,
}

#[derive(Debug)]
struct Handle {
    pointer: Pointer,
    context: u64,
    /// What it was set to last.
    applied: Applied,
}

/// What cuBLAS keeps with a handle; the defaults are those of a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Applied {
    stream: u64,
    workspace: (u64, u64),
    math_mode: u32,
    atomics_mode: u32,
    sm_count_target: i32,
    pointer_mode: u32,
}

impl Blas {
    /// Prepares; nothing is loaded yet.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, ..Self::default() }
    }

    /// Forgets the handles of a context that has ended.
    pub fn end_context(&mut self, context: u64) {
        self.handles.retain(|_, handle| handle.context != context);
        self.scratch.end_context(context);
    }

    /// Loads the library: the guest's major, else the other one.
    fn load(&mut self, major: u32, driver_version: i32) -> Result<&Entries, Error> {
        if self.library.is_none() {
            let opened = place::find(major, driver_version, self.directory.as_deref());
            let opened = opened.and_then(|path| open(&path));
            if let Err(error) = &opened
                && !std::mem::replace(&mut self.is_told, true)
            {
                log::event(
                    "no-cublas",
                    &[
                        ("because", &log::chain(error)),
                        ("try", &"install libcublas12 (Debian), libcublas-12-9 or -13-0 (NVIDIA)"),
                        ("or", &"name its directory by cublas_dir in host.toml"),
                    ],
                );
            }
            self.library = opened.ok();
        }
        self.library.as_ref().ok_or(Error::NOT_INITIALIZED)
    }
}

/// Opens the library, after the one that it needs and that lies beside it.
fn open(path: &Path) -> Result<Entries, DaemonError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let beside = path.with_file_name(name.replace("libcublas.", "libcublasLt."));
    if beside.exists() {
        super::foreign::Library::open(&beside)?.keep();
    }
    Entries::open(path)
}

/// A factor in memory of ours, or where it lies on the device.
struct Factor {
    device: u64,
    value: Bytes<16>,
}

impl Factor {
    fn of(scalar: &Scalar) -> Self {
        Self { device: scalar.device, value: Bytes(scalar.value) }
    }

    fn word(&self) -> Word<'_> {
        if self.device == 0 { Word::Factor(&self.value) } else { self.device.into() }
    }
}

impl Nvidia {
    /// Sets a handle as a message says, and asks.
    fn operate<T>(
        &mut self,
        call: &Call,
        setting: &Setting,
        is_on_device: bool,
        ask: impl FnOnce(&Entries, Word<'static>) -> Result<T, Error>,
    ) -> Result<T, DriverError> {
        self.enter(call)?;
        let stream = self.stream(call, setting.stream)?.0 as u64;
        let Blas { library, handles, .. } = &mut self.blas;
        let handle = handles.get_mut(&setting.handle).ok_or(DriverError::INVALID_HANDLE)?;
        let library = library.as_ref().ok_or(DriverError::INVALID_HANDLE)?;
        let pointer_mode =
            if is_on_device { cublasPointerMode_t::DEVICE } else { cublasPointerMode_t::HOST };
        let wanted = Applied {
            stream,
            workspace: (setting.workspace, setting.workspace_bytes),
            math_mode: setting.math_mode,
            atomics_mode: setting.atomics_mode,
            sm_count_target: setting.sm_count_target,
            pointer_mode: pointer_mode.0,
        };
        handle.apply(library, wanted).map_err(posted)?;
        ask(library, Word::Number(handle.pointer.0 as u64)).map_err(posted)
    }

    /// The same for an operation that is a function with factors and arguments.
    fn run(
        &mut self,
        call: &Call,
        setting: &Setting,
        factors: &[&Scalar],
        arguments: impl FnOnce(&[Word<'_>]) -> Result<names::Function, Error>,
    ) -> Result<(), DriverError> {
        let is_on_device = factors.iter().any(|scalar| scalar.device != 0);
        if is_on_device && factors.iter().any(|scalar| scalar.device == 0) {
            // One pointer mode is for all of them.
            return Err(DriverError::INVALID_VALUE);
        }
        let factors: Vec<Factor> = factors.iter().map(|scalar| Factor::of(scalar)).collect();
        self.operate(call, setting, is_on_device, |library, handle| {
            let words: Vec<Word<'_>> = factors.iter().map(Factor::word).collect();
            let function = arguments(&words)?;
            let all: Vec<Word<'_>> =
                std::iter::once(handle).chain(function.words(&words)).collect();
            library.ask(&function.name, &all)
        })
    }
}

impl Nvidia {
    /// Has a number made of vectors written to a place on the device.
    fn reduce_at(
        &mut self,
        call: &Call,
        setting: &Setting,
        asked: names::Number,
        place: u64,
    ) -> Result<(), DriverError> {
        self.operate(call, setting, true, |library, handle| {
            let (name, before, after) = asked.function()?;
            let words = [&[handle], &before[..], &[place.into()], &after[..]].concat();
            library.ask(&name, &words)
        })
    }

    /// Has a number made of vectors brought here: by way of the device, beside this thread, or
    /// where there is no place for it by cuBLAS, which waits for the stream.
    fn number(
        &mut self,
        call: &Call,
        setting: &Setting,
        asked: names::Number,
    ) -> Result<Wait<ReduceReply, Error>, DriverError> {
        self.enter(call)?;
        self.check_not_captured(call, setting.stream)?;
        let Some(place) = self.place(call)? else {
            let value = self.operate(call, setting, false, |library, handle| {
                let (name, before, after) = asked.function()?;
                library.number(&name, &[&[handle], &before[..]].concat(), &after)
            })?;
            return Ok(Wait::Done(ReduceReply { value }));
        };
        let stream = self.stream(call, setting.stream)?;
        // What a shorter number leaves of the place is zero.
        self.driver.memset_d8_async(place.address, 0, PLACE_BYTES as usize, stream)?;
        let begun = self.reduce_at(call, setting, asked, place.address);
        let staged = begun
            .and_then(|()| self.fetch_behind(call, stream, place.address, PLACE_BYTES))
            .inspect_err(|_| {
                // The zeros must not come to the place of another number. The first error counts.
                let _ = self.driver.stream_synchronize(stream);
            })?;
        let waited = self.later(move |_, _| {
            // In use until the number has come.
            let _place = place;
            let mut value = Vec::new();
            staged.wait()?;
            staged.append_to(&mut value);
            let value = value.try_into().map_err(|_| DriverError::UNKNOWN)?;
            Ok(ReduceReply { value })
        });
        Ok(waited.map_err(answered))
    }

    /// Finds a place for a number on the device; `None` where there is none.
    fn place(&mut self, call: &Call) -> Result<Option<Place>, DriverError> {
        let driver = &self.driver;
        let taken = self.blas.scratch.take(call.context, |bytes| {
            let mut address = 0;
            driver.mem_alloc_v2(&mut address, bytes as usize)?;
            Ok(address)
        });
        match taken {
            Err(DriverError::OUT_OF_MEMORY) => Ok(None),
            taken => taken,
        }
    }
}

impl Handle {
    /// Changes what differs from what was set last.
    fn apply(&mut self, library: &Entries, wanted: Applied) -> Result<(), Error> {
        let handle = Word::Number(self.pointer.0 as u64);
        let applied = &mut self.applied;
        // A new stream takes the workspace back, and nothing else does.
        let is_given_back = wanted.workspace == (0, 0) && applied.workspace != (0, 0);
        if applied.stream != wanted.stream || is_given_back {
            library.ask("cublasSetStream_v2", &[handle, wanted.stream.into()])?;
            (applied.stream, applied.workspace) = (wanted.stream, (0, 0));
        }
        if applied.workspace != wanted.workspace {
            let (address, bytes) = wanted.workspace;
            library.ask("cublasSetWorkspace_v2", &[handle, address.into(), bytes.into()])?;
            applied.workspace = wanted.workspace;
        }
        if applied.math_mode != wanted.math_mode {
            library.ask("cublasSetMathMode", &[handle, wanted.math_mode.into()])?;
            applied.math_mode = wanted.math_mode;
        }
        if applied.atomics_mode != wanted.atomics_mode {
            library.ask("cublasSetAtomicsMode", &[handle, wanted.atomics_mode.into()])?;
            applied.atomics_mode = wanted.atomics_mode;
        }
        if applied.sm_count_target != wanted.sm_count_target {
            let count = i64::from(wanted.sm_count_target);
            library.ask("cublasSetSmCountTarget", &[handle, count.into()])?;
            applied.sm_count_target = wanted.sm_count_target;
        }
        if applied.pointer_mode != wanted.pointer_mode {
            library.ask("cublasSetPointerMode_v2", &[handle, wanted.pointer_mode.into()])?;
            applied.pointer_mode = wanted.pointer_mode;
        }
        Ok(())
    }
}

/// Names a failure in the driver API's numbers, for it is the one that reports it.
fn posted(error: Error) -> DriverError {
    match error {
        Error::NOT_INITIALIZED => DriverError::INVALID_HANDLE,
        Error::ALLOC_FAILED => DriverError::OUT_OF_MEMORY,
        Error::INVALID_VALUE => DriverError::INVALID_VALUE,
        Error::ARCH_MISMATCH | Error::NOT_SUPPORTED => DriverError::NOT_SUPPORTED,
        Error::EXECUTION_FAILED | Error::MAPPING_ERROR => DriverError::LAUNCH_FAILED,
        _ => DriverError::UNKNOWN,
    }
}

/// Names a failure in cuBLAS's numbers, for a call that is answered.
fn answered(error: DriverError) -> Error {
    match error {
        DriverError::INVALID_HANDLE | DriverError::INVALID_CONTEXT => Error::NOT_INITIALIZED,
        DriverError::OUT_OF_MEMORY => Error::ALLOC_FAILED,
        DriverError::INVALID_VALUE => Error::INVALID_VALUE,
        DriverError::NOT_SUPPORTED => Error::NOT_SUPPORTED,
        DriverError::UNKNOWN => Error::INTERNAL_ERROR,
        _ => Error::EXECUTION_FAILED,
    }
}

impl BlasCalls for Nvidia {
    fn create_handle(&mut self, call: &Call, r: CreateHandle) -> Result<CreateHandleReply, Error> {
        self.enter(call).map_err(|_| Error::NOT_INITIALIZED)?;
        let pointer = self.blas.load(r.major, self.snapshot.driver_version)?.create()?;
        self.blas.created += 1;
        let handle = KIND | self.blas.created;
        let kept = Handle { pointer, context: call.context, applied: Applied::default() };
        self.blas.handles.insert(handle, kept);
        Ok(CreateHandleReply { handle })
    }

    fn destroy_handle(&mut self, call: &Call, r: DestroyHandle) -> Result<(), DriverError> {
        self.enter(call)?;
        let handle = self.blas.handles.remove(&r.handle).ok_or(DriverError::INVALID_HANDLE)?;
        let library = self.blas.library.as_ref().ok_or(DriverError::INVALID_HANDLE)?;
        let pointer = Word::Number(handle.pointer.0 as u64);
        library.ask("cublasDestroy_v2", &[pointer]).map_err(posted)
    }

    fn multiply(&mut self, call: &Call, r: Multiply) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha, &r.beta], |_| names::multiply(&r))
    }

    fn vectors(&mut self, call: &Call, r: Vectors) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha], |_| names::vectors(&r))
    }

    fn reduce_to_device(&mut self, call: &Call, r: ReduceToDevice) -> Result<(), DriverError> {
        let (setting, place) = (r.setting.clone(), r.result);
        self.reduce_at(call, &setting, names::Number::from(r), place)
    }

    fn reduce(&mut self, call: &Call, r: Reduce) -> Result<Wait<ReduceReply, Error>, Error> {
        let setting = r.setting.clone();
        self.number(call, &setting, names::Number::from(r)).map_err(answered)
    }

    fn multiply_vector(&mut self, call: &Call, r: MultiplyVector) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha, &r.beta], |_| names::multiply_vector(&r))
    }

    fn add_outer(&mut self, call: &Call, r: AddOuter) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha], |_| names::add_outer(&r))
    }

    fn add_matrices(&mut self, call: &Call, r: AddMatrices) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha, &r.beta], |_| names::add_matrices(&r))
    }

    fn multiply_symmetric(&mut self, call: &Call, r: MultiplySymmetric) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha, &r.beta], |_| names::multiply_symmetric(&r))
    }

    fn add_square(&mut self, call: &Call, r: AddSquare) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha, &r.beta], |_| names::add_square(&r))
    }

    fn solve_triangular(&mut self, call: &Call, r: SolveTriangular) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha], |_| names::solve_triangular(&r))
    }

    fn multiply_triangular(
        &mut self,
        call: &Call,
        r: MultiplyTriangular,
    ) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[&r.alpha], |_| names::multiply_triangular(&r))
    }

    fn scale_lines(&mut self, call: &Call, r: ScaleLines) -> Result<(), DriverError> {
        self.run(call, &r.setting, &[], |_| names::scale_lines(&r))
    }
}
