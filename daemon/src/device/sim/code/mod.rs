//! Code: modules, libraries, their functions and kernels, and the variables in device memory.

mod attributes;
mod launch;
mod links;
mod loaded;
pub(crate) mod occupancy;
mod resolve;
#[cfg(test)]
mod tests;

pub(crate) use attributes::{Settings, parameters};
pub(crate) use launch::Launch;
pub(crate) use links::Refused;
pub(crate) use loaded::Loaded;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda;

use super::Sim;
use super::handles::{Kind, Table};
use super::ptx::Entry;
use crate::image::{self, Image, ImageError, Kernel};

/// Most bytes of images that one client holds unpacked, and the same again in links: 2 GiB, several
/// times what the largest ggml backend has. A short image can unpack to a very long one.
const HELD_BYTES_MAX: u64 = 2 << 30;

/// Where each variable lies: its address and size by name.
type Places = BTreeMap<String, (u64, u64)>;

/// A module in a context.
#[derive(Debug)]
struct Module {
    context: u64,
    /// The library that it came of, and ends with.
    library: Option<u64>,
    loaded: Arc<Loaded>,
    variables: Places,
    /// The allocation that holds them all; 0 where there are none.
    memory: u64,
    /// Functions that were asked for, by place of the kernel.
    functions: BTreeMap<usize, u64>,
}

/// A library: what its modules are made of where they are needed.
#[derive(Debug)]
struct Library {
    loaded: Arc<Loaded>,
    kernels: BTreeMap<usize, u64>,
    /// By context.
    modules: BTreeMap<u64, u64>,
}

/// A function of a module.
#[derive(Debug)]
struct Function {
    module: u64,
    kernel: usize,
    settings: Settings,
}

/// A kernel of a library.
#[derive(Debug)]
struct LibraryKernel {
    library: u64,
    kernel: usize,
    /// By device.
    settings: BTreeMap<u32, Settings>,
}

/// All code of a client.
#[derive(Debug)]
pub(crate) struct Codes {
    modules: Table<Module>,
    libraries: Table<Library>,
    functions: Table<Function>,
    kernels: Table<LibraryKernel>,
    links: Table<links::Link>,
    /// Bytes that all links hold.
    linked_bytes: u64,
    /// Most bytes of what is loaded, and of links.
    held_bytes_max: u64,
    /// What is loaded, by the hash of its image.
    loaded: HashMap<[u8; 32], Weak<Loaded>>,
}

impl Codes {
    /// Starts without any.
    pub fn new() -> Self {
        Self {
            modules: Table::new(Kind::Module),
            libraries: Table::new(Kind::Library),
            functions: Table::new(Kind::Function),
            kernels: Table::new(Kind::Kernel),
            links: Table::new(Kind::Link),
            linked_bytes: 0,
            held_bytes_max: HELD_BYTES_MAX,
            loaded: HashMap::new(),
        }
    }
}

/// A function or kernel as it is launched: its kernel, and what was chosen for it.
#[derive(Debug)]
pub(crate) struct Resolved {
    loaded: Arc<Loaded>,
    kernel: usize,
    /// What was chosen.
    pub settings: Settings,
}

impl Resolved {
    /// What its image says of it.
    pub fn kernel(&self) -> &Kernel {
        &self.loaded.image.kernels[self.kernel]
    }

    /// What it does.
    fn entry(&self) -> Result<&Entry, Error> {
        self.loaded.entry(self.kernel)
    }
}

impl Sim {
    /// Reads an image that the store has; `None` if it has it not. One that is loaded already is
    /// loaded once.
    pub(super) fn read_image(
        &mut self,
        named: &cuda::Image,
    ) -> Result<Option<Result<Arc<Loaded>, ImageError>>, Error> {
        if !self.images.takes(named.bytes) {
            return Err(Error::OUT_OF_MEMORY);
        }
        let loaded = self.codes.loaded.get(&named.hash).and_then(Weak::upgrade);
        if let Some(loaded) = loaded.filter(|loaded| loaded.bytes == named.bytes) {
            return Ok(Some(Ok(loaded)));
        }
        self.bank.afford(named.bytes)?;
        let Some(bytes) = self.images.find(named) else { return Ok(None) };
        let image = match image::read(&bytes, self.profile.capability()) {
            Ok(image) => image,
            Err(error) => return Ok(Some(Err(error))),
        };
        let loaded = Loaded::new(image, named.bytes);
        self.codes.loaded.retain(|_, one| one.strong_count() > 0);
        let others = self.codes.loaded.values().filter_map(Weak::upgrade);
        let held = others.map(|one| one.weight).sum::<u64>() + loaded.weight;
        if held > self.codes.held_bytes_max {
            return Err(Error::OUT_OF_MEMORY);
        }
        self.codes.loaded.insert(named.hash, Arc::downgrade(&loaded));
        Ok(Some(Ok(loaded)))
    }

