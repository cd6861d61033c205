//! Drives a published ggml through its public C interface: lists devices, and proves that a buffer
//! on one of them keeps what was written to it.
//!
//! ```text
//! ggml-probe LIBRARY... [--backend LIBRARY] --list-devices | --roundtrip BYTES | --multiply M N K
//! ```
//!
//! The libraries are opened in the order given, and names are looked up in all of them: a ggml
//! that comes in parts (libggml-base.so, libggml.so) and one that comes in one piece both work. A
//! backend is loaded by ggml's own `ggml_backend_load`, as Ollama's llama-server does.
//!
//! One line for each device on standard output; what ggml says goes to standard error.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::process::ExitCode;

use clap::Parser;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY, Symbol};

#[derive(Parser)]
struct Arguments {
    /// The libraries of ggml, those that others need first.
    #[arg(required = true)]
    libraries: Vec<String>,
    /// A backend for ggml to load.
    #[arg(long)]
    backend: Option<String>,
    /// List the devices of all backends.
    #[arg(long)]
    list_devices: bool,
    /// Write this many bytes to a buffer on every device that is no CPU, and read them back.
    #[arg(long, value_name = "BYTES")]
    roundtrip: Option<usize>,
    /// Multiply matrices of these sizes, m n k, on every device that is no CPU.
    #[arg(long, num_args = 3, value_names = ["M", "N", "K"])]
    multiply: Option<Vec<usize>>,
}

