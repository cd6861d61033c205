/* Streams and events: what happens before what. */
#include "check.cuh"

#include <thread>

__global__ void add_to(int *values, int amount, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        values[i] += amount;
}

__global__ void times(int *values, int factor, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        values[i] *= factor;
}

constexpr int COUNT = 1 << 14;
constexpr int GRID = COUNT / 128, BLOCK = 128;

static void a_stream_keeps_its_order()
{
    cudaStream_t stream;
    OK(cudaStreamCreate(&stream));
    int *host;
    OK(cudaMallocHost(&host, COUNT * sizeof(int)));
    for (int i = 0; i < COUNT; i++)
        host[i] = i;
    Device<int> values(COUNT);
    OK(cudaMemcpyAsync(values.at, host, COUNT * sizeof(int), cudaMemcpyHostToDevice, stream));
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 1, COUNT);
    times<<<GRID, BLOCK, 0, stream>>>(values.at, 2, COUNT);
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 3, COUNT);
    OK(cudaMemcpyAsync(host, values.at, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
    for (int i = 0; i < COUNT; i++)
        EQUAL(host[i], (i + 1) * 2 + 3);
    OK(cudaFreeHost(host));
    OK(cudaStreamDestroy(stream));
}

static void a_stream_waits_for_the_event_of_another()
{
    cudaStream_t first, second;
    cudaEvent_t done;
    OK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    Device<int> values(COUNT);
    OK(cudaDeviceSynchronize());
    for (int round = 0; round < 10; round++) {
        add_to<<<GRID, BLOCK, 0, first>>>(values.at, 1, COUNT);
        OK(cudaEventRecord(done, first));
        OK(cudaStreamWaitEvent(second, done, 0));
        times<<<GRID, BLOCK, 0, second>>>(values.at, 2, COUNT);
        OK(cudaEventRecord(done, second));
        OK(cudaStreamWaitEvent(first, done, 0));
    }
    OK(cudaDeviceSynchronize());
    EQUAL(values.read()[COUNT - 1], 2046);
    OK(cudaEventDestroy(done));
    OK(cudaStreamDestroy(first));
    OK(cudaStreamDestroy(second));
}

static void the_legacy_stream_waits_for_blocking_streams_and_they_for_it()
{
    cudaStream_t stream;
    Device<int> values(COUNT);
    OK(cudaStreamCreate(&stream));
    for (int round = 0; round < 8; round++) {
        add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 1, COUNT);
        times<<<GRID, BLOCK, 0, cudaStreamLegacy>>>(values.at, 2, COUNT);
    }
    OK(cudaDeviceSynchronize());
    EQUAL(values.read()[7], 510);
    OK(cudaStreamDestroy(stream));
}

/* What a host function found in memory that was copied before it. */
struct Found {
    const int *place;
    int value, calls;
};

static void CUDART_CB look(void *data)
{
    Found *found = static_cast<Found *>(data);
    found->value = *found->place;
    found->calls++;
}

static void host_functions_are_called_in_stream_order()
{
    cudaStream_t stream;
    int *pinned = nullptr;
    Device<int> values(COUNT);
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaMallocHost(&pinned, sizeof(int)));
    Found found[4] = {};
    for (Found &one : found) {
        one.place = pinned;
        add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 5, COUNT);
        OK(cudaMemcpyAsync(pinned, values.at + 9, sizeof(int), cudaMemcpyDeviceToHost, stream));
        OK(cudaLaunchHostFunc(stream, look, &one));
    }
    OK(cudaStreamSynchronize(stream));
    for (int i = 0; i < 4; i++) {
        EQUAL(found[i].calls, 1);
        EQUAL(found[i].value, 5 * (i + 1));
    }
    OK(cudaFreeHost(pinned));
    OK(cudaStreamDestroy(stream));
}

static void events_measure_time_that_passes()
{
    cudaEvent_t start, end;
    float milliseconds = -1;
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    Device<int> values(COUNT);
    ANSWERS(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&milliseconds, start, end));
    OK(cudaEventRecord(start));
    for (int i = 0; i < 20; i++)
        add_to<<<GRID, BLOCK>>>(values.at, 1, COUNT);
    OK(cudaEventRecord(end));
    OK(cudaEventSynchronize(end));
    OK(cudaEventQuery(start));
    OK(cudaEventElapsedTime(&milliseconds, start, end));
    EXPECT(milliseconds > 0 && milliseconds < 60000);
    EQUAL(values.read()[0], 20);
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
}

