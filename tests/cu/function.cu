/* What is known of a kernel and set for it; cooperative launches; faults. */
#include "check.cuh"

#include <cooperative_groups.h>

__global__ void plain(int *out) { out[threadIdx.x] = threadIdx.x; }

__global__ void __launch_bounds__(128) bounded(int *out) { out[threadIdx.x] = 1; }

__global__ void with_shared(int *out)
{
    __shared__ int part[500];
    part[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = part[(threadIdx.x + 1) % blockDim.x];
}

__global__ void with_dynamic_shared(int *out, int count)
{
    extern __shared__ int part[];
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        part[i] = i;
    __syncthreads();
    if (threadIdx.x == 0)
        *out = part[count - 1];
}

__global__ void in_two_steps(int *values, int *sum, int count)
{
    cooperative_groups::grid_group grid = cooperative_groups::this_grid();
    for (int i = grid.thread_rank(); i < count; i += grid.size())
        values[i] = i;
    grid.sync();
    if (grid.thread_rank() == 0) {
        int total = 0;
        for (int i = 0; i < count; i++)
            total += values[i];
        *sum = total;
    }
}

__global__ void write_far_away(int *place) { *place = 1; }

static void attributes_are_those_of_the_kernel()
{
    cudaFuncAttributes of_plain, of_bounded, of_shared;
    OK(cudaFuncGetAttributes(&of_plain, plain));
    OK(cudaFuncGetAttributes(&of_bounded, bounded));
    OK(cudaFuncGetAttributes(&of_shared, with_shared));
    EQUAL(of_shared.sharedSizeBytes, 2000);
    EQUAL(of_plain.sharedSizeBytes, 0);
    EQUAL(of_bounded.maxThreadsPerBlock, 128);
    EQUAL(of_plain.maxThreadsPerBlock, 1024);
    EXPECT(of_plain.numRegs > 0);
    EXPECT(of_plain.ptxVersion == 75);
    const char *name = nullptr;
    OK(cudaFuncGetName(&name, reinterpret_cast<const void *>(plain)));
    EXPECT(std::strstr(name, "plain") != nullptr);
    size_t offset = 7, bytes = 0;
    OK(cudaFuncGetParamInfo(reinterpret_cast<const void *>(with_dynamic_shared), 1, &offset,
                            &bytes));
    EQUAL(offset, 8);
    EQUAL(bytes, 4);
}

static void more_shared_memory_than_usual_must_be_asked_for()
{
    Device<int> out(1);
    const int count = 20000;
    int most = 0;
    OK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    EXPECT(most >= 64 * 1024);
    with_dynamic_shared<<<1, 64, count * sizeof(int)>>>(out.at, count);
    ANSWERS(cudaErrorInvalidValue, cudaGetLastError());
    OK(cudaFuncSetAttribute(with_dynamic_shared, cudaFuncAttributeMaxDynamicSharedMemorySize,
                            count * sizeof(int)));
    cudaFuncAttributes attributes;
    OK(cudaFuncGetAttributes(&attributes, with_dynamic_shared));
    EQUAL(attributes.maxDynamicSharedSizeBytes, count * sizeof(int));
    with_dynamic_shared<<<1, 64, count * sizeof(int)>>>(out.at, count);
    OK(cudaGetLastError());
    EQUAL(out.read()[0], count - 1);
    ANSWERS(cudaErrorInvalidValue,
            cudaFuncSetAttribute(with_dynamic_shared, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 most + 1));
}

static void a_block_that_the_kernel_was_not_made_for_is_refused()
{
    Device<int> out(256);
    bounded<<<1, 256>>>(out.at);
    EXPECT(cudaGetLastError() != cudaSuccess);
    bounded<<<1, 128>>>(out.at);
    OK(cudaGetLastError());
    EQUAL(out.read()[127], 1);
}

static void occupancy_falls_with_what_a_block_uses()
{
    int few = 0, many = 0, grid = 0, block = 0;
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&many, plain, 64, 0));
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&few, plain, 1024, 40000));
    EXPECT(many > few && few >= 1);
    OK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, plain));
    EXPECT(grid >= 1 && block >= 32 && block <= 1024);
}

static void the_blocks_of_a_cooperative_launch_wait_for_each_other()
{
    const int count = 1000;
    Device<int> values(count), sum(1);
    int *place = values.at, *total = sum.at, n = count;
    void *arguments[] = {&place, &total, &n};
    int supported = 0;
    OK(cudaDeviceGetAttribute(&supported, cudaDevAttrCooperativeLaunch, 0));
    EXPECT(supported);
    OK(cudaLaunchCooperativeKernel(reinterpret_cast<const void *>(in_two_steps), dim3(4), dim3(64),
                                   arguments, 0, nullptr));
    EQUAL(sum.read()[0], 499500);
    ANSWERS(cudaErrorCooperativeLaunchTooLarge,
            cudaLaunchCooperativeKernel(reinterpret_cast<const void *>(in_two_steps), dim3(100000),
                                        dim3(1024), arguments, 0, nullptr));
}

static void a_fault_is_told_and_stays()
{
    write_far_away<<<1, 1>>>(reinterpret_cast<int *>(0x10));
    OK(cudaGetLastError());
    ANSWERS(cudaErrorIllegalAddress, cudaDeviceSynchronize());
    void *memory = nullptr;
    ANSWERS(cudaErrorIllegalAddress, cudaMalloc(&memory, 16));
    ANSWERS(cudaErrorIllegalAddress, cudaGetLastError());
    ANSWERS(cudaErrorIllegalAddress, cudaGetLastError());
}

CASES(CASE(attributes_are_those_of_the_kernel),
      CASE(more_shared_memory_than_usual_must_be_asked_for),
      CASE(a_block_that_the_kernel_was_not_made_for_is_refused),
      CASE(occupancy_falls_with_what_a_block_uses),
      CASE(the_blocks_of_a_cooperative_launch_wait_for_each_other),
      CASE(a_fault_is_told_and_stays))
