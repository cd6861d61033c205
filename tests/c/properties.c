/* The properties of the device: what programs read, and each field against its attribute. */
#include "case.h"

static int unequal = 0;

/* Counts and names a field that differs from what its attribute says. */
static void compare(const char *field, long long value, enum cudaDeviceAttr attribute)
{
    int expected = -1;
    OK(cudaDeviceGetAttribute(&expected, attribute, 0));
    if (value != expected) {
        unequal++;
        printf("differs %s: %lld, the attribute says %d\n", field, value, expected);
    }
}

#define SAME(field, attribute) compare(#field, (long long)p.field, attribute)

int main(void)
{
    struct {
        unsigned char before[64];
        struct cudaDeviceProp properties;
        unsigned char after[64];
    } guarded;
    memset(&guarded, 0xee, sizeof guarded);
    OK(cudaGetDeviceProperties(&guarded.properties, 0));
    for (int i = 0; i < 64; i++)
        EXPECT(guarded.before[i] == 0xee && guarded.after[i] == 0xee);
    struct cudaDeviceProp p = guarded.properties;
    printf("name %s\n", p.name);
    printf("totalGlobalMem %zu\n", p.totalGlobalMem);
    printf("major %d\nminor %d\n", p.major, p.minor);
    printf("multiProcessorCount %d\n", p.multiProcessorCount);
    printf("sharedMemPerBlockOptin %zu\n", p.sharedMemPerBlockOptin);
    printf("warpSize %d\nintegrated %d\n", p.warpSize, p.integrated);

    SAME(sharedMemPerBlock, cudaDevAttrMaxSharedMemoryPerBlock);
    SAME(regsPerBlock, cudaDevAttrMaxRegistersPerBlock);
    SAME(warpSize, cudaDevAttrWarpSize);
    SAME(memPitch, cudaDevAttrMaxPitch);
    SAME(maxThreadsPerBlock, cudaDevAttrMaxThreadsPerBlock);
    SAME(maxThreadsDim[0], cudaDevAttrMaxBlockDimX);
    SAME(maxThreadsDim[2], cudaDevAttrMaxBlockDimZ);
    SAME(maxGridSize[0], cudaDevAttrMaxGridDimX);
    SAME(maxGridSize[1], cudaDevAttrMaxGridDimY);
    SAME(totalConstMem, cudaDevAttrTotalConstantMemory);
    SAME(textureAlignment, cudaDevAttrTextureAlignment);
    SAME(texturePitchAlignment, cudaDevAttrTexturePitchAlignment);
    SAME(canMapHostMemory, cudaDevAttrCanMapHostMemory);
    SAME(maxTexture2DGather[1], cudaDevAttrMaxTexture2DGatherHeight);
    SAME(maxSurfaceCubemapLayered[1], cudaDevAttrMaxSurfaceCubemapLayeredLayers);
    SAME(surfaceAlignment, cudaDevAttrSurfaceAlignment);
    SAME(concurrentKernels, cudaDevAttrConcurrentKernels);
    SAME(ECCEnabled, cudaDevAttrEccEnabled);
    SAME(pciBusID, cudaDevAttrPciBusId);
    SAME(pciDeviceID, cudaDevAttrPciDeviceId);
    SAME(pciDomainID, cudaDevAttrPciDomainId);
    SAME(asyncEngineCount, cudaDevAttrAsyncEngineCount);
    SAME(unifiedAddressing, cudaDevAttrUnifiedAddressing);
    SAME(memoryBusWidth, cudaDevAttrGlobalMemoryBusWidth);
    SAME(l2CacheSize, cudaDevAttrL2CacheSize);
    SAME(persistingL2CacheMaxSize, cudaDevAttrMaxPersistingL2CacheSize);
    SAME(maxThreadsPerMultiProcessor, cudaDevAttrMaxThreadsPerMultiProcessor);
    SAME(sharedMemPerMultiprocessor, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
    SAME(regsPerMultiprocessor, cudaDevAttrMaxRegistersPerMultiprocessor);
    SAME(managedMemory, cudaDevAttrManagedMemory);
    SAME(pageableMemoryAccess, cudaDevAttrPageableMemoryAccess);
    SAME(cooperativeLaunch, cudaDevAttrCooperativeLaunch);
    SAME(sharedMemPerBlockOptin, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    SAME(maxBlocksPerMultiProcessor, cudaDevAttrMaxBlocksPerMultiprocessor);
    SAME(reservedSharedMemPerBlock, cudaDevAttrReservedSharedMemoryPerBlock);
    SAME(memoryPoolsSupported, cudaDevAttrMemoryPoolsSupported);
    SAME(memoryPoolSupportedHandleTypes, cudaDevAttrMemoryPoolSupportedHandleTypes);
    SAME(clusterLaunch, cudaDevAttrClusterLaunch);
#if CUDART_VERSION < 13000
    SAME(clockRate, cudaDevAttrClockRate);
    SAME(computeMode, cudaDevAttrComputeMode);
    SAME(memoryClockRate, cudaDevAttrMemoryClockRate);
    SAME(singleToDoublePrecisionPerfRatio, cudaDevAttrSingleToDoublePrecisionPerfRatio);
#else
    SAME(hostNumaId, cudaDevAttrHostNumaId);
    SAME(gpuPciDeviceID, cudaDevAttrGpuPciDeviceId);
#endif
    printf("unequal %d\n", unequal);
    return 0;
}
