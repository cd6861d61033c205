/* Memory: copies and sets of every form, what an address is, and what is refused. */
#include "check.cuh"

#include <algorithm>

__global__ void add_to(int *values, int amount, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        values[i] += amount;
}

constexpr int COUNT = 1 << 14, BLOCK = 128, GRID = COUNT / BLOCK;
constexpr size_t BYTES = COUNT * sizeof(int);

static std::vector<unsigned char> pattern(size_t count)
{
    std::vector<unsigned char> bytes(count);
    for (size_t i = 0; i < count; i++)
        bytes[i] = static_cast<unsigned char>(i * 7 + 1);
    return bytes;
}

static void rows_are_copied_and_set_with_the_pitch_of_each_side()
{
    const size_t width = 37, height = 11;
    std::vector<unsigned char> there = pattern(width * height), back(2 * width * height, 0xee);
    unsigned char *at = nullptr;
    size_t pitch = 0;
    OK(cudaMallocPitch(&at, &pitch, width, height));
    EXPECT(pitch >= width);
    OK(cudaMemcpy2D(at, pitch, there.data(), width, width, height, cudaMemcpyHostToDevice));
    OK(cudaMemset2D(at + 3, pitch, 0x55, 5, height - 1));
    OK(cudaMemcpy2D(back.data(), 2 * width, at, pitch, width, height, cudaMemcpyDeviceToHost));
    for (size_t row = 0; row < height; row++)
        for (size_t column = 0; column < width; column++) {
            bool is_set = row < height - 1 && column >= 3 && column < 8;
            EQUAL(back[row * 2 * width + column], is_set ? 0x55 : there[row * width + column]);
            EQUAL(back[row * 2 * width + width + column], 0xee);
        }
    ANSWERS(cudaErrorInvalidPitchValue, cudaMemcpy2D(back.data(), width - 1, at, pitch, width,
                                                     height, cudaMemcpyDeviceToHost));
    OK(cudaFree(at));
}

static void a_part_of_a_volume_is_copied_to_a_part_of_another()
{
    const size_t sides[3] = {8, 5, 4};
    std::vector<unsigned char> there = pattern(160), back(160);
    cudaExtent extent = make_cudaExtent(sides[0], sides[1], sides[2]);
    cudaPitchedPtr place;
    OK(cudaMalloc3D(&place, extent));
    OK(cudaMemset3D(place, 0x33, extent));
    cudaMemcpy3DParms in = {};
    in.srcPtr = make_cudaPitchedPtr(there.data(), sides[0], sides[0], sides[1]);
    in.srcPos = make_cudaPos(1, 2, 1);
    in.dstPtr = place;
    in.dstPos = make_cudaPos(3, 0, 2);
    in.extent = make_cudaExtent(4, 2, 2);
    in.kind = cudaMemcpyHostToDevice;
    OK(cudaMemcpy3D(&in));
    cudaMemcpy3DParms out = {};
    out.srcPtr = place;
    out.dstPtr = make_cudaPitchedPtr(back.data(), sides[0], sides[0], sides[1]);
    out.extent = extent;
    out.kind = cudaMemcpyDeviceToHost;
    OK(cudaMemcpy3D(&out));
    for (int z = 0; z < 4; z++)
        for (int y = 0; y < 5; y++)
            for (int x = 0; x < 8; x++) {
                bool is_in = x >= 3 && x < 7 && y < 2 && z >= 2;
                int from = ((z - 1) * 5 + y + 2) * 8 + x - 2;
                EQUAL(back[(z * 5 + y) * 8 + x], is_in ? there[from] : 0x33);
            }
    OK(cudaFree(place.ptr));
}

static void a_pageable_source_may_change_once_the_call_has_returned()
{
    cudaStream_t stream;
    std::vector<int> source(COUNT), back(COUNT);
    Device<int> values(COUNT);
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int round = 0; round < 4; round++) {
        std::fill(source.begin(), source.end(), round);
        OK(cudaMemcpyAsync(values.at, source.data(), BYTES, cudaMemcpyHostToDevice, stream));
        std::fill(source.begin(), source.end(), -1);
        add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 100, COUNT);
        OK(cudaMemcpyAsync(back.data(), values.at, BYTES, cudaMemcpyDeviceToHost, stream));
        OK(cudaStreamSynchronize(stream));
        for (int i = 0; i < COUNT; i += 61)
            EQUAL(back[i], 100 + round);
    }
    OK(cudaStreamDestroy(stream));
}

