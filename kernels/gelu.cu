// Bias and GELU in one pass over memory, and the derivative.
//
//   z = x + bias,  y = z Phi(z)            Phi(z) = (1 + erf(z / sqrt 2)) / 2, exact; or the tanh approximation
//   dx = dy (Phi(z) + z phi(z))            phi(z) = exp(-z^2 / 2) / sqrt(2 pi)
//
// x, y, dy, dx (count,) in T, rows of C; bias (C,) float32 or null. Backward recomputes z, so only x is kept.
//   0   one value per thread
//   1   four values per thread: 16-byte loads and stores
// The gradient of the bias is the column sum of dx. gelu_backward_sums computes it in the same pass, so that columns.cu
// need not read dx: it writes partial (G, C), for column_finish. The sums are of dx before rounding to T.
// `again` (count,) in T, or null, receives y recomputed, bit for bit: cheap, since x is read anyway, and forward's y,
// the widest array of a block, need not be kept for the backward pass.
//
// instantiate: gelu_plain<{float,__half,__nv_bfloat16},{false,true}>
// instantiate: gelu_forward<{float,__half,__nv_bfloat16},{false,true}>
// instantiate: gelu_backward<{float,__half,__nv_bfloat16},{false,true}>
// instantiate: gelu_backward_sums<{float,__half,__nv_bfloat16},{false,true}>
#include "common.cuh"

template <bool TANH> __device__ __forceinline__ float gelu(float z) {
  if (TANH) return 0.5f * z * (1.0f + tanhf(0.7978845608028654f * (z + 0.044715f * z * z * z)));  // sqrt(2 / pi)
  return 0.5f * z * (1.0f + erff(z * 0.7071067811865476f));
}

template <bool TANH> __device__ __forceinline__ float gelu_slope(float z) {
  if (TANH) {
    const float t = tanhf(0.7978845608028654f * (z + 0.044715f * z * z * z));
    return 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 3.0f * 0.044715f * z * z);
  }
  return 0.5f * (1.0f + erff(z * 0.7071067811865476f)) + z * 0.3989422804014327f * expf(-0.5f * z * z);
}

// grid: ceil(count / 256) blocks of 256
template <typename T, bool TANH>
__global__ void gelu_plain(const T* x, const float* bias, T* y, long long count, int columns) {
  const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at < count) y[at] = from_float<T>(gelu<TANH>(to_float(x[at]) + (bias ? bias[at % columns] : 0.0f)));
}

// z[k] = x[at + k] + the bias of its column
template <typename T>
__device__ __forceinline__ void load_biased(const T* x, const float* bias, long long at, long long count, int columns,
                                            bool vector, float (&z)[4]) {
  load4_tail(x, at, count, vector, z);
  if (!bias) return;
  // GPUs have no integer division instruction; the 64-bit routine is longer, and few arrays need it
  int c = at >> 32 ? at % columns : static_cast<unsigned>(at) % static_cast<unsigned>(columns);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    z[k] += bias[c];
    c = c + 1 == columns ? 0 : c + 1;
  }
}

// grid: ceil(count / 1024) blocks of 256, forward and backward
template <typename T, bool TANH>
__global__ void gelu_forward(const T* x, const float* bias, T* y, long long count, int columns) {
  const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  const bool vector = fours(x, 4) && fours(y, 4);
  float z[4];
  load_biased(x, bias, at, count, columns, vector, z);
#pragma unroll
  for (int k = 0; k < 4; ++k) z[k] = gelu<TANH>(z[k]);
  store4_tail(y, at, count, vector, z);
}

template <typename T, bool TANH>
__global__ void gelu_backward(const T* dy, const T* x, const float* bias, T* dx, long long count, int columns) {
  const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  const bool vector = fours(x, 4) && fours(dy, 4) && fours(dx, 4);
  float z[4], slope[4];
  load_biased(x, bias, at, count, columns, vector, z);
  load4_tail(dy, at, count, vector, slope);
#pragma unroll
  for (int k = 0; k < 4; ++k) slope[k] *= gelu_slope<TANH>(z[k]);
  store4_tail(dx, at, count, vector, slope);
}

// grid: (ceil(C / 128), G), block: (32, 8). Each thread has four columns of every 8 G-th row, as in column_partials.
template <typename T, bool TANH>
__global__ void gelu_backward_sums(const T* dy, const T* x, const float* bias, T* dx, T* again, float* partial,
                                   int rows, int columns) {
  __shared__ float part[8][32][4];
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4;
  const bool vector = fours(x, columns) && fours(dy, columns) && fours(dx, columns) &&
                      (!bias || fours(bias, columns)) && (!again || fours(again, columns));
  float shift[4] = {}, sum[4] = {};
  if (bias) load4_tail(bias, c, columns, vector, shift);
  for (long long r = blockIdx.y * 8 + threadIdx.y; r < rows; r += gridDim.y * 8) {
    float z[4], slope[4];
    load4_tail(x + r * columns, c, columns, vector, z);
    load4_tail(dy + r * columns, c, columns, vector, slope);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      z[k] += shift[k];
      slope[k] *= gelu_slope<TANH>(z[k]);  // beyond the end dy = 0
      sum[k] += slope[k];
      if (again) z[k] = gelu<TANH>(z[k]);
    }
    store4_tail(dx + r * columns, c, columns, vector, slope);
    if (again) store4_tail(again + r * columns, c, columns, vector, z);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) part[threadIdx.y][threadIdx.x][k] = sum[k];
  __syncthreads();  // all eight rows of threads have left their sums
  if (threadIdx.y > 0) return;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    for (int y = 1; y < 8; ++y) sum[k] += part[y][threadIdx.x][k];
    if (c + k < columns) partial[static_cast<long long>(blockIdx.y) * columns + c + k] = sum[k];
  }
}
