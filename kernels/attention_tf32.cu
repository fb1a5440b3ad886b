// Attention in TF32: float32 arrays, products on tensor cores from operands rounded to 10 bits of mantissa.
//
//   qkv (B, N, 3, H, D)    out, dout (B, N, H, D)    lse, delta (B, H, N)    dqkv like qkv: all float32
//
// The algorithms are those of attention.cu and attention_backward.cu: online softmax forward; backward recomputes
// p = exp(s - lse) and has ds = p (dp - delta). Softmax, sums and results are float32. Tiles are rounded once, as they
// are loaded into shared memory; p and ds are rounded in registers.
// A product's result is the next product's left operand, but lane t of four holds columns 2t and 2t + 1 of a result,
// and gives columns t and t + 4 of an operand. The sum over columns has no order, so they are renamed: operand column t
// is result column 2t, t + 4 is 2t + 1, and the right operand's rows are read in that order. Nothing is exchanged.
//   attention_tf32<D, M>   64 M queries a block, M 16-row fragments a warp: two share each load of keys and values
//   attention_tf32_dkv<D>, attention_tf32_dq<D>   64 keys, or queries, a block; attention_delta comes first
// D is 16, 32, 48 or 64, N is arbitrary. Arrays are 16-byte aligned. Compute capability 8.0.
//
// instantiate: attention_tf32<{16,32,48,64},{1,2}>
// instantiate: attention_tf32_dkv<{16,32,48,64}> attention_tf32_dq<{16,32,48,64}>
#include "common.cuh"
#include "ptx.cuh"
#include "attention_tiles.cuh"

constexpr int THREADS = 128, OWN = 64, STEP = 32;  // four warps of 16 rows; rows of the other kind in each step
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

// -- tiles and fragments: rows of D + 4 floats ---------------------------------------------------------------------------
// With a pitch of 4 or 20 modulo 32, lanes (g, t) that read (row g, column t) or (row 2t, column g) use all banks.

// tile[r] = source[r * stride ...], rounded, for the first `rows` rows, zeros for the rest
template <int ROWS, int D>
__device__ __forceinline__ void load_rounded(float* tile, const float* source, long long stride, int rows) {
  for (int at = threadIdx.x; at < ROWS * (D / 4); at += THREADS) {
    const int r = at / (D / 4), c = at % (D / 4) * 4;
    float four[4] = {};
    if (r < rows) load4(source + r * stride + c, four);
#pragma unroll
    for (int k = 0; k < 4; ++k) four[k] = to_tf32(four[k]);
    store4(tile + r * PITCH<D> + c, four);
  }
}

// Left operands: rows row ... row + 15 of the tile, all columns
template <int D> __device__ __forceinline__ void load_left(float (&a)[D / 8][4], const float* tile, int row) {
  const float* mine = tile + (row + threadIdx.x % WARP / 4) * PITCH<D> + threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < D / 8; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) a[k][i] = mine[i % 2 * 8 * PITCH<D> + k * 8 + i / 2 * 4];
}

// s (16 x STEP) += a (16 x D) tile^T, for M fragments
template <int D, int M>
__device__ __forceinline__ void times_transposed(float (&s)[M][STEP / 8][4], const float (&a)[M][D / 8][4],
                                                 const float* tile) {
  const float* mine = tile + threadIdx.x % WARP / 4 * PITCH<D> + threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < D / 8; ++k)
#pragma unroll
    for (int n = 0; n < STEP / 8; ++n) {
      const float b0 = mine[n * 8 * PITCH<D> + k * 8], b1 = mine[n * 8 * PITCH<D> + k * 8 + 4];
#pragma unroll
      for (int m = 0; m < M; ++m) mma_m16n8k8_tf32(s[m][n], a[m][k], b0, b1);
    }
}

// acc (16 x D) += w (16 x STEP) tile, for M fragments; w is the result of a product
template <int D, int M>
__device__ __forceinline__ void accumulate(float (&acc)[M][D / 8][4], const float (&w)[M][STEP / 8][4],
                                           const float* tile) {
  const float* mine = tile + threadIdx.x % 4 * 2 * PITCH<D> + threadIdx.x % WARP / 4;
#pragma unroll
  for (int k = 0; k < STEP / 8; ++k) {
    float a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m)  // (g, 2t), (g + 8, 2t), (g, 2t + 1), (g + 8, 2t + 1)
#pragma unroll
      for (int i = 0; i < 4; ++i) a[m][i] = to_tf32(w[m][k][i % 2 * 2 + i / 2]);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const float b0 = mine[k * 8 * PITCH<D> + n * 8], b1 = mine[(k * 8 + 1) * PITCH<D> + n * 8];
#pragma unroll
      for (int m = 0; m < M; ++m) mma_m16n8k8_tf32(acc[m][n], a[m], b0, b1);
    }
  }
}

