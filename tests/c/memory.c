/* Memory: allocation, copies both ways, sets, what an address is. */
#include "case.h"

#include <pthread.h>
#include <stdint.h>

enum { BYTES = 3 * 1024 * 1024 + 5 };

static unsigned char *pattern(size_t bytes, unsigned seed)
{
    unsigned char *data = malloc(bytes);
    EXPECT(data != NULL);
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (unsigned char)(seed >> 24);
    }
    return data;
}

static void what_is_written_is_read_back(void)
{
    unsigned char *sent = pattern(BYTES, 1), *got = pattern(BYTES, 2);
    void *device = NULL;
    OK(cudaMalloc(&device, BYTES));
    EXPECT((uintptr_t)device % 256 == 0);
    OK(cudaMemcpy(device, sent, BYTES, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(got, device, BYTES, cudaMemcpyDeviceToHost));
    EXPECT(memcmp(sent, got, BYTES) == 0);
    OK(cudaFree(device));
}

static void an_asynchronous_copy_is_there_after_the_stream_is_synchronised(void)
{
    unsigned char *sent = pattern(BYTES, 3), *got = pattern(BYTES, 4);
    void *device = NULL;
    cudaStream_t stream = NULL;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaMalloc(&device, BYTES));
    OK(cudaMemcpyAsync(device, sent, BYTES, cudaMemcpyHostToDevice, stream));
    OK(cudaMemcpyAsync(got, device, BYTES, cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(memcmp(sent, got, BYTES) == 0);
    OK(cudaMemcpyAsync(device, got, 16, cudaMemcpyHostToDevice, cudaStreamPerThread));
    OK(cudaStreamSynchronize(cudaStreamPerThread));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(device));
}

static void a_copy_within_the_device_keeps_the_bytes(void)
{
    unsigned char *sent = pattern(BYTES, 5), *got = pattern(BYTES, 6);
    void *one = NULL, *two = NULL;
    OK(cudaMalloc(&one, BYTES));
    OK(cudaMalloc(&two, BYTES));
    OK(cudaMemcpy(one, sent, BYTES, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(two, one, BYTES, cudaMemcpyDeviceToDevice));
    OK(cudaMemcpy(got, two, BYTES, cudaMemcpyDeviceToHost));
    EXPECT(memcmp(sent, got, BYTES) == 0);
}

static void the_default_kind_finds_out_where_the_places_lie(void)
{
    unsigned char *sent = pattern(4096, 7), *got = pattern(4096, 8), *local = pattern(4096, 9);
    void *device = NULL;
    OK(cudaMalloc(&device, 4096));
    OK(cudaMemcpy(device, sent, 4096, cudaMemcpyDefault));
    OK(cudaMemcpy(got, device, 4096, cudaMemcpyDefault));
    EXPECT(memcmp(sent, got, 4096) == 0);
    OK(cudaMemcpy(local, sent, 4096, cudaMemcpyHostToHost));
    EXPECT(memcmp(sent, local, 4096) == 0);
}

static void rows_are_copied_between_different_pitches(void)
{
    enum { WIDTH = 100, HEIGHT = 7, HOST_PITCH = 128 };
    unsigned char *sent = pattern(HOST_PITCH * HEIGHT, 10), *got = pattern(HOST_PITCH * HEIGHT, 11);
    void *device = NULL;
    size_t pitch = 0;
    OK(cudaMallocPitch(&device, &pitch, WIDTH, HEIGHT));
    EXPECT(pitch >= WIDTH);
    OK(cudaMemcpy2D(device, pitch, sent, HOST_PITCH, WIDTH, HEIGHT, cudaMemcpyHostToDevice));
    OK(cudaMemcpy2D(got, HOST_PITCH, device, pitch, WIDTH, HEIGHT, cudaMemcpyDeviceToHost));
    for (int row = 0; row < HEIGHT; row++)
        EXPECT(memcmp(sent + row * HOST_PITCH, got + row * HOST_PITCH, WIDTH) == 0);
    ANSWERS(cudaErrorInvalidPitchValue,
            cudaMemcpy2D(device, pitch, sent, WIDTH - 1, WIDTH, HEIGHT, cudaMemcpyHostToDevice));
    OK(cudaFree(device));
}

static void memory_is_set_to_a_byte(void)
{
    unsigned char *got = pattern(4096, 12);
    void *device = NULL;
    OK(cudaMalloc(&device, 4096));
    OK(cudaMemset(device, 0x1ab, 4096));
    OK(cudaMemsetAsync((char *)device + 1024, 0xcd, 1024, 0));
    OK(cudaMemcpy(got, device, 4096, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 4096; i++)
        EXPECT(got[i] == (i >= 1024 && i < 2048 ? 0xcd : 0xab));
}

static void pinned_memory_is_ordinary_memory_that_can_be_freed_once(void)
{
    unsigned char *pinned = NULL;
    void *device = NULL;
    OK(cudaMallocHost((void **)&pinned, BYTES));
    memset(pinned, 0x5a, BYTES);
    OK(cudaMalloc(&device, BYTES));
    OK(cudaMemcpy(device, pinned, BYTES, cudaMemcpyHostToDevice));
    memset(pinned, 0, BYTES);
    OK(cudaMemcpy(pinned, device, BYTES, cudaMemcpyDeviceToHost));
    EXPECT(pinned[0] == 0x5a && pinned[BYTES - 1] == 0x5a);
    OK(cudaFreeHost(pinned));
    ANSWERS(cudaErrorInvalidValue, cudaFreeHost(pinned));
    ANSWERS(cudaErrorInvalidValue, cudaHostAlloc((void **)&pinned, 16, 0x80));
}

static void nothing_is_allocated_freed_copied_or_set_with_success(void)
{
    void *device = &device, *host = &host;
    OK(cudaMalloc(&device, 0));
    EXPECT(device == NULL);
    OK(cudaMallocHost(&host, 0));
    EXPECT(host == NULL);
    OK(cudaFree(NULL));
    OK(cudaFreeHost(NULL));
    OK(cudaMemcpy(NULL, NULL, 0, cudaMemcpyHostToDevice));
    OK(cudaMemset(NULL, 0, 0));
}

static void wrong_arguments_of_copies_are_refused(void)
{
    char byte = 0;
    void *device = NULL;
    OK(cudaMalloc(&device, 16));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy(NULL, &byte, 1, cudaMemcpyHostToDevice));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy(device, NULL, 1, cudaMemcpyHostToDevice));
    ANSWERS(cudaErrorInvalidMemcpyDirection, cudaMemcpy(device, &byte, 1, (enum cudaMemcpyKind)9));
    ANSWERS(cudaErrorInvalidValue, cudaMalloc(NULL, 16));
}

static void freed_memory_is_refused(void)
{
    char byte = 0;
    void *device = NULL;
    OK(cudaMalloc(&device, 16));
    OK(cudaFree(device));
    ANSWERS(cudaErrorInvalidValue, cudaFree(device));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy(device, &byte, 1, cudaMemcpyHostToDevice));
    ANSWERS(cudaErrorInvalidValue, cudaMemcpy(&byte, device, 1, cudaMemcpyDeviceToHost));
}

