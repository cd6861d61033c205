/* What the programs with kernels share: cases by name, and what ends a program that is wrong. */
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <cuda_runtime.h>

/* Ends the program with the line and what was expected, unless it holds. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);          \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

/* Ends the program unless the call answers exactly this code. */
#define ANSWERS(code, call)                                                                        \
    do {                                                                                           \
        cudaError_t answer_ = (call);                                                              \
        if (answer_ != (code)) {                                                                   \
            std::fprintf(stderr, "%s:%d: %s answered %s, not %s\n", __FILE__, __LINE__, #call,     \
                         cudaGetErrorName(answer_), #code);                                        \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

#define OK(call) ANSWERS(cudaSuccess, call)

/* Ends the program unless a number is what it should be, and says what it is. */
#define EQUAL(value, wanted)                                                                       \
    do {                                                                                           \
        double value_ = static_cast<double>(value), wanted_ = static_cast<double>(wanted);         \
        if (value_ != wanted_) {                                                                   \
            std::fprintf(stderr, "%s:%d: %s is %.9g, not %.9g\n", __FILE__, __LINE__, #value,      \
                         value_, wanted_);                                                         \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

/* Memory of the device that holds what a list of the program holds, for every stream: sets, and
 * copies of pageable memory, may return before they are done, and not all streams wait for them. */
template <typename T> struct Device {
    T *at = nullptr;
    size_t count;

    explicit Device(size_t count) : count(count)
    {
        OK(cudaMalloc(&at, count * sizeof(T)));
        OK(cudaMemset(at, 0, count * sizeof(T)));
        OK(cudaStreamSynchronize(nullptr));
    }
    explicit Device(const std::vector<T> &values) : count(values.size())
    {
        OK(cudaMalloc(&at, count * sizeof(T)));
        OK(cudaMemcpy(at, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
        OK(cudaStreamSynchronize(nullptr));
    }
    Device(const Device &) = delete;
    ~Device() { OK(cudaFree(at)); }

    std::vector<T> read() const
    {
        std::vector<T> values(count);
        OK(cudaMemcpy(values.data(), at, count * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }
};

/* 0, 1, 2, ... times a step: numbers whose sums and products are exact. */
inline std::vector<float> ramp(size_t count, float step = 1.0f)
{
    std::vector<float> values(count);
    for (size_t i = 0; i < count; i++)
        values[i] = step * static_cast<float>(i % 1024);
    return values;
}

struct Case {
    const char *name;
    void (*run)();
};

#define CASE(name) {#name, name}

inline int run_case(const Case *cases, size_t count, int argc, char **argv)
{
    if (argc == 2)
        for (size_t i = 0; i < count; i++)
            if (std::strcmp(cases[i].name, argv[1]) == 0) {
                cases[i].run();
                return 0;
            }
    if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            std::printf("%s\n", cases[i].name);
        return 0;
    }
    std::fprintf(stderr, "usage: %s CASE, or --list\n", argv[0]);
    return 64;
}

#define CASES(...)                                                                                 \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static const Case cases[] = {__VA_ARGS__};                                                 \
        return run_case(cases, sizeof cases / sizeof *cases, argc, argv);                          \
    }
