/* Errors: codes, names, and the thread's last error. */
#include "case.h"

#include <pthread.h>

static void the_last_error_is_kept_until_it_is_taken(void)
{
    ANSWERS(cudaErrorInvalidValue, cudaMalloc(NULL, 1));
    OK(cudaDeviceSynchronize());
    ANSWERS(cudaErrorInvalidValue, cudaPeekAtLastError());
    ANSWERS(cudaErrorInvalidValue, cudaGetLastError());
    OK(cudaPeekAtLastError());
    OK(cudaGetLastError());
}

static void *last_error_of_another_thread(void *nothing)
{
    (void)nothing;
    OK(cudaGetLastError());
    return NULL;
}

static void another_thread_has_its_own_last_error(void)
{
    pthread_t thread;
    ANSWERS(cudaErrorInvalidDevice, cudaSetDevice(9));
    EXPECT(pthread_create(&thread, NULL, last_error_of_another_thread, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    ANSWERS(cudaErrorInvalidDevice, cudaGetLastError());
}

static void errors_have_names_and_texts(void)
{
    EXPECT(strcmp(cudaGetErrorName(cudaSuccess), "cudaSuccess") == 0);
    EXPECT(strcmp(cudaGetErrorString(cudaSuccess), "no error") == 0);
    EXPECT(strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation") == 0);
    EXPECT(strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory") == 0);
    EXPECT(strcmp(cudaGetErrorString(cudaErrorNoDevice), "no CUDA-capable device is detected") == 0);
    EXPECT(strcmp(cudaGetErrorString(cudaErrorNotSupported), "operation not supported") == 0);
    EXPECT(strcmp(cudaGetErrorString(cudaErrorInsufficientDriver),
                  "CUDA driver version is insufficient for CUDA runtime version") == 0);
    EXPECT(strcmp(cudaGetErrorString((cudaError_t)123456), "unrecognized error code") == 0);
    EXPECT(strcmp(cudaGetErrorName((cudaError_t)123456), "unrecognized error code") == 0);
}

static void what_is_not_implemented_says_so_and_becomes_the_last_error(void)
{
    struct cudaResourceDesc description = {0};
    cudaSurfaceObject_t surface = 0;
    ANSWERS(cudaErrorNotSupported, cudaCreateSurfaceObject(&surface, &description));
    ANSWERS(cudaErrorNotSupported, cudaGetLastError());
}

static void what_is_no_kernel_is_refused(void)
{
    struct cudaFuncAttributes attributes;
    const void *function = (const void *)errors_have_names_and_texts;
    dim3 one = {1, 1, 1};
    struct cudaLaunchConfig_st config = {.gridDim = one, .blockDim = one};
    int blocks = 0;
    cudaKernel_t kernel;
    cudaFunction_t handle;
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaFuncGetAttributes(&attributes, function));
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaGetLastError());
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaLaunchKernel(function, one, one, NULL, 0, 0));
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaGetLastError());
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaLaunchKernel(NULL, one, one, NULL, 0, 0));
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaLaunchKernelExC(&config, function, NULL));
    ANSWERS(cudaErrorInvalidDeviceFunction,
            cudaLaunchCooperativeKernel(function, one, one, NULL, 0, 0));
    ANSWERS(cudaErrorInvalidDeviceFunction,
            cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 32, 0));
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaGetKernel(&kernel, function));
    ANSWERS(cudaErrorInvalidDeviceFunction, cudaGetFuncBySymbol(&handle, function));
    ANSWERS(cudaErrorInvalidDeviceFunction,
            cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, 1024));
}

static void what_is_no_variable_is_refused(void)
{
    static int no_symbol;
    void *place = NULL;
    size_t bytes = 0;
    ANSWERS(cudaErrorInvalidSymbol, cudaGetSymbolAddress(&place, &no_symbol));
    ANSWERS(cudaErrorInvalidSymbol, cudaGetSymbolSize(&bytes, &no_symbol));
    ANSWERS(cudaErrorInvalidSymbol,
            cudaMemcpyToSymbol(&no_symbol, &bytes, 4, 0, cudaMemcpyHostToDevice));
    ANSWERS(cudaErrorInvalidMemcpyDirection,
            cudaMemcpyToSymbol(&no_symbol, &bytes, 4, 0, cudaMemcpyDeviceToHost));
}

