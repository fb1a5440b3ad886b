// Attention, forward, on Hopper's tensor cores: version 7 of attention.cu, with the same arguments and results.
//
//   qkv (B, N, 3, H, D) of T    out (B, N, H, D)    lse (B, H, N) float32    bias (3, H, D) float32 or null
//
// What is new against version 6:
//   wgmma      four warps multiply 64 queries by 128 keys in one instruction, which reads the keys from shared memory
//              itself: no ldmatrix, and while it runs the warps do other work
//   roles      one warpgroup only copies keys and values, up to three tiles ahead; W others compute, 64 queries each.
//              Copying needs few registers, so it gives most of its own to them (setmaxnreg)
//   mbarriers  two for each stage, "full" and "empty": no warp waits for another one that it needs nothing from
//   overlap    the scores of the next tile are being multiplied while this tile's probabilities are multiplied by its
//              values; and exp of the former is computed while the latter still runs
//   swizzle    tiles without padding, permuted as wgmma reads them without bank conflicts
// Copies are plain cp.async: 16 bytes a thread, at the swizzled place, zeros for keys that do not exist. A tensor copy
// (cp.async.bulk.tensor) would need a description of qkv that only the driver can make, anew for each address, and a
// bulk copy without one cannot swizzle.
// D is 16, 32 or 64: a row of a tile is a row of the swizzle. Compiled for 9.0a; elsewhere the kernel traps.
// Sources: Shah et al. 2024 (FlashAttention-3): roles, and the overlap inside a warpgroup, algorithm 2.
//
// instantiate: attention_wgmma<{__half,__nv_bfloat16},16,{1,2,3}>
// instantiate: attention_wgmma<{__half,__nv_bfloat16},32,{1,2,3}>
// instantiate: attention_wgmma<{__half,__nv_bfloat16},64,{1,2,3}>
// capability: 90a
#include "common.cuh"
#include "attention_mma.cuh"
#include "wgmma.cuh"

constexpr int GROUP = 128;   // threads of a warpgroup
constexpr int KEYS = 128;    // per tile
constexpr int STAGES = 3;    // tiles of keys and values in shared memory
constexpr int OWN = 64;      // queries of a warpgroup

#ifdef MINAST_HOPPER
// Which stage, and the parity of its barriers: both advance from tile to tile
struct Turn {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, parity ^= 1;
  }
};

// ---- the warpgroup that copies --------------------------------------------------------------------------------------

// Tiles of keys and values, one after the other. A thread has the same piece of 16 bytes in every ROWS-th row.
// `full` is arrived at one tile later than its copies are issued, so that two tiles are on their way.
template <typename T, int D>
__device__ __forceinline__ void copy_tiles(T* tiles, const T* keys, int H, int N, Barrier* full, Barrier* empty) {
  constexpr int PIECES = D / 8, ROWS = GROUP / PIECES, TILE = KEYS * D;
  const int thread = threadIdx.x % GROUP, row = thread / PIECES, stride = 3 * H * D;
  const int at = swizzled<2 * D>(row * 2 * D + thread % PIECES * 16) / 2;  // ROWS more rows: the pattern repeats
  static_assert(ROWS * 2 * D % 1024 == 0, "a thread's rows are all at the same place of the pattern");
  const T* from = keys + static_cast<long long>(row) * stride + thread % PIECES * 8;
  Turn turn;
  int last = -1;
  for (int left = N; left > 0; left -= KEYS, turn.next()) {
    T* to = tiles + turn.stage * 2 * TILE + at;
    mbarrier_wait(empty + turn.stage, turn.parity ^ 1);
#pragma unroll
    for (int r = 0; r < KEYS; r += ROWS) {
      const bool valid = row + r < left;
      const T* piece = valid ? from + static_cast<long long>(r) * stride : keys;
      cp_async16(to + r * D, piece, valid);
      cp_async16(to + TILE + r * D, piece + H * D, valid);
    }
    cp_async_commit();
    if (last >= 0) {
      cp_async_wait<1>();
      fence_proxy_async();
      mbarrier_arrive(full + last);
    }
    last = turn.stage;
    from += static_cast<long long>(KEYS) * stride;
  }
  cp_async_wait<0>();
  fence_proxy_async();
  mbarrier_arrive(full + last);
}

// ---- the warpgroups that compute ------------------------------------------------------------------------------------

