// Attention, forward: o = softmax(q k^T / sqrt D) v for each head, and lse, which attention_backward.cu needs.
//
//   qkv (B, N, 3, H, D) as the GEMM wrote it    out (B, N, H, D)    lse (B, H, N) float32: log-sum-exp of score rows
//
// From version 1 on the N x N scores never leave the chip, by means of a running maximum and sum ("online softmax"):
// when a new key raises the maximum from m to m', the sums so far are scaled by exp(m - m').
//   0  attention_scores, _softmax, _values   three launches, a thread per result; B H N N floats are written and read
//   1  attention_rows      fused, one thread per query row, keys from shared memory: one load feeds one multiplication
//   2  attention_tiles     64 queries x 32 keys, 4 x 4 scores in a thread's registers: one load feeds two
//   3  attention_tiles     128 x 64, 8 x 8 scores: one load feeds four
//   4  attention_mma       float16 or bfloat16 on tensor cores; probabilities stay in registers between the products
//   5  attention_mma_async the same; cp.async loads the next keys while these are used, and exp becomes exp2
//   6  attention_mma_lean  the same with fewer instructions around the products: a thread increments one address, and
//                          the sums are rescaled only when exp(maximum) has grown by more than 2^8
//   7  attention_wgmma     in attention_hopper.cu, for compute capability 9.0 alone
// Versions 4 to 7 take the bias (3, H, D) float32 of the product that computed qkv, or null; it saves a pass over qkv.
// The queries' bias is added by the block that loads them, their only reader, which also writes them back for the
// backward kernels; the values' is added to o, since probabilities sum to 1; the keys' is left out: it adds the same
// value, q b, to all scores of a query, and softmax is invariant to that. lse is of the scores without it.
// D is 16, 32, 48 or 64, N is arbitrary; float32 up to version 3. Arrays are 16-byte aligned, and so is every row.
// Sources: online softmax, Milakov and Gimelshein 2018; the tiling and the saved lse, Dao et al. 2022 (FlashAttention).
//
// instantiate: attention_scores attention_softmax attention_values attention_rows<{16,32,48,64}>
// instantiate: attention_tiles<16,64,32,4,4> attention_tiles<16,128,64,8,8>
// instantiate: attention_tiles<32,64,32,4,4> attention_tiles<32,128,64,8,8>
// instantiate: attention_tiles<48,64,32,4,4> attention_tiles<48,128,64,8,8>
// instantiate: attention_tiles<64,64,32,4,4> attention_tiles<64,128,64,8,8>
// instantiate: attention_mma<{__half,__nv_bfloat16},16,{1,2}> attention_mma_async<{__half,__nv_bfloat16},16,{1,2}>
// instantiate: attention_mma_lean<{__half,__nv_bfloat16},16,{1,2}>
// instantiate: attention_mma<{__half,__nv_bfloat16},32,{1,2}> attention_mma_async<{__half,__nv_bfloat16},32,{1,2}>
// instantiate: attention_mma_lean<{__half,__nv_bfloat16},32,{1,2}>
// instantiate: attention_mma<{__half,__nv_bfloat16},48,{1,2}> attention_mma_async<{__half,__nv_bfloat16},48,{1,2}>
// instantiate: attention_mma_lean<{__half,__nv_bfloat16},48,{1,2}>
// instantiate: attention_mma<{__half,__nv_bfloat16},64,{1,2}> attention_mma_async<{__half,__nv_bfloat16},64,{1,2}>
// instantiate: attention_mma_lean<{__half,__nv_bfloat16},64,{1,2}>
#include "common.cuh"
#include "ptx.cuh"
#include "attention_mma.cuh"
#include "attention_tiles.cuh"

// -- 0: three kernels ------------------------------------------------------------------------------------------

// scores (B, H, N, N).   grid: (ceil(N / 32), ceil(N / 8), B H), block: (32, 8)
__global__ void attention_scores(const float* qkv, float* scores, int N, int H, int D, float scale) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i >= N || j >= N) return;
  const long long b = blockIdx.z / H, h = blockIdx.z % H;
  const float* q = qkv + ((b * N + i) * 3 * H + h) * D;
  const float* k = qkv + ((b * N + j) * 3 * H + H + h) * D;
  float sum = 0.0f;
  for (int d = 0; d < D; ++d) sum += q[d] * k[d];
  scores[(static_cast<long long>(blockIdx.z) * N + i) * N + j] = sum * scale;
}

