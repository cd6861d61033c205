//! The code of this process: modules, libraries, and what was looked up in them.
//!
//! A function is described by the host once, when it is looked up; from then on its attributes
//! and the layout of its parameters are known here, so that a launch need not wait. All of it is
//! forgotten with its module, library or context.

pub(crate) mod arguments;
pub(crate) mod file;
pub(crate) mod function;
pub(crate) mod image;
pub(crate) mod jit;
pub(crate) mod limits;
pub(crate) mod upload;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vgpu_abi::cuda::{CUcontext, CUdevice, Error};
use vgpu_guest::reserve;

pub(crate) use function::Function;

use crate::{contexts, ranges};

static CODE: RwLock<Option<Code>> = RwLock::new(None);

/// What a handle of a module or library stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The context of a module; none for a library.
    pub context: Option<u64>,
    /// The library that a module came of; it ends with it.
    pub library: Option<u64>,
}

#[derive(Debug, Default)]
struct Code {
    /// Modules and libraries. The host gives no number twice.
    owners: HashMap<u64, Owner>,
    functions: HashMap<u64, Arc<Function>>,
    /// What was looked up, by owner and name; the functions of kernels by kernel and context.
    names: HashMap<(u64, Vec<u8>), u64>,
    of_kernels: HashMap<(u64, u64), u64>,
    /// First addresses of the variables that were looked up, with their owner and context.
    variables: HashMap<u64, (u64, u64)>,
    /// Handles that the host listed, with their owner: not yet described.
    listed: HashMap<u64, u64>,
}

fn read() -> RwLockReadGuard<'static, Option<Code>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    CODE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Option<Code>> {
    CODE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up a module or library.
pub(crate) fn insert_owner(handle: u64, owner: Owner) {
    write().get_or_insert_default().owners.insert(handle, owner);
}

/// Looks a module up; one that is not alive is INVALID_HANDLE.
pub(crate) fn module(handle: u64) -> Result<Owner, Error> {
    owner(handle).filter(|owner| owner.context.is_some()).ok_or(Error::INVALID_HANDLE)
}

/// Checks a library; one that is not alive is INVALID_HANDLE.
pub(crate) fn check_library(handle: u64) -> Result<(), Error> {
    let found = owner(handle).filter(|owner| owner.context.is_none());
    found.map(drop).ok_or(Error::INVALID_HANDLE)
}

fn owner(handle: u64) -> Option<Owner> {
    read().as_ref().and_then(|code| code.owners.get(&handle).copied())
}

/// Forgets a module or library with all that was looked up in it.
pub(crate) fn remove_owner(handle: u64) {
    if let Some(code) = write().as_mut() {
        code.forget(|id, owner| id == handle || owner.library == Some(handle));
    }
}

/// Forgets what belonged to a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    if let Some(code) = write().as_mut() {
        code.forget(|_, owner| owner.context == Some(context.0));
        code.functions.retain(|_, function| function.context != Some(context.0));
        code.of_kernels.retain(|(_, of), _| *of != context.0);
        // Those of libraries, which stay: the host makes them anew, and may give their addresses.
        code.variables.retain(|_, (_, of)| *of != context.0);
    }
}

impl Code {
    fn forget(&mut self, is_gone: impl Fn(u64, &Owner) -> bool) {
        let gone: Vec<u64> = self
            .owners
            .iter()
            .filter(|(handle, owner)| is_gone(**handle, owner))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in gone {
            self.owners.remove(&handle);
            self.functions.retain(|_, function| !function.belongs_to(handle));
            self.names.retain(|(owner, _), _| *owner != handle);
            self.listed.retain(|_, owner| *owner != handle);
            self.variables.retain(|start, (owner, _)| {
                if *owner == handle {
                    // Gone already with its context, if that ended first.
                    let _ = ranges::remove(*start);
                }
                *owner != handle
            });
        }
        let functions = &self.functions;
        self.of_kernels.retain(|_, function| functions.contains_key(function));
    }
}

/// Finds what was looked up under a name before.
pub(crate) fn named(owner: u64, name: &[u8]) -> Option<u64> {
    // The key is made anew for each question; a launch asks none.
    read().as_ref().and_then(|code| code.names.get(&(owner, name.to_vec())).copied())
}

/// Takes up a variable of a module or library: device memory that the program may copy to and
/// from, and may not free.
pub(crate) fn insert_variable(owner: u64, start: u64, bytes: u64, context: u64) {
    let mut code = write();
    let known = code.get_or_insert_default().variables.insert(start, (owner, context));
    if known != Some((owner, context)) {
        // Where the program has memory of its own nothing can be done: the address is given.
        let _ = reserve::reserve(start, bytes);
        ranges::insert(start, bytes, context);
    }
}

/// Says whether an address is that of a variable.
pub(crate) fn is_variable(start: u64) -> bool {
    read().as_ref().is_some_and(|code| code.variables.contains_key(&start))
}

/// Takes up handles that the host listed of an owner.
pub(crate) fn insert_listed(owner: u64, handles: &[u64]) {
    let mut code = write();
    code.get_or_insert_default().listed.extend(handles.iter().map(|handle| (*handle, owner)));
}

/// Says whether the host listed a handle, and its owner is alive.
pub(crate) fn is_listed(handle: u64) -> bool {
    read().as_ref().is_some_and(|code| code.listed.contains_key(&handle))
}

/// Finds the function of a kernel in a context, if it was asked for before.
pub(crate) fn of_kernel(kernel: u64, context: u64) -> Option<u64> {
    read().as_ref().and_then(|code| code.of_kernels.get(&(kernel, context)).copied())
}

/// Lists the functions of a kernel on a device.
pub(crate) fn all_of_kernel(kernel: u64, device: CUdevice) -> Vec<Arc<Function>> {
    let code = read();
    let Some(code) = code.as_ref() else { return Vec::new() };
    let is_meant = |(of, context): &(u64, u64)| {
        *of == kernel && contexts::find(*context).is_ok_and(|context| context.device == device)
    };
    let handles = code.of_kernels.iter().filter(|(key, _)| is_meant(key)).map(|(_, handle)| handle);
    handles.filter_map(|handle| code.functions.get(handle).cloned()).collect()
}

/// Takes up a function or kernel; one that is known keeps what is known of it.
pub(crate) fn insert(handle: u64, function: Function) -> Arc<Function> {
    let mut code = write();
    let code = code.get_or_insert_default();
    if let Some(owner) = function.owner() {
        code.names.insert((owner, function.name.to_bytes().to_vec()), handle);
    }
    Arc::clone(code.functions.entry(handle).or_insert_with(|| Arc::new(function)))
}

/// Takes up a kernel's function in a context.
pub(crate) fn insert_of_kernel(kernel: u64, context: u64, handle: u64, function: Function) {
    let mut code = write();
    let code = code.get_or_insert_default();
    code.functions.entry(handle).or_insert_with(|| Arc::new(function));
    code.of_kernels.insert((kernel, context), handle);
}

/// Finds a function, or a kernel in its place, if it is known.
pub(crate) fn find(handle: u64) -> Option<Arc<Function>> {
    read().as_ref().and_then(|code| code.functions.get(&handle).cloned())
}