// This warpgroup's 64 queries, bias added, to its part of shared memory; with a bias they are written back as well.
template <typename T, int D>
__device__ __forceinline__ void load_queries(T* tile, T* queries, int stride, int rows, const float* bias) {
  constexpr int PIECES = D / 8;
  for (int at = threadIdx.x % GROUP; at < OWN * PIECES; at += GROUP) {
    const int r = at / PIECES, c = at % PIECES * 8;
    T* to = tile + swizzled<2 * D>(r * 2 * D + c * 2) / 2;
    T* from = queries + static_cast<long long>(r) * stride + c;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (r < rows) eight = *reinterpret_cast<const uint4*>(from);
    *reinterpret_cast<uint4*>(to) = eight;
    if (!bias || r >= rows) continue;
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      float x[4], more[4];
      load4(to + k, x);
      load4(bias + c + k, more);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] += more[e];
      store4(to + k, x);
      store4(from + k, x);
    }
  }
}

// s (64 x KEYS) = queries keys^T
template <typename T, int D>
__device__ __forceinline__ void multiply_keys(float (&s)[KEYS / 8][4], unsigned long long queries,
                                              unsigned long long keys) {
  wgmma_ss<T, KEYS, K_MAJOR, K_MAJOR, false>(s, queries, keys);
#pragma unroll
  for (int k = 1; k < D / 16; ++k)
    wgmma_ss<T, KEYS, K_MAJOR, K_MAJOR, true>(s, advanced(queries, k * 32), advanced(keys, k * 32));
}

// o (64 x D) += p (64 x KEYS) values
template <typename T, int D>
__device__ __forceinline__ void multiply_values(float (&o)[D / 8][4], const unsigned (&p)[KEYS / 16][4],
                                                unsigned long long values) {
#pragma unroll
  for (int k = 0; k < KEYS / 16; ++k) wgmma_rs<T, D, MN_MAJOR, true>(o, p[k], advanced(values, k * 16 * 2 * D));
}

// A thread's part of two rows' softmax: rows lane / 4 and lane / 4 + 8 of the warp's sixteen
struct Softmax {
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, fade[2];

  // s becomes exp(s - top) of the first `valid` keys, and 0; fade: by what earlier sums are multiplied.
  __device__ __forceinline__ void exponentials(float (&s)[KEYS / 8][4], int valid, float unit) {
    if (valid < KEYS) {
      const int pair = threadIdx.x % 4 * 2;
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (n * 8 + pair + e % 2 >= valid) s[n][e] = -INFINITY;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float above = top[half];
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) above = fmaxf(above, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      above = warp_max<4>(above);  // four lanes share a row; finite, since a tile has at least one key
      fade[half] = exp2_approx((top[half] - above) * unit);
      top[half] = above;
      sum[half] *= fade[half];
      const float shift = above * unit;
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          s[n][e] = exp2_approx(s[n][e] * unit - shift);  // one fused multiply-add
          sum[half] += s[n][e];
        }
    }
  }

  template <int COLUMNS> __device__ __forceinline__ void rescale(float (&o)[COLUMNS][4]) const {
#pragma unroll
    for (int n = 0; n < COLUMNS; ++n) o[n][0] *= fade[0], o[n][1] *= fade[0], o[n][2] *= fade[1], o[n][3] *= fade[1];
  }
};

// The probabilities as left operands
template <typename T>
__device__ __forceinline__ void to_operands(unsigned (&p)[KEYS / 16][4], const float (&s)[KEYS / 8][4]) {
#pragma unroll
  for (int k = 0; k < KEYS / 16; ++k) to_left<T>(p[k], s[2 * k], s[2 * k + 1]);
}

// The stage is free again: one arrival a warp, whose products have all read it.
__device__ __forceinline__ void release_stage(Barrier* empty) {
  if (threadIdx.x % WARP == 0) mbarrier_arrive(empty);
}

