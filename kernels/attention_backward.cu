// Attention, backward, from the saved row statistics lse; no N x N array in memory, and no atomics.
//
//   p = exp(q k^T / sqrt D - lse)     dp = do v^T     ds = p (dp - delta)     delta = row sums of do * o
//   dv = p^T do          dk = ds^T q / sqrt D         dq = ds k / sqrt D
//
// If attention.cu added a bias, queries in qkv include it, keys and values do not. dp is then without the values' bias,
// so delta must be too: it is computed from o - bias. The keys' bias b would add b sum_j ds_ij = 0 to dq.
// qkv, dqkv (B, N, 3, H, D), o, do (B, N, H, D) in T, lse, delta (B, H, N) float32. Two kernels: dk and dv are sums
// over queries, dq is a sum over keys. Each block owns some rows of its result and loops over the other side. Both
// kernels recompute p and dp (7 products instead of 5), so that no block needs another's sums: runs are reproducible.
//   attention_delta                              four lanes per row; bias (3, H, D) float32 or null
//   attention_tiles_dkv, attention_tiles_dq      float32, 4 x 4 scores in a thread's registers
//   attention_mma_dkv, attention_mma_dq          float16 or bfloat16 on tensor cores, cp.async double buffers, exp2;
//                                                dkv computes transposed scores: p^T and ds^T stay in registers.
//                                                sums (blocks of rows, 3, H, D) float32 or null receives column sums
//                                                of dqkv, unrounded, for columns.cu: the gradient of qkv's bias
// attention_hopper_backward.cu has the last two once more, for compute capability 9.0 alone.
// Source: Dao et al. 2022 (FlashAttention), algorithm 4, with its loops split into two kernels.
//
// instantiate: attention_delta<{float,__half,__nv_bfloat16},{16,32,48,64}>
// instantiate: attention_tiles_dkv<16> attention_tiles_dq<16>
// instantiate: attention_tiles_dkv<32> attention_tiles_dq<32>
// instantiate: attention_tiles_dkv<48> attention_tiles_dq<48>
// instantiate: attention_tiles_dkv<64> attention_tiles_dq<64>
// instantiate: attention_mma_dkv<{__half,__nv_bfloat16},16,{1,2}> attention_mma_dq<{__half,__nv_bfloat16},16,{1,2}>
// instantiate: attention_mma_dkv<{__half,__nv_bfloat16},32,{1,2}> attention_mma_dq<{__half,__nv_bfloat16},32,{1,2}>
// instantiate: attention_mma_dkv<{__half,__nv_bfloat16},48,{1,2}> attention_mma_dq<{__half,__nv_bfloat16},48,{1,2}>
// instantiate: attention_mma_dkv<{__half,__nv_bfloat16},64,{1,2}> attention_mma_dq<{__half,__nv_bfloat16},64,{1,2}>
#include "common.cuh"
#include "ptx.cuh"
#include "attention_mma.cuh"
#include "attention_tiles.cuh"

// rows = B N H, in the order of o.   grid: ceil(rows / 32), block: (4, 32)
template <typename T, int D>
__global__ void attention_delta(const T* o, const float* bias, const T* dout, float* delta, int N, int H, int rows) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
  const long long b = r / H / N, n = r / H % N, h = r % H;
  const int at = threadIdx.x * 4, left = r < rows ? 4 : 0;
  constexpr int EACH = D / 16;  // fours of a lane
  Raw<T> raw_o[EACH], raw_do[EACH];
  Raw<float> shift[EACH] = {};
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    raw_o[i] = load_raw<true>(o + r * D + at + 16 * i, left);
    raw_do[i] = load_raw<true>(dout + r * D + at + 16 * i, left);
  }
  if (bias) {
    const bool vector = fours(bias, D);
#pragma unroll
    for (int i = 0; i < EACH; ++i) shift[i] = load_raw(vector, bias + (2 * H + h) * D + at + 16 * i, left);
  }
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    float x[4], y[4];
    to_floats(raw_o[i], x);
    to_floats(raw_do[i], y);
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] -= shift[i][k];
    sum += (x[0] * y[0] + x[1] * y[1]) + (x[2] * y[2] + x[3] * y[3]);
  }
  sum = warp_sum<4>(sum);
  if (r < rows && threadIdx.x == 0) delta[(b * H + h) * N + n] = sum;
}

