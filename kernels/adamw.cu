// Adam and AdamW over the whole flat weight array in one launch, and the gradient norm for clipping.
//
//   g = dw * factor (+ decay * w: Adam with L2)              m += r1 (g - m),   v += r2 (g^2 - v)
//   w -= lr * (m / c1 / (sqrt(v / c2) + eps) (+ decay * w: AdamW))        c1 = 1 - b1^step,  c2 = 1 - b2^step
//
// r1 = 1 - b1 and r2 = 1 - b2 are computed by the host: 1 - 0.999f is off by 13 parts in a million.
//
// w, dw, m, v (n,) float32; 7 floats of memory traffic per weight and little arithmetic: memory-bound.
// `fade` (n,) scales the decay of each weight, 0 = none; null = all decay alike. `rates` (n,) scales lr; or null.
// `copy` receives the new weights in 16 bits, for 16-bit training; null = no copy.
// The gradient is dw times `scale`, the inverse of a float16 loss scale. The factor for scale and clipping is computed
// on the device from `norm` = |dw|, without a copy to the host. If norm is not finite, nothing is updated: a step with
// an overflow is skipped. Null = no clipping and no such check. clip 0 = no clipping.
//   adam_plain     one weight per thread
//   adam_step      four weights per thread, 16-byte loads and stores
//   square_sums, norm_of_sums    ||dw||: one double per block, then one block: no atomics, reproducible
//
// instantiate: adam_plain<{float,__half,__nv_bfloat16},{false,true}>
// instantiate: adam_step<{float,__half,__nv_bfloat16},{false,true}>
// instantiate: square_sums norm_of_sums
#include "common.cuh"

__device__ __forceinline__ float gradient_factor(const float* norm, float clip, float scale) {
  const float length = norm ? norm[0] * scale : 0.0f;
  return clip > 0.0f && length > clip ? scale * (clip / (length + 1e-6f)) : scale;
}

template <bool DECOUPLED>
__device__ __forceinline__ void update(float& w, float g, float& m, float& v, float decay, float lr, float r1, float r2,
                                       float eps, float c1, float c2) {
  if (!DECOUPLED) g += decay * w;
  m += r1 * (g - m);
  v += r2 * (g * g - v);
  float step = m / c1 / (sqrtf(v / c2) + eps);
  if (DECOUPLED) step += decay * w;
  w -= lr * step;
}

// grid: ceil(n / 256) blocks of 256. T: type of the copy.
template <typename T, bool DECOUPLED>
__global__ void adam_plain(float* w, const float* dw, float* m, float* v, T* copy, const float* fade,
                           const float* rates, const float* norm, long long n, float lr, float r1, float r2, float eps,
                           float decay, float clip, float scale, float c1, float c2) {
  const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (norm && !isfinite(norm[0])) return;
  if (at >= n) return;
  if (fade) decay *= fade[at];
  if (rates) lr *= rates[at];
  update<DECOUPLED>(w[at], dw[at] * gradient_factor(norm, clip, scale), m[at], v[at], decay, lr, r1, r2, eps, c1, c2);
  if (copy) copy[at] = from_float<T>(w[at]);
}

// grid: ceil(n / 1024) blocks of 256
template <typename T, bool DECOUPLED>
__global__ void adam_step(float* w, const float* dw, float* m, float* v, T* copy, const float* fade,
                          const float* rates, const float* norm, long long n, float lr, float r1, float r2, float eps,
                          float decay, float clip, float scale, float c1, float c2) {
  const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  if (norm && !isfinite(norm[0])) return;  // the same for all threads
  if (at >= n) return;
  const bool vector = fours(w, 4) && fours(dw, 4) && fours(m, 4) && fours(v, 4) && (!copy || fours(copy, 4));
  const float factor = gradient_factor(norm, clip, scale);
  float w4[4], g4[4], m4[4], v4[4], fade4[4] = {1.0f, 1.0f, 1.0f, 1.0f}, rates4[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  if (fade) load4_tail(fade, at, n, vector && fours(fade, 4), fade4);
  if (rates) load4_tail(rates, at, n, vector && fours(rates, 4), rates4);
  load4_tail(w, at, n, vector, w4);
  load4_tail(dw, at, n, vector, g4);
  load4_tail(m, at, n, vector, m4);
  load4_tail(v, at, n, vector, v4);
#pragma unroll
  for (int k = 0; k < 4; ++k)
    update<DECOUPLED>(w4[k], g4[k] * factor, m4[k], v4[k], decay * fade4[k], lr * rates4[k], r1, r2, eps,
                      c1, c2);
  store4_tail(w, at, n, vector, w4);
  store4_tail(m, at, n, vector, m4);
  store4_tail(v, at, n, vector, v4);
  if (copy) store4_tail(copy, at, n, vector, w4);
}

constexpr int AHEAD = 8;  // loads of four gradients in flight: few blocks, so that there are few sums

template <typename X> __device__ __forceinline__ float squares(const X& x) {
  return (x[0] * x[0] + x[1] * x[1]) + (x[2] * x[2] + x[3] * x[3]);
}

// sums[block] = sum of g^2 over that block's share.   block: 256, any grid
__global__ void __launch_bounds__(256, 2) square_sums(const float* g, double* sums, long long n) {
  const bool vector = fours(g, 4);
  const long long stride = static_cast<long long>(gridDim.x) * 1024;
  double sum = 0.0;
  long long at = (static_cast<long long>(blockIdx.x) * 256 + threadIdx.x) * 4;
  for (; vector && at + (AHEAD - 1) * stride + 4 <= n; at += AHEAD * stride) {
    Raw<float> raw[AHEAD];
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) raw[a] = load_raw<true>(g + at + a * stride, 4);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) sum += squares(raw[a]);
  }
  for (; at < n; at += stride) {
    float four[4];
    load4_tail(g, at, n, vector, four);
    sum += squares(four);
  }
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// norm[0] = sqrt(sum of sums).   grid: 1, block: 256
__global__ void norm_of_sums(const double* sums, float* norm, int count) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < count; i += 256) sum += sums[i];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) norm[0] = static_cast<float>(sqrt(sum));
}
