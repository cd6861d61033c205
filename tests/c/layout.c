/* Sizes and offsets of the structures of which the majors have different layouts.
 * One line each: structure, field, offset; "size" stands for the end of the structure. */
#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(structure) printf(#structure " size %zu\n", sizeof(struct structure))
#define FIELD(structure, field)                                                                    \
    printf(#structure " " #field " %zu\n", offsetof(struct structure, field))
#define P(field) FIELD(cudaDeviceProp, field)

int main(void)
{
    SIZE(cudaDeviceProp);
    P(name), P(uuid), P(luid), P(luidDeviceNodeMask), P(totalGlobalMem), P(sharedMemPerBlock);
    P(regsPerBlock), P(warpSize), P(memPitch), P(maxThreadsPerBlock), P(maxThreadsDim);
    P(maxGridSize), P(totalConstMem), P(major), P(minor), P(textureAlignment);
    P(texturePitchAlignment), P(multiProcessorCount), P(integrated), P(canMapHostMemory);
    P(maxTexture1D), P(maxTexture1DMipmap), P(maxTexture2D), P(maxTexture2DMipmap);
    P(maxTexture2DLinear), P(maxTexture2DGather), P(maxTexture3D), P(maxTexture3DAlt);
    P(maxTextureCubemap), P(maxTexture1DLayered), P(maxTexture2DLayered);
    P(maxTextureCubemapLayered), P(maxSurface1D), P(maxSurface2D), P(maxSurface3D);
    P(maxSurface1DLayered), P(maxSurface2DLayered), P(maxSurfaceCubemap);
    P(maxSurfaceCubemapLayered), P(surfaceAlignment), P(concurrentKernels), P(ECCEnabled);
    P(pciBusID), P(pciDeviceID), P(pciDomainID), P(tccDriver), P(asyncEngineCount);
    P(unifiedAddressing), P(memoryBusWidth), P(l2CacheSize), P(persistingL2CacheMaxSize);
    P(maxThreadsPerMultiProcessor), P(streamPrioritiesSupported), P(globalL1CacheSupported);
    P(localL1CacheSupported), P(sharedMemPerMultiprocessor), P(regsPerMultiprocessor);
    P(managedMemory), P(isMultiGpuBoard), P(multiGpuBoardGroupID), P(hostNativeAtomicSupported);
    P(pageableMemoryAccess), P(concurrentManagedAccess), P(computePreemptionSupported);
    P(canUseHostPointerForRegisteredMem), P(cooperativeLaunch), P(sharedMemPerBlockOptin);
    P(pageableMemoryAccessUsesHostPageTables), P(directManagedMemAccessFromHost);
    P(maxBlocksPerMultiProcessor), P(accessPolicyMaxWindowSize), P(reservedSharedMemPerBlock);
    P(hostRegisterSupported), P(sparseCudaArraySupported), P(hostRegisterReadOnlySupported);
    P(timelineSemaphoreInteropSupported), P(memoryPoolsSupported), P(gpuDirectRDMASupported);
    P(gpuDirectRDMAFlushWritesOptions), P(gpuDirectRDMAWritesOrdering);
    P(memoryPoolSupportedHandleTypes), P(deferredMappingCudaArraySupported), P(ipcEventSupported);
    P(clusterLaunch), P(unifiedFunctionPointers);
#if CUDART_VERSION < 13000
    P(clockRate), P(deviceOverlap), P(kernelExecTimeoutEnabled), P(computeMode);
    P(maxTexture1DLinear), P(memoryClockRate), P(singleToDoublePrecisionPerfRatio);
    P(cooperativeMultiDeviceLaunch);
#else
    P(deviceNumaConfig), P(deviceNumaId), P(mpsEnabled), P(hostNumaId), P(gpuPciDeviceID);
    P(gpuPciSubsystemID), P(hostNumaMultinodeIpcSupported);
#endif
    P(reserved);
    SIZE(cudaPointerAttributes);
    FIELD(cudaPointerAttributes, type), FIELD(cudaPointerAttributes, device);
    FIELD(cudaPointerAttributes, devicePointer), FIELD(cudaPointerAttributes, hostPointer);
    return 0;
}
