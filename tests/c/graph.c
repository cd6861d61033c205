/* Graphs of copies and sets, built node by node: they are done when they are launched. */
#include "case.h"

static cudaStream_t stream;
static unsigned char *memory;

static void prepare(void)
{
    if (memory != NULL)
        return;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaMalloc((void **)&memory, 4096));
    OK(cudaMemset(memory, 0, 4096));
    OK(cudaDeviceSynchronize());
}

static unsigned char byte_at(size_t at)
{
    unsigned char byte = 0;
    OK(cudaMemcpy(&byte, memory + at, 1, cudaMemcpyDeviceToHost));
    return byte;
}

static struct cudaMemsetParams bytes_of(unsigned value)
{
    struct cudaMemsetParams set = {0};
    prepare();
    set.dst = memory;
    set.elementSize = 1;
    set.width = 64;
    set.height = 1;
    set.value = value;
    return set;
}

static size_t edges_of(cudaGraph_t graph)
{
    size_t edges = 77;
#if CUDART_VERSION < 13000
    OK(cudaGraphGetEdges(graph, NULL, NULL, &edges));
#else
    OK(cudaGraphGetEdges(graph, NULL, NULL, NULL, &edges));
#endif
    return edges;
}

static cudaError_t add_edge(cudaGraph_t graph, cudaGraphNode_t from, cudaGraphNode_t to)
{
#if CUDART_VERSION < 13000
    return cudaGraphAddDependencies(graph, &from, &to, 1);
#else
    return cudaGraphAddDependencies(graph, &from, &to, NULL, 1);
#endif
}

static void nodes_are_done_in_the_order_of_their_edges(void)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t set, copy;
    struct cudaMemsetParams nine = bytes_of(9);
    prepare();
    OK(cudaGraphCreate(&graph, 0));
    OK(cudaGraphAddMemsetNode(&set, graph, NULL, 0, &nine));
    OK(cudaGraphAddMemcpyNode1D(&copy, graph, &set, 1, memory + 1024, memory, 64,
                                cudaMemcpyDeviceToDevice));
    EXPECT(edges_of(graph) == 1);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    EXPECT(byte_at(0) == 0);
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(byte_at(0) == 9 && byte_at(1024 + 63) == 9 && byte_at(1024 + 64) == 0);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
}

static void nodes_say_what_they_do_and_are_changed(void)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t set, copy, found;
    size_t count = 1;
    enum cudaGraphNodeType kind;
    struct cudaMemsetParams two = bytes_of(2), four = bytes_of(4), told;
    struct cudaMemcpy3DParms moved;
    prepare();
    OK(cudaGraphCreate(&graph, 0));
    OK(cudaGraphAddMemsetNode(&set, graph, NULL, 0, &two));
    OK(cudaGraphAddMemcpyNode1D(&copy, graph, &set, 1, memory + 256, memory, 16,
                                cudaMemcpyDeviceToDevice));
    OK(cudaGraphGetRootNodes(graph, &found, &count));
    EXPECT(count == 1 && found == set);
    OK(cudaGraphNodeGetType(copy, &kind));
    EXPECT(kind == cudaGraphNodeTypeMemcpy);
    OK(cudaGraphMemsetNodeGetParams(set, &told));
    EXPECT(told.dst == memory && told.value == 2 && told.width == 64 && told.elementSize == 1);
    OK(cudaGraphMemcpyNodeGetParams(copy, &moved));
    EXPECT(moved.extent.width == 16 && moved.extent.height == 1 && moved.extent.depth == 1);
    EXPECT(moved.srcPtr.ptr == memory && moved.dstPtr.ptr == memory + 256);
    EXPECT(moved.kind == cudaMemcpyDeviceToDevice && moved.srcArray == NULL);
    OK(cudaGraphMemcpyNodeSetParams(copy, &moved));
    OK(cudaGraphMemsetNodeSetParams(set, &two));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphExecMemsetNodeSetParams(exec, set, &four));
    OK(cudaGraphExecMemcpyNodeSetParams1D(exec, copy, memory + 512, memory, 16,
                                          cudaMemcpyDeviceToDevice));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(byte_at(0) == 4 && byte_at(256) == 0 && byte_at(512) == 4);
}

static void edges_are_added_listed_and_removed(void)
{
    cudaGraph_t graph = NULL, copy = NULL;
    cudaGraphNode_t one, two, found;
    size_t count = 1;
    prepare();
    OK(cudaGraphCreate(&graph, 0));
    OK(cudaGraphAddEmptyNode(&one, graph, NULL, 0));
    OK(cudaGraphAddEmptyNode(&two, graph, NULL, 0));
    EXPECT(edges_of(graph) == 0);
    OK(add_edge(graph, one, two));
    EXPECT(edges_of(graph) == 1);
#if CUDART_VERSION < 13000
    OK(cudaGraphNodeGetDependencies(two, &found, &count));
#else
    OK(cudaGraphNodeGetDependencies(two, &found, NULL, &count));
#endif
    EXPECT(count == 1 && found == one);
    OK(cudaGraphClone(&copy, graph));
    OK(cudaGraphNodeFindInClone(&found, one, copy));
    EXPECT(found != NULL && found != one);
    OK(cudaGraphDestroyNode(one));
    EXPECT(edges_of(graph) == 0 && edges_of(copy) == 1);
    OK(cudaGraphDestroy(copy));
    OK(cudaGraphDestroy(graph));
}

