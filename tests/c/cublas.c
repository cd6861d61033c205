/* cuBLAS where no host can be reached. Its headers are in no small public package, so
 * the prototypes are written here, after the public documentation. */
#include <stdio.h>
#include <string.h>

int cublasCreate_v2(void **handle);
size_t cublasGetCudartVersion(void);
const char *cublasGetStatusName(int status);
const char *cublasGetStatusString(int status);

#define EXPECT(condition)                                                                          \
    if (!(condition))                                                                              \
    return fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition), 1

int main(void)
{
    void *handle = &handle;
    EXPECT(cublasGetCudartVersion() == 12000 || cublasGetCudartVersion() == 13000);
    EXPECT(cublasCreate_v2(&handle) == 1);
    EXPECT(handle == &handle);
    EXPECT(strcmp(cublasGetStatusName(0), "CUBLAS_STATUS_SUCCESS") == 0);
    EXPECT(strcmp(cublasGetStatusName(15), "CUBLAS_STATUS_NOT_SUPPORTED") == 0);
    EXPECT(strlen(cublasGetStatusString(15)) > 0);
    EXPECT(cublasGetStatusName(4711) != NULL && cublasGetStatusString(-1) != NULL);
    return 0;
}