    /// Makes a module of an image in a context, with its variables.
    pub(super) fn load_module(
        &mut self,
        context: u64,
        library: Option<u64>,
        loaded: Arc<Loaded>,
    ) -> Result<u64, Error> {
        self.contexts.find(context)?;
        let (memory, variables) = self.place_variables(context, &loaded.image)?;
        let functions = BTreeMap::new();
        let module = Module { context, library, loaded, variables, memory, functions };
        self.codes.modules.insert(module).inspect_err(|_| {
            // It was allocated just above.
            let _ = self.free(context, memory);
        })
    }

    /// Allocates an image's variables in one piece and gives them their first contents.
    fn place_variables(&mut self, context: u64, image: &Image) -> Result<(u64, Places), Error> {
        let (mut end, mut places) = (0_u64, BTreeMap::new());
        for variable in &image.variables {
            let start = end
                .checked_next_multiple_of(variable.alignment.max(1))
                .ok_or(Error::OUT_OF_MEMORY)?;
            end = start.checked_add(variable.bytes.max(1)).ok_or(Error::OUT_OF_MEMORY)?;
            places.insert(variable.name.clone(), (start, variable.bytes));
        }
        if end == 0 {
            return Ok((0, places));
        }
        let memory = self.allocate(context, end)?;
        for (start, _) in places.values_mut() {
            *start += memory;
        }
        self.fill_variables(image, &places).inspect_err(|_| {
            // It was allocated just above.
            let _ = self.free(context, memory);
        })?;
        Ok((memory, places))
    }

    fn fill_variables(&mut self, image: &Image, places: &Places) -> Result<(), Error> {
        for variable in &image.variables {
            let (start, bytes) = places[&variable.name];
            if let Some(initial) = &variable.initial {
                let initial = &initial[..initial.len().min(bytes as usize)];
                let target = self.memory.write(start, initial.len() as u64)?;
                target.copy_from_slice(initial);
            }
            for pointer in &variable.pointers {
                // The address of a function means nothing here, and stays 0.
                let Some((of, _)) = places.get(&pointer.of) else { continue };
                if pointer.offset.checked_add(8).is_none_or(|end| end > bytes) {
                    return Err(Error::INVALID_IMAGE);
                }
                let address = of.wrapping_add(pointer.addend).to_le_bytes();
                self.memory.write(start + pointer.offset, 8)?.copy_from_slice(&address);
            }
        }
        Ok(())
    }

    /// Ends a module with its functions and variables.
    pub(super) fn unload_module(&mut self, handle: u64) -> Result<(), Error> {
        let module = self.codes.modules.remove(handle).ok_or(Error::INVALID_HANDLE)?;
        for function in module.functions.values() {
            self.codes.functions.remove(*function);
        }
        if let Some(library) = module.library.and_then(|of| self.codes.libraries.find_mut(of)) {
            library.modules.remove(&module.context);
        }
        if module.memory != 0 {
            // Gone with its context, if that ended first.
            let _ = self.free(module.context, module.memory);
        }
        Ok(())
    }

    /// Ends what belonged to a context that has ended; its memory went with it.
    pub(super) fn end_context_code(&mut self, context: u64) {
        for module in self.codes.modules.handles_of(|module| module.context == context) {
            // Cannot fail: it was there a moment ago.
            let _ = self.unload_module(module);
        }
    }

    /// Takes up a library.
    pub(super) fn load_library(&mut self, loaded: Arc<Loaded>) -> Result<u64, Error> {
        let (kernels, modules) = (BTreeMap::new(), BTreeMap::new());
        self.codes.libraries.insert(Library { loaded, kernels, modules })
    }

    /// Ends a library with its modules and kernels.
    pub(super) fn unload_library(&mut self, handle: u64) -> Result<(), Error> {
        let library = self.codes.libraries.remove(handle).ok_or(Error::INVALID_HANDLE)?;
        for module in library.modules.values() {
            self.unload_module(*module)?;
        }
        for kernel in library.kernels.values() {
            self.codes.kernels.remove(*kernel);
        }
        Ok(())
    }

    /// Finds a library as a module of a context, making it if need be.
    pub(super) fn module_of_library(&mut self, context: u64, handle: u64) -> Result<u64, Error> {
        let library = self.codes.libraries.find(handle).ok_or(Error::INVALID_HANDLE)?;
        if let Some(module) = library.modules.get(&context) {
            return Ok(*module);
        }
        let module = self.load_module(context, Some(handle), Arc::clone(&library.loaded))?;
        if let Some(library) = self.codes.libraries.find_mut(handle) {
            library.modules.insert(context, module);
        }
        Ok(module)
    }

