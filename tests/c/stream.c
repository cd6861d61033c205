/* Streams and events. */
#include "case.h"

static void a_stream_lives_until_it_is_destroyed(void)
{
    cudaStream_t stream = NULL;
    unsigned flags = 7;
    int priority = 7;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    EXPECT(stream != NULL && stream != cudaStreamLegacy && stream != cudaStreamPerThread);
    OK(cudaStreamGetFlags(stream, &flags));
    EXPECT(flags == cudaStreamNonBlocking);
    OK(cudaStreamGetPriority(stream, &priority));
    OK(cudaStreamSynchronize(stream));
    OK(cudaStreamQuery(stream));
    OK(cudaStreamDestroy(stream));
    ANSWERS(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(stream));
}

static void the_default_streams_are_always_there(void)
{
    OK(cudaStreamSynchronize(0));
    OK(cudaStreamSynchronize(cudaStreamLegacy));
    OK(cudaStreamSynchronize(cudaStreamPerThread));
    ANSWERS(cudaErrorInvalidResourceHandle, cudaStreamDestroy(0));
    ANSWERS(cudaErrorInvalidResourceHandle, cudaStreamDestroy(cudaStreamLegacy));
    ANSWERS(cudaErrorInvalidResourceHandle, cudaStreamDestroy(cudaStreamPerThread));
}

static void two_streams_have_different_numbers(void)
{
    cudaStream_t one = NULL, two = NULL;
    unsigned long long first = 0, second = 0;
    OK(cudaStreamCreate(&one));
    OK(cudaStreamCreateWithPriority(&two, cudaStreamDefault, 0));
    OK(cudaStreamGetId(one, &first));
    OK(cudaStreamGetId(two, &second));
    EXPECT(first != second);
}

static void a_stream_that_nobody_captures_says_so(void)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
    cudaStream_t stream = NULL;
    OK(cudaStreamCreate(&stream));
    OK(cudaStreamIsCapturing(stream, &status));
    EXPECT(status == cudaStreamCaptureStatusNone);
    status = cudaStreamCaptureStatusActive;
#if CUDART_VERSION < 13000
    OK(cudaStreamGetCaptureInfo(stream, &status, NULL, NULL, NULL, NULL));
#else
    OK(cudaStreamGetCaptureInfo(stream, &status, NULL, NULL, NULL, NULL, NULL));
#endif
    EXPECT(status == cudaStreamCaptureStatusNone);
    OK(cudaStreamDestroy(stream));
}

static void an_event_happens_when_the_stream_reaches_it(void)
{
    cudaStream_t stream = NULL;
    cudaEvent_t start = NULL, end = NULL;
    float milliseconds = -1;
    OK(cudaStreamCreate(&stream));
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    OK(cudaEventRecord(start, stream));
    OK(cudaEventRecord(end, stream));
    OK(cudaEventSynchronize(end));
    OK(cudaEventQuery(end));
    OK(cudaEventElapsedTime(&milliseconds, start, end));
    EXPECT(milliseconds >= 0);
    OK(cudaStreamWaitEvent(0, end, 0));
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
    ANSWERS(cudaErrorInvalidResourceHandle, cudaEventQuery(end));
}

static void an_event_without_timing_measures_nothing(void)
{
    cudaEvent_t start = NULL, end = NULL;
    float milliseconds = -1;
    OK(cudaEventCreateWithFlags(&start, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&end, cudaEventDisableTiming));
    OK(cudaEventRecord(start, 0));
    OK(cudaEventRecord(end, 0));
    OK(cudaEventSynchronize(end));
    ANSWERS(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&milliseconds, start, end));
}

CASES(CASE(a_stream_lives_until_it_is_destroyed), CASE(the_default_streams_are_always_there),
      CASE(two_streams_have_different_numbers), CASE(a_stream_that_nobody_captures_says_so),
      CASE(an_event_happens_when_the_stream_reaches_it),
      CASE(an_event_without_timing_measures_nothing))