/// What stopped the probe.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("opening {library}")]
    Open { library: String, source: libloading::Error },
    #[error("finding {name} in the libraries")]
    Missing { name: &'static str },
    #[error("loading the backend {path}")]
    Backend { path: String },
    #[error("looking for a device other than the CPU")]
    NoDevice,
    #[error("{what} on {device}")]
    Device { what: &'static str, device: String },
    #[error("reading back from {device}: byte {offset} differs")]
    Differs { device: String, offset: usize },
    #[error("multiplying on {device}: element {at} is {found}, not {expected}")]
    Wrong { device: String, at: usize, found: f32, expected: f64 },
}

type Handle = *mut c_void;

/// The opened libraries of one ggml.
struct Ggml(Vec<Library>);

/// A device as ggml describes it.
struct Device {
    handle: Handle,
    name: String,
    description: String,
    free: usize,
    total: usize,
    is_cpu: bool,
}

impl Ggml {
    fn open(names: &[String]) -> Result<Self, Error> {
        let open = |library: &String| {
            // SAFETY: the caller of this program names the libraries of a ggml, whose loading runs
            // the constructors of its authors and nothing that depends on our state.
            unsafe { Library::open(Some(library), RTLD_LAZY | RTLD_GLOBAL) }
                .map_err(|source| Error::Open { library: library.clone(), source })
        };
        names.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Looks a function up in all libraries.
    ///
    /// # Safety
    /// `F` is the function's type in ggml-backend.h or ggml.h.
    unsafe fn function<F>(&self, name: &'static str) -> Result<Symbol<F>, Error> {
        let found = self.0.iter().find_map(|library| {
            // SAFETY: the type is the caller's promise.
            unsafe { library.get(name.as_bytes()) }.ok()
        });
        found.ok_or(Error::Missing { name })
    }

    fn load_backend(&self, path: &str) -> Result<(), Error> {
        let failed = || Error::Backend { path: path.to_owned() };
        let text = CString::new(path).map_err(|_| failed())?;
        // SAFETY: ggml-backend.h declares it so; the text ends with a zero and outlives the call.
        let registry = unsafe {
            let load: Symbol<unsafe extern "C" fn(*const c_char) -> Handle> =
                self.function("ggml_backend_load")?;
            load(text.as_ptr())
        };
        if registry.is_null() { Err(failed()) } else { Ok(()) }
    }

    fn devices(&self) -> Result<Vec<Device>, Error> {
        // SAFETY: the types are those of ggml-backend.h, and an index below the count is valid.
        unsafe {
            let count: Symbol<unsafe extern "C" fn() -> usize> =
                self.function("ggml_backend_dev_count")?;
            let device: Symbol<unsafe extern "C" fn(usize) -> Handle> =
                self.function("ggml_backend_dev_get")?;
            (0..count()).map(|index| self.describe(device(index))).collect()
        }
    }

    /// # Safety
    /// `handle` is a device that this ggml gave.
    unsafe fn describe(&self, handle: Handle) -> Result<Device, Error> {
        type Text = unsafe extern "C" fn(Handle) -> *const c_char;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the types are those of ggml-backend.h; the device is the caller's promise; the
        // texts end with a zero and live as long as the library.
        unsafe {
            let text = |name| -> Result<String, Error> {
                let text = self.function::<Text>(name)?(handle);
                Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
            };
            let memory: Symbol<unsafe extern "C" fn(Handle, *mut usize, *mut usize)> =
                self.function("ggml_backend_dev_memory")?;
            let kind: Symbol<unsafe extern "C" fn(Handle) -> c_int> =
                self.function("ggml_backend_dev_type")?;
            memory(handle, &mut free, &mut total);
            Ok(Device {
                handle,
                name: text("ggml_backend_dev_name")?,
                description: text("ggml_backend_dev_description")?,
                free,
                total,
                is_cpu: kind(handle) == 0,
            })
        }
    }

    /// Multiplies two matrices on the device, and compares with plain loops.
    fn multiply(&self, device: &Device, [m, n, k]: [usize; 3]) -> Result<(), Error> {
        let failed = |what| Error::Device { what, device: device.name.clone() };
        let values = |count: usize, step: usize| -> Vec<f32> {
            (0..count).map(|at| ((at * step) % 31) as f32 / 16.0 - 1.0).collect()
        };
        let (a, b) = (values(m * k, 7), values(n * k, 11));
        let mut product = vec![0.0_f32; m * n];
        let meta = Context { mem_size: 4 << 20, mem_buffer: std::ptr::null_mut(), no_alloc: true };
        // SAFETY: the types are those of ggml.h, ggml-backend.h and ggml-alloc.h; each handle is
        // used between its creation and its release; the arrays are as long as the tensors.
        unsafe {
            type One = unsafe extern "C" fn(Handle) -> Handle;
            type Two = unsafe extern "C" fn(Handle, Handle) -> Handle;
            type End = unsafe extern "C" fn(Handle);
            let init: Symbol<unsafe extern "C" fn(Context) -> Handle> =
                self.function("ggml_init")?;
            let tensor: Symbol<unsafe extern "C" fn(Handle, c_int, i64, i64) -> Handle> =
                self.function("ggml_new_tensor_2d")?;
            let multiply: Symbol<unsafe extern "C" fn(Handle, Handle, Handle) -> Handle> =
                self.function("ggml_mul_mat")?;
            let expand: Symbol<unsafe extern "C" fn(Handle, Handle)> =
                self.function("ggml_build_forward_expand")?;
            let write: Symbol<unsafe extern "C" fn(Handle, *const c_void, usize, usize)> =
                self.function("ggml_backend_tensor_set")?;
            let read: Symbol<unsafe extern "C" fn(Handle, *mut c_void, usize, usize)> =
                self.function("ggml_backend_tensor_get")?;
            let compute: Symbol<unsafe extern "C" fn(Handle, Handle) -> c_int> =
                self.function("ggml_backend_graph_compute")?;
            let context = init(meta);
            let of_a = tensor(context, GGML_TYPE_F32, k as i64, m as i64);
            let of_b = tensor(context, GGML_TYPE_F32, k as i64, n as i64);
            let result = multiply(context, of_a, of_b);
            let graph = self.function::<One>("ggml_new_graph")?(context);
            expand(graph, result);
            let backend =
                self.function::<Two>("ggml_backend_dev_init")?(device.handle, std::ptr::null_mut());
            if backend.is_null() {
                return Err(failed("opening a backend"));
            }
            let buffer = self.function::<Two>("ggml_backend_alloc_ctx_tensors")?(context, backend);
            if buffer.is_null() {
                return Err(failed("allocating tensors"));
            }
            write(of_a, a.as_ptr().cast(), 0, size_of_val(&a[..]));
            write(of_b, b.as_ptr().cast(), 0, size_of_val(&b[..]));
            if compute(backend, graph) != 0 {
                return Err(failed("computing a graph"));
            }
            read(result, product.as_mut_ptr().cast(), 0, size_of_val(&product[..]));
            self.function::<End>("ggml_backend_buffer_free")?(buffer);
            self.function::<End>("ggml_backend_free")?(backend);
            self.function::<End>("ggml_free")?(context);
        }
        let expected = |at: usize| -> f64 {
            let (column, row) = (at / m * k, at % m * k);
            (0..k).map(|inner| f64::from(a[row + inner]) * f64::from(b[column + inner])).sum()
        };
        // TF32 keeps 11 bits, and ggml asks for it.
        let near = |at: usize| (f64::from(product[at]) - expected(at)).abs() <= k as f64 / 512.0;
        match (0..product.len()).find(|at| !near(*at)) {
            Some(at) => Err(Error::Wrong {
                device: device.name.clone(),
                at,
                found: product[at],
                expected: expected(at),
            }),
            None => Ok(()),
        }
    }

    /// Writes a pattern to a tensor on the device, reads it back and compares every byte.
    fn roundtrip(&self, device: &Device, bytes: usize) -> Result<(), Error> {
        let failed = |what| Error::Device { what, device: device.name.clone() };
        let pattern: Vec<u8> =
            (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut back = vec![0_u8; bytes];
        let meta =
            Context { mem_size: 64 * 1024, mem_buffer: std::ptr::null_mut(), no_alloc: true };
        // SAFETY: the types are those of ggml.h and ggml-backend.h; each handle is used between its
        // creation, which was checked, and its release; both arrays hold `bytes` bytes.
        unsafe {
            let init: Symbol<unsafe extern "C" fn(Context) -> Handle> =
                self.function("ggml_init")?;
            let tensor_1d: Symbol<unsafe extern "C" fn(Handle, c_int, i64) -> Handle> =
                self.function("ggml_new_tensor_1d")?;
            let type_of: Symbol<unsafe extern "C" fn(Handle) -> Handle> =
                self.function("ggml_backend_dev_buffer_type")?;
            let allocate: Symbol<unsafe extern "C" fn(Handle, usize) -> Handle> =
                self.function("ggml_backend_buft_alloc_buffer")?;
            let base: Symbol<unsafe extern "C" fn(Handle) -> *mut c_void> =
                self.function("ggml_backend_buffer_get_base")?;
            let place: Symbol<unsafe extern "C" fn(Handle, Handle, *mut c_void) -> c_int> =
                self.function("ggml_backend_tensor_alloc")?;
            let write: Symbol<unsafe extern "C" fn(Handle, *const c_void, usize, usize)> =
                self.function("ggml_backend_tensor_set")?;
            let read: Symbol<unsafe extern "C" fn(Handle, *mut c_void, usize, usize)> =
                self.function("ggml_backend_tensor_get")?;
            let release: Symbol<unsafe extern "C" fn(Handle)> =
                self.function("ggml_backend_buffer_free")?;
            let end: Symbol<unsafe extern "C" fn(Handle)> = self.function("ggml_free")?;

            let context = init(meta);
            let tensor = tensor_1d(context, GGML_TYPE_I8, bytes as i64);
            // ggml's CUDA buffers want room for the padding of the last row.
            let buffer = allocate(type_of(device.handle), bytes + 4096);
            if buffer.is_null() {
                return Err(failed("allocating a buffer"));
            }
            if place(buffer, tensor, base(buffer)) != 0 {
                return Err(failed("placing a tensor in its buffer"));
            }
            write(tensor, pattern.as_ptr().cast(), 0, bytes);
            read(tensor, back.as_mut_ptr().cast(), 0, bytes);
            release(buffer);
            end(context);
        }
        match pattern.iter().zip(&back).position(|(wrote, got)| wrote != got) {
            Some(offset) => Err(Error::Differs { device: device.name.clone(), offset }),
            None => Ok(()),
        }
    }
}

/// `struct ggml_init_params` of ggml.h.
#[repr(C)]
struct Context {
    mem_size: usize,
    mem_buffer: *mut c_void,
    no_alloc: bool,
}

/// `GGML_TYPE_I8` of ggml.h: a tensor of single bytes, so that a size in bytes is its length.
const GGML_TYPE_I8: c_int = 24;

/// `GGML_TYPE_F32` of ggml.h.
const GGML_TYPE_F32: c_int = 0;

fn probe(arguments: &Arguments) -> Result<(), Error> {
    let ggml = Ggml::open(&arguments.libraries)?;
    if let Some(backend) = &arguments.backend {
        ggml.load_backend(backend)?;
    }
    let devices = ggml.devices()?;
    if arguments.list_devices {
        println!("Available devices:");
        for device in &devices {
            println!(
                "  {}: {} ({} MiB, {} MiB free)",
                device.name,
                device.description,
                device.total >> 20,
                device.free >> 20
            );
        }
    }
    let is_asked = arguments.roundtrip.is_some() || arguments.multiply.is_some();
    if is_asked && devices.iter().all(|device| device.is_cpu) {
        return Err(Error::NoDevice);
    }
    if let Some(&[m, n, k]) = arguments.multiply.as_deref() {
        for device in devices.iter().filter(|device| !device.is_cpu) {
            ggml.multiply(device, [m, n, k])?;
            println!("  {}: the product of {m}x{k} and {k}x{n} is right", device.name);
        }
    }
    if let Some(bytes) = arguments.roundtrip {
        for device in devices.iter().filter(|device| !device.is_cpu) {
            ggml.roundtrip(device, bytes)?;
            println!("  {}: {bytes} bytes written and read back equal", device.name);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match probe(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ggml-probe: {error}");
            if let Some(source) = std::error::Error::source(&error) {
                eprintln!("  because: {source}");
            }
            ExitCode::FAILURE
        }
    }
}
