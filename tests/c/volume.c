/* Memory in three dimensions, arrays, and stream-ordered memory. */
#include "case.h"

#include <stdint.h>

static unsigned char source[4 * 5 * 8], back[4 * 5 * 8];

static void fill(void)
{
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (unsigned char)(i * 7 + 1);
    memset(back, 0, sizeof back);
}

static void slices_are_copied_there_and_back(void)
{
    struct cudaPitchedPtr place;
    struct cudaExtent extent = {8, 5, 4};
    struct cudaMemcpy3DParms copy = {0};
    fill();
    OK(cudaMalloc3D(&place, extent));
    EXPECT(place.ptr != NULL && place.pitch >= 8 && place.xsize == 8 && place.ysize == 5);
    copy.srcPtr = (struct cudaPitchedPtr){source, 8, 8, 5};
    copy.dstPtr = place;
    copy.extent = extent;
    copy.kind = cudaMemcpyHostToDevice;
    OK(cudaMemcpy3D(&copy));
    copy.srcPtr = place;
    copy.dstPtr = (struct cudaPitchedPtr){back, 8, 8, 5};
    copy.kind = cudaMemcpyDeviceToHost;
    OK(cudaMemcpy3DAsync(&copy, cudaStreamPerThread));
    OK(cudaStreamSynchronize(cudaStreamPerThread));
    EXPECT(memcmp(source, back, sizeof source) == 0);
    OK(cudaFree(place.ptr));
}

static void a_part_of_a_volume_is_copied(void)
{
    struct cudaPitchedPtr place;
    struct cudaExtent extent = {8, 5, 4};
    struct cudaMemcpy3DParms copy = {0};
    fill();
    OK(cudaMalloc3D(&place, extent));
    OK(cudaMemset3D(place, 0x33, extent));
    copy.srcPtr = (struct cudaPitchedPtr){source, 8, 8, 5};
    copy.srcPos = (struct cudaPos){1, 2, 1};
    copy.dstPtr = place;
    copy.dstPos = (struct cudaPos){3, 0, 2};
    copy.extent = (struct cudaExtent){4, 2, 2};
    copy.kind = cudaMemcpyDefault;
    OK(cudaMemcpy3D(&copy));
    copy = (struct cudaMemcpy3DParms){0};
    copy.srcPtr = place;
    copy.dstPtr = (struct cudaPitchedPtr){back, 8, 8, 5};
    copy.extent = extent;
    copy.kind = cudaMemcpyDeviceToHost;
    OK(cudaMemcpy3D(&copy));
    for (int z = 0; z < 4; z++)
        for (int y = 0; y < 5; y++)
            for (int x = 0; x < 8; x++) {
                int inside = x >= 3 && x < 7 && y < 2 && z >= 2;
                int from = ((z - 1) * 5 + y + 2) * 8 + x - 2;
                EXPECT(back[(z * 5 + y) * 8 + x] == (inside ? source[from] : 0x33));
            }
}

static void a_volume_that_no_memory_can_hold_is_refused_whole(void)
{
    unsigned char *memory = NULL, byte = 7;
    OK(cudaMalloc((void **)&memory, 64));
    OK(cudaMemset(memory, 0, 64));
    struct cudaPitchedPtr place = {memory, (size_t)1 << 62, 1, 2};
    ANSWERS(cudaErrorInvalidValue, cudaMemset3D(place, 9, (struct cudaExtent){1, 1, 2}));
    OK(cudaMemcpy(&byte, memory, 1, cudaMemcpyDeviceToHost));
    EXPECT(byte == 0);
    OK(cudaFree(memory));
}

static void a_copy_needs_one_place_at_each_side(void)
{
    struct cudaMemcpy3DParms copy = {0};
    copy.extent = (struct cudaExtent){1, 1, 1};
    copy.kind = cudaMemcpyHostToDevice;
    copy.srcPtr = (struct cudaPitchedPtr){source, 8, 8, 5};
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy3D(&copy));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy3D(NULL));
    copy.kind = (enum cudaMemcpyKind)8;
    ANSWERS(cudaErrorInvalidMemcpyDirection, cudaMemcpy3D(&copy));
}

