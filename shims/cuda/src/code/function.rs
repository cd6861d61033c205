//! What is known of one function, or of one kernel.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUdevice, CUfunction_attribute as Attribute, Error};
use vgpu_guest::wire::cuda::{
    FunctionAttribute, FunctionDescribe, FunctionFacts, KernelAttributes, KernelDescribe, Parameter,
};

use crate::{code, contexts, devices, remote};

/// A size of block and its dynamic shared memory, with the flags of the question.
pub(crate) type Shape = (i32, u64, u32);

/// A function, or a kernel that becomes one where it is used.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its name; programs keep pointers to it until its module is unloaded.
    pub name: CString,
    /// Where each parameter lies among the packed arguments.
    pub parameters: Vec<Parameter>,
    /// The context of a function; none for a kernel.
    pub context: Option<u64>,
    /// The module that it was looked up in.
    pub module: Option<u64>,
    /// The library that it came of.
    pub library: Option<u64>,
    attributes: Mutex<HashMap<CUdevice, Arc<Attributes>>>,
    /// How many blocks a multiprocessor holds, as far as asked.
    occupancy: Mutex<HashMap<Shape, i32>>,
    /// What the oldest launch functions keep until the launch.
    prepared: Mutex<Prepared>,
}

/// The attributes on one device, by number.
pub(crate) type Attributes = BTreeMap<u32, i32>;

/// What `cuFuncSetBlockShape` and its like prepare for `cuLaunchGrid`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// The packed arguments.
    pub arguments: Vec<u8>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries go in whole, so a panic elsewhere leaves no half of one.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Function {
    /// Describes a function of a context.
    pub(crate) fn new(
        name: Vec<u8>,
        facts: FunctionFacts,
        context: u64,
        [module, library]: [Option<u64>; 2],
    ) -> Result<Self, Error> {
        let device = contexts::find(context)?.device;
        let function = Self::bare(name, facts.parameters, library)?;
        lock(&function.attributes).insert(device, Arc::new(collect(facts.attributes)));
        Ok(Self { context: Some(context), module, ..function })
    }

    /// Describes a kernel of a library.
    pub(crate) fn kernel(
        name: Vec<u8>,
        parameters: Vec<Parameter>,
        library: u64,
    ) -> Result<Self, Error> {
        Self::bare(name, parameters, Some(library))
    }

    fn bare(
        name: Vec<u8>,
        parameters: Vec<Parameter>,
        library: Option<u64>,
    ) -> Result<Self, Error> {
        Ok(Self {
            // What the host says is no text of C is damaged.
            name: CString::new(name).map_err(|_| Error::UNKNOWN)?,
            parameters,
            context: None,
            module: None,
            library,
            attributes: Mutex::default(),
            occupancy: Mutex::default(),
            prepared: Mutex::default(),
        })
    }

    /// Says whether a module or library is the one that it came of.
    pub(crate) fn belongs_to(&self, owner: u64) -> bool {
        self.module == Some(owner) || self.library == Some(owner)
    }

    /// The owner in which its name is looked up: the module of a function, the library of a kernel.
    pub(crate) fn owner(&self) -> Option<u64> {
        if self.context.is_some() { self.module } else { self.library }
    }

    /// Bytes of all packed arguments.
    pub(crate) fn argument_bytes(&self) -> usize {
        let ends = self.parameters.iter().map(|one| one.offset as usize + one.bytes as usize);
        ends.max().unwrap_or(0)
    }

    /// Returns its attributes on a device, asking the host for a kernel's once.
    pub(crate) fn attributes(
        &self,
        handle: u64,
        device: CUdevice,
    ) -> Result<Arc<Attributes>, Error> {
        if let Some(known) = lock(&self.attributes).get(&device) {
            return Ok(Arc::clone(known));
        }
        let ordinal = devices::known()?.host_ordinal(device)?;
        let request = KernelAttributes { kernel: handle, device: ordinal as i32 };
        let learnt = Arc::new(collect(remote::call_without_context(&request)?.attributes));
        lock(&self.attributes).insert(device, Arc::clone(&learnt));
        Ok(learnt)
    }

    /// Returns one attribute on a device; one that the host does not know is INVALID_VALUE.
    pub(crate) fn attribute(
        &self,
        handle: u64,
        attribute: Attribute,
        device: CUdevice,
    ) -> Result<i32, Error> {
        let attributes = self.attributes(handle, device)?;
        attributes.get(&attribute.0).copied().ok_or(Error::INVALID_VALUE)
    }

    /// Takes up a change of an attribute; what was answered about occupancy may be other now.
    pub(crate) fn changed(&self, device: CUdevice, attribute: Attribute, value: i32) {
        if let Some(known) = lock(&self.attributes).get_mut(&device) {
            Arc::make_mut(known).insert(attribute.0, value);
        }
        lock(&self.occupancy).clear();
    }

    /// Returns what was answered about the occupancy of a shape.
    pub(crate) fn occupancy(&self, shape: Shape) -> Option<i32> {
        lock(&self.occupancy).get(&shape).copied()
    }

    /// Keeps what was answered about the occupancy of a shape.
    pub(crate) fn keep_occupancy(&self, shape: Shape, blocks: i32) {
        /// Most shapes that are kept: 1,024, some 30 KiB; programs ask for a handful.
        const SHAPES_MAX: usize = 1024;
        let mut kept = lock(&self.occupancy);
        if kept.len() >= SHAPES_MAX {
            kept.clear();
        }
        kept.insert(shape, blocks);
    }

    /// Borrows what was prepared for the oldest launch functions.
    pub(crate) fn prepared(&self) -> MutexGuard<'_, Prepared> {
        lock(&self.prepared)
    }
}

fn collect(attributes: Vec<FunctionAttribute>) -> Attributes {
    attributes.into_iter().map(|one| (one.attribute, one.value)).collect()
}

/// Finds a function, or a kernel in its place; one that is not alive is INVALID_HANDLE.
///
/// A handle that was listed but never looked up is described by the host first.
pub(crate) fn function(handle: u64) -> Result<Arc<Function>, Error> {
    if let Some(known) = code::find(handle) {
        return Ok(known);
    }
    if !code::is_listed(handle) {
        return Err(Error::INVALID_HANDLE);
    }
    let described = remote::call_without_context(&FunctionDescribe { function: handle })?;
    let module = described.module;
    let context = code::module(module)?.context.ok_or(Error::INVALID_HANDLE)?;
    let function = Function::new(described.name, described.facts, context, [Some(module), None])?;
    Ok(code::insert(handle, function))
}

/// Finds a kernel of a library; one that is not alive is INVALID_HANDLE.
pub(crate) fn kernel(handle: u64) -> Result<Arc<Function>, Error> {
    if let Some(known) = code::find(handle) {
        return if known.context.is_none() { Ok(known) } else { Err(Error::INVALID_HANDLE) };
    }
    if !code::is_listed(handle) {
        return Err(Error::INVALID_HANDLE);
    }
    let described = remote::call_without_context(&KernelDescribe { kernel: handle })?;
    let function = Function::kernel(described.name, described.parameters, described.library)?;
    Ok(code::insert(handle, function))
}
