// Bias and GELU in one pass over memory, and the derivative.
//
//   z = x + bias,  y = z Phi(z)            Phi(z) = (1 + erf(z / sqrt 2)) / 2, exact; or the tanh approximation
//   dx = dy (Phi(z) + z phi(z))            phi(z) = exp(-z^2 / 2) / sqrt(2 pi)
//
// x, y, dy, dx (count,) in T, rows of C; bias (C,) float32 or null. Backward recomputes z, so only x is kept.
//   0   one value per thread
//   1   16-byte loads and stores: four float32 values per thread, eight of 16 bits; the bias is loaded the same way
//       where rows allow it. For 16-bit types Phi is a polynomial inside a sigmoid: see `phi`
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

constexpr int AHEAD = 2;  // rows that gelu_backward_sums loads before it uses the first

template <typename T> struct alignas(16) Wide {
  static constexpr int N = 16 / sizeof(T);
  T v[N];
};

// Phi(z), or for TANH its approximation, as 1 / (1 + exp(-2 u)) = (1 + tanh(u)) / 2: for 16-bit types, in fewer
// instructions than erff. u = z P(z^2), P a fit of atanh(erf(z / sqrt 2)) / z: in exact arithmetic the error of z Phi(z)
// is at most 7e-8, far below the rounding of T. P is the polynomial of minast/fast/gelu.py, fitted up to z^2 = 30.
template <bool TANH> __device__ __forceinline__ float phi(float z) {
  float p;
  if (TANH) {
    p = fmaf(0.035677408136300125f, z * z, 0.7978845608028654f);  // sqrt(2 / pi) (0.044715 z^2 + 1)
  } else {
    const float t = fminf(z * z, 30.0f);
    p = fmaf(1.8054711476154934e-09f, t, -1.3344050811760618e-07f);
    p = fmaf(p, t, 3.969022378752717e-06f);
    p = fmaf(p, t, -5.523957466134436e-05f);
    p = fmaf(p, t, -3.313180913733214e-05f);
    p = fmaf(p, t, 3.633428587491831e-02f);
    p = fmaf(p, t, 7.97884215199092e-01f);
  }
  return __fdividef(1.0f, 1.0f + __expf(-2.0f * z * p));
}

template <typename T, bool TANH> __device__ __forceinline__ float gelu(float z) {
  if (sizeof(T) == 2) return z * phi<TANH>(z);
  if (TANH) return 0.5f * z * (1.0f + tanhf(0.7978845608028654f * (z + 0.044715f * z * z * z)));  // sqrt(2 / pi)
  return 0.5f * z * (1.0f + erff(z * 0.7071067811865476f));
}

template <typename T, bool TANH> __device__ __forceinline__ float gelu_slope(float z) {
  if (sizeof(T) == 2) {
    const float s = phi<TANH>(z);
    if (TANH) return s + 2.0f * z * s * (1.0f - s) * 0.7978845608028654f * (1.0f + 3.0f * 0.044715f * z * z);
    return s + z * 0.3989422804014327f * __expf(-0.5f * z * z);
  }
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
  if (at < count) y[at] = from_float<T>(gelu<T, TANH>(to_float(x[at]) + (bias ? bias[at % columns] : 0.0f)));
}

template <typename T> __device__ __forceinline__ bool aligned(const T* p) {
  return reinterpret_cast<unsigned long long>(p) % 16 == 0;
}

// N elements from p[at] on, zeros from p[count] on
template <typename T>
__device__ __forceinline__ Raw<T, Wide<T>::N> load_wide(const T* p, long long at, long long count) {
  constexpr int N = Wide<T>::N;
  if (aligned(p) && at + N <= count) return load_raw<true, N>(p + at, N);
  return load_raw<false, N>(p + at, static_cast<int>(min(count - at, static_cast<long long>(N))));
}

