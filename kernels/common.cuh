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

// -- several loads in flight ----------------------------------------------------------------------------------
//
// A load takes hundreds of cycles, and a warp waits for it at the first instruction that uses its value: a conversion
// after each load would cost one wait for each. So what a thread needs next is loaded raw, all of it, and converted
// afterwards. `vector` is the same for all threads: one branch decides how all are loaded.

template <typename T> __device__ __forceinline__ float from_bits(unsigned bits);
template <> __device__ __forceinline__ float from_bits<float>(unsigned bits) { return __uint_as_float(bits); }
template <> __device__ __forceinline__ float from_bits<__half>(unsigned bits) {
  return to_float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
template <> __device__ __forceinline__ float from_bits<__nv_bfloat16>(unsigned bits) {
  return to_float(__ushort_as_bfloat16(static_cast<unsigned short>(bits)));
}

__device__ __forceinline__ unsigned to_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ unsigned to_bits(__half x) { return __half_as_ushort(x); }
__device__ __forceinline__ unsigned to_bits(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }

// N elements as loaded; raw[k] converts one. In whole registers: as an array of T the compiler would take 16-bit elements
// apart, which uses them, where two ways of loading meet.
template <typename T, int N = 4> struct alignas(N * sizeof(T)) Raw {
  unsigned word[N * sizeof(T) / 4];

  __device__ __forceinline__ float operator[](int k) const {
    return from_bits<T>(word[k * sizeof(T) / 4] >> k * sizeof(T) % 4 * 8);
  }
};

// p[0] to p[N - 1], zeros from p[left] on. VECTOR: p is aligned and `left` a multiple of N, so that all are in or out.
template <bool VECTOR, int N = 4, typename T> __device__ __forceinline__ Raw<T, N> load_raw(const T* p, int left) {
  Raw<T, N> raw{};
  if (VECTOR) {
    if (left > 0) raw = *reinterpret_cast<const Raw<T, N>*>(p);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (k < left) raw.word[k * sizeof(T) / 4] |= to_bits(p[k]) << k * sizeof(T) % 4 * 8;
  }
  return raw;
}

template <int N = 4, typename T> __device__ __forceinline__ Raw<T, N> load_raw(bool vector, const T* p, int left) {
  return vector ? load_raw<true, N>(p, left) : load_raw<false, N>(p, left);
}

// A row p of n elements, up to CHUNKS * 128 of them, held by a warp: lane l has elements 4 l to 4 l + 3 of each chunk of
// 128. Zeros beyond the end.
template <bool VECTOR, typename T, int CHUNKS>
__device__ __forceinline__ void load_row(const T* p, int n, int lane, Raw<T> (&raw)[CHUNKS]) {
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i) {
    const int c = (i * WARP + lane) * 4;
    raw[i] = load_raw<VECTOR>(p + c, n - c);
  }
}

template <typename T, int CHUNKS>
__device__ __forceinline__ void load_row(bool vector, const T* p, int n, int lane, Raw<T> (&raw)[CHUNKS]) {
  if (vector) load_row<true>(p, n, lane, raw);
  else load_row<false>(p, n, lane, raw);
}

// Columns c to c + 3 of the rows first, first + step, ... of x (rows, columns), AHEAD of them. Zeros beyond the ends.
template <bool VECTOR, typename T, int AHEAD>
__device__ __forceinline__ void load_rows(const T* x, long long first, long long step, long long rows, int columns,
                                          int c, Raw<T> (&raw)[AHEAD]) {
#pragma unroll
  for (int a = 0; a < AHEAD; ++a) {
    const long long r = first + a * step;
    raw[a] = load_raw<VECTOR>(x + r * columns + c, r < rows ? columns - c : 0);
  }
}

template <typename T, int AHEAD>
__device__ __forceinline__ void load_rows(bool vector, const T* x, long long first, long long step, long long rows,
                                          int columns, int c, Raw<T> (&raw)[AHEAD]) {
  if (vector) load_rows<true>(x, first, step, rows, columns, c, raw);
  else load_rows<false>(x, first, step, rows, columns, c, raw);
}

// Single elements p[at], p[at + step], ..., AHEAD of them; p[n - 1] in place of those beyond the end, which costs less
// than a predicate for each
template <typename T, int AHEAD>
__device__ __forceinline__ void load_ahead(const T* p, int at, int step, int n, T (&raw)[AHEAD]) {
#pragma unroll
  for (int a = 0; a < AHEAD; ++a) raw[a] = p[min(at + a * step, n - 1)];
}

template <typename T> __device__ __forceinline__ void to_floats(const Raw<T>& raw, float (&x)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) x[k] = raw[k];
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