// -- float32 -----------------------------------------------------------------------------------------------------

constexpr int OWNED = 64, WALKED = 32, THREADS = 128;

// grid: (ceil(N / 64), H, B), block: 128,
// shared: keys, values 64 rows, queries, do 32 rows of D + 4 each, p or ds 32 x 80, lse and delta 32 each
template <int D>
__global__ void __launch_bounds__(THREADS, 3)
    attention_tiles_dkv(const float* qkv, const float* dout, const float* lse, const float* delta, float* dqkv, int N,
                        int H, float scale) {
  constexpr int GM = WALKED / 4, GN = OWNED / 4, COLS = D / GN, P = OWNED + GN, ROWS = OWNED / GM;
  extern __shared__ __align__(16) float shared[];
  float* keys = shared;
  float* values = keys + OWNED * PITCH<D>;
  float* queries = values + OWNED * PITCH<D>;
  float* douts = queries + WALKED * PITCH<D>;
  float* weights = douts + WALKED * PITCH<D>;  // p, then ds: row = query, column = key
  float* lses = weights + WALKED * P;
  float* deltas = lses + WALKED;

  const int tx = threadIdx.x % GN, ty = threadIdx.x / GN, first_key = blockIdx.x * OWNED;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const float* base = qkv + b * N * stride + h * D;
  load_tile<OWNED, D, THREADS>(keys, base + first_key * stride + width, stride, N - first_key);
  load_tile<OWNED, D, THREADS>(values, base + first_key * stride + 2 * width, stride, N - first_key);

  float dk[ROWS][COLS] = {}, dv[ROWS][COLS] = {};  // rows ty * ROWS ... of the block's keys
  for (int first = 0; first < N; first += WALKED) {
    __syncthreads();  // the last queries, do and ds have been read
    load_tile<WALKED, D, THREADS>(queries, base + first * stride, stride, N - first);
    load_tile<WALKED, D, THREADS>(douts, dout + (b * N + first) * width + h * D, width, N - first);
    if (threadIdx.x < WALKED) {
      // queries beyond the end have q = do = 0: with any finite lse they add 0
      const int i = first + threadIdx.x;
      lses[threadIdx.x] = i < N ? lse[(b * H + h) * N + i] * LOG2E : 0.0f;
      deltas[threadIdx.x] = i < N ? delta[(b * H + h) * N + i] : 0.0f;
    }
    __syncthreads();
    float p[4][4], ds[4][4];
    dots<D, GM, GN>(p, queries, keys, ty, tx);
    dots<D, GM, GN>(ds, douts, values, ty, tx);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float lse2 = lses[ty + GM * r], row_delta = deltas[ty + GM * r];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        p[r][c] = exp2f(p[r][c] * (scale * LOG2E) - lse2);
        ds[r][c] = p[r][c] * (ds[r][c] - row_delta);
        weights[(ty + GM * r) * P + tx + GN * c] = p[r][c];
      }
    }
    __syncthreads();
    transposed_times<WALKED, D, P, GN>(dv, weights, douts, ty, tx);
    __syncthreads();  // p has been read: ds takes its place
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) weights[(ty + GM * r) * P + tx + GN * c] = ds[r][c];
    __syncthreads();
    transposed_times<WALKED, D, P, GN>(dk, weights, queries, ty, tx);
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int j = first_key + ty * ROWS + r;
    if (j >= N) break;
    float* out = dqkv + (b * N + j) * stride + h * D;
    store_columns<COLS, GN>(out + width, dk[r], scale, tx);
    store_columns<COLS, GN>(out + 2 * width, dv[r], 1.0f, tx);
  }
}