// Rows of a finished accumulator to global memory, times scale0 or scale1; `row` is the lane's first, of `rows`
template <int D>
__device__ __forceinline__ void store_rows(float* out, long long stride, const float (&acc)[D / 8][4], int row,
                                           int rows, float scale0, float scale1) {
  const int pair = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    if (row < rows)
      *reinterpret_cast<float2*>(out + row * stride + n * 8 + pair) =
          make_float2(acc[n][0] * scale0, acc[n][1] * scale0);
    if (row + 8 < rows)
      *reinterpret_cast<float2*>(out + (row + 8) * stride + n * 8 + pair) =
          make_float2(acc[n][2] * scale1, acc[n][3] * scale1);
  }
}

// -- forward ---------------------------------------------------------------------------------------------------------------

// grid: (ceil(N / (64 M)), H, B), block: 128, shared: 64 M rows of D + 4, first the queries', then 32 keys, 32 values
template <int D, int M>
__global__ void __launch_bounds__(THREADS)
    attention_tf32(const float* qkv, float* out, float* lse, int N, int H, float scale) {
  extern __shared__ __align__(16) float shared[];
  float* keys = shared;
  float* values = keys + STEP * PITCH<D>;
  const int first_query = blockIdx.x * OWN * M, warp = threadIdx.x / WARP, pair = threadIdx.x % 4 * 2;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const float* base = qkv + b * N * stride + h * D;
  const float scale2 = scale * LOG2E;

  float q[M][D / 8][4], o[M][D / 8][4] = {}, top[M][2], sum[M][2] = {};
  load_rounded<OWN * M, D>(shared, base + first_query * stride, stride, N - first_query);
  __syncthreads();  // the queries are here
#pragma unroll
  for (int m = 0; m < M; ++m) {
    load_left<D>(q[m], shared, (warp * M + m) * 16);
    top[m][0] = top[m][1] = -INFINITY;
  }
  for (int first = 0; first < N; first += STEP) {
    __syncthreads();  // all warps have read the queries, or the last keys and values
    load_rounded<STEP, D>(keys, base + first * stride + width, stride, N - first);
    load_rounded<STEP, D>(values, base + first * stride + 2 * width, stride, N - first);
    __syncthreads();  // keys and values are here
    float s[M][STEP / 8][4] = {};
    times_transposed<D, M>(s, q, keys);
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // row lane / 4 of the fragment, then that row + 8
        float above = top[m][half];
#pragma unroll
        for (int n = 0; n < STEP / 8; ++n)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& x = s[m][n][2 * half + e];
            x = first + n * 8 + pair + e < N ? x * scale2 : -INFINITY;
            above = fmaxf(above, x);
          }
        above = warp_max<4>(above);  // four lanes share a row; finite: a tile has at least one key
        const float fade = exp2_approx(top[m][half] - above);
        top[m][half] = above;
        sum[m][half] *= fade;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) o[m][n][2 * half] *= fade, o[m][n][2 * half + 1] *= fade;
#pragma unroll
        for (int n = 0; n < STEP / 8; ++n)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& x = s[m][n][2 * half + e];
            x = exp2_approx(x - above);
            sum[m][half] += x;
          }
      }
    accumulate<D, M>(o, s, values);
  }
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int i = first_query + (warp * M + m) * 16 + threadIdx.x % WARP / 4;
    const float sum0 = warp_sum<4>(sum[m][0]), sum1 = warp_sum<4>(sum[m][1]);
    store_rows<D>(out + b * N * width + h * D, width, o[m], i, N, 1.0f / sum0, 1.0f / sum1);
    if (threadIdx.x % 4 == 0) {
      if (i < N) lse[(b * H + h) * N + i] = (top[m][0] + log2f(sum0)) * LN2;
      if (i + 8 < N) lse[(b * H + h) * N + i + 8] = (top[m][1] + log2f(sum1)) * LN2;
    }
  }
}

// -- backward --------------------------------------------------------------------------------------------------------------