static void slices_are_copied_between_devices(void)
{
    struct cudaPitchedPtr one, two;
    struct cudaExtent extent = {8, 5, 4};
    struct cudaMemcpy3DPeerParms copy = {0};
    struct cudaMemcpy3DParms read = {0};
    OK(cudaMalloc3D(&one, extent));
    OK(cudaMalloc3D(&two, extent));
    OK(cudaMemset3D(one, 0x21, extent));
    OK(cudaMemset3D(two, 0, extent));
    copy.srcPtr = one;
    copy.dstPtr = two;
    copy.extent = extent;
    OK(cudaMemcpy3DPeerAsync(&copy, NULL));
    read.srcPtr = two;
    read.dstPtr = (struct cudaPitchedPtr){back, 8, 8, 5};
    read.extent = extent;
    read.kind = cudaMemcpyDeviceToHost;
    OK(cudaMemcpy3D(&read));
    EXPECT(back[0] == 0x21 && back[sizeof back - 1] == 0x21);
    copy.srcDevice = 5;
    ANSWERS(cudaErrorInvalidDevice, cudaMemcpy3DPeerAsync(&copy, NULL));
}

static void an_array_keeps_its_elements(void)
{
    struct cudaChannelFormatDesc floats = cudaCreateChannelDesc(32, 0, 0, 0, cudaChannelFormatKindFloat);
    struct cudaChannelFormatDesc told;
    struct cudaExtent extent;
    cudaArray_t array = NULL;
    unsigned flags = 7;
    float written[3][6], read[3][6];
    for (int i = 0; i < 18; i++)
        written[i / 6][i % 6] = (float)i;
    OK(cudaMallocArray(&array, &floats, 6, 3, 0));
    OK(cudaArrayGetInfo(&told, &extent, &flags, array));
    EXPECT(told.x == 32 && told.y == 0 && told.f == cudaChannelFormatKindFloat);
    EXPECT(extent.width == 6 && extent.height == 3 && extent.depth == 0 && flags == 0);
    OK(cudaMemcpy2DToArray(array, 0, 0, written, sizeof written[0], sizeof written[0], 3,
                           cudaMemcpyHostToDevice));
    OK(cudaMemcpy2DFromArray(read, sizeof read[0], array, 0, 0, sizeof read[0], 3,
                             cudaMemcpyDeviceToHost));
    EXPECT(memcmp(written, read, sizeof read) == 0);
    struct cudaMemcpy3DParms copy = {0};
    copy.srcArray = array;
    copy.srcPos = (struct cudaPos){2, 1, 0};
    copy.dstPtr = (struct cudaPitchedPtr){read, sizeof read[0], 6, 3};
    copy.extent = (struct cudaExtent){4, 2, 1};
    copy.kind = cudaMemcpyDeviceToHost;
    OK(cudaMemcpy3D(&copy));
    EXPECT(read[0][0] == 8 && read[1][3] == 17);
    OK(cudaFreeArray(array));
    ANSWERS(cudaErrorInvalidChannelDescriptor,
            (told.x = 7, cudaMallocArray(&array, &told, 6, 3, 0)));
}

static void memory_of_a_pool_is_allocated_in_stream_order(void)
{
    int supported = 0;
    void *memory = NULL;
    cudaMemPool_t pool = NULL;
    cudaStream_t stream = NULL;
    unsigned char byte = 0;
    OK(cudaStreamCreate(&stream));
    OK(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, 0));
    if (!supported) {
        ANSWERS(cudaErrorNotSupported, cudaMallocAsync(&memory, 64, stream));
        return;
    }
    uint64_t threshold = 1 << 20, told = 0;
    OK(cudaDeviceGetDefaultMemPool(&pool, 0));
    OK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
    OK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &told));
    EXPECT(told == threshold);
    OK(cudaMallocAsync(&memory, 64, stream));
    OK(cudaMemsetAsync(memory, 9, 64, stream));
    OK(cudaMemcpyAsync(&byte, memory, 1, cudaMemcpyDeviceToHost, stream));
    OK(cudaFreeAsync(memory, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(byte == 9);
    OK(cudaMemPoolTrimTo(pool, 0));
}

CASES(CASE(slices_are_copied_there_and_back), CASE(a_part_of_a_volume_is_copied),
      CASE(a_volume_that_no_memory_can_hold_is_refused_whole),
      CASE(a_copy_needs_one_place_at_each_side), CASE(slices_are_copied_between_devices),
      CASE(an_array_keeps_its_elements), CASE(memory_of_a_pool_is_allocated_in_stream_order))
