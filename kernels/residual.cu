// Between two matrix products of a block: residual, bias and layer norm in one pass over memory; and the gradients.
//
//   y = x + branch + bias,   n = z w + b,   z = (y - mean) rstd          mean, rstd = 1 / sqrt(var + eps) over C of y
//   dx = dy + rstd (dz - <dz> - z <dz z>),  dz = dn w,  <.> mean over C             dbranch = dx in T
//   dw = sum dn z,   db = sum dn,   dbias = sum dx, over rows
//
// x, y, dy, dx (R, C) float32: the residual stream. branch, n, dn, dbranch (R, C) in T: what GEMMs write and read, or
// float32 at the final norm. w, b, bias (C,), mean, rstd (R,) float32. dy is the gradient that reaches y along the
// stream, bypassing the norm; null for zeros.
// In the last block, which continues with the prefix tokens only, x (B, tokens, C) has more rows than the others: the
// first `prefix` of each clip are used. In backward dy is then (B, prefix, C), with zeros for the other rows.
// tokens = 0: all rows are used.
// Separate kernels for the bias, the addition, the norm, its backward, the addition of dy, the rounding to T and the
// bias's column sum would each pass over the rows; here each value is read and written once.
//   forward    one warp per row, the row in registers. If branch is null, y is x, and may be null too
//   backward   one warp per row; a warp accumulates its lanes' columns of the three sums over all its rows and writes
//              them to partial (3, blocks, C), which columns.cu adds to dw, db, dbias: no atomics. dbranch may be null
//   narrow     float32 to T, four values per thread: weights, and the few activations that start in float32
// CHUNKS = ceil(C / 128): a chunk is 128 values of a warp. At most 6: with 8 the backward kernel spills registers.
//
// instantiate: residual_norm_forward<{float,__half,__nv_bfloat16},1> residual_norm_backward<{float,__half,__nv_bfloat16},1>
// instantiate: residual_norm_forward<{float,__half,__nv_bfloat16},2> residual_norm_backward<{float,__half,__nv_bfloat16},2>
// instantiate: residual_norm_forward<{float,__half,__nv_bfloat16},3> residual_norm_backward<{float,__half,__nv_bfloat16},3>
// instantiate: residual_norm_forward<{float,__half,__nv_bfloat16},6> residual_norm_backward<{float,__half,__nv_bfloat16},6>
// instantiate: narrow<{__half,__nv_bfloat16}>
#include "common.cuh"

// grid: ceil(R / 4), block: (32, 4)
template <typename T, int CHUNKS>
__global__ void residual_norm_forward(const float* x, const T* branch, const float* bias, const float* w,
                                      const float* b, float* y, T* n, float* mean, float* rstd, int rows, int columns,
                                      int tokens, int prefix, float eps) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  const int lane = threadIdx.x;
  const bool vector = fours(x, columns) && fours(n, columns) && fours(w, columns) && fours(b, columns) &&
                      (!y || fours(y, columns)) && (!branch || (fours(branch, columns) && fours(bias, columns)));
  const long long source = (tokens ? r / prefix * tokens + r % prefix : r) * columns;  // of x

  Raw<float> raw_x[CHUNKS], raw_bias[CHUNKS] = {};
  Raw<T> raw_branch[CHUNKS] = {};
  load_row(vector, x + source, columns, lane, raw_x);
  if (branch) load_row(vector, branch + r * columns, columns, lane, raw_branch);
  if (branch) load_row(vector, bias, columns, lane, raw_bias);
  float row[CHUNKS][4], sum = 0.0f;
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i) {
    float more[4];
    to_floats(raw_x[i], row[i]);
    to_floats(raw_branch[i], more);
    if (branch) {
#pragma unroll
      for (int k = 0; k < 4; ++k) row[i][k] += more[k] + raw_bias[i][k];
    }
    if (y) store4_tail(y + r * columns, (i * WARP + lane) * 4, columns, vector, row[i]);
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

  Raw<float> weight[CHUNKS], shift[CHUNKS];
  load_row(vector, w, columns, lane, weight);
  load_row(vector, b, columns, lane, shift);
#pragma unroll
  for (int i = 0; i < CHUNKS; ++i) {
#pragma unroll
    for (int k = 0; k < 4; ++k) row[i][k] = row[i][k] * scale * weight[i][k] + shift[i][k];
    store4_tail(n + r * columns, (i * WARP + lane) * 4, columns, vector, row[i]);
  }
  if (lane == 0) {
    mean[r] = centre;
    rstd[r] = scale;
  }
}

