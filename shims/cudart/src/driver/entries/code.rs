//! Libraries of code, kernels, launches, occupancy.

use libloading::os::unix::Library;

use super::Driver;
use crate::driver::structs::{
    Address, CodeLibrary, Entry, Function, Kernel, LaunchConfig, Stream, Text,
};
use crate::result::{Error, Result, from_driver};

entries! {
    /// Libraries of code, kernels, launches, occupancy.
    Code in code:

    /// Loads an image, for every context that will use it.
    library_load_data = "cuLibraryLoadData"(
        library: &mut CodeLibrary, image: Address, options: Address, values: Address, count: u32,
        library_options: Address, library_values: Address, library_count: u32);
    /// Loads an image from a file.
    library_load_from_file = "cuLibraryLoadFromFile"(
        library: &mut CodeLibrary, path: Text<'_>, options: Address, values: Address, count: u32,
        library_options: Address, library_values: Address, library_count: u32);
    /// Unloads an image.
    library_unload = "cuLibraryUnload"(library: CodeLibrary);
    /// Finds a kernel by name; `name` is a C text.
    library_get_kernel = "cuLibraryGetKernel"(
        kernel: &mut Kernel, library: CodeLibrary, name: Address);
    /// Counts the kernels of a library.
    library_get_kernel_count = "cuLibraryGetKernelCount"(count: &mut u32, library: CodeLibrary);
    /// Lists the kernels of a library.
    library_enumerate_kernels = "cuLibraryEnumerateKernels"(
        kernels: Address, count: u32, library: CodeLibrary);
    /// Finds a variable by name, for the current context; `name` is a C text.
    library_get_global = "cuLibraryGetGlobal"(
        pointer: &mut u64, bytes: &mut usize, library: CodeLibrary, name: Address);
    /// Finds a managed variable by name; `name` is a C text.
    library_get_managed = "cuLibraryGetManaged"(
        pointer: &mut u64, bytes: &mut usize, library: CodeLibrary, name: Address);
    /// Finds a unified function by name.
    library_get_unified_function = "cuLibraryGetUnifiedFunction"(
        pointer: &mut u64, library: CodeLibrary, name: Text<'_>);

    /// Gives the function of a kernel in the current context.
    kernel_get_function = "cuKernelGetFunction"(function: &mut Function, kernel: Kernel);
    /// Gives one attribute of a kernel on a device.
    kernel_get_attribute = "cuKernelGetAttribute"(
        value: &mut i32, attribute: u32, kernel: Kernel, device: i32);
    /// Sets one attribute of a kernel on a device.
    kernel_set_attribute = "cuKernelSetAttribute"(
        attribute: u32, value: i32, kernel: Kernel, device: i32);
    /// Sets the preferred cache configuration of a kernel on a device.
    kernel_set_cache_config = "cuKernelSetCacheConfig"(kernel: Kernel, config: u32, device: i32);
    /// Gives the name of a kernel.
    kernel_get_name = "cuKernelGetName"(name: &mut u64, kernel: Kernel);
    /// Gives offset and size of a parameter of a kernel.
    kernel_get_param_info = "cuKernelGetParamInfo"(
        kernel: Kernel, index: usize, offset: &mut usize, size: &mut usize);
    /// Counts the parameters of a kernel.
    kernel_get_param_count = "cuKernelGetParamCount"(kernel: Kernel, count: &mut usize);
    /// Gives one attribute of a function.
    func_get_attribute = "cuFuncGetAttribute"(value: &mut i32, attribute: u32, function: Function);
    /// Sets one attribute of a function.
    func_set_attribute = "cuFuncSetAttribute"(function: Function, attribute: u32, value: i32);
    /// Sets the preferred cache configuration of a function.
    func_set_cache_config = "cuFuncSetCacheConfig"(function: Function, config: u32);
    /// Sets the bank size of shared memory for a function.
    func_set_shared_mem_config = "cuFuncSetSharedMemConfig"(function: Function, config: u32);
    /// Gives the name of a function.
    func_get_name = "cuFuncGetName"(name: &mut u64, function: Function);
    /// Gives offset and size of a parameter of a function.
    func_get_param_info = "cuFuncGetParamInfo"(
        function: Function, index: usize, offset: &mut usize, size: &mut usize);
    /// Counts the parameters of a function.
    func_get_param_count = "cuFuncGetParamCount"(function: Function, count: &mut usize);

    /// Launches a kernel; `parameters` is its list of arguments.
    launch_kernel = "cuLaunchKernel"(
        entry: Entry, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32,
        block_z: u32, shared_bytes: u32, stream: Stream, parameters: Address, extra: Address);
    /// Launches a kernel with attributes.
    launch_kernel_ex = "cuLaunchKernelEx"(
        config: &LaunchConfig, entry: Entry, parameters: Address, extra: Address);
    /// Launches a kernel whose blocks may wait for each other.
    launch_cooperative_kernel = "cuLaunchCooperativeKernel"(
        entry: Entry, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32,
        block_z: u32, shared_bytes: u32, stream: Stream, parameters: Address);

    /// Says how many blocks fit on a multiprocessor.
    occupancy_max_active_blocks = "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags"(
        blocks: &mut i32, entry: Entry, block_size: i32, shared_bytes: usize, flags: u32);
    /// Says how much dynamic shared memory a block may have.
    occupancy_available_shared = "cuOccupancyAvailableDynamicSMemPerBlock"(
        bytes: &mut usize, entry: Entry, blocks: i32, block_size: i32);
    /// Says how large a cluster may be.
    occupancy_max_potential_cluster_size = "cuOccupancyMaxPotentialClusterSize"(
        size: &mut i32, entry: Entry, config: &LaunchConfig);
    /// Says how many clusters fit on a device.
    occupancy_max_active_clusters = "cuOccupancyMaxActiveClusters"(
        clusters: &mut i32, entry: Entry, config: &LaunchConfig);
}