static void a_node_that_copies_a_variable_the_wrong_way_is_refused(void)
{
    static int no_symbol;
    int place = 0;
    cudaGraph_t graph = NULL;
    cudaGraphNode_t node;
    OK(cudaGraphCreate(&graph, 0));
    ANSWERS(cudaErrorInvalidMemcpyDirection,
            cudaGraphAddMemcpyNodeToSymbol(&node, graph, NULL, 0, &no_symbol, &place, 4, 0,
                                           cudaMemcpyDeviceToHost));
    ANSWERS(cudaErrorInvalidMemcpyDirection,
            cudaGraphAddMemcpyNodeFromSymbol(&node, graph, NULL, 0, &place, &no_symbol, 4, 0,
                                             cudaMemcpyHostToDevice));
    ANSWERS(cudaErrorInvalidSymbol,
            cudaGraphAddMemcpyNodeFromSymbol(&node, graph, NULL, 0, &place, &no_symbol, 4, 0,
                                             cudaMemcpyDeviceToHost));
}

/* What the stubs of kernels call; no public header declares it for C. */
cudaError_t __cudaGetKernel(cudaKernel_t *, const void *);

/* Run without any libcuda.so.1 in reach. */
static void without_a_driver_it_is_insufficient(void)
{
    int count = 7, version = 7;
    cudaKernel_t kernel = NULL;
    dim3 one = {1, 1, 1};
    ANSWERS(cudaErrorInsufficientDriver, cudaGetDeviceCount(&count));
    ANSWERS(cudaErrorInsufficientDriver, cudaGetLastError());
    ANSWERS(cudaErrorInsufficientDriver, cudaGetLastError());
    ANSWERS(cudaErrorInsufficientDriver, cudaPeekAtLastError());
    ANSWERS(cudaErrorInsufficientDriver, cudaMalloc(NULL, 1));
    ANSWERS(cudaErrorInsufficientDriver, cudaLaunchKernel(&count, one, one, NULL, 0, 0));
    /* Its answer differs between the majors; what stands in the place afterwards does not. */
    (void)__cudaGetKernel(&kernel, &count);
    EXPECT((void *)kernel == &count);
    ANSWERS(cudaErrorInvalidValue, cudaRuntimeGetVersion(NULL));
    OK(cudaDriverGetVersion(&version));
    EXPECT(version == 0);
}

/* Run with our driver, but no host in reach. */
static void without_a_host_there_is_no_device(void)
{
    int count = 7;
    ANSWERS(cudaErrorNoDevice, cudaGetDeviceCount(&count));
    ANSWERS(cudaErrorNoDevice, cudaSetDevice(0));
    ANSWERS(cudaErrorNoDevice, cudaFree(NULL));
}

/* Run with old_driver.c in the place of the driver. */
static void an_old_driver_is_used_as_far_as_it_goes(void)
{
    int count = 7, value = 7;
#if CUDART_VERSION < 13000
    OK(cudaGetDeviceCount(&count));
    EXPECT(count == 1);
    ANSWERS(cudaErrorInsufficientDriver,
            cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 0));
    ANSWERS(cudaErrorUnknown, cudaFree(NULL));
#else
    ANSWERS(cudaErrorInsufficientDriver, cudaGetDeviceCount(&count));
    ANSWERS(cudaErrorInsufficientDriver,
            cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 0));
    ANSWERS(cudaErrorInsufficientDriver, cudaFree(NULL));
#endif
    OK(cudaDriverGetVersion(&value));
    EXPECT(value == 12040);
}

/* Run with NVIDIA's runtime in the place of ours. */
static void a_genuine_runtime_refuses_our_driver(void)
{
    int count = 7;
    cudaError_t answer = cudaGetDeviceCount(&count);
    EXPECT(answer != cudaSuccess);
    printf("%s\n", cudaGetErrorString(answer));
}

CASES(CASE(a_genuine_runtime_refuses_our_driver),
      CASE(an_old_driver_is_used_as_far_as_it_goes),
      CASE(the_last_error_is_kept_until_it_is_taken), CASE(another_thread_has_its_own_last_error),
      CASE(errors_have_names_and_texts),
      CASE(what_is_not_implemented_says_so_and_becomes_the_last_error),
      CASE(what_is_no_kernel_is_refused), CASE(what_is_no_variable_is_refused),
      CASE(a_node_that_copies_a_variable_the_wrong_way_is_refused),
      CASE(without_a_driver_it_is_insufficient), CASE(without_a_host_there_is_no_device))