// In place, a thread per row.   grid: ceil(B H N / 128) blocks of 128
__global__ void attention_softmax(float* scores, float* lse, int N, int rows) {
  const long long r = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  scores += r * N;
  float top = -INFINITY, sum = 0.0f;
  for (int j = 0; j < N; ++j) top = fmaxf(top, scores[j]);
  for (int j = 0; j < N; ++j) sum += expf(scores[j] - top);
  for (int j = 0; j < N; ++j) scores[j] = expf(scores[j] - top) / sum;
  lse[r] = top + logf(sum);
}

// grid: (N, B H), block: D
__global__ void attention_values(const float* qkv, const float* probabilities, float* out, int N, int H, int D) {
  const int i = blockIdx.x, d = threadIdx.x;
  const long long b = blockIdx.y / H, h = blockIdx.y % H;
  const float* p = probabilities + (static_cast<long long>(blockIdx.y) * N + i) * N;
  float sum = 0.0f;
  for (int j = 0; j < N; ++j) sum += p[j] * qkv[((b * N + j) * 3 * H + 2 * H + h) * D + d];
  out[((b * N + i) * H + h) * D + d] = sum;
}

// -- 1: one thread per query row ---------------------------------------------------------------------------------

// grid: (ceil(N / 64), H, B), block: 64
template <int D>
__global__ void __launch_bounds__(64)
    attention_rows(const float* qkv, float* out, float* lse, int N, int H, float scale) {
  constexpr int KEYS = 32, THREADS = 64;
  __shared__ __align__(16) float keys[KEYS * PITCH<D>];
  __shared__ __align__(16) float values[KEYS * PITCH<D>];
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D;
  const float* base = qkv + b * N * stride + h * D;
  const int i = blockIdx.x * THREADS + threadIdx.x;

  float q[D], o[D], top = -INFINITY, sum = 0.0f;
#pragma unroll
  for (int d = 0; d < D; ++d) {
    q[d] = i < N ? base[i * stride + d] * scale : 0.0f;
    o[d] = 0.0f;
  }
  for (int first = 0; first < N; first += KEYS) {
    __syncthreads();  // all threads are done with the last keys
    load_tile<KEYS, D, THREADS>(keys, base + first * stride + H * D, stride, N - first);
    load_tile<KEYS, D, THREADS>(values, base + first * stride + 2 * H * D, stride, N - first);
    __syncthreads();
    for (int j = 0; j < KEYS && first + j < N; ++j) {
      float s = 0.0f;
#pragma unroll
      for (int d = 0; d < D; ++d) s += q[d] * keys[j * PITCH<D> + d];
      if (s > top) {  // the first key needs no special case: exp(-inf) = 0
        const float fade = expf(top - s);
        top = s;
        sum *= fade;
#pragma unroll
        for (int d = 0; d < D; ++d) o[d] *= fade;
      }
      const float p = expf(s - top);
      sum += p;
#pragma unroll
      for (int d = 0; d < D; ++d) o[d] += p * values[j * PITCH<D> + d];
    }
  }
  if (i >= N) return;
#pragma unroll
  for (int d = 0; d < D; ++d) out[((b * N + i) * H + h) * D + d] = o[d] / sum;
  lse[(b * H + h) * N + i] = top + logf(sum);
}

// -- 2, 3: register tiles ----------------------------------------------------------------------------------------

