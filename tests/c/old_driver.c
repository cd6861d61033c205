/* A driver library of CUDA 12.4 that exports five functions and nothing else. */

unsigned cuInit(unsigned flags)
{
    return flags == 0 ? 0 : 1;
}

unsigned cuDriverGetVersion(int *version)
{
    *version = 12040;
    return 0;
}

unsigned cuDeviceGetCount(int *count)
{
    *count = 1;
    return 0;
}

unsigned cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return 0;
}

/* A code that only the driver has: the runtime must not pass it on as one of its own. */
unsigned cuCtxGetCurrent(void **context)
{
    (void)context;
    return 202;
}
