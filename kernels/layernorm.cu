// Layer normalisation over the last axis, and its gradients.
//
//   y = n w + b,  n = (x - mean) rstd,  rstd = 1 / sqrt(var + eps)             var biased, from centred values
//   dx = rstd (dn - <dn> - n <dn n>),  dn = dy w,  <.> = mean over C           dw = sum dy n,  db = sum dy, over rows
//
// x, y, dy, dx (R, C) in T; w, b (C,), mean, rstd (R,) float32. Memory-bound: the cost is reading x and writing y.
//   forward 0    one thread per row, three passes over it: uncoalesced, neighbouring threads read C values apart
//   forward 1    one warp per row, four values per load, the row kept in registers: each value is read once
//   backward     one warp per row in the same way; a warp accumulates its lanes' columns of dw and db in registers over
//                all its rows and writes them to partial (2, blocks, C), which columns.cu adds to dw and db: no atomics
// CHUNKS = ceil(C / 128): a chunk is 128 values of a warp.
//
// instantiate: layernorm_plain<{float,__half,__nv_bfloat16}>
// instantiate: layernorm_forward<{float,__half,__nv_bfloat16},1> layernorm_backward<{float,__half,__nv_bfloat16},1>
// instantiate: layernorm_forward<{float,__half,__nv_bfloat16},2> layernorm_backward<{float,__half,__nv_bfloat16},2>
// instantiate: layernorm_forward<{float,__half,__nv_bfloat16},3> layernorm_backward<{float,__half,__nv_bfloat16},3>
// instantiate: layernorm_forward<{float,__half,__nv_bfloat16},6> layernorm_backward<{float,__half,__nv_bfloat16},6>
// instantiate: layernorm_forward<{float,__half,__nv_bfloat16},8> layernorm_backward<{float,__half,__nv_bfloat16},8>
#include "common.cuh"

// grid: ceil(R / 128) blocks of 128
template <typename T>
__global__ void layernorm_plain(const T* x, const float* w, const float* b, T* y, float* mean, float* rstd, int rows,
                                int columns, float eps) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  x += r * columns;
  y += r * columns;
  float sum = 0.0f, squares = 0.0f;
  for (int c = 0; c < columns; ++c) sum += to_float(x[c]);
  const float centre = sum / columns;
  for (int c = 0; c < columns; ++c) squares += (to_float(x[c]) - centre) * (to_float(x[c]) - centre);
  const float scale = 1.0f / sqrtf(squares / columns + eps);
  for (int c = 0; c < columns; ++c) y[c] = from_float<T>((to_float(x[c]) - centre) * scale * w[c] + b[c]);
  mean[r] = centre;
  rstd[r] = scale;
}

// grid: ceil(R / 4), block: (32, 4), one warp per row
template <typename T, int CHUNKS>
__global__ void layernorm_forward(const T* x, const float* w, const float* b, T* y, float* mean, float* rstd, int rows,
                                  int columns, float eps) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  const int lane = threadIdx.x;
  const bool vector = fours(x, columns) && fours(y, columns) && fours(w, columns) && fours(b, columns);
  x += r * columns;
  y += r * columns;

  Raw<T> raw[CHUNKS];
  load_row(vector, x, columns, lane, raw);
  float row[CHUNKS][4], sum = 0.0f;
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i) {
    to_floats(raw[i], row[i]);
    sum += (row[i][0] + row[i][1]) + (row[i][2] + row[i][3]);  // zeros beyond the end
  }
  const float centre = warp_sum(sum) / columns;

  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i)
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      row[i][k] = (i * WARP + lane) * 4 + k < columns ? row[i][k] - centre : 0.0f;
      squares += row[i][k] * row[i][k];
    }
  const float scale = 1.0f / sqrtf(warp_sum(squares) / columns + eps);

  Raw<float> weight[CHUNKS], bias[CHUNKS];
  load_row(vector, w, columns, lane, weight);
  load_row(vector, b, columns, lane, bias);
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i) {
#pragma unroll
    for (int k = 0; k < 4; ++k) row[i][k] = row[i][k] * scale * weight[i][k] + bias[i][k];
    store4_tail(y, (i * WARP + lane) * 4, columns, vector, row[i]);
  }
  if (lane == 0) {
    mean[r] = centre;
    rstd[r] = scale;
  }
}

// grid: any number of blocks of (32, 4); partial (2, blocks, C)
template <typename T, int CHUNKS>
__global__ void __launch_bounds__(128) layernorm_backward(const T* dy, const T* x, const float* w, const float* mean,
                                                          const float* rstd, T* dx, float* partial, int rows,
                                                          int columns) {
  const int lane = threadIdx.x;
  const bool vector = fours(x, columns) && fours(dy, columns) && fours(dx, columns) && fours(w, columns);
  float dw[CHUNKS][4] = {}, db[CHUNKS][4] = {};

  Raw<float> weight[CHUNKS];
  load_row(vector, w, columns, lane, weight);

  for (long long r = blockIdx.x * 4 + threadIdx.y; r < rows; r += gridDim.x * 4) {
    const float centre = mean[r], scale = rstd[r];
    Raw<T> raw_x[CHUNKS], raw_dy[CHUNKS];
    load_row(vector, x + r * columns, columns, lane, raw_x);
    load_row(vector, dy + r * columns, columns, lane, raw_dy);
    float n[CHUNKS][4], dn[CHUNKS][4], sum = 0.0f, product = 0.0f;
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
      to_floats(raw_x[i], n[i]);
      to_floats(raw_dy[i], dn[i]);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        n[i][k] = (n[i][k] - centre) * scale;  // beyond the end dn is 0
        dw[i][k] += dn[i][k] * n[i][k];
        db[i][k] += dn[i][k];
        dn[i][k] *= weight[i][k];
        sum += dn[i][k];
        product += dn[i][k] * n[i][k];
      }
    }
    sum = warp_sum(sum) / columns;
    product = warp_sum(product) / columns;
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k) n[i][k] = scale * (dn[i][k] - sum - n[i][k] * product);
      store4_tail(dx + r * columns, (i * WARP + lane) * 4, columns, vector, n[i]);
    }
  }

  // The four warps of the block add up in shared memory, one after the other: a fixed order of additions.
  __shared__ float total[2][CHUNKS * 128];
  for (int turn = 0; turn < 4; ++turn) {
    if (threadIdx.y == turn) {
#pragma unroll
      for (int i = 0; i < CHUNKS; ++i)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const int c = (i * WARP + lane) * 4 + k;
          total[0][c] = turn == 0 ? dw[i][k] : total[0][c] + dw[i][k];
          total[1][c] = turn == 0 ? db[i][k] : total[1][c] + db[i][k];
        }
    }
    __syncthreads();
  }
  for (int c = threadIdx.y * WARP + lane; c < columns; c += 4 * WARP) {
    partial[static_cast<long long>(blockIdx.x) * columns + c] = total[0][c];
    partial[static_cast<long long>(gridDim.x + blockIdx.x) * columns + c] = total[1][c];
  }
}
