//! What a handle stands for when it is launched, and what was chosen for it.

use std::sync::Arc;

use vgpu_abi::cuda::Error;

use super::{Function, Module, Resolved, Settings};
use crate::device::Sim;
use crate::image::Kernel;

impl Sim {
    /// Finds what a handle of a function, or of a kernel in its place, launches in a context.
    pub(in super::super) fn resolve(&self, context: u64, handle: u64) -> Result<Resolved, Error> {
        if let Some(function) = self.codes.functions.find(handle) {
            let module = self.codes.modules.find(function.module).ok_or(Error::INVALID_HANDLE)?;
            let settings = self.settings(function, module)?;
            let loaded = Arc::clone(&module.loaded);
            return Ok(Resolved { loaded, kernel: function.kernel, settings });
        }
        let kernel = self.codes.kernels.find(handle).ok_or(Error::INVALID_HANDLE)?;
        let library = self.codes.libraries.find(kernel.library).ok_or(Error::INVALID_HANDLE)?;
        let device = self.contexts.find(context)?.device;
        let own = || Settings::of(&library.loaded.image.kernels[kernel.kernel]);
        let settings = kernel.settings.get(&device).copied().unwrap_or_else(own);
        let loaded = Arc::clone(&library.loaded);
        Ok(Resolved { loaded, kernel: kernel.kernel, settings })
    }

    /// What was chosen for a function: one of a library has what its kernel has.
    fn settings(&self, function: &Function, module: &Module) -> Result<Settings, Error> {
        let library = module.library.and_then(|library| self.codes.libraries.find(library));
        let kernel = library.and_then(|library| library.kernels.get(&function.kernel));
        let kernel = kernel.and_then(|kernel| self.codes.kernels.find(*kernel));
        let device = self.contexts.find(module.context)?.device;
        let of_kernel = kernel.and_then(|kernel| kernel.settings.get(&device)).copied();
        Ok(of_kernel.unwrap_or(function.settings))
    }

    /// Changes what was chosen for a function.
    pub(in super::super) fn change_function(
        &mut self,
        handle: u64,
        change: impl FnOnce(&mut Settings, &Kernel) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (module, context) = self.module_of_function(handle)?;
        let mut resolved = self.resolve(context, handle)?;
        let loaded = Arc::clone(&resolved.loaded);
        change(&mut resolved.settings, &loaded.image.kernels[resolved.kernel])?;
        let library = self.codes.modules.find(module).and_then(|module| module.library);
        if let Some(library) = library {
            // One of a library has what its kernel has on the device.
            let device = self.contexts.find(context)?.device;
            let kernel = self.kernel_at(library, resolved.kernel)?;
            if let Some(kernel) = self.codes.kernels.find_mut(kernel) {
                kernel.settings.insert(device, resolved.settings);
            }
        } else if let Some(function) = self.codes.functions.find_mut(handle) {
            function.settings = resolved.settings;
        }
        Ok(())
    }

    /// Changes what was chosen for a kernel on a device.
    pub(in super::super) fn change_kernel(
        &mut self,
        handle: u64,
        device: i32,
        change: impl FnOnce(&mut Settings, &Kernel) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let device = self.checked_device(device)?;
        let (_, kernel) = self.library_kernel(handle)?;
        let kernel = kernel.clone();
        let entry = self.codes.kernels.find_mut(handle).ok_or(Error::INVALID_HANDLE)?;
        let mut settings =
            entry.settings.get(&device).copied().unwrap_or_else(|| Settings::of(&kernel));
        change(&mut settings, &kernel)?;
        entry.settings.insert(device, settings);
        Ok(())
    }

    /// What was chosen for a kernel on a device.
    pub(in super::super) fn kernel_settings(
        &self,
        handle: u64,
        device: i32,
    ) -> Result<Settings, Error> {
        let device = self.checked_device(device)?;
        let (_, kernel) = self.library_kernel(handle)?;
        let entry = self.codes.kernels.find(handle).ok_or(Error::INVALID_HANDLE)?;
        Ok(entry.settings.get(&device).copied().unwrap_or_else(|| Settings::of(kernel)))
    }

    fn checked_device(&self, device: i32) -> Result<u32, Error> {
        let device = u32::try_from(device).map_err(|_| Error::INVALID_DEVICE)?;
        let is_there = (device as usize) < self.profile.snapshot.devices.len();
        if is_there { Ok(device) } else { Err(Error::INVALID_DEVICE) }
    }
}