static void threads_with_streams_of_their_own_do_not_mix()
{
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([t] {
            cudaStream_t stream;
            OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
            std::vector<int> host(COUNT, t), back(COUNT);
            Device<int> values(COUNT);
            OK(cudaDeviceSynchronize());
            for (int round = 0; round < 5; round++) {
                OK(cudaMemcpyAsync(values.at, host.data(), COUNT * sizeof(int),
                                   cudaMemcpyHostToDevice, stream));
                add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 10 * round, COUNT);
                OK(cudaMemcpyAsync(back.data(), values.at, COUNT * sizeof(int),
                                   cudaMemcpyDeviceToHost, stream));
                OK(cudaStreamSynchronize(stream));
                for (int i = 0; i < COUNT; i += 97)
                    EQUAL(back[i], t + 10 * round);
            }
            OK(cudaStreamDestroy(stream));
        });
    for (std::thread &thread : threads)
        thread.join();
}

/* What the program computes between two kernels. */
struct Shared {
    int *values;
    int calls;
};

static void CUDART_CB double_on_the_host(void *data)
{
    Shared *shared = static_cast<Shared *>(data);
    for (int i = 0; i < COUNT; i++)
        shared->values[i] *= 2;
    shared->calls++;
}

static void a_function_of_the_program_is_called_between_kernels()
{
    cudaStream_t stream;
    Shared shared = {};
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaMallocHost(&shared.values, COUNT * sizeof(int)));
    Device<int> values(COUNT);
    OK(cudaDeviceSynchronize());
    for (int round = 0; round < 3; round++) {
        add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 1, COUNT);
        OK(cudaMemcpyAsync(shared.values, values.at, COUNT * sizeof(int), cudaMemcpyDeviceToHost,
                           stream));
        OK(cudaLaunchHostFunc(stream, double_on_the_host, &shared));
        OK(cudaMemcpyAsync(values.at, shared.values, COUNT * sizeof(int), cudaMemcpyHostToDevice,
                           stream));
        times<<<GRID, BLOCK, 0, stream>>>(values.at, 3, COUNT);
    }
    OK(cudaStreamSynchronize(stream));
    EQUAL(shared.calls, 3);
    EQUAL(values.read()[0], 258);
    EQUAL(values.read()[COUNT - 1], 258);
    OK(cudaFreeHost(shared.values));
    OK(cudaStreamDestroy(stream));
}

static void memory_is_allocated_in_stream_order()
{
    cudaStream_t stream;
    int supported = 0, *values = nullptr, back = 0;
    OK(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, 0));
    if (!supported) {
        OK(cudaStreamCreate(&stream));
        ANSWERS(cudaErrorNotSupported, cudaMallocAsync(&values, 4, stream));
        return;
    }
    OK(cudaStreamCreate(&stream));
    for (int round = 0; round < 3; round++) {
        OK(cudaMallocAsync(&values, COUNT * sizeof(int), stream));
        OK(cudaMemsetAsync(values, 0, COUNT * sizeof(int), stream));
        add_to<<<GRID, BLOCK, 0, stream>>>(values, 4, COUNT);
        OK(cudaMemcpyAsync(&back, values + 5, sizeof back, cudaMemcpyDeviceToHost, stream));
        OK(cudaFreeAsync(values, stream));
        OK(cudaStreamSynchronize(stream));
        EQUAL(back, 4);
    }
    OK(cudaStreamDestroy(stream));
}

CASES(CASE(a_stream_keeps_its_order), CASE(a_stream_waits_for_the_event_of_another),
      CASE(the_legacy_stream_waits_for_blocking_streams_and_they_for_it),
      CASE(host_functions_are_called_in_stream_order), CASE(events_measure_time_that_passes),
      CASE(threads_with_streams_of_their_own_do_not_mix),
      CASE(memory_is_allocated_in_stream_order),
      CASE(a_function_of_the_program_is_called_between_kernels))
