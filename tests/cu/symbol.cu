/* Variables of the program's code, in constant and in global memory. */
#include "check.cuh"

__constant__ float factors[4] = {1, 10, 100, 1000};
__constant__ int never_written = 42;
__device__ int counter = 5;
__device__ double table[16];

__global__ void scale(float *values) { values[threadIdx.x] *= factors[threadIdx.x]; }

__global__ void count_up() { atomicAdd(&counter, 1); }

__global__ void fill(double step)
{
    table[threadIdx.x] = step * threadIdx.x + never_written;
}

static void constants_have_their_first_values_and_then_those_that_are_copied()
{
    Device<float> values(std::vector<float>{1, 2, 3, 4});
    scale<<<1, 4>>>(values.at);
    std::vector<float> got = values.read();
    EQUAL(got[0], 1);
    EQUAL(got[3], 4000);
    float others[4] = {2, 2, 2, 3};
    OK(cudaMemcpyToSymbol(factors, others, sizeof others));
    scale<<<1, 4>>>(values.at);
    got = values.read();
    EQUAL(got[1], 40);
    EQUAL(got[3], 12000);
    float last = 5;
    OK(cudaMemcpyToSymbol(factors, &last, sizeof last, 3 * sizeof(float)));
    scale<<<1, 4>>>(values.at);
    EQUAL(values.read()[3], 60000);
}

static void a_variable_of_the_device_is_read_and_written()
{
    int value = 0;
    count_up<<<3, 32>>>();
    OK(cudaMemcpyFromSymbol(&value, counter, sizeof value));
    EQUAL(value, 5 + 96);
    value = -1;
    OK(cudaMemcpyToSymbol(counter, &value, sizeof value));
    count_up<<<1, 2>>>();
    OK(cudaMemcpyFromSymbol(&value, counter, sizeof value));
    EQUAL(value, 1);
}

static void the_address_of_a_variable_is_ordinary_device_memory()
{
    void *place = nullptr;
    size_t bytes = 0;
    OK(cudaGetSymbolAddress(&place, table));
    OK(cudaGetSymbolSize(&bytes, table));
    EQUAL(bytes, sizeof table);
    fill<<<1, 16>>>(0.5);
    double values[16];
    OK(cudaMemcpy(values, place, sizeof values, cudaMemcpyDeviceToHost));
    EQUAL(values[15], 49.5);
    cudaPointerAttributes attributes;
    OK(cudaPointerGetAttributes(&attributes, place));
    EXPECT(attributes.type == cudaMemoryTypeDevice);
}

static void symbols_are_copied_in_stream_order()
{
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    int *pinned;
    OK(cudaMallocHost(&pinned, 2 * sizeof(int)));
    pinned[0] = 100;
    OK(cudaMemcpyToSymbolAsync(counter, pinned, sizeof(int), 0, cudaMemcpyHostToDevice, stream));
    count_up<<<1, 1, 0, stream>>>();
    OK(cudaMemcpyFromSymbolAsync(pinned + 1, counter, sizeof(int), 0, cudaMemcpyDeviceToHost,
                                 stream));
    OK(cudaStreamSynchronize(stream));
    EQUAL(pinned[1], 101);
    OK(cudaFreeHost(pinned));
    OK(cudaStreamDestroy(stream));
}

static void a_copy_beyond_a_variable_is_refused()
{
    double values[17] = {};
    ANSWERS(cudaErrorInvalidValue, cudaMemcpyToSymbol(table, values, sizeof values));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpyToSymbol(table, values, 8, 16 * 8));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpyFromSymbol(values, table, 16, 15 * 8));
    ANSWERS(cudaErrorInvalidSymbol, cudaMemcpyToSymbol(values, values, 8));
}

CASES(CASE(constants_have_their_first_values_and_then_those_that_are_copied),
      CASE(a_variable_of_the_device_is_read_and_written),
      CASE(the_address_of_a_variable_is_ordinary_device_memory),
      CASE(symbols_are_copied_in_stream_order), CASE(a_copy_beyond_a_variable_is_refused))
