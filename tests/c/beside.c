/* The runtime beside others: the driver API in the same program, a forked child, and the code
 * that the compiler adds to programs with kernels. */
#include "case.h"

#include <cuda.h>
#include <dlfcn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static void *driver_function(const char *name)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    EXPECT(library != NULL);
    void *function = dlsym(library, name);
    EXPECT(function != NULL);
    return function;
}

/* Declares a function of the driver by the type that its header gives it. */
#define DRIVER(local, symbol, ...)                                                                 \
    CUresult (*local)(__VA_ARGS__) = (CUresult(*)(__VA_ARGS__))driver_function(symbol)

static void a_context_made_by_the_driver_api_is_used(void)
{
    DRIVER(init, "cuInit", unsigned);
    DRIVER(create, "cuCtxCreate_v2", CUcontext *, unsigned, CUdevice);
    DRIVER(current, "cuCtxGetCurrent", CUcontext *);
    DRIVER(free_memory, "cuMemFree_v2", CUdeviceptr);
    CUcontext own = NULL, now = NULL;
    void *device = NULL;
    int ordinal = -1;
    EXPECT(init(0) == CUDA_SUCCESS);
    EXPECT(create(&own, 0, 0) == CUDA_SUCCESS && own != NULL);
    OK(cudaMalloc(&device, 4096));
    OK(cudaGetDevice(&ordinal));
    EXPECT(ordinal == 0);
    EXPECT(current(&now) == CUDA_SUCCESS && now == own);
    EXPECT(free_memory((CUdeviceptr)(uintptr_t)device) == CUDA_SUCCESS);
}

static void a_reset_leaves_a_context_of_the_program_alone(void)
{
    DRIVER(create, "cuCtxCreate_v2", CUcontext *, unsigned, CUdevice);
    DRIVER(set_current, "cuCtxSetCurrent", CUcontext);
    CUcontext own = NULL;
    void *in_primary = NULL, *in_own = NULL;
    OK(cudaMalloc(&in_primary, 4096));
    EXPECT(create(&own, 0, 0) == CUDA_SUCCESS);
    OK(cudaMalloc(&in_own, 4096));
    OK(cudaDeviceReset());
    OK(cudaFree(in_own));
    EXPECT(set_current(NULL) == CUDA_SUCCESS);
    OK(cudaFree(in_primary));
}

static void the_primary_context_is_the_drivers_own(void)
{
    DRIVER(current, "cuCtxGetCurrent", CUcontext *);
    DRIVER(retain, "cuDevicePrimaryCtxRetain", CUcontext *, CUdevice);
    CUcontext now = NULL, primary = NULL;
    OK(cudaSetDevice(0));
    EXPECT(current(&now) == CUDA_SUCCESS && now != NULL);
    EXPECT(retain(&primary, 0) == CUDA_SUCCESS && primary == now);
}

static void driver_functions_are_found_by_name_and_version(void)
{
    void *function = NULL, *versioned = NULL;
    enum cudaDriverEntryPointQueryResult status = cudaDriverEntryPointVersionNotSufficent;
    OK(cudaGetDriverEntryPointByVersion("cuMemAlloc", &versioned, 12000, cudaEnableDefault,
                                        &status));
    EXPECT(status == cudaDriverEntryPointSuccess);
    EXPECT(versioned == driver_function("cuMemAlloc_v2"));
    OK(cudaGetDriverEntryPointByVersion("cuNoSuchName", &function, 12000, cudaEnableDefault,
                                        &status));
    EXPECT(status == cudaDriverEntryPointSymbolNotFound && function == NULL);
    ANSWERS(cudaErrorInvalidValue, cudaGetDriverEntryPointByVersion("cuMemAlloc", &function, 99000,
                                                                    cudaEnableDefault, &status));
}

static void a_forked_child_is_told_that_nothing_is_initialised(void)
{
    void *device = NULL;
    int status = -1;
    OK(cudaMalloc(&device, 4096));
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0)
        _exit(cudaMalloc(&device, 4096) == cudaErrorInitializationError ? 0 : 1);
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(cudaFree(device));
}

/* What the compiler emits calls of; no public header declares it. */
void **__cudaRegisterFatBinary(void *);
void __cudaRegisterFatBinaryEnd(void **);
void __cudaUnregisterFatBinary(void **);
void __cudaRegisterFunction(void **, const char *, char *, const char *, int, uint3 *, uint3 *,
                            dim3 *, dim3 *, int *);
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, struct CUstream_st *);
cudaError_t __cudaPopCallConfiguration(dim3 *, dim3 *, size_t *, void *);

static void kernels_are_registered_without_the_driver(void)
{
    static char stub, unknown, no_wrapper[64];
    dim3 grid = {3, 4, 5}, block = {32, 2, 1}, one, two;
    size_t shared = 0;
    cudaStream_t stream = NULL;
    void **binary = __cudaRegisterFatBinary(no_wrapper);
    EXPECT(binary != NULL);
    __cudaRegisterFunction(binary, &stub, &stub, "kernel", -1, NULL, NULL, NULL, NULL, NULL);
    __cudaRegisterFatBinaryEnd(binary);
    EXPECT(__cudaPushCallConfiguration(grid, block, 4096, cudaStreamPerThread) == 0);
    OK(__cudaPopCallConfiguration(&one, &two, &shared, &stream));
    EXPECT(one.x == 3 && one.y == 4 && one.z == 5 && two.x == 32 && two.y == 2 && two.z == 1);
    EXPECT(shared == 4096 && stream == cudaStreamPerThread);
    ANSWERS(cudaErrorMissingConfiguration,
            __cudaPopCallConfiguration(&one, &two, &shared, &stream));
    ANSWERS(cudaErrorInvalidKernelImage, cudaLaunchKernel(&stub, grid, block, NULL, 0, 0));
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaLaunchKernel(&unknown, grid, block, NULL, 0, 0));
    __cudaUnregisterFatBinary(binary);
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaLaunchKernel(&stub, grid, block, NULL, 0, 0));
}

CASES(CASE(a_context_made_by_the_driver_api_is_used),
      CASE(a_reset_leaves_a_context_of_the_program_alone),
      CASE(the_primary_context_is_the_drivers_own),
      CASE(driver_functions_are_found_by_name_and_version),
      CASE(a_forked_child_is_told_that_nothing_is_initialised),
      CASE(kernels_are_registered_without_the_driver))