// p and ds have a row per key here, so that both products into dk and dv take them as they are.
// grid: (ceil(N / 64), H, B), block: 128, shared: 64 rows of D + 4, lse and delta 32 each
template <int D>
__global__ void __launch_bounds__(THREADS)
    attention_tf32_dkv(const float* qkv, const float* dout, const float* lse, const float* delta, float* dqkv, int N,
                       int H, float scale) {
  extern __shared__ __align__(16) float shared[];
  float* queries = shared;
  float* douts = queries + STEP * PITCH<D>;
  float* lses = douts + STEP * PITCH<D>;
  float* deltas = lses + STEP;
  const int first_key = blockIdx.x * OWN, row = threadIdx.x / WARP * 16, pair = threadIdx.x % 4 * 2;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const float* base = qkv + b * N * stride + h * D;

  float k[1][D / 8][4], v[1][D / 8][4], dk[1][D / 8][4] = {}, dv[1][D / 8][4] = {};
  load_rounded<OWN, D>(shared, base + first_key * stride + width, stride, N - first_key);
  __syncthreads();  // the keys are here
  load_left<D>(k[0], shared, row);
  __syncthreads();  // all have read their keys
  load_rounded<OWN, D>(shared, base + first_key * stride + 2 * width, stride, N - first_key);
  __syncthreads();  // the values are here
  load_left<D>(v[0], shared, row);
  for (int first = 0; first < N; first += STEP) {
    __syncthreads();  // the values, or the last queries and do, have been read
    load_rounded<STEP, D>(queries, base + first * stride, stride, N - first);
    load_rounded<STEP, D>(douts, dout + (b * N + first) * width + h * D, width, N - first);
    if (threadIdx.x < STEP) {  // queries beyond the end have q = do = 0: with any finite lse they add 0
      const int i = first + threadIdx.x;
      lses[threadIdx.x] = i < N ? lse[(b * H + h) * N + i] * LOG2E : 0.0f;
      deltas[threadIdx.x] = i < N ? delta[(b * H + h) * N + i] : 0.0f;
    }
    __syncthreads();  // queries and do are here
    float p[1][STEP / 8][4] = {}, ds[1][STEP / 8][4] = {};
    times_transposed<D, 1>(p, k, queries);
    times_transposed<D, 1>(ds, v, douts);
#pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = n * 8 + pair + e % 2;
        p[0][n][e] = exp2_approx(p[0][n][e] * (scale * LOG2E) - lses[i]);
        ds[0][n][e] = p[0][n][e] * (ds[0][n][e] - deltas[i]);
      }
    accumulate<D, 1>(dv, p, douts);
    accumulate<D, 1>(dk, ds, queries);
  }
  float* to = dqkv + b * N * stride + h * D;
  const int j = first_key + row + threadIdx.x % WARP / 4;
  store_rows<D>(to + width, stride, dk[0], j, N, scale, scale);
  store_rows<D>(to + 2 * width, stride, dv[0], j, N, 1.0f, 1.0f);
}

// grid: (ceil(N / 64), H, B), block: 128, shared: 64 rows of D + 4
template <int D>
__global__ void __launch_bounds__(THREADS)
    attention_tf32_dq(const float* qkv, const float* dout, const float* lse, const float* delta, float* dqkv, int N,
                      int H, float scale) {
  extern __shared__ __align__(16) float shared[];
  float* keys = shared;
  float* values = keys + STEP * PITCH<D>;
  const int first_query = blockIdx.x * OWN, row = threadIdx.x / WARP * 16, pair = threadIdx.x % 4 * 2;
  const int mine = first_query + row + threadIdx.x % WARP / 4;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const float* base = qkv + b * N * stride + h * D;

  float q[1][D / 8][4], d[1][D / 8][4], dq[1][D / 8][4] = {}, row_lse[2], row_delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = mine + 8 * half;
    row_lse[half] = i < N ? lse[(b * H + h) * N + i] * LOG2E : 0.0f;
    row_delta[half] = i < N ? delta[(b * H + h) * N + i] : 0.0f;
  }
  load_rounded<OWN, D>(shared, base + first_query * stride, stride, N - first_query);
  __syncthreads();  // the queries are here
  load_left<D>(q[0], shared, row);
  __syncthreads();  // all have read their queries
  load_rounded<OWN, D>(shared, dout + (b * N + first_query) * width + h * D, width, N - first_query);
  __syncthreads();  // do is here
  load_left<D>(d[0], shared, row);
  for (int first = 0; first < N; first += STEP) {
    __syncthreads();  // do, or the last keys and values, have been read
    load_rounded<STEP, D>(keys, base + first * stride + width, stride, N - first);
    load_rounded<STEP, D>(values, base + first * stride + 2 * width, stride, N - first);
    __syncthreads();  // keys and values are here
    float p[1][STEP / 8][4] = {}, ds[1][STEP / 8][4] = {};
    times_transposed<D, 1>(p, q, keys);
    times_transposed<D, 1>(ds, d, values);
#pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {  // keys beyond the end weigh nothing: exp(0 - lse) may overflow
        const bool there = first + n * 8 + pair + e % 2 < N;
        const float x = there ? exp2_approx(p[0][n][e] * (scale * LOG2E) - row_lse[e / 2]) : 0.0f;
        ds[0][n][e] = x * (ds[0][n][e] - row_delta[e / 2]);
      }
    accumulate<D, 1>(dq, ds, keys);
  }
  store_rows<D>(dqkv + b * N * stride + h * D, stride, dq[0], mine, N, scale, scale);
}
