//! The CUDA driver library, found as any client finds it, and our table in it.
//!
//! `libcuda.so.1` is opened at the first call that needs it and never closed. The only place that
//! calls into it.

use std::ptr;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use vgpu_abi::cublas::Error;
use vgpu_abi::cuda::{
    CUDA_MEMCPY2D as Copy2D, CUarray, CUdeviceptr, CUmemorytype, Error as DriverError,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::relay::{REFUSED, Table, UUID, VERSION};
use vgpu_guest::wire::{Payload, Request};
use vgpu_guest::{Fault as _, log};

/// The file that every CUDA client asks for by this name.
const LIBRARY: &str = "libcuda.so.1";

/// Longest answer to a message of cuBLAS; the longest holds one result of 16 bytes.
const ANSWER_BYTES_MAX: usize = 64;

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// Rows of bytes that lie some way apart.
#[derive(Debug)]
pub(crate) struct Rows<'call> {
    /// Where the first lies.
    pub memory: Memory<'call>,
    /// How far apart they begin.
    pub pitch: usize,
    /// Whether they lie on the device.
    pub on_device: bool,
}

impl Rows<'_> {
    /// Says where they lie: the kind of memory, and the address in the program or on the device.
    fn place(&self) -> (CUmemorytype, usize, CUdeviceptr) {
        let address = self.memory.address();
        if self.on_device {
            (CUmemorytype::DEVICE, 0, address)
        } else {
            (CUmemorytype::HOST, address as usize, 0)
        }
    }
}

/// Describes a copy as the driver API wants it (CUDA Driver API, `cuMemcpy2D`).
fn describe(target: &Rows<'_>, source: &Rows<'_>, width_bytes: usize, height: usize) -> Copy2D {
    let (source_kind, source_host, source_device) = source.place();
    let (target_kind, target_host, target_device) = target.place();
    Copy2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: source_kind,
        srcHost: ptr::with_exposed_provenance(source_host),
        srcDevice: source_device,
        srcArray: CUarray::default(),
        srcPitch: source.pitch,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: target_kind,
        dstHost: ptr::with_exposed_provenance_mut(target_host),
        dstDevice: target_device,
        dstArray: CUarray::default(),
        dstPitch: target.pitch,
        WidthInBytes: width_bytes,
        Height: height,
    }
}

struct Driver {
    table: &'static Table,
    retain: unsafe extern "C" fn(&mut u64, i32) -> u32,
    make_current: unsafe extern "C" fn(u64) -> u32,
    copy: unsafe extern "C" fn(&Copy2D) -> u32,
    copy_async: unsafe extern "C" fn(&Copy2D, u64) -> u32,
    _library: Library,
}

/// Says why a driver cannot be used.
enum Unusable {
    Missing(libloading::Error),
    Strange,
    OtherVersion,
    /// libcuda has said why.
    Failed,
}

impl Driver {
    fn open() -> Result<Self, Unusable> {
        // SAFETY: opening runs the constructors of the file that the machine's owner installed
        // under the driver's name, as for every CUDA client.
        let library = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(Unusable::Missing)?;
        macro_rules! entry {
            ($symbol:literal as $kind:ty) => {{
                // SAFETY: the type is the documented prototype of the symbol.
                let found = unsafe { library.get::<$kind>($symbol) };
                *found.map_err(Unusable::Missing)?
            }};
        }
        let find_table = entry!(
            b"cuGetExportTable" as unsafe extern "C" fn(&mut *const Table, &[u8; 16]) -> u32
        );
        let mut table = ptr::null();
        // SAFETY: a place for the table, and a UUID.
        let code = unsafe { find_table(&mut table, &UUID) };
        // SAFETY: only our own libcuda answers this UUID with success; the table lives as long as
        // the library, which is never closed, and its first two fields never change.
        let Some(table) = (if code == 0 { unsafe { table.as_ref() } } else { None }) else {
            return Err(Unusable::Strange);
        };
        if (table.version, table.bytes) != (VERSION, size_of::<Table>() as u32) {
            return Err(Unusable::OtherVersion);
        }
        let init = entry!(b"cuInit" as unsafe extern "C" fn(u32) -> u32);
        // SAFETY: takes flags, of which there are none.
        match unsafe { init(0) } {
            0 => {}
            _ => return Err(Unusable::Failed),
        }
        Ok(Self {
            table,
            retain: entry!(
                b"cuDevicePrimaryCtxRetain" as unsafe extern "C" fn(&mut u64, i32) -> u32
            ),
            make_current: entry!(b"cuCtxSetCurrent" as unsafe extern "C" fn(u64) -> u32),
            copy: entry!(b"cuMemcpy2DUnaligned_v2" as unsafe extern "C" fn(&Copy2D) -> u32),
            copy_async: entry!(b"cuMemcpy2DAsync_v2" as unsafe extern "C" fn(&Copy2D, u64) -> u32),
            _library: library,
        })
    }

