/* Kernels that work together within a block: shared memory, barriers, warps, atomics. */
#include "check.cuh"

#include <cuda_fp16.h>

__global__ void sum_in_shared(const float *values, float *sums, int count)
{
    __shared__ float part[256];
    int i = blockIdx.x * 256 + threadIdx.x;
    part[threadIdx.x] = i < count ? values[i] : 0.0f;
    __syncthreads();
    for (int step = 128; step > 0; step /= 2) {
        if (threadIdx.x < step)
            part[threadIdx.x] += part[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        sums[blockIdx.x] = part[0];
}

__global__ void reverse_in_dynamic_shared(int *values)
{
    extern __shared__ int part[];
    int last = blockDim.x - 1;
    part[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = part[last - threadIdx.x];
}

__global__ void sum_in_warps(const int *values, int *sums)
{
    int value = values[blockIdx.x * blockDim.x + threadIdx.x];
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_down_sync(0xffffffff, value, step);
    if (threadIdx.x % 32 == 0)
        sums[(blockIdx.x * blockDim.x + threadIdx.x) / 32] = value;
}

__global__ void count_in_bins(const unsigned *values, unsigned *bins, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        atomicAdd(&bins[values[i] % 16], 1u);
}

__global__ void multiply(const float *a, const float *b, float *c, int n)
{
    int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n || column >= n)
        return;
    float sum = 0;
    for (int k = 0; k < n; k++)
        sum += a[row * n + k] * b[k * n + column];
    c[row * n + column] = sum;
}

constexpr int TILE = 16;

__global__ void multiply_in_tiles(const float *a, const float *b, float *c, int n)
{
    __shared__ float of_a[TILE][TILE], of_b[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < n; k += TILE) {
        int x = k + threadIdx.x, y = k + threadIdx.y;
        of_a[threadIdx.y][threadIdx.x] = row < n && x < n ? a[row * n + x] : 0.0f;
        of_b[threadIdx.y][threadIdx.x] = y < n && column < n ? b[y * n + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            sum += of_a[threadIdx.y][i] * of_b[i][threadIdx.x];
        __syncthreads();
    }
    if (row < n && column < n)
        c[row * n + column] = sum;
}

__global__ void multiply_halves(const __half *a, const __half *b, float *c, int n)
{
    int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n || column >= n)
        return;
    float sum = 0;
    for (int k = 0; k < n; k++)
        sum += __half2float(a[row * n + k]) * __half2float(b[k * n + column]);
    c[row * n + column] = sum;
}

__global__ void functions(const float *x, float *y)
{
    float v = x[threadIdx.x];
    y[threadIdx.x * 4] = sqrtf(v);
    y[threadIdx.x * 4 + 1] = fmaf(v, v, 1.0f);
    y[threadIdx.x * 4 + 2] = fminf(fmaxf(v, 2.0f), 3.0f);
    y[threadIdx.x * 4 + 3] = expf(v);
}

__global__ void divide(const int *a, const int *b, int *out)
{
    int i = threadIdx.x;
    out[i * 2] = a[i] / b[i];
    out[i * 2 + 1] = a[i] % b[i];
}

static void a_block_sums_in_shared_memory()
{
    const int count = 1000;
    std::vector<float> values = ramp(count);
    Device<float> on(values), sums(4);
    sum_in_shared<<<4, 256>>>(on.at, sums.at, count);
    OK(cudaGetLastError());
    std::vector<float> got = sums.read();
    EQUAL(got[0] + got[1] + got[2] + got[3], 499500);
    EQUAL(got[0], 32640);
}

static void dynamic_shared_memory_is_as_large_as_asked_for()
{
    std::vector<int> values(512);
    for (int i = 0; i < 512; i++)
        values[i] = i;
    Device<int> on(values);
    reverse_in_dynamic_shared<<<1, 512, 512 * sizeof(int)>>>(on.at);
    OK(cudaGetLastError());
    std::vector<int> got = on.read();
    for (int i = 0; i < 512; i++)
        EQUAL(got[i], 511 - i);
}

static void the_threads_of_a_warp_exchange_values()
{
    std::vector<int> values(256);
    for (int i = 0; i < 256; i++)
        values[i] = i * 3;
    Device<int> on(values), sums(8);
    sum_in_warps<<<2, 128>>>(on.at, sums.at);
    std::vector<int> got = sums.read();
    for (int w = 0; w < 8; w++)
        EQUAL(got[w], 3 * (32 * 32 * w + 496));
}

static void atomics_lose_nothing()
{
    const int count = 5000;
    std::vector<unsigned> values(count);
    unsigned wanted[16] = {};
    for (int i = 0; i < count; i++) {
        values[i] = i * 2654435761u >> 8;
        wanted[values[i] % 16]++;
    }
    Device<unsigned> on(values), bins(16);
    count_in_bins<<<(count + 127) / 128, 128>>>(on.at, bins.at, count);
    std::vector<unsigned> got = bins.read();
    for (int i = 0; i < 16; i++)
        EQUAL(got[i], wanted[i]);
}

/* Small whole numbers: sums are exact in every order. */
static std::vector<float> matrix(int n, int seed)
{
    std::vector<float> values(n * n);
    for (int i = 0; i < n * n; i++)
        values[i] = static_cast<float>((i * seed) % 7 - 3);
    return values;
}

static void check_product(const std::vector<float> &a, const std::vector<float> &b,
                          const std::vector<float> &c, int n)
{
    for (int row = 0; row < n; row++)
        for (int column = 0; column < n; column++) {
            float sum = 0;
            for (int k = 0; k < n; k++)
                sum += a[row * n + k] * b[k * n + column];
            EQUAL(c[row * n + column], sum);
        }
}

static void matrices_are_multiplied()
{
    const int n = 40;
    std::vector<float> a = matrix(n, 5), b = matrix(n, 3);
    Device<float> on_a(a), on_b(b), plain(n * n), tiled(n * n);
    dim3 block(TILE, TILE), grid((n + TILE - 1) / TILE, (n + TILE - 1) / TILE);
    multiply<<<grid, block>>>(on_a.at, on_b.at, plain.at, n);
    multiply_in_tiles<<<grid, block>>>(on_a.at, on_b.at, tiled.at, n);
    OK(cudaGetLastError());
    check_product(a, b, plain.read(), n);
    check_product(a, b, tiled.read(), n);
}

static void matrices_of_halves_are_multiplied()
{
    const int n = 24;
    std::vector<float> a = matrix(n, 5), b = matrix(n, 3);
    std::vector<__half> half_a(n * n), half_b(n * n);
    for (int i = 0; i < n * n; i++) {
        half_a[i] = __float2half(a[i]);
        half_b[i] = __float2half(b[i]);
    }
    Device<__half> on_a(half_a), on_b(half_b);
    Device<float> product(n * n);
    multiply_halves<<<dim3(3, 3), dim3(8, 8)>>>(on_a.at, on_b.at, product.at, n);
    OK(cudaGetLastError());
    check_product(a, b, product.read(), n);
}

static void functions_of_numbers_are_right()
{
    std::vector<float> x = {0.0f, 1.0f, 2.25f, 4.0f};
    Device<float> on_x(x), on_y(16);
    functions<<<1, 4>>>(on_x.at, on_y.at);
    OK(cudaGetLastError());
    std::vector<float> y = on_y.read();
    for (int i = 0; i < 4; i++) {
        EQUAL(y[i * 4], std::sqrt(x[i]));
        EQUAL(y[i * 4 + 1], x[i] * x[i] + 1);
        EQUAL(y[i * 4 + 2], std::fmin(std::fmax(x[i], 2.0f), 3.0f));
        EXPECT(std::fabs(y[i * 4 + 3] - std::exp(x[i])) <= 2e-6f * std::exp(x[i]));
    }
}

static void whole_numbers_are_divided()
{
    std::vector<int> a = {7, -7, 7, -7, 1000000007, 0}, b = {2, 2, -2, -2, 97, 5};
    Device<int> on_a(a), on_b(b), out(12);
    divide<<<1, 6>>>(on_a.at, on_b.at, out.at);
    std::vector<int> got = out.read();
    for (int i = 0; i < 6; i++) {
        EQUAL(got[i * 2], a[i] / b[i]);
        EQUAL(got[i * 2 + 1], a[i] % b[i]);
    }
}

CASES(CASE(a_block_sums_in_shared_memory), CASE(dynamic_shared_memory_is_as_large_as_asked_for),
      CASE(the_threads_of_a_warp_exchange_values), CASE(atomics_lose_nothing),
      CASE(matrices_are_multiplied), CASE(matrices_of_halves_are_multiplied),
      CASE(functions_of_numbers_are_right), CASE(whole_numbers_are_divided))