static void a_circle_cannot_be_launched(void)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t one, two;
    prepare();
    OK(cudaGraphCreate(&graph, 0));
    OK(cudaGraphAddEmptyNode(&one, graph, NULL, 0));
    OK(cudaGraphAddEmptyNode(&two, graph, &one, 1));
    OK(add_edge(graph, two, one));
    EXPECT(cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess);
    EXPECT(cudaGetLastError() != cudaSuccess);
}

static void a_graph_within_a_graph_is_done_too(void)
{
    cudaGraph_t outer = NULL, inner = NULL, found = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t set, child, copy;
    struct cudaMemsetParams six = bytes_of(6);
    prepare();
    OK(cudaGraphCreate(&inner, 0));
    OK(cudaGraphAddMemsetNode(&set, inner, NULL, 0, &six));
    OK(cudaGraphCreate(&outer, 0));
    OK(cudaGraphAddChildGraphNode(&child, outer, NULL, 0, inner));
    OK(cudaGraphDestroy(inner));
    OK(cudaGraphChildGraphNodeGetGraph(child, &found));
    EXPECT(found != NULL && found != inner);
    OK(cudaGraphAddMemcpyNode1D(&copy, outer, &child, 1, memory + 128, memory, 8,
                                cudaMemcpyDeviceToDevice));
    OK(cudaGraphInstantiate(&exec, outer, 0));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(byte_at(0) == 6 && byte_at(128) == 6);
}

static void an_update_takes_what_fits_and_says_what_does_not(void)
{
    cudaGraph_t first = NULL, fitting = NULL, larger = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t node;
    struct cudaMemsetParams one = bytes_of(1), two = bytes_of(2);
    cudaGraphExecUpdateResultInfo info;
    prepare();
    OK(cudaGraphCreate(&first, 0));
    OK(cudaGraphCreate(&fitting, 0));
    OK(cudaGraphCreate(&larger, 0));
    OK(cudaGraphAddMemsetNode(&node, first, NULL, 0, &one));
    OK(cudaGraphAddMemsetNode(&node, fitting, NULL, 0, &two));
    OK(cudaGraphAddMemsetNode(&node, larger, NULL, 0, &two));
    OK(cudaGraphAddEmptyNode(&node, larger, &node, 1));
    OK(cudaGraphInstantiate(&exec, first, 0));
    OK(cudaGraphExecUpdate(exec, fitting, &info));
    EXPECT(info.result == cudaGraphExecUpdateSuccess);
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EXPECT(byte_at(0) == 2);
    ANSWERS(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, larger, &info));
    EXPECT(info.result == cudaGraphExecUpdateErrorTopologyChanged);
}

static void what_is_no_graph_is_refused(void)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t node;
    struct cudaMemsetParams set = bytes_of(1);
    prepare();
    ANSWERS(cudaErrorInvalidValue, cudaGraphCreate(NULL, 0));
    ANSWERS(cudaErrorInvalidValue, cudaGraphCreate(&graph, 1));
    ANSWERS(cudaErrorInvalidValue, cudaGraphAddMemsetNode(&node, NULL, NULL, 0, &set));
    ANSWERS(cudaErrorInvalidValue, cudaGraphInstantiate(&exec, NULL, 0));
    ANSWERS(cudaErrorInvalidValue, cudaGraphLaunch(NULL, stream));
    OK(cudaGraphCreate(&graph, 0));
    ANSWERS(cudaErrorInvalidValue, cudaGraphAddMemcpyNode1D(&node, graph, NULL, 0, NULL, memory, 8,
                                                            cudaMemcpyDeviceToDevice));
    ANSWERS(cudaErrorInvalidMemcpyDirection,
            cudaGraphAddMemcpyNode1D(&node, graph, NULL, 0, memory, memory + 64, 8,
                                     (enum cudaMemcpyKind)9));
}

CASES(CASE(nodes_are_done_in_the_order_of_their_edges),
      CASE(nodes_say_what_they_do_and_are_changed), CASE(edges_are_added_listed_and_removed),
      CASE(a_circle_cannot_be_launched), CASE(a_graph_within_a_graph_is_done_too),
      CASE(an_update_takes_what_fits_and_says_what_does_not), CASE(what_is_no_graph_is_refused))
