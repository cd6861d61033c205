/* Cases by name: each program holds a few, and runs the one that its argument names. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the line and what was expected, unless it holds. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Ends the program unless the call answers exactly this code. */
#define ANSWERS(code, call)                                                                        \
    do {                                                                                           \
        cudaError_t answer_ = (call);                                                              \
        if (answer_ != (code)) {                                                                   \
            fprintf(stderr, "%s:%d: %s answered %s, not %s\n", __FILE__, __LINE__, #call,          \
                    cudaGetErrorName(answer_), #code);                                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call) ANSWERS(cudaSuccess, call)

struct case_of {
    const char *name;
    void (*run)(void);
};

#define CASE(name) {#name, name}

__attribute__((unused)) static int run_case(const struct case_of *cases, size_t count, int argc, char **argv)
{
    if (argc == 2) {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(cases[i].name, argv[1]) == 0) {
                cases[i].run();
                return 0;
            }
        }
    }
    fprintf(stderr, "usage: %s CASE, one of:\n", argv[0]);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "  %s\n", cases[i].name);
    return 64;
}

#define CASES(...)                                                                                 \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static const struct case_of cases[] = {__VA_ARGS__};                                       \
        return run_case(cases, sizeof cases / sizeof *cases, argc, argv);                          \
    }
