/* Launches in every form, and how parameters and indices reach a kernel. */
#include "check.cuh"

#include <cstdint>

__global__ void add(const float *a, const float *b, float *sum, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        sum[i] = a[i] + b[i];
}

__global__ void saxpy(float factor, const float *x, float *y, size_t count)
{
    size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride)
        y[i] = factor * x[i] + y[i];
}

struct Mixed {
    char letter;
    double number;
    short small;
    float list[5];
};

__global__ void unpack(char a, double b, short c, Mixed mixed, uint64_t d, float *out)
{
    out[0] = a;
    out[1] = static_cast<float>(b);
    out[2] = c;
    out[3] = mixed.letter;
    out[4] = static_cast<float>(mixed.number);
    out[5] = mixed.small;
    for (int i = 0; i < 5; i++)
        out[6 + i] = mixed.list[i];
    out[11] = static_cast<float>(d);
}

__global__ void coordinates(int *out)
{
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    int threads = blockDim.x * blockDim.y * blockDim.z;
    out[block * threads + thread] = block * 1000 + thread;
}

__global__ void count_launch(int *counter) { *counter += 1; }

static void two_vectors_are_added()
{
    for (int count : {1, 31, 32, 33, 255, 256, 257, 4099}) {
        std::vector<float> a = ramp(count), b = ramp(count, 0.5f);
        Device<float> on_a(a), on_b(b), sum(count);
        add<<<(count + 255) / 256, 256>>>(on_a.at, on_b.at, sum.at, count);
        OK(cudaGetLastError());
        OK(cudaDeviceSynchronize());
        std::vector<float> got = sum.read();
        for (int i = 0; i < count; i++)
            EQUAL(got[i], a[i] + b[i]);
    }
}

static void a_grid_strides_over_more_than_it_has_threads()
{
    const size_t count = 10007;
    std::vector<float> x = ramp(count), y = ramp(count, 2.0f);
    Device<float> on_x(x), on_y(y);
    saxpy<<<7, 96>>>(3.0f, on_x.at, on_y.at, count);
    std::vector<float> got = on_y.read();
    for (size_t i = 0; i < count; i++)
        EQUAL(got[i], 3.0f * x[i] + y[i]);
}

static void parameters_of_every_size_arrive()
{
    Device<float> out(12);
    Mixed mixed = {'m', 6.5, -7, {1, 2, 3, 4, 5}};
    unpack<<<1, 1>>>('a', -2.25, 300, mixed, 1ull << 40, out.at);
    OK(cudaGetLastError());
    std::vector<float> got = out.read();
    const float wanted[] = {'a', -2.25f, 300, 'm', 6.5f, -7, 1, 2, 3, 4, 5, 1099511627776.0f};
    for (int i = 0; i < 12; i++)
        EQUAL(got[i], wanted[i]);
}

static void blocks_and_threads_have_three_dimensions()
{
    dim3 grid(2, 3, 2), block(4, 2, 3);
    Device<int> out(12 * 24);
    coordinates<<<grid, block>>>(out.at);
    std::vector<int> got = out.read();
    for (int b = 0; b < 12; b++)
        for (int t = 0; t < 24; t++)
            EQUAL(got[b * 24 + t], b * 1000 + t);
}

static void the_functions_behind_the_brackets_launch_too()
{
    const int count = 100;
    std::vector<float> a = ramp(count), b = ramp(count, 4.0f);
    Device<float> on_a(a), on_b(b), sum(count);
    int n = count;
    void *arguments[] = {&on_a.at, &on_b.at, &sum.at, &n};
    OK(cudaLaunchKernel(reinterpret_cast<const void *>(add), dim3(1), dim3(128), arguments, 0,
                        nullptr));
    EQUAL(sum.read()[99], 99.0f + 4 * 99.0f);

    OK(cudaMemset(sum.at, 0, count * sizeof(float)));
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(128);
    OK(cudaLaunchKernelExC(&config, reinterpret_cast<const void *>(add), arguments));
    EQUAL(sum.read()[50], 50.0f + 4 * 50.0f);

    OK(cudaMemset(sum.at, 0, count * sizeof(float)));
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributePriority;
    attribute.val.priority = 0;
    config.attrs = &attribute;
    config.numAttrs = 1;
    OK(cudaLaunchKernelEx(&config, add, static_cast<const float *>(on_a.at),
                          static_cast<const float *>(on_b.at), sum.at, count));
    EQUAL(sum.read()[3], 3.0f + 4 * 3.0f);
}

static void a_kernel_handle_is_launched_like_its_stub()
{
    cudaKernel_t kernel;
    Device<int> counter(1);
    void *arguments[] = {&counter.at};
    OK(cudaGetKernel(&kernel, reinterpret_cast<const void *>(count_launch)));
    OK(cudaLaunchKernel(reinterpret_cast<const void *>(kernel), dim3(1), dim3(1), arguments, 0, 0));
    EQUAL(counter.read()[0], 1);
}

/* cuLaunchKernel, whose header the runtime's programs do without. */
typedef int (*LaunchKernel)(cudaFunction_t, unsigned, unsigned, unsigned, unsigned, unsigned,
                            unsigned, unsigned, cudaStream_t, void **, void **);

