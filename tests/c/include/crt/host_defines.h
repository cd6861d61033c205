/* The public runtime headers include this file, but their package lacks it.
 * A C compiler needs none of what it defines, so all of it is empty here. */
#pragma once

#define __host__
#define __device__
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __cudart_builtin__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __builtin_align__(bytes) __align__(bytes)
#define __location__(annotation)
#define __specialization_static static
#define __forceinline__ inline
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDAARCHAPI
