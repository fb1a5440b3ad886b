// Softmax over the last axis, and its gradient.
//
//   p = exp(x - max) / sum exp(x - max)            dx = p (dp - sum_c dp p)
//
// x, p, dp, dx (R, C) in T. The maximum is subtracted first, so that no exponential overflows.
//   forward 0   one thread per row, three passes: maximum, sum, result
//   forward 1   one warp per row, two passes: maximum and sum together ("online softmax"), then the result
//   backward    one warp per row, two passes
//
// instantiate: softmax_plain<{float,__half,__nv_bfloat16}> softmax_forward<{float,__half,__nv_bfloat16}>
// instantiate: softmax_backward<{float,__half,__nv_bfloat16}>
#include "common.cuh"

constexpr int AHEAD = 4;                   // chunks of 128 that a warp loads before it uses the first
constexpr int STRETCH = AHEAD * WARP * 4;  // elements of a row in them

// grid: ceil(R / 128) blocks of 128
template <typename T> __global__ void softmax_plain(const T* x, T* p, int rows, int columns) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  x += r * columns;
  p += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = 0; c < columns; ++c) top = fmaxf(top, to_float(x[c]));
  for (int c = 0; c < columns; ++c) sum += expf(to_float(x[c]) - top);
  for (int c = 0; c < columns; ++c) p[c] = from_float<T>(expf(to_float(x[c]) - top) / sum);
}

// grid: ceil(R / 4), block: (32, 4), one warp per row; the backward kernel the same
template <typename T> __global__ void softmax_forward(const T* x, T* p, int rows, int columns) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  const int lane = threadIdx.x;
  const bool vector = fours(x, columns) && fours(p, columns);
  x += r * columns;
  p += r * columns;

  // A lane's sum is relative to its own running maximum; a new maximum rescales the sum so far.
  Raw<T> raw[AHEAD];
  float top = -INFINITY, sum = 0.0f, four[4];
  for (int at = 0; at < columns; at += STRETCH) {
    load_row(vector, x + at, columns - at, lane, raw);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      const int c = at + (i * WARP + lane) * 4;
      to_floats(raw[i], four);
      float above = top;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (c + k < columns) above = fmaxf(above, four[k]);
      if (c >= columns || above == -INFINITY) continue;  // only masked values so far: -inf minus -inf is NaN
      sum *= expf(top - above);
      top = above;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (c + k < columns) sum += expf(four[k] - top);
    }
  }
  const float highest = warp_max(top);
  const float scale = 1.0f / warp_sum(sum * expf(top - highest));  // a lane without values: 0 * exp(-inf)

  for (int at = 0; at < columns; at += STRETCH) {
    load_row(vector, x + at, columns - at, lane, raw);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      to_floats(raw[i], four);
#pragma unroll
      for (int k = 0; k < 4; ++k) four[k] = expf(four[k] - highest) * scale;
      store4_tail(p, at + (i * WARP + lane) * 4, columns, vector, four);
    }
  }
}

template <typename T> __global__ void softmax_backward(const T* dp, const T* p, T* dx, int rows, int columns) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  const int lane = threadIdx.x;
  const bool vector = fours(p, columns) && fours(dp, columns) && fours(dx, columns);
  p += r * columns;
  dp += r * columns;
  dx += r * columns;
  Raw<T> raw_dp[AHEAD], raw_p[AHEAD];
  float sum = 0.0f, grad[4], prob[4];
  for (int at = 0; at < columns; at += STRETCH) {
    load_row(vector, dp + at, columns - at, lane, raw_dp);
    load_row(vector, p + at, columns - at, lane, raw_p);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      to_floats(raw_dp[i], grad);
      to_floats(raw_p[i], prob);
#pragma unroll
      for (int k = 0; k < 4; ++k) sum += grad[k] * prob[k];
    }
  }
  sum = warp_sum(sum);
  for (int at = 0; at < columns; at += STRETCH) {
    load_row(vector, dp + at, columns - at, lane, raw_dp);
    load_row(vector, p + at, columns - at, lane, raw_p);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      to_floats(raw_dp[i], grad);
      to_floats(raw_p[i], prob);
#pragma unroll
      for (int k = 0; k < 4; ++k) grad[k] = prob[k] * (grad[k] - sum);
      store4_tail(dx, at + (i * WARP + lane) * 4, columns, vector, grad);
    }
  }
}