template <typename T>
__device__ __forceinline__ void store_wide(T* p, long long at, long long count, const float (&x)[Wide<T>::N]) {
  if (aligned(p) && at + Wide<T>::N <= count) {
    Wide<T> raw;
#pragma unroll
    for (int k = 0; k < Wide<T>::N; ++k) raw.v[k] = from_float<T>(x[k]);
    *reinterpret_cast<Wide<T>*>(p + at) = raw;
  } else {
#pragma unroll
    for (int k = 0; k < Wide<T>::N; ++k)
      if (at + k < count) p[at + k] = from_float<T>(x[k]);
  }
}

// z[k] = x[at + k] + the bias of its column
template <typename T>
__device__ __forceinline__ void load_biased(const T* x, const float* bias, long long at, long long count, int columns,
                                            float (&z)[Wide<T>::N]) {
  constexpr int N = Wide<T>::N;
  // GPUs have no integer division instruction; the 64-bit routine is longer, and few arrays need it
  int c = at >> 32 ? at % columns : static_cast<unsigned>(at) % static_cast<unsigned>(columns);
  if (bias && columns % N == 0 && aligned(bias) && aligned(x) && at + N <= count) {  // within one row
    const Raw<T, N> raw = load_raw<true, N>(x + at, N);
    Raw<float> shift[N / 4];
#pragma unroll
    for (int i = 0; i < N / 4; ++i) shift[i] = load_raw<true>(bias + c + 4 * i, 4);
#pragma unroll
    for (int k = 0; k < N; ++k) z[k] = raw[k] + shift[k / 4][k % 4];
    return;
  }
  const Raw<T, N> raw = load_wide(x, at, count);
#pragma unroll
  for (int k = 0; k < N; ++k) z[k] = raw[k];
  if (!bias) return;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    z[k] += bias[c];
    c = c + 1 == columns ? 0 : c + 1;
  }
}

// grid: ceil(count / (256 Wide::N)) blocks of 256, forward and backward
template <typename T, bool TANH>
__global__ void gelu_forward(const T* x, const float* bias, T* y, long long count, int columns) {
  const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * Wide<T>::N;
  float z[Wide<T>::N];
  load_biased(x, bias, at, count, columns, z);
#pragma unroll
  for (int k = 0; k < Wide<T>::N; ++k) z[k] = gelu<T, TANH>(z[k]);
  store_wide(y, at, count, z);
}

template <typename T, bool TANH>
__global__ void gelu_backward(const T* dy, const T* x, const float* bias, T* dx, long long count, int columns) {
  const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * Wide<T>::N;
  const Raw<T, Wide<T>::N> raw = load_wide(dy, at, count);  // on its way while x is
  float z[Wide<T>::N], slope[Wide<T>::N];
  load_biased(x, bias, at, count, columns, z);
#pragma unroll
  for (int k = 0; k < Wide<T>::N; ++k) slope[k] = raw[k] * gelu_slope<T, TANH>(z[k]);
  store_wide(dx, at, count, slope);
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
  const long long step = gridDim.y * 8;
  for (long long first = blockIdx.y * 8 + threadIdx.y; first < rows; first += AHEAD * step) {
    Raw<T> raw_x[AHEAD], raw_dy[AHEAD];
    load_rows(vector, x, first, step, rows, columns, c, raw_x);
    load_rows(vector, dy, first, step, rows, columns, c, raw_dy);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      const long long r = first + a * step;
      if (r >= rows) break;
      float z[4], slope[4];
      to_floats(raw_x[a], z);
      to_floats(raw_dy[a], slope);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        z[k] += shift[k];
        slope[k] *= gelu_slope<T, TANH>(z[k]);  // beyond the end dy = 0
        sum[k] += slope[k];
        if (again) z[k] = gelu<T, TANH>(z[k]);
      }
      store4_tail(dx + r * columns, c, columns, vector, slope);
      if (again) store4_tail(again + r * columns, c, columns, vector, z);
    }
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
