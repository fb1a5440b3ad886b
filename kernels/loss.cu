// The two losses and their gradients, accurate for logits of any size.
//
//   BCE   loss = mean over B K of  max(x, 0) - x y + log(1 + exp(-|x|))       dx = (sigmoid(x) - y) / (B K)
//   CE    loss = mean over B of  sum_k y_k (lse - x_k),  lse = log sum exp x   dx = (softmax(x) sum_k y_k - y) / B
//
// x, dx (B, K) in T; y (B, K) float32, or for CE also class indices (B,) int32. First come the losses per clip (B,)
// float32, one warp per clip; mean_of_rows reduces them to one float64, in a fixed order.
// A class index outside 0 ... K - 1 makes the clip's loss, hence the mean, and its row of dx NaN.
// The lse is kept as maximum and log of the sum: for logits of 1000 their float32 sum would lose the log's digits.
//
// instantiate: bce_forward<{float,__half,__nv_bfloat16}> bce_backward<{float,__half,__nv_bfloat16}> mean_of_rows
// instantiate: ce_forward<{float,__half,__nv_bfloat16},{int,float}>
// instantiate: ce_backward<{float,__half,__nv_bfloat16},{int,float}>
#include "common.cuh"

constexpr int AHEAD = 4;  // classes that a lane loads before it uses the first

// out[0] = sum of losses / divisor.   grid: 1, block: 256
__global__ void mean_of_rows(const float* losses, double* out, int rows, double divisor) {
  double sum = 0.0;
  for (int r = threadIdx.x; r < rows; r += 256) sum += losses[r];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) out[0] = sum / divisor;
}

// grid: ceil(B / 4), block: (32, 4)
template <typename T>
__global__ void bce_forward(const T* logits, const float* y, float* losses, int rows, int classes) {
  const int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  logits += static_cast<long long>(r) * classes;
  y += static_cast<long long>(r) * classes;
  float sum = 0.0f;
  for (int first = threadIdx.x; first < classes; first += AHEAD * WARP) {
    T raw[AHEAD];
    float target[AHEAD];
    load_ahead(logits, first, WARP, classes, raw);
    load_ahead(y, first, WARP, classes, target);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      const float x = to_float(raw[a]);
      if (first + a * WARP < classes) sum += fmaxf(x, 0.0f) - x * target[a] + log1pf(expf(-fabsf(x)));
    }
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) losses[r] = sum;
}

// grid: ceil(count / 256), block: 256
template <typename T>
__global__ void bce_backward(const T* logits, const float* y, T* dlogits, int count, float scale) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= count) return;
  const float x = to_float(logits[at]), e = expf(-fabsf(x));  // e in [0, 1]: never overflows
  const float sigmoid = (x >= 0.0f ? 1.0f : e) / (1.0f + e);
  dlogits[at] = from_float<T>((sigmoid - y[at]) * scale);
}

// y_k of one clip: from a class index, or from one weight per class
__device__ __forceinline__ float target(const int* y, int r, int, int k) { return y[r] == k ? 1.0f : 0.0f; }
__device__ __forceinline__ float target(const float* y, int r, int classes, int k) {
  return y[static_cast<long long>(r) * classes + k];
}

__device__ __forceinline__ bool known(const int* y, int r, int classes) { return y[r] >= 0 && y[r] < classes; }
__device__ __forceinline__ bool known(const float*, int, int) { return true; }

// stats (B, 3): maximum, log of the sum of exp(x - maximum), sum of y.   grid: ceil(B / 4), block: (32, 4)
template <typename T, typename Y>
__global__ void ce_forward(const T* logits, const Y* y, float* losses, float* stats, int rows, int classes) {
  const int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  logits += static_cast<long long>(r) * classes;
  float top = -INFINITY, sum = 0.0f, loss = 0.0f, weight = 0.0f;
  for (int k = threadIdx.x; k < classes; k += WARP) top = fmaxf(top, to_float(logits[k]));
  top = warp_max(top);
  for (int k = threadIdx.x; k < classes; k += WARP) sum += expf(to_float(logits[k]) - top);
  const float log_sum = logf(warp_sum(sum));
  for (int k = threadIdx.x; k < classes; k += WARP) {
    const float yk = target(y, r, classes, k);
    loss += yk * (log_sum - (to_float(logits[k]) - top));
    weight += yk;
  }
  loss = warp_sum(loss);
  weight = warp_sum(weight);
  if (!known(y, r, classes)) loss = weight = __int_as_float(0x7fc00000);  // NaN; backward multiplies by the weight
  if (threadIdx.x == 0) {
    losses[r] = loss;
    stats[r * 3] = top;
    stats[r * 3 + 1] = log_sum;
    stats[r * 3 + 2] = weight;
  }
}

// grid: ceil(B / 4), block: (32, 4)
template <typename T, typename Y>
__global__ void ce_backward(const T* logits, const Y* y, const float* stats, T* dlogits, int rows, int classes,
                            float scale) {
  const int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  logits += static_cast<long long>(r) * classes;
  dlogits += static_cast<long long>(r) * classes;
  const float top = stats[r * 3], log_sum = stats[r * 3 + 1], weight = stats[r * 3 + 2];
  for (int k = threadIdx.x; k < classes; k += WARP) {
    const float p = expf(to_float(logits[k]) - top - log_sum);
    dlogits[k] = from_float<T>((p * weight - target(y, r, classes, k)) * scale);
  }
}