static void more_than_the_device_has_is_out_of_memory(void)
{
    void *device = NULL;
    size_t before = 0, held = 0, after = 0, total = 0;
    OK(cudaMemGetInfo(&before, &total));
    EXPECT(before <= total && total == (size_t)80 * 1024 * 1024 * 1024);
    ANSWERS(cudaErrorMemoryAllocation, cudaMalloc(&device, total + 1));
    OK(cudaGetLastError() == cudaErrorMemoryAllocation ? cudaSuccess : cudaErrorUnknown);
    OK(cudaMalloc(&device, (size_t)64 * 1024 * 1024));
    OK(cudaMemGetInfo(&held, &total));
    EXPECT(held <= before - (size_t)64 * 1024 * 1024);
    OK(cudaFree(device));
    OK(cudaMemGetInfo(&after, &total));
    EXPECT(after == before);
}

static void an_address_says_whose_memory_it_is(void)
{
    struct cudaPointerAttributes attributes;
    int local = 0;
    void *device = NULL, *pinned = NULL;
    OK(cudaMalloc(&device, 4096));
    OK(cudaMallocHost(&pinned, 4096));
    OK(cudaPointerGetAttributes(&attributes, (char *)device + 16));
    EXPECT(attributes.type == cudaMemoryTypeDevice && attributes.device == 0);
    EXPECT(attributes.devicePointer == (char *)device + 16 && attributes.hostPointer == NULL);
    OK(cudaPointerGetAttributes(&attributes, pinned));
    EXPECT(attributes.type == cudaMemoryTypeHost && attributes.hostPointer == pinned);
    OK(cudaPointerGetAttributes(&attributes, &local));
    EXPECT(attributes.type == cudaMemoryTypeUnregistered && attributes.devicePointer == NULL);
}

static void *copies_of_one_thread(void *seed)
{
    enum { SIZE = 70000 };
    unsigned char *sent = pattern(SIZE, (unsigned)(uintptr_t)seed), *got = pattern(SIZE, 0);
    void *device = NULL;
    OK(cudaMalloc(&device, SIZE));
    for (int round = 0; round < 20; round++) {
        sent[round] ^= 0xff;
        OK(cudaMemcpyAsync(device, sent, SIZE, cudaMemcpyHostToDevice, cudaStreamPerThread));
        OK(cudaMemcpyAsync(got, device, SIZE, cudaMemcpyDeviceToHost, cudaStreamPerThread));
        OK(cudaStreamSynchronize(cudaStreamPerThread));
        EXPECT(memcmp(sent, got, SIZE) == 0);
    }
    OK(cudaFree(device));
    return NULL;
}

static void threads_that_copy_at_once_do_not_mix(void)
{
    pthread_t threads[8];
    for (uintptr_t i = 0; i < 8; i++)
        EXPECT(pthread_create(&threads[i], NULL, copies_of_one_thread, (void *)(i + 100)) == 0);
    for (int i = 0; i < 8; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
}

CASES(CASE(what_is_written_is_read_back), CASE(threads_that_copy_at_once_do_not_mix),
      CASE(an_asynchronous_copy_is_there_after_the_stream_is_synchronised),
      CASE(a_copy_within_the_device_keeps_the_bytes),
      CASE(the_default_kind_finds_out_where_the_places_lie),
      CASE(rows_are_copied_between_different_pitches), CASE(memory_is_set_to_a_byte),
      CASE(pinned_memory_is_ordinary_memory_that_can_be_freed_once),
      CASE(nothing_is_allocated_freed_copied_or_set_with_success),
      CASE(wrong_arguments_of_copies_are_refused), CASE(freed_memory_is_refused),
      CASE(more_than_the_device_has_is_out_of_memory), CASE(an_address_says_whose_memory_it_is))