static void the_driver_launches_the_function_behind_a_stub()
{
    cudaFunction_t function;
    void *entry = nullptr;
    Device<int> counter(1);
    void *arguments[] = {&counter.at};
    OK(cudaGetFuncBySymbol(&function, reinterpret_cast<const void *>(count_launch)));
    OK(cudaGetDriverEntryPointByVersion("cuLaunchKernel", &entry, 12000, cudaEnableDefault,
                                        nullptr));
    EXPECT(entry != nullptr);
    EQUAL(reinterpret_cast<LaunchKernel>(entry)(function, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments,
                                                nullptr),
          0);
    EQUAL(counter.read()[0], 1);
}

/* Writes what it is given to where it is told. */
static const char store[] = ".version 7.5\n"
                            ".target sm_75\n"
                            ".address_size 64\n"
                            ".visible .entry store(.param .u64 place, .param .u32 value)\n"
                            "{\n"
                            "    .reg .u32 %v;\n"
                            "    .reg .u64 %p;\n"
                            "    ld.param.u64 %p, [place];\n"
                            "    ld.param.u32 %v, [value];\n"
                            "    cvta.to.global.u64 %p, %p;\n"
                            "    st.global.u32 [%p], %v;\n"
                            "    ret;\n"
                            "}\n";

static void kernels_of_a_library_are_found_listed_and_launched()
{
    cudaLibrary_t library;
    cudaKernel_t found, listed[3] = {};
    unsigned count = 0;
    Device<int> out(1);
    int value = 77;
    void *arguments[] = {&out.at, &value};
    OK(cudaLibraryLoadData(&library, store, nullptr, nullptr, 0, nullptr, nullptr, 0));
    OK(cudaLibraryGetKernel(&found, library, "store"));
    OK(cudaLibraryGetKernelCount(&count, library));
    EQUAL(count, 1);
    OK(cudaLibraryEnumerateKernels(listed, 3, library));
    EXPECT(listed[0] == found && listed[1] == nullptr);
    OK(cudaLaunchKernel(reinterpret_cast<const void *>(found), dim3(1), dim3(1), arguments, 0, 0));
    EQUAL(out.read()[0], 77);
    ANSWERS(cudaErrorInvalidDeviceFunction,
            cudaLaunchKernel(nullptr, dim3(1), dim3(1), arguments, 0, 0));
    OK(cudaLibraryUnload(library));
}

static void launches_of_one_stream_come_one_after_the_other()
{
    Device<int> counter(1);
    for (int i = 0; i < 1000; i++)
        count_launch<<<1, 1>>>(counter.at);
    OK(cudaGetLastError());
    EQUAL(counter.read()[0], 1000);
}

static void arguments_are_taken_before_the_launch_returns()
{
    Device<float> a(ramp(64)), b(ramp(64)), sum(64);
    int count = 64;
    void *arguments[] = {&a.at, &b.at, &sum.at, &count};
    OK(cudaLaunchKernel(reinterpret_cast<const void *>(add), dim3(1), dim3(64), arguments, 0, 0));
    std::memset(arguments, 0x55, sizeof arguments);
    count = -1;
    EQUAL(sum.read()[63], 126);
}

static void a_shape_that_no_kernel_can_have_is_refused()
{
    Device<int> counter(1);
    count_launch<<<0, 1>>>(counter.at);
    ANSWERS(cudaErrorInvalidConfiguration, cudaGetLastError());
    count_launch<<<1, 2048>>>(counter.at);
    ANSWERS(cudaErrorInvalidConfiguration, cudaGetLastError());
    count_launch<<<dim3(1, 70000), 1>>>(counter.at);
    ANSWERS(cudaErrorInvalidConfiguration, cudaGetLastError());
    count_launch<<<1, dim3(1, 1, 65)>>>(counter.at);
    ANSWERS(cudaErrorInvalidConfiguration, cudaGetLastError());
    OK(cudaDeviceSynchronize());
    EQUAL(counter.read()[0], 0);
}

static void kernels_work_after_a_reset()
{
    {
        Device<int> counter(1);
        count_launch<<<1, 1>>>(counter.at);
        EQUAL(counter.read()[0], 1);
    }
    OK(cudaDeviceReset());
    Device<int> counter(1);
    count_launch<<<1, 1>>>(counter.at);
    OK(cudaGetLastError());
    EQUAL(counter.read()[0], 1);
}

CASES(CASE(two_vectors_are_added), CASE(a_grid_strides_over_more_than_it_has_threads),
      CASE(parameters_of_every_size_arrive), CASE(blocks_and_threads_have_three_dimensions),
      CASE(the_functions_behind_the_brackets_launch_too),
      CASE(a_kernel_handle_is_launched_like_its_stub),
      CASE(the_driver_launches_the_function_behind_a_stub),
      CASE(kernels_of_a_library_are_found_listed_and_launched),
      CASE(launches_of_one_stream_come_one_after_the_other),
      CASE(arguments_are_taken_before_the_launch_returns),
      CASE(a_shape_that_no_kernel_can_have_is_refused), CASE(kernels_work_after_a_reset))
