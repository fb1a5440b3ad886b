// CUDA C++ on a CPU. minast/emulator/build.py puts this header before a .cu file and rewrites the file's __shared__
// declarations; g++ compiles the two to a library, which calls runtime.cpp. See kernels/README.md for what is modelled
// and what is not.
#pragma once
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MINAST_COUNT
#include "count.h"
#endif
#include "atomics.h"
#include "device_math.h"
#include "hopper.h"
#include "tensor.h"

#define MINAST_EMULATOR 1
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

#define threadIdx (emu::current().index)
#define blockIdx (*emu::current().block_index)
#define blockDim (emu::running.block_dim)
#define gridDim (emu::running.grid_dim)
#define warpSize 32

#define __trap() emu::fail("__trap at %s:%d", __FILE__, __LINE__)
#undef assert
#define assert(condition) \
  ((condition) ? void() : emu::fail("assertion `%s` failed at %s:%d", #condition, __FILE__, __LINE__))
#define printf(...) emu::device_printf(__VA_ARGS__)
