// Small float32 matrix products between tiles in shared memory and accumulators in registers.
//
// A tile has ROWS rows of D floats, each padded by 4: rows stay 16-byte aligned, and eight lanes that read the same
// columns of eight neighbouring rows use all 32 banks. A block is a grid of GM x GN threads (ty, tx); the GN threads of
// one ty are in one warp. Each has TM x TN products in registers: TM + TN loads feed TM TN multiplications.
#pragma once
#include "common.cuh"

template <int D> constexpr int PITCH = D + 4;  // floats between rows

// tile[r] = source[r * stride ...] for the first `rows` rows, zeros for the rest; 16 bytes per thread and iteration
template <int ROWS, int D, int THREADS>
__device__ __forceinline__ void load_tile(float* tile, const float* source, long long stride, int rows) {
  for (int at = threadIdx.x; at < ROWS * (D / 4); at += THREADS) {
    const int r = at / (D / 4), c = at % (D / 4) * 4;
    float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (r < rows) four = *reinterpret_cast<const float4*>(source + r * stride + c);
    *reinterpret_cast<float4*>(tile + r * PITCH<D> + c) = four;
  }
}

// s[r][c] = dot(row ty + GM r of a, row tx + GN c of b)
template <int D, int GM, int GN, int TM, int TN>
__device__ __forceinline__ void dots(float (&s)[TM][TN], const float* a, const float* b, int ty, int tx) {
#pragma unroll
  for (int r = 0; r < TM; ++r)
#pragma unroll
    for (int c = 0; c < TN; ++c) s[r][c] = 0.0f;
#pragma unroll 4
  for (int d = 0; d < D; d += 4) {
    float4 x[TM], y[TN];
#pragma unroll
    for (int r = 0; r < TM; ++r) x[r] = *reinterpret_cast<const float4*>(a + (ty + GM * r) * PITCH<D> + d);
#pragma unroll
    for (int c = 0; c < TN; ++c) y[c] = *reinterpret_cast<const float4*>(b + (tx + GN * c) * PITCH<D> + d);
#pragma unroll
    for (int r = 0; r < TM; ++r)
#pragma unroll
      for (int c = 0; c < TN; ++c)
        s[r][c] += x[r].x * y[c].x + x[r].y * y[c].y + x[r].z * y[c].z + x[r].w * y[c].w;
  }
}

// The COLS = D / GN columns of a thread are vectors of 4, 2 or 1 floats, interleaved with the other lanes'.
template <int COLS> constexpr int VECTOR = COLS % 4 == 0 ? 4 : COLS % 2 == 0 ? 2 : 1;

template <int COLS, int GN> __device__ __forceinline__ int column(int c, int tx) {
  return (c / VECTOR<COLS> * GN + tx) * VECTOR<COLS> + c % VECTOR<COLS>;
}

template <int COLS, int GN>
__device__ __forceinline__ void load_columns(float (&x)[COLS], const float* row, int tx) {
#pragma unroll
  for (int c = 0; c < COLS; c += VECTOR<COLS>) {
    const float* p = row + column<COLS, GN>(c, tx);
    if constexpr (VECTOR<COLS> == 4) {
      const float4 four = *reinterpret_cast<const float4*>(p);
      x[c] = four.x, x[c + 1] = four.y, x[c + 2] = four.z, x[c + 3] = four.w;
    } else if constexpr (VECTOR<COLS> == 2) {
      const float2 two = *reinterpret_cast<const float2*>(p);
      x[c] = two.x, x[c + 1] = two.y;
    } else {
      x[c] = *p;
    }
  }
}

template <int COLS, int GN>
__device__ __forceinline__ void store_columns(float* row, const float (&x)[COLS], float scale, int tx) {
#pragma unroll
  for (int c = 0; c < COLS; c += VECTOR<COLS>) {
    float* p = row + column<COLS, GN>(c, tx);
    if constexpr (VECTOR<COLS> == 4) {
      *reinterpret_cast<float4*>(p) = make_float4(x[c] * scale, x[c + 1] * scale, x[c + 2] * scale, x[c + 3] * scale);
    } else if constexpr (VECTOR<COLS> == 2) {
      *reinterpret_cast<float2*>(p) = make_float2(x[c] * scale, x[c + 1] * scale);
    } else {
      *p = x[c] * scale;
    }
  }
}

// o[r][c] += sum over j < DEPTH of p[ty + GM r][j] * v[j][column c]; rows of p are P floats apart
template <int DEPTH, int D, int P, int GM, int GN, int TM, int COLS>
__device__ __forceinline__ void times(float (&o)[TM][COLS], const float* p, const float* v, int ty, int tx) {
#pragma unroll 2
  for (int j = 0; j < DEPTH; j += 4) {
    float4 x[TM];
#pragma unroll
    for (int r = 0; r < TM; ++r) x[r] = *reinterpret_cast<const float4*>(p + (ty + GM * r) * P + j);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      float y[COLS];
      load_columns<COLS, GN>(y, v + (j + k) * PITCH<D>, tx);
#pragma unroll
      for (int r = 0; r < TM; ++r) {
        const float weight = k == 0 ? x[r].x : k == 1 ? x[r].y : k == 2 ? x[r].z : x[r].w;
#pragma unroll
        for (int c = 0; c < COLS; ++c) o[r][c] += weight * y[c];
      }
    }
  }
}

// o[r][c] += sum over i < DEPTH of p[i][ty TR + r] * x[i][column c]: the same with p transposed
template <int DEPTH, int D, int P, int GN, int TR, int COLS>
__device__ __forceinline__ void transposed_times(float (&o)[TR][COLS], const float* p, const float* x, int ty, int tx) {
  static_assert(TR % 4 == 0, "a thread reads its rows of p transposed as float4");
#pragma unroll 4
  for (int i = 0; i < DEPTH; ++i) {
    float weight[TR], y[COLS];
#pragma unroll
    for (int r = 0; r < TR; r += 4) {
      const float4 four = *reinterpret_cast<const float4*>(p + i * P + ty * TR + r);
      weight[r] = four.x, weight[r + 1] = four.y, weight[r + 2] = four.z, weight[r + 3] = four.w;
    }
    load_columns<COLS, GN>(y, x + i * PITCH<D>, tx);
#pragma unroll
    for (int r = 0; r < TR; ++r)
#pragma unroll
      for (int c = 0; c < COLS; ++c) o[r][c] += weight[r] * y[c];
  }
}
