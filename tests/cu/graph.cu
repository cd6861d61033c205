/* Graphs: captured and built by hand, launched, updated. */
#include "check.cuh"

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

__device__ int copied[4];

constexpr int COUNT = 1000, BLOCK = 128, GRID = (COUNT + BLOCK - 1) / BLOCK;

/* A graph of two kernels that follow one another, captured from a stream. */
static cudaGraph_t captured(int *values, int amount, int factor)
{
    cudaStream_t stream;
    cudaGraph_t graph = nullptr;
    cudaStreamCaptureStatus status;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    add_to<<<GRID, BLOCK, 0, stream>>>(values, amount, COUNT);
    OK(cudaGetLastError());
    OK(cudaStreamIsCapturing(stream, &status));
    EXPECT(status == cudaStreamCaptureStatusActive);
    times<<<GRID, BLOCK, 0, stream>>>(values, factor, COUNT);
    OK(cudaStreamEndCapture(stream, &graph));
    EXPECT(graph != nullptr);
    OK(cudaStreamIsCapturing(stream, &status));
    EXPECT(status == cudaStreamCaptureStatusNone);
    OK(cudaStreamDestroy(stream));
    return graph;
}

static void what_is_captured_is_done_when_it_is_launched()
{
    Device<int> values(COUNT);
    cudaStream_t stream;
    cudaGraphExec_t exec;
    size_t nodes = 0;
    OK(cudaStreamCreate(&stream));
    cudaGraph_t graph = captured(values.at, 3, 2);
    EQUAL(values.read()[0], 0);
    OK(cudaGraphGetNodes(graph, nullptr, &nodes));
    EQUAL(nodes, 2);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (int i = 0; i < 3; i++)
        OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EQUAL(values.read()[COUNT - 1], 42);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaStreamDestroy(stream));
}

static void streams_that_join_a_capture_become_part_of_it()
{
    Device<int> one(COUNT), two(COUNT);
    cudaStream_t first, second;
    cudaEvent_t forked, joined;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    OK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&forked, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
    OK(cudaDeviceSynchronize());
    OK(cudaStreamBeginCapture(first, cudaStreamCaptureModeGlobal));
    add_to<<<GRID, BLOCK, 0, first>>>(one.at, 1, COUNT);
    OK(cudaEventRecord(forked, first));
    OK(cudaStreamWaitEvent(second, forked, 0));
    OK(cudaMemcpyAsync(two.at, one.at, COUNT * sizeof(int), cudaMemcpyDeviceToDevice, second));
    times<<<GRID, BLOCK, 0, second>>>(two.at, 7, COUNT);
    OK(cudaEventRecord(joined, second));
    OK(cudaStreamWaitEvent(first, joined, 0));
    add_to<<<GRID, BLOCK, 0, first>>>(two.at, 100, COUNT);
    OK(cudaStreamEndCapture(first, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, first));
    OK(cudaStreamSynchronize(first));
    EQUAL(two.read()[17], 107);
    OK(cudaGraphLaunch(exec, first));
    OK(cudaStreamSynchronize(first));
    EQUAL(two.read()[17], 114);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
    OK(cudaEventDestroy(forked));
    OK(cudaEventDestroy(joined));
    OK(cudaStreamDestroy(first));
    OK(cudaStreamDestroy(second));
}

static void a_graph_of_the_same_shape_updates_an_executable_one()
{
    Device<int> values(COUNT), others(COUNT);
    cudaGraphExec_t exec;
    cudaGraphExecUpdateResultInfo info;
    cudaGraph_t first = captured(values.at, 1, 1), second = captured(others.at, 5, 3);
    OK(cudaGraphInstantiate(&exec, first, 0));
    OK(cudaGraphLaunch(exec, nullptr));
    OK(cudaGraphExecUpdate(exec, second, &info));
    EXPECT(info.result == cudaGraphExecUpdateSuccess);
    OK(cudaGraphLaunch(exec, nullptr));
    OK(cudaDeviceSynchronize());
    EQUAL(values.read()[0], 1);
    EQUAL(others.read()[0], 15);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(first));
    OK(cudaGraphDestroy(second));
}

static void a_graph_of_another_shape_does_not()
{
    Device<int> values(COUNT);
    cudaGraphExec_t exec;
    cudaGraphExecUpdateResultInfo info;
    cudaStream_t stream;
    cudaGraph_t first = captured(values.at, 1, 1), second;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 9, COUNT);
    OK(cudaStreamEndCapture(stream, &second));
    OK(cudaGraphInstantiate(&exec, first, 0));
    ANSWERS(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, second, &info));
    EXPECT(info.result == cudaGraphExecUpdateErrorTopologyChanged);
    (void)cudaGetLastError();
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EQUAL(values.read()[0], 1);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(first));
    OK(cudaGraphDestroy(second));
    OK(cudaStreamDestroy(stream));
}