// BM queries x BN keys a step, TM x TN scores a thread.   grid: (ceil(N / BM), H, B), block: BM / TM * BN / TN,
// shared: queries BM x (D + 4), keys and values BN x (D + 4) each, probabilities BM x (BN + GN)
template <int D, int BM, int BN, int TM, int TN>
__global__ void __launch_bounds__(BM / TM * BN / TN)
    attention_tiles(const float* qkv, float* out, float* lse, int N, int H, float scale) {
  constexpr int GM = BM / TM, GN = BN / TN, COLS = D / GN, P = BN + GN;
  static_assert(WARP % GN == 0, "the GN threads of a query row meet in shuffles: they must be lanes of one warp");
  static_assert(D % GN == 0, "the GN threads of a row share out its D results evenly");
  extern __shared__ __align__(16) float shared[];
  float* queries = shared;
  float* keys = queries + BM * PITCH<D>;
  float* values = keys + BN * PITCH<D>;
  float* probabilities = values + BN * PITCH<D>;

  const int tx = threadIdx.x % GN, ty = threadIdx.x / GN, first_query = blockIdx.x * BM;
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D;
  const float* base = qkv + b * N * stride + h * D;
  const float scale2 = scale * LOG2E;  // scores in base 2: in PTX exp2f is one instruction, expf is ten
  load_tile<BM, D, GM * GN>(queries, base + first_query * stride, stride, N - first_query);

  float o[TM][COLS] = {}, top[TM], sum[TM] = {};
#pragma unroll
  for (int r = 0; r < TM; ++r) top[r] = -INFINITY;

  for (int first = 0; first < N; first += BN) {
    __syncthreads();  // all warps are done with the last keys and values
    load_tile<BN, D, GM * GN>(keys, base + first * stride + H * D, stride, N - first);
    load_tile<BN, D, GM * GN>(values, base + first * stride + 2 * H * D, stride, N - first);
    __syncthreads();
    float s[TM][TN];
    dots<D, GM, GN>(s, queries, keys, ty, tx);
#pragma unroll
    for (int r = 0; r < TM; ++r) {
      float above = top[r];
#pragma unroll
      for (int c = 0; c < TN; ++c) {
        s[r][c] = first + tx + GN * c < N ? s[r][c] * scale2 : -INFINITY;
        above = fmaxf(above, s[r][c]);
      }
      above = warp_max<GN>(above);  // finite: a tile has at least one key
      const float fade = exp2f(top[r] - above);
      top[r] = above;
      sum[r] *= fade;
#pragma unroll
      for (int c = 0; c < COLS; ++c) o[r][c] *= fade;
#pragma unroll
      for (int c = 0; c < TN; ++c) {
        const float p = exp2f(s[r][c] - above);
        sum[r] += p;  // of this thread's columns: lanes are summed once, at the end
        probabilities[(ty + GM * r) * P + tx + GN * c] = p;
      }
    }
    __syncwarp();  // a row's probabilities are written and read by one warp
    times<BN, D, P, GM, GN>(o, probabilities, values, ty, tx);
  }

#pragma unroll
  for (int r = 0; r < TM; ++r) {
    const int i = first_query + ty + GM * r;
    sum[r] = warp_sum<GN>(sum[r]);
    if (i >= N) continue;
    store_columns<COLS, GN>(out + ((b * N + i) * H + h) * D, o[r], 1.0f / sum[r], tx);
    if (tx == 0) lse[(b * H + h) * N + i] = (top[r] + log2f(sum[r])) * LN2;
  }
}

// -- 4, 5: tensor cores ------------------------------------------------------------------------------------------

// A warp's state from one tile of keys to the next: 16 M query rows, two of each fragment per lane.
template <int D, int M> struct Rows {
  unsigned q[M][D / 16][4];  // left fragments, loaded once
  float o[M][D / 8][4];      // sum of exp(s - top) v
  float top[M][2], sum[M][2];
};

template <int D, int M, typename T> __device__ __forceinline__ void start(Rows<D, M>& rows, const T* queries) {
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int k = 0; k < D / 16; ++k) load_left<D>(rows.q[m][k], queries, (threadIdx.x / WARP * M + m) * 16, k * 16);
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) rows.o[m][n][e] = 0.0f;
#pragma unroll
    for (int half = 0; half < 2; ++half) rows.top[m][half] = -INFINITY, rows.sum[m][half] = 0.0f;
  }
}

// exp(s - top) may reach 2^SLACK before LAZY raises `top`: far from float16's maximum of about 2^16
constexpr float SLACK = 8.0f;