// grid: any number of blocks of (32, 4); partial (3, blocks, C)
template <typename T, int CHUNKS>
__global__ void __launch_bounds__(128) residual_norm_backward(const T* dn, const float* dy, const float* y,
                                                              const float* w, const float* mean, const float* rstd,
                                                              float* dx, T* dbranch, float* partial, int rows,
                                                              int columns, int tokens, int prefix) {
  const int lane = threadIdx.x;
  const bool vector = fours(dn, columns) && fours(y, columns) && fours(w, columns) && fours(dx, columns) &&
                      (!dy || fours(dy, columns)) && (!dbranch || fours(dbranch, columns));
  float sums[3][CHUNKS][4] = {};  // of dw, db, dbias

  Raw<float> weight[CHUNKS];
  load_row(vector, w, columns, lane, weight);

  for (long long r = blockIdx.x * 4 + threadIdx.y; r < rows; r += gridDim.x * 4) {
    const float centre = mean[r], scale = rstd[r];
    const float* stream = dy ? dy + (tokens ? r / tokens * prefix + r % tokens : r) * columns : nullptr;
    if (tokens && r % tokens >= prefix) stream = nullptr;  // zeros
    Raw<float> raw_y[CHUNKS], past[CHUNKS] = {};
    Raw<T> raw_dn[CHUNKS];
    load_row(vector, y + r * columns, columns, lane, raw_y);
    load_row(vector, dn + r * columns, columns, lane, raw_dn);
    if (stream) load_row(vector, stream, columns, lane, past);
    float z[CHUNKS][4], dz[CHUNKS][4], sum = 0.0f, product = 0.0f;
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
      to_floats(raw_y[i], z[i]);
      to_floats(raw_dn[i], dz[i]);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        z[i][k] = (z[i][k] - centre) * scale;  // beyond the end dz is 0
        sums[0][i][k] += dz[i][k] * z[i][k];
        sums[1][i][k] += dz[i][k];
        dz[i][k] *= weight[i][k];
        sum += dz[i][k];
        product += dz[i][k] * z[i][k];
      }
    }
    sum = warp_sum(sum) / columns;
    product = warp_sum(product) / columns;
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
      const int c = (i * WARP + lane) * 4;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        z[i][k] = past[i][k] + scale * (dz[i][k] - sum - z[i][k] * product);
        sums[2][i][k] += z[i][k];  // beyond the end it is never read
      }
      store4_tail(dx + r * columns, c, columns, vector, z[i]);
      if (dbranch) store4_tail(dbranch + r * columns, c, columns, vector, z[i]);
    }
  }

  // The four warps of the block add up in shared memory, one after the other: a fixed order of additions.
  __shared__ float total[3][CHUNKS * 128];
  for (int turn = 0; turn < 4; ++turn) {
    if (threadIdx.y == turn) {
#pragma unroll
      for (int s = 0; s < 3; ++s)
#pragma unroll
        for (int i = 0; i < CHUNKS; ++i)
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const int c = (i * WARP + lane) * 4 + k;
            total[s][c] = turn == 0 ? sums[s][i][k] : total[s][c] + sums[s][i][k];
          }
    }
    __syncthreads();  // the next warp adds to what this one left
  }
  for (int c = threadIdx.y * WARP + lane; c < columns; c += 4 * WARP)
    for (long long s = 0; s < 3; ++s) partial[(s * gridDim.x + blockIdx.x) * columns + c] = total[s][c];
}

// grid: ceil(count / 1024) blocks of 256
template <typename T> __global__ void narrow(const float* x, T* y, long long count) {
  const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  const bool vector = fours(x, 4) && fours(y, 4);
  float four[4];
  load4_tail(x, at, count, vector, four);
  store4_tail(y, at, count, vector, four);
}
