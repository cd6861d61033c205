/* Stream capture, with copies and sets: what is recorded, what is told of it, what breaks it. */
#include "case.h"

#include <pthread.h>

static cudaStream_t stream, other;
static void *memory;

static void prepare(void)
{
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    OK(cudaMalloc(&memory, 4096));
    OK(cudaMemset(memory, 0, 4096));
    OK(cudaDeviceSynchronize());
}

static enum cudaStreamCaptureStatus status_of(cudaStream_t stream)
{
    enum cudaStreamCaptureStatus status = (enum cudaStreamCaptureStatus)77;
    OK(cudaStreamIsCapturing(stream, &status));
    return status;
}

static unsigned char first_byte(void)
{
    unsigned char byte = 0;
    OK(cudaMemcpy(&byte, memory, 1, cudaMemcpyDeviceToHost));
    return byte;
}

static void what_is_captured_is_not_done(void)
{
    cudaGraph_t graph = NULL;
    size_t nodes = 0;
    prepare();
    EXPECT(status_of(stream) == cudaStreamCaptureStatusNone);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    EXPECT(status_of(stream) == cudaStreamCaptureStatusActive);
    OK(cudaMemsetAsync(memory, 5, 4096, stream));
    OK(cudaMemsetAsync(memory, 6, 4096, stream));
    EXPECT(first_byte() == 0);
    OK(cudaStreamEndCapture(stream, &graph));
    EXPECT(graph != NULL && status_of(stream) == cudaStreamCaptureStatusNone);
    OK(cudaGraphGetNodes(graph, NULL, &nodes));
    EXPECT(nodes == 2);
    EXPECT(first_byte() == 0);
    OK(cudaGraphDestroy(graph));
}

static void a_capture_tells_its_graph_and_its_last_node(void)
{
    enum cudaStreamCaptureStatus status;
    unsigned long long first = 0, second = 0;
    cudaGraph_t inner = NULL, graph = NULL;
    const cudaGraphNode_t *nodes = NULL;
    size_t count = 7;
    prepare();
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
#if CUDART_VERSION < 13000
    OK(cudaStreamGetCaptureInfo_v2(stream, &status, &first, &inner, &nodes, &count));
    EXPECT(count == 0);
    OK(cudaMemsetAsync(memory, 1, 16, stream));
    OK(cudaStreamGetCaptureInfo_v2(stream, &status, &second, &inner, &nodes, &count));
#else
    OK(cudaStreamGetCaptureInfo(stream, &status, &first, &inner, &nodes, NULL, &count));
    EXPECT(count == 0);
    OK(cudaMemsetAsync(memory, 1, 16, stream));
    OK(cudaStreamGetCaptureInfo(stream, &status, &second, &inner, &nodes, NULL, &count));
#endif
    EXPECT(status == cudaStreamCaptureStatusActive && first == second && first != 0);
    EXPECT(count == 1 && nodes != NULL && nodes[0] != NULL);
    OK(cudaStreamEndCapture(stream, &graph));
    EXPECT(graph == inner);
    OK(cudaGraphDestroy(graph));
}

static void a_stream_that_waits_for_a_captured_event_joins(void)
{
    cudaEvent_t fork, join;
    cudaGraph_t graph = NULL;
    prepare();
    OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    OK(cudaEventRecord(fork, stream));
    OK(cudaStreamWaitEvent(other, fork, 0));
    EXPECT(status_of(other) == cudaStreamCaptureStatusActive);
    OK(cudaMemsetAsync(memory, 2, 16, other));
    OK(cudaEventRecord(join, other));
    OK(cudaStreamWaitEvent(stream, join, 0));
    OK(cudaStreamEndCapture(stream, &graph));
    EXPECT(status_of(other) == cudaStreamCaptureStatusNone);
    OK(cudaGraphDestroy(graph));
}

static void a_stream_that_did_not_join_again_spoils_the_capture(void)
{
    cudaEvent_t fork;
    cudaGraph_t graph = NULL;
    prepare();
    OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    OK(cudaEventRecord(fork, stream));
    OK(cudaStreamWaitEvent(other, fork, 0));
    OK(cudaMemsetAsync(memory, 2, 16, other));
    ANSWERS(cudaErrorStreamCaptureUnjoined, cudaStreamEndCapture(stream, &graph));
    EXPECT(graph == NULL);
}

static void waiting_for_a_captured_stream_spoils_the_capture(void)
{
    cudaGraph_t graph = NULL;
    prepare();
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    ANSWERS(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(stream));
    EXPECT(status_of(stream) == cudaStreamCaptureStatusInvalidated);
    ANSWERS(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(stream, &graph));
    EXPECT(graph == NULL && status_of(stream) == cudaStreamCaptureStatusNone);
    OK(cudaMemsetAsync(memory, 3, 16, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(first_byte() == 3);
}

static void what_is_not_captured_cannot_end(void)
{
    cudaGraph_t graph = NULL;
    prepare();
    ANSWERS(cudaErrorIllegalState, cudaStreamEndCapture(stream, &graph));
    ANSWERS(cudaErrorStreamCaptureUnsupported,
            cudaStreamBeginCapture(cudaStreamLegacy, cudaStreamCaptureModeRelaxed));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    ANSWERS(cudaErrorIllegalState, cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
}

static void a_thread_exchanges_what_it_forbids(void)
{
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    void *more = NULL;
    cudaGraph_t graph = NULL;
    prepare();
    OK(cudaThreadExchangeStreamCaptureMode(&mode));
    EXPECT(mode == cudaStreamCaptureModeGlobal);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaMalloc(&more, 16));
    OK(cudaThreadExchangeStreamCaptureMode(&mode));
    EXPECT(mode == cudaStreamCaptureModeRelaxed);
    ANSWERS(cudaErrorStreamCaptureUnsupported, cudaMalloc(&more, 16));
    ANSWERS(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(stream, &graph));
}

static void *end_capture(void *answer)
{
    cudaGraph_t graph = NULL;
    *(cudaError_t *)answer = cudaStreamEndCapture(stream, &graph);
    return NULL;
}

static void another_thread_may_not_end_a_capture_of_a_thread(void)
{
    cudaError_t answer = cudaSuccess;
    pthread_t thread;
    cudaGraph_t graph = NULL;
    prepare();
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    EXPECT(pthread_create(&thread, NULL, end_capture, &answer) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(answer == cudaErrorStreamCaptureWrongThread);
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphDestroy(graph));
}

CASES(CASE(what_is_captured_is_not_done), CASE(a_capture_tells_its_graph_and_its_last_node),
      CASE(a_stream_that_waits_for_a_captured_event_joins),
      CASE(a_stream_that_did_not_join_again_spoils_the_capture),
      CASE(waiting_for_a_captured_stream_spoils_the_capture),
      CASE(what_is_not_captured_cannot_end), CASE(a_thread_exchanges_what_it_forbids),
      CASE(another_thread_may_not_end_a_capture_of_a_thread))