    /// Calls the driver; where the thread has no context yet, the first device's primary one
    /// becomes its own, as the runtime does for cuBLAS (CUDA C++ Programming Guide,
    /// "Initialization").
    fn asked(&self, ask: impl Fn() -> u32) -> Result<(), Error> {
        let mut code = ask();
        if code == DriverError::INVALID_CONTEXT.code() {
            let mut context = 0;
            // SAFETY: a place for the context; device 0 has the handle 0.
            code = unsafe { (self.retain)(&mut context, 0) };
            if code == 0 {
                // SAFETY: takes a handle, which the driver checks.
                code = unsafe { (self.make_current)(context) };
            }
            if code == 0 {
                code = ask();
            }
        }
        if code == 0 { Ok(()) } else { Err(fault(code)) }
    }
}

/// Asks the host and waits for the answer.
pub(crate) fn call<R: Request>(request: &R) -> Result<R::Reply, Error> {
    let driver = driver()?;
    let fields = request.to_payload();
    let mut answer = [0; ANSWER_BYTES_MAX];
    let mut bytes = 0;
    let place = (answer.as_mut_ptr(), &raw mut bytes);
    driver.asked(|| {
        // SAFETY: relay::Call's contract: places of the lengths given, for this call.
        unsafe {
            let (fields, count) = (fields.as_ptr(), fields.len());
            (driver.table.call)(R::OPCODE, fields, count, place.0, ANSWER_BYTES_MAX, place.1)
        }
    })?;
    let answer = answer.get(..bytes).ok_or(Error::INTERNAL_ERROR)?;
    R::Reply::from_payload(answer).map_err(|_| Error::INTERNAL_ERROR)
}

/// Asks the host without waiting.
pub(crate) fn post<R: Request>(request: &R) -> Result<(), Error> {
    let driver = driver()?;
    let fields = request.to_payload();
    driver.asked(|| {
        // SAFETY: relay::Post's contract: a place of the length given, for this call.
        unsafe { (driver.table.post)(R::OPCODE, fields.as_ptr(), fields.len()) }
    })
}

/// Copies rows between the program and the device, in a stream or at once.
pub(crate) fn copy(
    target: &Rows<'_>,
    source: &Rows<'_>,
    width_bytes: usize,
    height: usize,
    stream: Option<u64>,
) -> Result<(), Error> {
    let driver = driver()?;
    let copy = describe(target, source, width_bytes, height);
    driver.asked(|| match stream {
        // SAFETY: the description is whole; its addresses carry the promise of the program.
        None => unsafe { (driver.copy)(&copy) },
        // SAFETY: as above; the driver checks the stream.
        Some(stream) => unsafe { (driver.copy_async)(&copy, stream) },
    })
}

/// Returns the driver; one that is missing now may be there at the next call, so only success is
/// remembered.
fn driver() -> Result<&'static Driver, Error> {
    static SAID: log::Once = log::Once::new();
    if let Some(driver) = DRIVER.get() {
        return Ok(driver);
    }
    match Driver::open() {
        Ok(opened) => Ok(DRIVER.get_or_init(|| opened)),
        Err(unusable) => {
            match unusable {
                Unusable::Missing(error) => {
                    let cause = std::error::Error::source(&error);
                    let cause = cause.map_or_else(|| error.to_string(), |cause| cause.to_string());
                    SAID.warn(format_args!(
                        "cuBLAS finds no CUDA driver ({cause}): install vgpu-ollama whole"
                    ));
                }
                Unusable::Strange => SAID.warn(format_args!(
                    "this cuBLAS belongs to vgpu's libcuda, but another driver is in this \
                     process: let both be found, or neither (vgpu-install verify shows which are)"
                )),
                Unusable::OtherVersion => SAID.warn(format_args!(
                    "cuBLAS and libcuda are of different versions of vgpu-ollama: install one"
                )),
                // libcuda has said why.
                Unusable::Failed => {}
            }
            Err(Error::NOT_INITIALIZED)
        }
    }
}

/// Names a failure in cuBLAS's numbers.
fn fault(code: u32) -> Error {
    if code & REFUSED != 0 {
        let error = Error::from_code(code & !REFUSED);
        // A code of the driver: the context cannot be used any more.
        return if error.name().is_some() { error } else { Error::EXECUTION_FAILED };
    }
    match DriverError::new(code) {
        Some(DriverError::OUT_OF_MEMORY) => Error::ALLOC_FAILED,
        Some(
            DriverError::NO_DEVICE | DriverError::NOT_INITIALIZED | DriverError::INVALID_CONTEXT,
        ) => Error::NOT_INITIALIZED,
        Some(DriverError::INVALID_VALUE) => Error::INVALID_VALUE,
        Some(DriverError::NOT_SUPPORTED) => Error::NOT_SUPPORTED,
        _ => Error::EXECUTION_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_named_in_the_numbers_of_cublas() {
        for (code, expected) in [
            (REFUSED | 15, Error::NOT_SUPPORTED),
            (REFUSED | 1, Error::NOT_INITIALIZED),
            (REFUSED | 700, Error::EXECUTION_FAILED),
            (2, Error::ALLOC_FAILED),
            (100, Error::NOT_INITIALIZED),
            (700, Error::EXECUTION_FAILED),
        ] {
            assert_eq!(fault(code), expected, "{code:#x}");
        }
    }
}