// One tile of STEP keys and values, of which the first `valid` exist. `top` is each row's running maximum; with LAZY it
// may lag behind by SLACK: o and sum are relative to the same top, so any top gives the right quotient.
template <bool EXP2, bool LAZY, typename T, int D, int M>
__device__ __forceinline__ void step(Rows<D, M>& rows, const T* keys, const T* values, int valid, float scale) {
  float s[M][STEP / 8][4] = {};
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
#pragma unroll
    for (int n = 0; n < STEP / 16; ++n) {
      unsigned b[4];
      load_right_rows<D>(b, keys, n * 16, k * 16);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        mma_m16n8k16<T>(s[m][2 * n], rows.q[m][k], b[0], b[1]);
        mma_m16n8k16<T>(s[m][2 * n + 1], rows.q[m][k], b[2], b[3]);
      }
    }
  if (valid < STEP) {
    const int pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (n * 8 + pair + e % 2 >= valid)
#pragma unroll
          for (int m = 0; m < M; ++m) s[m][n][e] = -INFINITY;
  }

  const float unit = EXP2 ? scale * LOG2E : scale;
  float above[M][2];
  bool raise = false;
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // row lane / 4 of the fragment, then that row + 8
      above[m][half] = rows.top[m][half];
#pragma unroll
      for (int n = 0; n < STEP / 8; ++n)
        above[m][half] = fmaxf(above[m][half], fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      above[m][half] = warp_max<4>(above[m][half]);  // four lanes share a row
      raise = raise || (above[m][half] - rows.top[m][half]) * unit > SLACK;
    }
  if (!LAZY || __any_sync(FULL, raise))
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float below = (rows.top[m][half] - above[m][half]) * unit;
        const float fade = EXP2 ? exp2_approx(below) : __expf(below);
        rows.top[m][half] = above[m][half];
        rows.sum[m][half] *= fade;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) rows.o[m][n][2 * half] *= fade, rows.o[m][n][2 * half + 1] *= fade;
      }
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float shift = rows.top[m][half] * unit;
#pragma unroll
      for (int n = 0; n < STEP / 8; ++n)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          const float x = s[m][n][e] * unit - shift;  // one fused multiply-add
          s[m][n][e] = EXP2 ? exp2_approx(x) : __expf(x);
          rows.sum[m][half] += s[m][n][e];
        }
    }

#pragma unroll
  for (int k = 0; k < STEP / 16; ++k) {
    unsigned p[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) to_left<T>(p[m], s[m][2 * k], s[m][2 * k + 1]);
    accumulate<T, D, M>(rows.o, p, values, k * 16);
  }
}

template <bool EXP2, typename T, int D, int M>
__device__ __forceinline__ void finish(Rows<D, M>& rows, const float* bias, T* out, float* lse, int N, int H,
                                       float scale) {
  const long long b = blockIdx.z, h = blockIdx.y;
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int i = (blockIdx.x * (MMA_THREADS / WARP * M) + threadIdx.x / WARP * M + m) * 16 + threadIdx.x % WARP / 4;
    const float sum0 = warp_sum<4>(rows.sum[m][0]), sum1 = warp_sum<4>(rows.sum[m][1]);
    const long long width = static_cast<long long>(H) * D;
    store_rows<T, D>(out + b * N * width + h * D, width, rows.o[m], i, N, 1.0f / sum0, 1.0f / sum1,
                     bias ? bias + 2 * width + h * D : nullptr);
    if (threadIdx.x % 4 == 0) {
      if (i < N) lse[(b * H + h) * N + i] = rows.top[m][0] * scale + logf(sum0);
      if (i + 8 < N) lse[(b * H + h) * N + i + 8] = rows.top[m][1] * scale + logf(sum1);
    }
  }
}

// M: 16-row fragments per warp, so 64 M queries per block; M = 2 halves shared-memory traffic per product.
// grid: (ceil(N / (64 M)), H, B), block: 128, shared: 128 rows of D + 8, first the queries', then 64 keys and 64 values
template <typename T, int D, int M>
__global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_mma(T* qkv, const float* bias, T* out, float* lse, int N, int H, float scale) {
  static_assert(M <= 2, "the queries pass through the room of one tile of keys and values");
  extern __shared__ __align__(16) unsigned char memory[];
  T* keys = reinterpret_cast<T*>(memory);
  T* values = keys + STEP * PITCH16<D>;
  const int first_query = blockIdx.x * 64 * M;
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D;
  T* base = qkv + b * N * stride + h * D;

  load_tile16<T, 64 * M, D>(keys, base + first_query * stride, stride, N - first_query);
  if (bias) add_to_tile16<T, 64 * M, D>(keys, base + first_query * stride, stride, N - first_query, bias + h * D);
  __syncthreads();
  Rows<D, M> rows;
  start(rows, keys);
  for (int first = 0; first < N; first += STEP) {
    __syncthreads();  // all warps have read the queries, or the last tile
    load_tile16<T, STEP, D>(keys, base + first * stride + H * D, stride, N - first);
    load_tile16<T, STEP, D>(values, base + first * stride + 2 * H * D, stride, N - first);
    __syncthreads();
    step<false, false>(rows, keys, values, N - first, scale);
  }
  finish<false>(rows, bias, out, lse, N, H, scale);
}