static void a_kernel_node_says_and_takes_what_it_launches()
{
    Device<int> values(COUNT);
    cudaGraphExec_t exec;
    cudaGraphNode_t root;
    size_t roots = 1;
    cudaGraphNodeType kind;
    cudaKernelNodeParams parameters = {};
    cudaGraph_t graph = captured(values.at, 4, 1);
    OK(cudaGraphGetRootNodes(graph, &root, &roots));
    EQUAL(roots, 1);
    OK(cudaGraphNodeGetType(root, &kind));
    EXPECT(kind == cudaGraphNodeTypeKernel);
    OK(cudaGraphKernelNodeGetParams(root, &parameters));
    EXPECT(parameters.func == reinterpret_cast<void *>(add_to));
    EQUAL(parameters.gridDim.x, GRID);
    EQUAL(parameters.blockDim.x, BLOCK);
    EQUAL(*static_cast<int *>(parameters.kernelParams[1]), 4);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    int *place = values.at, amount = 6, count = COUNT;
    void *arguments[] = {&place, &amount, &count};
    parameters.kernelParams = arguments;
    OK(cudaGraphExecKernelNodeSetParams(exec, root, &parameters));
    OK(cudaGraphLaunch(exec, nullptr));
    OK(cudaDeviceSynchronize());
    EQUAL(values.read()[1], 6);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
}

/* Memory that is set, added to and copied: three nodes in a row, and one that joins two ends. */
static void a_graph_is_built_node_by_node()
{
    Device<int> values(COUNT), copies(COUNT);
    int *place = values.at, amount = 5, count = COUNT;
    cudaGraph_t graph, clone;
    cudaGraphExec_t exec;
    cudaGraphNode_t set, kernel, copy, again, join, in_clone;
    size_t edges = 0;
    OK(cudaGraphCreate(&graph, 0));
    cudaMemsetParams bytes = {};
    bytes.dst = values.at;
    bytes.elementSize = 4;
    bytes.width = COUNT;
    bytes.height = 1;
    bytes.value = 37;
    OK(cudaGraphAddMemsetNode(&set, graph, nullptr, 0, &bytes));
    cudaKernelNodeParams launch = {};
    void *arguments[] = {&place, &amount, &count};
    launch.func = reinterpret_cast<void *>(add_to);
    launch.gridDim = dim3(GRID);
    launch.blockDim = dim3(BLOCK);
    launch.kernelParams = arguments;
    OK(cudaGraphAddKernelNode(&kernel, graph, &set, 1, &launch));
    OK(cudaGraphAddMemcpyNode1D(&copy, graph, &kernel, 1, copies.at, values.at,
                                COUNT * sizeof(int) / 2, cudaMemcpyDeviceToDevice));
    OK(cudaGraphAddMemcpyNodeToSymbol(&again, graph, &kernel, 1, copied, values.at,
                                      sizeof copied, 0, cudaMemcpyDeviceToDevice));
    cudaGraphNode_t both[] = {copy, again};
    OK(cudaGraphAddEmptyNode(&join, graph, both, 2));
#if CUDART_VERSION < 13000
    OK(cudaGraphGetEdges(graph, nullptr, nullptr, &edges));
#else
    OK(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &edges));
#endif
    EQUAL(edges, 5);
    cudaMemcpy3DParms told = {};
    OK(cudaGraphMemcpyNodeGetParams(copy, &told));
    EQUAL(told.extent.width, COUNT * sizeof(int) / 2);
    EXPECT(told.kind == cudaMemcpyDeviceToDevice && told.dstPtr.ptr == copies.at);
    OK(cudaGraphClone(&clone, graph));
    OK(cudaGraphNodeFindInClone(&in_clone, copy, clone));
    OK(cudaGraphDestroy(graph));
    OK(cudaGraphInstantiate(&exec, clone, 0));
    OK(cudaGraphExecMemcpyNodeSetParams1D(exec, in_clone, copies.at, values.at,
                                          COUNT * sizeof(int), cudaMemcpyDeviceToDevice));
    OK(cudaGraphDestroy(clone));
    OK(cudaGraphLaunch(exec, nullptr));
    OK(cudaDeviceSynchronize());
    EQUAL(copies.read()[0], 42);
    EQUAL(copies.read()[COUNT - 1], 42);
    int symbol[4] = {};
    OK(cudaMemcpyFromSymbol(symbol, copied, sizeof symbol));
    EQUAL(symbol[3], 42);
    OK(cudaGraphExecDestroy(exec));
}