    /// Finds a function of a module by the place of its kernel, making it if need be.
    fn function_at(&mut self, handle: u64, kernel: usize) -> Result<u64, Error> {
        let module = self.codes.modules.find(handle).ok_or(Error::INVALID_HANDLE)?;
        if let Some(function) = module.functions.get(&kernel) {
            return Ok(*function);
        }
        if kernel >= module.loaded.image.kernels.len() {
            return Err(Error::NOT_FOUND);
        }
        let settings = Settings::of(&module.loaded.image.kernels[kernel]);
        let function =
            self.codes.functions.insert(Function { module: handle, kernel, settings })?;
        if let Some(module) = self.codes.modules.find_mut(handle) {
            module.functions.insert(kernel, function);
        }
        Ok(function)
    }

    /// Finds a function of a module by name.
    pub(super) fn function_named(&mut self, module: u64, name: &[u8]) -> Result<u64, Error> {
        let found = self.codes.modules.find(module).ok_or(Error::INVALID_HANDLE)?;
        let kernel = found.loaded.find(name)?;
        self.function_at(module, kernel)
    }

    /// Finds a variable of a module by name: its address and size.
    pub(super) fn variable(&self, module: u64, name: &[u8]) -> Result<(u64, u64), Error> {
        let module = self.codes.modules.find(module).ok_or(Error::INVALID_HANDLE)?;
        let name = std::str::from_utf8(name).map_err(|_| Error::NOT_FOUND)?;
        module.variables.get(name).copied().ok_or(Error::NOT_FOUND)
    }

    /// Lists the functions of a module, from a place on; also says how many there are.
    pub(super) fn functions_from(
        &mut self,
        module: u64,
        first: u32,
        count_max: usize,
    ) -> Result<(u32, Vec<u64>), Error> {
        let found = self.codes.modules.find(module).ok_or(Error::INVALID_HANDLE)?;
        let count = found.loaded.image.kernels.len();
        let places = (first as usize..count).take(count_max);
        let handles: Result<_, _> = places.map(|kernel| self.function_at(module, kernel)).collect();
        Ok((count as u32, handles?))
    }

    /// Finds a kernel of a library by its place, making it if need be.
    fn kernel_at(&mut self, handle: u64, kernel: usize) -> Result<u64, Error> {
        let library = self.codes.libraries.find(handle).ok_or(Error::INVALID_HANDLE)?;
        if let Some(known) = library.kernels.get(&kernel) {
            return Ok(*known);
        }
        let entry = LibraryKernel { library: handle, kernel, settings: BTreeMap::new() };
        let made = self.codes.kernels.insert(entry)?;
        if let Some(library) = self.codes.libraries.find_mut(handle) {
            library.kernels.insert(kernel, made);
        }
        Ok(made)
    }

    /// Finds a kernel of a library by name.
    pub(super) fn kernel_named(&mut self, library: u64, name: &[u8]) -> Result<u64, Error> {
        let found = self.codes.libraries.find(library).ok_or(Error::INVALID_HANDLE)?;
        let kernel = found.loaded.find(name)?;
        self.kernel_at(library, kernel)
    }

    /// Lists the kernels of a library, from a place on; also says how many there are.
    pub(super) fn kernels_from(
        &mut self,
        library: u64,
        first: u32,
        count_max: usize,
    ) -> Result<(u32, Vec<u64>), Error> {
        let found = self.codes.libraries.find(library).ok_or(Error::INVALID_HANDLE)?;
        let count = found.loaded.image.kernels.len();
        let places = (first as usize..count).take(count_max);
        let handles: Result<_, _> = places.map(|kernel| self.kernel_at(library, kernel)).collect();
        Ok((count as u32, handles?))
    }

    /// Finds the function of a kernel in a context.
    pub(super) fn function_of_kernel(&mut self, context: u64, kernel: u64) -> Result<u64, Error> {
        let found = self.codes.kernels.find(kernel).ok_or(Error::INVALID_HANDLE)?;
        let (library, place) = (found.library, found.kernel);
        let module = self.module_of_library(context, library)?;
        self.function_at(module, place)
    }

    /// The library and the image's kernel behind a kernel's handle.
    pub(super) fn library_kernel(&self, handle: u64) -> Result<(u64, &Kernel), Error> {
        let found = self.codes.kernels.find(handle).ok_or(Error::INVALID_HANDLE)?;
        let library = self.codes.libraries.find(found.library).ok_or(Error::INVALID_HANDLE)?;
        Ok((found.library, &library.loaded.image.kernels[found.kernel]))
    }

    /// The module and its context behind a function's handle.
    pub(super) fn module_of_function(&self, handle: u64) -> Result<(u64, u64), Error> {
        let found = self.codes.functions.find(handle).ok_or(Error::INVALID_HANDLE)?;
        let module = self.codes.modules.find(found.module).ok_or(Error::INVALID_HANDLE)?;
        Ok((found.module, module.context))
    }
}
