//! The part of ggml's public C interface (`ggml-backend.h`) that lists devices.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use libloading::{Library, Symbol};

/// Is a handle of ggml to a device or to a backend.
type Handle = *mut c_void;

/// Describes one device as ggml does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Short name, such as `CUDA0`.
    pub name: String,
    /// What the backend calls it, for CUDA the name of the card.
    pub description: String,
    /// Whether it is the processor (`GGML_BACKEND_DEVICE_TYPE_CPU`, 0).
    pub is_cpu: bool,
    /// Free memory in bytes.
    pub free: usize,
    /// Total memory in bytes.
    pub total: usize,
}

/// Holds ggml's two libraries open.
#[derive(Debug)]
pub struct Ggml {
    base: Library,
    registry: Library,
}

impl Ggml {
    /// Opens `libggml-base.so` and `libggml.so` in `directory`, where Ollama keeps them.
    ///
    /// # Errors
    /// The loader's own words.
    pub fn open(directory: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: ggml's libraries run no code on loading that touches this program's state.
        let open = |name| unsafe { Library::new(directory.join(name)) };
        Ok(Self { base: open("libggml-base.so")?, registry: open("libggml.so")? })
    }

    /// Loads every backend as llama-server does: those beside the running program, then the one
    /// that `GGML_BACKEND_PATH` names.
    ///
    /// # Errors
    /// The loader's own words, if this is no ggml.
    pub fn load_all(&self) -> Result<(), libloading::Error> {
        // SAFETY: `void ggml_backend_load_all(void)` in ggml-backend.h.
        unsafe { self.registry.get::<unsafe extern "C" fn()>(b"ggml_backend_load_all")?() };
        Ok(())
    }

    /// Loads every backend of one directory, as Ollama's own runner does.
    ///
    /// # Errors
    /// The loader's own words, if this is no ggml.
    pub fn load_from(&self, directory: &Path) -> Result<(), libloading::Error> {
        let path = CString::new(directory.as_os_str().as_bytes()).unwrap_or_default();
        // SAFETY: `void ggml_backend_load_all_from_path(const char *)` in ggml-backend.h; the text
        // lives until the call returns.
        unsafe {
            let load = self
                .registry
                .get::<unsafe extern "C" fn(*const c_char)>(b"ggml_backend_load_all_from_path")?;
            load(path.as_ptr());
        }
        Ok(())
    }

    /// Lists the devices of all loaded backends, in ggml's order.
    ///
    /// # Errors
    /// The loader's own words, if this is no ggml.
    pub fn devices(&self) -> Result<Vec<Device>, libloading::Error> {
        // SAFETY: `size_t ggml_backend_dev_count(void)` in ggml-backend.h.
        let count: Symbol<unsafe extern "C" fn() -> usize> =
            unsafe { self.registry.get(b"ggml_backend_dev_count")? };
        // SAFETY: `ggml_backend_dev_t ggml_backend_dev_get(size_t)` in ggml-backend.h.
        let device: Symbol<unsafe extern "C" fn(usize) -> Handle> =
            unsafe { self.registry.get(b"ggml_backend_dev_get")? };
        // SAFETY: both take no pointer, and `index` is below the count that ggml just gave.
        let handles = unsafe { (0..count()).map(|index| device(index)).collect::<Vec<_>>() };
        handles.into_iter().map(|handle| self.describe(handle)).collect()
    }

    fn describe(&self, device: Handle) -> Result<Device, libloading::Error> {
        type Text = unsafe extern "C" fn(Handle) -> *const c_char;
        type Memory = unsafe extern "C" fn(Handle, *mut usize, *mut usize);
        type Kind = unsafe extern "C" fn(Handle) -> i32;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the four are declared with these types in ggml-backend.h; the device is ggml's
        // own; ggml's texts end with a zero and live as long as the backend, which stays loaded.
        unsafe {
            let text = |name: &[u8]| -> Result<String, libloading::Error> {
                let text = self.base.get::<Text>(name)?(device);
                Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
            };
            self.base.get::<Memory>(b"ggml_backend_dev_memory")?(device, &mut free, &mut total);
            Ok(Device {
                name: text(b"ggml_backend_dev_name")?,
                description: text(b"ggml_backend_dev_description")?,
                is_cpu: self.base.get::<Kind>(b"ggml_backend_dev_type")?(device) == 0,
                free,
                total,
            })
        }
    }
}