static int *host_values;

static void CUDART_CB triple_on_the_host(void *data)
{
    for (int i = 0; i < COUNT; i++)
        host_values[i] *= 3;
    ++*static_cast<int *>(data);
}

/* A kernel, a copy out, a function of the program, a copy in and a kernel, captured. */
static void a_captured_function_computes_between_kernels()
{
    Device<int> values(COUNT);
    int calls = 0;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    OK(cudaMallocHost(&host_values, COUNT * sizeof(int)));
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaDeviceSynchronize());
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 1, COUNT);
    OK(cudaMemcpyAsync(host_values, values.at, COUNT * sizeof(int), cudaMemcpyDeviceToHost,
                       stream));
    OK(cudaLaunchHostFunc(stream, triple_on_the_host, &calls));
    OK(cudaMemcpyAsync(values.at, host_values, COUNT * sizeof(int), cudaMemcpyHostToDevice,
                       stream));
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 2, COUNT);
    OK(cudaStreamEndCapture(stream, &graph));
    EQUAL(calls, 0);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 3; i++)
        OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    EQUAL(calls, 3);
    EQUAL(host_values[7], 63);
    EQUAL(values.read()[0], 65);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
    OK(cudaFreeHost(host_values));
    OK(cudaStreamDestroy(stream));
}

/* The result of a kernel in ordinary memory, looked at by a node of the same graph. */
static void a_host_node_sees_the_result_that_was_copied_before_it()
{
    Device<int> values(COUNT);
    int *place = values.at, amount = 5, count = COUNT, result = 0;
    struct Seen {
        int *result;
        int seen;
    } seen = {&result, 0};
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t kernel, copy, host;
    cudaGraphNodeType kind;
    OK(cudaGraphCreate(&graph, 0));
    cudaKernelNodeParams launch = {};
    void *arguments[] = {&place, &amount, &count};
    launch.func = reinterpret_cast<void *>(add_to);
    launch.gridDim = dim3(GRID);
    launch.blockDim = dim3(BLOCK);
    launch.kernelParams = arguments;
    OK(cudaGraphAddKernelNode(&kernel, graph, nullptr, 0, &launch));
    OK(cudaGraphAddMemcpyNode1D(&copy, graph, &kernel, 1, &result, values.at + 3, sizeof result,
                                cudaMemcpyDeviceToHost));
    cudaHostNodeParams call = {};
    call.fn = [](void *data) {
        Seen *seen = static_cast<Seen *>(data);
        seen->seen = seen->seen * 100 + *seen->result;
    };
    call.userData = &seen;
    OK(cudaGraphAddHostNode(&host, graph, &copy, 1, &call));
    OK(cudaGraphNodeGetType(host, &kind));
    EXPECT(kind == cudaGraphNodeTypeHost);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, nullptr));
    OK(cudaGraphLaunch(exec, nullptr));
    OK(cudaDeviceSynchronize());
    EQUAL(seen.seen, 510);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
}

static void what_breaks_a_capture_is_told_at_its_end()
{
    Device<int> values(COUNT);
    cudaStream_t stream;
    cudaGraph_t graph = nullptr;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 1, COUNT);
    ANSWERS(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(stream));
    ANSWERS(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(stream, &graph));
    EXPECT(graph == nullptr);
    (void)cudaGetLastError();
    add_to<<<GRID, BLOCK, 0, stream>>>(values.at, 2, COUNT);
    OK(cudaStreamSynchronize(stream));
    EQUAL(values.read()[0], 2);
    ANSWERS(cudaErrorIllegalState, cudaStreamEndCapture(stream, &graph));
    OK(cudaStreamDestroy(stream));
}

CASES(CASE(what_is_captured_is_done_when_it_is_launched),
      CASE(streams_that_join_a_capture_become_part_of_it),
      CASE(a_graph_of_the_same_shape_updates_an_executable_one),
      CASE(a_graph_of_another_shape_does_not),
      CASE(a_kernel_node_says_and_takes_what_it_launches), CASE(a_graph_is_built_node_by_node),
      CASE(a_captured_function_computes_between_kernels),
      CASE(a_host_node_sees_the_result_that_was_copied_before_it),
      CASE(what_breaks_a_capture_is_told_at_its_end))
