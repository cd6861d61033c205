/* Devices: discovery, attributes, the thread's device. */
#include "case.h"

#include <pthread.h>
#include <strings.h>

static void there_is_one_device(void)
{
    int count = -1;
    OK(cudaGetDeviceCount(&count));
    EXPECT(count == 1);
}

static void the_first_device_is_current_without_asking(void)
{
    int device = -1;
    OK(cudaGetDevice(&device));
    EXPECT(device == 0);
}

static void an_ordinal_that_no_device_has_is_refused(void)
{
    int value = 7;
    ANSWERS(cudaErrorInvalidDevice, cudaSetDevice(1));
    ANSWERS(cudaErrorInvalidDevice, cudaSetDevice(-1));
    ANSWERS(cudaErrorInvalidDevice, cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 5));
    EXPECT(value == 7);
    OK(cudaGetDevice(&value));
    EXPECT(value == 0);
}

static void null_is_refused_where_a_result_is_wanted(void)
{
    ANSWERS(cudaErrorInvalidValue, cudaGetDeviceCount(NULL));
    ANSWERS(cudaErrorInvalidValue, cudaGetDevice(NULL));
    ANSWERS(cudaErrorInvalidValue, cudaGetDeviceProperties(NULL, 0));
    ANSWERS(cudaErrorInvalidValue, cudaDeviceGetAttribute(NULL, cudaDevAttrWarpSize, 0));
    ANSWERS(cudaErrorInvalidValue, cudaDeviceGetPCIBusId(NULL, 16, 0));
    ANSWERS(cudaErrorInvalidValue, cudaRuntimeGetVersion(NULL));
}

static void the_pci_bus_id_leads_back_to_the_device(void)
{
    char id[16];
    int device = -1;
    struct cudaDeviceProp properties;
    char expected[16];
    OK(cudaGetDeviceProperties(&properties, 0));
    OK(cudaDeviceGetPCIBusId(id, sizeof id, 0));
    snprintf(expected, sizeof expected, "%04x:%02x:%02x.0", properties.pciDomainID,
             properties.pciBusID, properties.pciDeviceID);
    EXPECT(strcasecmp(id, expected) == 0);
    OK(cudaDeviceGetByPCIBusId(&device, id));
    EXPECT(device == 0);
}

static void versions_are_those_of_the_headers_and_of_the_driver(void)
{
    int runtime = 0, driver = 0;
    OK(cudaRuntimeGetVersion(&runtime));
    EXPECT(runtime == CUDART_VERSION);
    OK(cudaDriverGetVersion(&driver));
    EXPECT(driver >= 12000 && driver / 1000 >= runtime / 1000);
}

static void a_reset_device_is_used_again(void)
{
    void *pointer = NULL;
    OK(cudaMalloc(&pointer, 4096));
    OK(cudaDeviceReset());
    ANSWERS(cudaErrorInvalidValue, cudaFree(pointer));
    OK(cudaMalloc(&pointer, 4096));
    OK(cudaFree(pointer));
}

static pthread_barrier_t turn;

static void *allocations_around_a_reset(void *nothing)
{
    (void)nothing;
    void *pointer = NULL;
    OK(cudaMalloc(&pointer, 4096));
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    ANSWERS(cudaErrorInvalidValue, cudaFree(pointer));
    OK(cudaMalloc(&pointer, 4096));
    OK(cudaFree(pointer));
    return NULL;
}

static void a_reset_reaches_the_other_threads(void)
{
    pthread_t thread;
    EXPECT(pthread_barrier_init(&turn, NULL, 2) == 0);
    EXPECT(pthread_create(&thread, NULL, allocations_around_a_reset, NULL) == 0);
    pthread_barrier_wait(&turn);
    OK(cudaDeviceReset());
    pthread_barrier_wait(&turn);
    EXPECT(pthread_join(thread, NULL) == 0);
}

static void *device_of_another_thread(void *nothing)
{
    (void)nothing;
    int device = -1;
    void *pointer = NULL;
    OK(cudaGetDevice(&device));
    EXPECT(device == 0);
    OK(cudaMalloc(&pointer, 4096));
    OK(cudaFree(pointer));
    return NULL;
}

static void a_new_thread_uses_the_first_device(void)
{
    pthread_t thread;
    OK(cudaSetDevice(0));
    EXPECT(pthread_create(&thread, NULL, device_of_another_thread, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
}

static void a_device_is_no_peer_of_itself(void)
{
    int can = 7;
    OK(cudaDeviceCanAccessPeer(&can, 0, 0));
    EXPECT(can == 0);
}

static void the_greatest_stream_priority_is_the_smaller_number(void)
{
    int least = 7, greatest = 7;
    OK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    EXPECT(greatest <= least);
}

CASES(CASE(there_is_one_device), CASE(the_first_device_is_current_without_asking),
      CASE(an_ordinal_that_no_device_has_is_refused),
      CASE(null_is_refused_where_a_result_is_wanted),
      CASE(the_pci_bus_id_leads_back_to_the_device),
      CASE(versions_are_those_of_the_headers_and_of_the_driver),
      CASE(a_reset_device_is_used_again), CASE(a_reset_reaches_the_other_threads),
      CASE(a_new_thread_uses_the_first_device),
      CASE(a_device_is_no_peer_of_itself),
      CASE(the_greatest_stream_priority_is_the_smaller_number))