// grid and block the same; shared: queries, do 64 rows, keys, values 32 rows of D + 4 each, ds 64 x 40
template <int D>
__global__ void __launch_bounds__(THREADS, 3)
    attention_tiles_dq(const float* qkv, const float* dout, const float* lse, const float* delta, float* dqkv, int N,
                       int H, float scale) {
  constexpr int GM = OWNED / 4, GN = WALKED / 4, COLS = D / GN, P = WALKED + GN;
  extern __shared__ __align__(16) float shared[];
  float* queries = shared;
  float* douts = queries + OWNED * PITCH<D>;
  float* keys = douts + OWNED * PITCH<D>;
  float* values = keys + WALKED * PITCH<D>;
  float* weights = values + WALKED * PITCH<D>;

  const int tx = threadIdx.x % GN, ty = threadIdx.x / GN, first_query = blockIdx.x * OWNED;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const float* base = qkv + b * N * stride + h * D;
  load_tile<OWNED, D, THREADS>(queries, base + first_query * stride, stride, N - first_query);
  load_tile<OWNED, D, THREADS>(douts, dout + (b * N + first_query) * width + h * D, width, N - first_query);
  float lses[4], deltas[4], dq[4][COLS] = {};
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int i = first_query + ty + GM * r;
    lses[r] = i < N ? lse[(b * H + h) * N + i] * LOG2E : 0.0f;
    deltas[r] = i < N ? delta[(b * H + h) * N + i] : 0.0f;
  }
  for (int first = 0; first < N; first += WALKED) {
    __syncthreads();
    load_tile<WALKED, D, THREADS>(keys, base + first * stride + width, stride, N - first);
    load_tile<WALKED, D, THREADS>(values, base + first * stride + 2 * width, stride, N - first);
    __syncthreads();
    float p[4][4], ds[4][4];
    dots<D, GM, GN>(p, queries, keys, ty, tx);
    dots<D, GM, GN>(ds, douts, values, ty, tx);
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        // a key beyond the end has score 0, and exp(0 - lse) may be infinite: infinity times its zeros is NaN
        const float weight = first + tx + GN * c < N ? exp2f(p[r][c] * (scale * LOG2E) - lses[r]) : 0.0f;
        weights[(ty + GM * r) * P + tx + GN * c] = weight * (ds[r][c] - deltas[r]);
      }
    __syncwarp();  // a row is written and read by one warp
    times<WALKED, D, P, GM, GN>(dq, weights, keys, ty, tx);
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int i = first_query + ty + GM * r;
    if (i < N) store_columns<COLS, GN>(dqkv + (b * N + i) * stride + h * D, dq[r], scale, tx);
  }
}

// -- tensor cores ------------------------------------------------------------------------------------------------

// Products of 16 M owned rows with 16 rows of each of two tiles: s = a x^T, dp = c y^T. `c` has the fragments of the
// second operand, or none: they are then loaded from the tile `owned` each time.
template <typename T, int D, int M, int KEPT>
__device__ __forceinline__ void two_products(float (&s)[M][2][4], float (&dp)[M][2][4],
                                             const unsigned (&a)[M][D / 16][4], const unsigned (&c)[M][KEPT][4],
                                             const T* owned, const T* x, const T* y, int row) {
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int e = 0; e < 8; ++e) s[m][e / 4][e % 4] = dp[m][e / 4][e % 4] = 0.0f;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    unsigned b[4];
    load_right_rows<D>(b, x, row, k * 16);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      mma_m16n8k16<T>(s[m][0], a[m][k], b[0], b[1]);
      mma_m16n8k16<T>(s[m][1], a[m][k], b[2], b[3]);
    }
    load_right_rows<D>(b, y, row, k * 16);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      unsigned left[4];
      if constexpr (KEPT == D / 16) {
#pragma unroll
        for (int e = 0; e < 4; ++e) left[e] = c[m][k][e];
      } else {
        load_left<D>(left, owned, (threadIdx.x / WARP * M + m) * 16, k * 16);
      }
      mma_m16n8k16<T>(dp[m][0], left, b[0], b[1]);
      mma_m16n8k16<T>(dp[m][1], left, b[2], b[3]);
    }
  }
}

// Loads the block's own two tiles (64 M rows each) through shared memory, `room` and `more`, into left fragments. With
// KEPT = 1 the second tile stays in `more`.
template <typename T, int D, int M, int KEPT>
__device__ __forceinline__ void own(unsigned (&a)[M][D / 16][4], unsigned (&c)[M][KEPT][4], T* room, T* more,
                                    const T* x, long long x_stride, const T* y, long long y_stride, int rows) {
  load_tile16_async<T, 64 * M, D>(room, x, x_stride, rows);
  load_tile16_async<T, 64 * M, D>(more, y, y_stride, rows);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      const int row = (threadIdx.x / WARP * M + m) * 16;
      load_left<D>(a[m][k], room, row, k * 16);
      if constexpr (KEPT == D / 16) load_left<D>(c[m][k], more, row, k * 16);
    }
  __syncthreads();
}