static void registered_memory_is_registered_once()
{
    cudaStream_t stream;
    std::vector<int> host(COUNT, 3);
    Device<int> values(COUNT);
    OK(cudaStreamCreate(&stream));
    OK(cudaHostRegister(host.data(), BYTES, cudaHostRegisterDefault));
    ANSWERS(cudaErrorHostMemoryAlreadyRegistered,
            cudaHostRegister(host.data(), BYTES, cudaHostRegisterDefault));
    OK(cudaMemcpyAsync(values.at, host.data(), BYTES, cudaMemcpyHostToDevice, stream));
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 4, COUNT);
    OK(cudaMemcpyAsync(host.data(), values.at, BYTES, cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
    EQUAL(host[0], 7);
    EQUAL(host[COUNT - 1], 7);
    OK(cudaHostUnregister(host.data()));
    ANSWERS(cudaErrorHostMemoryNotRegistered, cudaHostUnregister(host.data()));
    OK(cudaStreamDestroy(stream));
}

static void an_address_says_whose_it_is()
{
    int own = 0, *pinned = nullptr;
    cudaPointerAttributes told;
    Device<int> values(4);
    OK(cudaMallocHost(&pinned, 16));
    OK(cudaPointerGetAttributes(&told, values.at + 1));
    EXPECT(told.type == cudaMemoryTypeDevice && told.device == 0);
    EXPECT(told.devicePointer == values.at + 1);
    OK(cudaPointerGetAttributes(&told, pinned));
    EXPECT(told.type == cudaMemoryTypeHost && told.hostPointer == pinned);
    OK(cudaPointerGetAttributes(&told, &own));
    EXPECT(told.type == cudaMemoryTypeUnregistered);
    OK(cudaFreeHost(pinned));
}

static void memory_is_freed_once_and_nothing_is_freed_with_success()
{
    void *memory = &memory, *pinned = nullptr;
    int own = 0;
    OK(cudaMalloc(&memory, 0));
    EXPECT(memory == nullptr);
    OK(cudaFree(nullptr));
    OK(cudaFreeHost(nullptr));
    OK(cudaMalloc(&memory, 16));
    OK(cudaFree(memory));
    ANSWERS(cudaErrorInvalidValue, cudaFree(memory));
    ANSWERS(cudaErrorInvalidValue, cudaFree(&own));
    OK(cudaMallocHost(&pinned, 16));
    OK(cudaFreeHost(pinned));
    ANSWERS(cudaErrorInvalidValue, cudaFreeHost(pinned));
    ANSWERS(cudaErrorMemoryAllocation, cudaMalloc(&memory, static_cast<size_t>(1) << 50));
    OK(cudaMalloc(&memory, 16));
    OK(cudaFree(memory));
}

static void wrong_arguments_have_their_codes_and_stay_the_last_error()
{
    int value = 0;
    cudaStream_t stream;
    cudaEvent_t event;
    Device<int> values(4);
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy(nullptr, &value, 4, cudaMemcpyHostToDevice));
    OK(cudaDeviceSynchronize());
    ANSWERS(cudaErrorInvalidValue, cudaPeekAtLastError());
    ANSWERS(cudaErrorInvalidValue, cudaGetLastError());
    OK(cudaGetLastError());
    ANSWERS(cudaErrorInvalidMemcpyDirection,
            cudaMemcpy(values.at, &value, 4, static_cast<cudaMemcpyKind>(9)));
    ANSWERS(cudaErrorInvalidDevice, cudaSetDevice(4711));
    ANSWERS(cudaErrorInvalidDevice, cudaSetDevice(-1));
    ANSWERS(cudaErrorInvalidDevice, cudaGetLastError());
    ANSWERS(cudaErrorInvalidValue, cudaStreamCreateWithFlags(&stream, 0x70));
    ANSWERS(cudaErrorInvalidValue, cudaEventCreateWithFlags(&event, 0x70));
    ANSWERS(cudaErrorInvalidValue,
            cudaDeviceGetAttribute(&value, static_cast<cudaDeviceAttr>(9999), 0));
    ANSWERS(cudaErrorInvalidValue, cudaMalloc(static_cast<void **>(nullptr), 4));
}

CASES(CASE(rows_are_copied_and_set_with_the_pitch_of_each_side),
      CASE(a_part_of_a_volume_is_copied_to_a_part_of_another),
      CASE(a_pageable_source_may_change_once_the_call_has_returned),
      CASE(registered_memory_is_registered_once), CASE(an_address_says_whose_it_is),
      CASE(memory_is_freed_once_and_nothing_is_freed_with_success),
      CASE(wrong_arguments_have_their_codes_and_stay_the_last_error))
