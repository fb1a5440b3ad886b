// Helpers for all kernel files: number formats, vector loads, reductions over a warp and a block.
//
// Storage is T = float, __half or __nv_bfloat16; arithmetic is always float. Compiled in three ways: by NVRTC (without
// a standard library), by nvcc (CI), and by g++ for the emulator, which defines the CUDA names itself.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#if defined(__CUDACC_RTC__) && !defined(INFINITY)
#define INFINITY __int_as_float(0x7f800000)
#endif

constexpr int WARP = 32;
constexpr unsigned FULL = 0xffffffffu;  // every lane takes part

// -- number formats ------------------------------------------------------------------------------------------

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// -- four elements at once -----------------------------------------------------------------------------------

template <typename T> struct alignas(4 * sizeof(T)) Four { T v[4]; };  // 16 bytes of float, 8 of a 16-bit type

// Whether rows of C elements starting at p can be read four at a time
template <typename T> __device__ __forceinline__ bool fours(const T* p, long long C) {
  return C % 4 == 0 && reinterpret_cast<unsigned long long>(p) % (4 * sizeof(T)) == 0;
}

template <typename T> __device__ __forceinline__ void load4(const T* p, float (&x)[4]) {
  const Four<T> four = *reinterpret_cast<const Four<T>*>(p);
#pragma unroll
  for (int k = 0; k < 4; ++k) x[k] = to_float(four.v[k]);
}

template <typename T> __device__ __forceinline__ void store4(T* p, const float (&x)[4]) {
  Four<T> four;
#pragma unroll
  for (int k = 0; k < 4; ++k) four.v[k] = from_float<T>(x[k]);
  *reinterpret_cast<Four<T>*>(p) = four;
}

// x[k] = p[i + k] where i + k < n, else 0; a single load of four if `vector` allows it.
template <typename T>
__device__ __forceinline__ void load4_tail(const T* p, long long i, long long n, bool vector, float (&x)[4]) {
  if (vector && i + 4 <= n) {
    load4(p + i, x);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] = i + k < n ? to_float(p[i + k]) : 0.0f;
  }
}

template <typename T>
__device__ __forceinline__ void store4_tail(T* p, long long i, long long n, bool vector, const float (&x)[4]) {
  if (vector && i + 4 <= n) {
    store4(p + i, x);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i + k < n) p[i + k] = from_float<T>(x[k]);
  }
}

// -- a row of up to CHUNKS * 128 elements, held by a warp: lane l has elements 4 l to 4 l + 3 of each chunk of 128 ----
//
// A load takes hundreds of cycles, and a warp waits for it at the first instruction that uses its value, or at a branch
// around the next load. So a kernel decides once (`vector`, the same for all threads) and loads whole rows raw: CHUNKS
// loads are in flight at a time. They are converted afterwards.

// raw = row p of n elements, zeros beyond its end. VECTOR: n is a multiple of four, so that a lane's four are in or out.
template <bool VECTOR, typename T, int CHUNKS>
__device__ __forceinline__ void load_row(const T* p, int n, int lane, Four<T> (&raw)[CHUNKS]) {
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i) {
    const int c = (i * WARP + lane) * 4;
    raw[i] = Four<T>{};
    if (VECTOR) {
      if (c < n) raw[i] = *reinterpret_cast<const Four<T>*>(p + c);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (c + k < n) raw[i].v[k] = p[c + k];
    }
  }
}

template <typename T> __device__ __forceinline__ void to_floats(const Four<T>& raw, float (&x)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) x[k] = to_float(raw.v[k]);
}

// -- reductions: every lane (thread) gets the result; a fixed order of additions makes runs reproducible ------

template <int LANES = WARP> __device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL, x, step);
  return x;
}

template <int LANES = WARP> __device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(FULL, x, step));
  return x;
}

// Sum over a one-dimensional block of THREADS, in double: for reductions of a whole array.
template <int THREADS> __device__ __forceinline__ double block_sum(double x) {
  static_assert(THREADS >= WARP && (THREADS & (THREADS - 1)) == 0, "the tree halves the block down to one thread");
  __shared__ double part[THREADS];
  part[threadIdx.x] = x;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
  }
  __syncthreads();
  const double sum = part[0];
  __syncthreads();  // all have read it: the next call may write
  return sum;
}