// 64 M keys per block; rows of the products are keys, columns queries. Two fragments per warp halve the loads per
// product; at D = 64 the sums then take so many registers that the values' fragments stay in shared memory.
// grid: (ceil(N / (64 M)), H, B), block: 128,
// shared: two buffers of 128 rows of D + 8, and 2 x 64 floats each; 128 rows more for M = 2 at D = 64
template <typename T, int D, int M>
__global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_mma_dkv(const T* qkv, const T* dout, const float* lse, const float* delta, T* dqkv, float* sums, int N,
                      int H, float scale) {
  static_assert(M <= 2, "the block's keys and values pass through the two buffers");
  constexpr int BUFFER = 2 * STEP * PITCH16<D>;  // queries, then do
  constexpr int KEPT = D == 64 && M == 2 ? 1 : D / 16;  // of the values' fragments; 1 means none
  extern __shared__ __align__(16) unsigned char memory[];
  T* buffers = reinterpret_cast<T*>(memory);
  float* rows = reinterpret_cast<float*>(buffers + 2 * BUFFER);  // lse, then delta, of each buffer's queries
  const int first_key = blockIdx.x * 64 * M;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const T* base = qkv + b * N * stride + h * D;
  lse += (b * H + h) * N;
  delta += (b * H + h) * N;
  Walk<T, D> queries_of(base, stride), douts_of(dout + b * N * width + h * D, width);
  const auto fetch = [&](int to, int first) {
    T* room = buffers + to * BUFFER;
    queries_of.fetch(room, N - first);
    douts_of.fetch(room + STEP * PITCH16<D>, N - first);
    // queries beyond the end get q = do = lse = delta = 0: they add 0 to dk and dv
    const int i = first + threadIdx.x % STEP;
    cp_async4(rows + to * 2 * STEP + threadIdx.x, (threadIdx.x < STEP ? lse : delta) + min(i, N - 1), i < N);
    cp_async_commit();
  };

  unsigned k[M][D / 16][4], v[M][KEPT][4];
  const T* own_keys = base + first_key * stride + width;
  T* values = KEPT == D / 16 ? buffers + 64 * M * PITCH16<D> : reinterpret_cast<T*>(rows + 4 * STEP);
  own<T, D, M>(k, v, buffers, values, own_keys, stride, own_keys + width, stride, N - first_key);
  float dk[M][D / 8][4] = {}, dv[M][D / 8][4] = {};
  const int pair = threadIdx.x % 4 * 2;
  fetch(0, 0);
  for (int first = 0, now = 0; first < N; first += STEP, now ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile has arrived for all, and all are done with the other buffer
    if (first + STEP < N) fetch(now ^ 1, first + STEP);
    const T* queries = buffers + now * BUFFER;
    const T* douts = queries + STEP * PITCH16<D>;
#pragma unroll 1
    for (int i = 0; i < STEP; i += 16) {  // 16 queries at a time keep the registers few
      float p[M][2][4], ds[M][2][4];
      two_products<T, D, M>(p, ds, k, v, values, queries, douts, i);
      unsigned p_left[M][4], ds_left[M][4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float* row = rows + now * 2 * STEP + i + n * 8 + pair;
        const float lse2[2] = {row[0] * LOG2E, row[1] * LOG2E}, deltas[2] = {row[STEP], row[STEP + 1]};
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            p[m][n][e] = exp2_approx(p[m][n][e] * (scale * LOG2E) - lse2[e % 2]);
            ds[m][n][e] = p[m][n][e] * (ds[m][n][e] - deltas[e % 2]);
          }
      }
#pragma unroll
      for (int m = 0; m < M; ++m) {
        to_left<T>(p_left[m], p[m][0], p[m][1]);
        to_left<T>(ds_left[m], ds[m][0], ds[m][1]);
      }
      accumulate<T, D, M>(dv, p_left, douts, i);
      accumulate<T, D, M>(dk, ds_left, queries, i);
    }
  }
  T* out = dqkv + b * N * stride + h * D;
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int j = first_key + (threadIdx.x / WARP * M + m) * 16 + threadIdx.x % WARP / 4;
    store_rows<T, D>(out + width, stride, dk[m], j, N, scale, scale);
    store_rows<T, D>(out + 2 * width, stride, dv[m], j, N, 1.0f, 1.0f);
  }
  if (sums) {
    float* room = reinterpret_cast<float*>(memory);
    const int j = first_key + threadIdx.x / WARP * M * 16 + threadIdx.x % WARP / 4;
    sums += (b * gridDim.x + blockIdx.x) * stride + h * D;
    __syncthreads();  // all warps are done with the tiles
    store_column_sums<D, M>(sums + width, dk, j, N, scale, room);
    store_column_sums<D, M>(sums + 2 * width, dv, j, N, 1.0f, room);
  }
}