// The same with two buffers. shared: 256 rows of D + 8
template <typename T, int D, int M>
__global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_mma_async(T* qkv, const float* bias, T* out, float* lse, int N, int H, float scale) {
  static_assert(M <= 2, "the queries pass through one of the two buffers");
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int BUFFER = 2 * STEP * PITCH16<D>;  // keys, then values
  T* buffers = reinterpret_cast<T*>(memory);
  const int first_query = blockIdx.x * 64 * M;
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D;
  T* base = qkv + b * N * stride + h * D;
  const auto fetch = [&](T* to, int first) {
    load_tile16_async<T, STEP, D>(to, base + first * stride + H * D, stride, N - first);
    load_tile16_async<T, STEP, D>(to + STEP * PITCH16<D>, base + first * stride + 2 * H * D, stride, N - first);
    cp_async_commit();
  };

  load_tile16_async<T, 64 * M, D>(buffers + BUFFER, base + first_query * stride, stride, N - first_query);
  cp_async_commit();
  fetch(buffers, 0);
  cp_async_wait<1>();  // the queries are here, the first keys may still be on their way
  if (bias)
    add_to_tile16<T, 64 * M, D>(buffers + BUFFER, base + first_query * stride, stride, N - first_query, bias + h * D);
  __syncthreads();
  Rows<D, M> rows;
  start(rows, buffers + BUFFER);
  for (int first = 0, now = 0; first < N; first += STEP, now ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile has arrived for all, and all are done with the other buffer
    if (first + STEP < N) fetch(buffers + (now ^ 1) * BUFFER, first + STEP);
    const T* keys = buffers + now * BUFFER;
    step<true, false>(rows, keys, keys + STEP * PITCH16<D>, N - first, scale);
  }
  finish<true>(rows, bias, out, lse, N, H, scale);
}

// The same, leaner. shared: 256 rows of D + 8
template <typename T, int D, int M>
__global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_mma_lean(T* qkv, const float* bias, T* out, float* lse, int N, int H, float scale) {
  static_assert(M <= 2, "the queries pass through one of the two buffers");
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int BUFFER = 2 * STEP * PITCH16<D>;  // keys, then values
  T* buffers = reinterpret_cast<T*>(memory);
  const int first_query = blockIdx.x * 64 * M;
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D;
  T* base = qkv + b * N * stride + h * D;
  Walk<T, D> keys(base + H * D, stride), values(base + 2 * H * D, stride);
  const auto fetch = [&](T* to, int rows) {
    keys.fetch(to, rows);
    values.fetch(to + STEP * PITCH16<D>, rows);
    cp_async_commit();
  };

  load_tile16_async<T, 64 * M, D>(buffers + BUFFER, base + first_query * stride, stride, N - first_query);
  cp_async_commit();
  fetch(buffers, N);
  cp_async_wait<1>();  // the queries are here, the first keys may still be on their way
  if (bias)
    add_to_tile16<T, 64 * M, D>(buffers + BUFFER, base + first_query * stride, stride, N - first_query, bias + h * D);
  __syncthreads();
  Rows<D, M> rows;
  start(rows, buffers + BUFFER);
  for (int left = N, now = 0; left > 0; left -= STEP, now ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // the tile has arrived for all, and the other buffer is free
    if (left > STEP) fetch(buffers + (now ^ 1) * BUFFER, left - STEP);
    const T* tile = buffers + now * BUFFER;
    step<true, true>(rows, tile, tile + STEP * PITCH16<D>, left, scale);
  }
  finish<true>(rows, bias, out, lse, N, H, scale);
}