// 64 queries against all keys.   -> o (64 x D), to be divided by the sums
template <typename T, int D>
__device__ __forceinline__ void attend(float (&o)[D / 8][4], Softmax& softmax, const T* queries, const T* tiles, int N,
                                       float unit, Barrier* full, Barrier* empty) {
  constexpr int TILE = KEYS * D;
  const unsigned long long q = matrix_descriptor<2 * D>(queries), keys = matrix_descriptor<2 * D>(tiles);
  float s[KEYS / 8][4];
  unsigned p[KEYS / 16][4];
  Turn now, before;
  mbarrier_wait(full + now.stage, now.parity);
  wgmma_fence(s);
  multiply_keys<T, D>(s, q, keys);
  wgmma_commit();
  wgmma_wait<0>(s);
  softmax.exponentials(s, N, unit);
  to_operands<T>(p, s);

  for (int left = N - KEYS; left > 0; left -= KEYS) {
    before = now;
    now.next();
    mbarrier_wait(full + now.stage, now.parity);
    wgmma_fence(s, p, o);
    multiply_keys<T, D>(s, q, advanced(keys, now.stage * 4 * TILE));
    wgmma_commit();
    multiply_values<T, D>(o, p, advanced(keys, before.stage * 4 * TILE + 2 * TILE));
    wgmma_commit();
    wgmma_wait<1>(s);  // the values' products may still run
    softmax.exponentials(s, left, unit);
    hold_for(softmax.sum[0] + softmax.sum[1]);  // else the compiler waits before the exponentials
    wgmma_wait<0>(o);
    release_stage(empty + before.stage);
    softmax.rescale(o);
    to_operands<T>(p, s);
  }
  wgmma_fence(p, o);
  multiply_values<T, D>(o, p, advanced(keys, now.stage * 4 * TILE + 2 * TILE));
  wgmma_commit();
  wgmma_wait<0>(o);
}

// Registers of a thread that computes, and of one that copies. A block starts with 168 for each thread, with 128 if W is
// 3: all that a multiprocessor has. With W = 1 there are enough for both.
template <int W> constexpr int COMPUTING = W == 3 ? 160 : 232;
template <int W> constexpr int COPYING = W == 3 ? 32 : 40;
#endif

// grid: (ceil(N / (64 W)), H, B), block: 128 (W + 1), shared: 1008 + 2 D (64 W + 2 STAGES KEYS) bytes
template <typename T, int D, int W>
__global__ void __launch_bounds__(128 * W + 128, 1)
    attention_wgmma(T* qkv, const float* bias, T* out, float* lse, int N, int H, float scale) {
#ifdef MINAST_HOPPER
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Barrier full[STAGES], empty[STAGES];
  const unsigned long long address = reinterpret_cast<unsigned long long>(memory);
  T* tiles = reinterpret_cast<T*>(memory + (SWIZZLE_ALIGNMENT - address % SWIZZLE_ALIGNMENT) % SWIZZLE_ALIGNMENT);
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D, width = static_cast<long long>(H) * D;
  T* base = qkv + b * N * stride + h * D;
  if (threadIdx.x == 0)
    for (int stage = 0; stage < STAGES; ++stage) {
      mbarrier_init(full + stage, GROUP);
      mbarrier_init(empty + stage, 4 * W);
    }
  __syncthreads();

  const int group = threadIdx.x / GROUP;
  if (group == W) {
    if constexpr (W > 1) fewer_registers<COPYING<W>>();
    copy_tiles<T, D>(tiles, base + width, H, N, full, empty);
    return;
  }
  if constexpr (W > 1) more_registers<COMPUTING<W>>();
  T* queries = tiles + 2 * STAGES * KEYS * D + group * OWN * D;
  const int first = (blockIdx.x * W + group) * OWN;
  load_queries<T, D>(queries, base + first * stride, stride, N - first, bias ? bias + h * D : nullptr);
  fence_proxy_async();
  named_barrier<GROUP>(1 + group);  // all four warps have stored their queries

  float o[D / 8][4] = {};
  Softmax softmax;
  attend<T, D>(o, softmax, queries, tiles, N, scale * LOG2E, full, empty);
  const int row = first + threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4;
  const float sum0 = warp_sum<4>(softmax.sum[0]), sum1 = warp_sum<4>(softmax.sum[1]);
  store_rows<T, D>(out + b * N * width + h * D, width, o, row, N, 1.0f / sum0, 1.0f / sum1,
                   bias ? bias + 2 * width + h * D : nullptr);
  if (threadIdx.x % 4 == 0) {
    if (row < N) lse[(b * H + h) * N + row] = softmax.top[0] * scale + logf(sum0);
    if (row + 8 < N) lse[(b * H + h) * N + row + 8] = softmax.top[1] * scale + logf(sum1);
  }
#else
  __trap();
#endif
}