// 64 M queries per block; rows of the products are queries, columns keys.
// grid: (ceil(N / (64 M)), H, B), block: 128, shared: two buffers of 128 rows of D + 8
template <typename T, int D, int M>
__global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_mma_dq(const T* qkv, const T* dout, const float* lse, const float* delta, T* dqkv, float* sums, int N,
                     int H, float scale) {
  static_assert(M <= 2, "the block's queries and do pass through the two buffers");
  constexpr int BUFFER = 2 * STEP * PITCH16<D>;  // keys, then values
  extern __shared__ __align__(16) unsigned char memory[];
  T* buffers = reinterpret_cast<T*>(memory);
  const int first_query = blockIdx.x * 64 * M;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const T* base = qkv + b * N * stride + h * D;
  Walk<T, D> keys_of(base + width, stride), values_of(base + 2 * width, stride);
  const auto fetch = [&](int to, int first) {
    keys_of.fetch(buffers + to * BUFFER, N - first);
    values_of.fetch(buffers + to * BUFFER + STEP * PITCH16<D>, N - first);
    cp_async_commit();
  };

  unsigned q[M][D / 16][4], d[M][D / 16][4];
  own<T, D, M>(q, d, buffers, buffers + 64 * M * PITCH16<D>, base + first_query * stride, stride,
               dout + (b * N + first_query) * width + h * D, width, N - first_query);
  float dq[M][D / 8][4] = {}, lse2[M][2], deltas[M][2];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = first_query + (threadIdx.x / WARP * M + m) * 16 + threadIdx.x % WARP / 4 + half * 8;
      lse2[m][half] = i < N ? lse[(b * H + h) * N + i] * LOG2E : 0.0f;
      deltas[m][half] = i < N ? delta[(b * H + h) * N + i] : 0.0f;
    }
  const int pair = threadIdx.x % 4 * 2;
  fetch(0, 0);
  for (int first = 0, now = 0; first < N; first += STEP, now ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile has arrived for all, and all are done with the other buffer
    if (first + STEP < N) fetch(now ^ 1, first + STEP);
    const T* keys = buffers + now * BUFFER;
    const T* values = keys + STEP * PITCH16<D>;
#pragma unroll 1
    for (int j = 0; j < STEP; j += 16) {
      float p[M][2][4], ds[M][2][4];
      two_products<T, D, M>(p, ds, q, d, keys, keys, values, j);
      unsigned ds_left[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const float x = p[m][n][e] * (scale * LOG2E) - lse2[m][e / 2];
            // exp(0 - lse) of a key beyond the end may be infinite, and infinity times its zeros is NaN
            const float weight = first + j + n * 8 + pair + e % 2 < N ? exp2_approx(x) : 0.0f;
            ds[m][n][e] = weight * (ds[m][n][e] - deltas[m][e / 2]);
          }
        to_left<T>(ds_left[m], ds[m][0], ds[m][1]);
      }
      accumulate<T, D, M>(dq, ds_left, keys, j);
    }
  }
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int i = first_query + (threadIdx.x / WARP * M + m) * 16 + threadIdx.x % WARP / 4;
    store_rows<T, D>(dqkv + b * N * stride + h * D, stride, dq[m], i, N, scale, scale);
  }
  if (sums) {
    const int i = first_query + threadIdx.x / WARP * M * 16 + threadIdx.x % WARP / 4;
    __syncthreads();  // all warps are done with the tiles
    store_column_sums<D, M>(sums + (b * gridDim.x + blockIdx.x) * stride + h * D, dq, i, N, scale,
                            reinterpret_cast<float*>(memory));
  }
}
