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
#include "attention_wgmma.cuh"

constexpr int KEYS = 128;  // of a tile

#ifdef MINAST_HOPPER
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
  multiply_rows<T, D, KEYS>(s, q, keys);
  wgmma_commit();
  wgmma_wait<0>(s);
  softmax.exponentials(s, N, unit);
  to_operands<T>(p, s);

  for (int left = N - KEYS; left > 0; left -= KEYS) {
    before = now;
    now.next();
    mbarrier_wait(full + now.stage, now.parity);
    wgmma_fence(s, p, o);
    multiply_rows<T, D, KEYS>(s, q, advanced(keys, now.stage * 4 * TILE));
    wgmma_commit();
    multiply_into<T, D, KEYS>(o, p, advanced(keys, before.stage * 4 * TILE + 2 * TILE));
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
  multiply_into<T, D, KEYS>(o, p, advanced(keys, now.stage * 4 * TILE + 2 * TILE));
  wgmma_commit();
  wgmma_wait<0>(o);
}

// Registers of a thread that computes, and of one that copies. A block starts with 168 for each thread, 128 if W is 3,
// which is all that a multiprocessor has. With W = 1 there are enough for both.
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
  T* tiles = aligned<T>(memory);
  const long long b = blockIdx.z, h = blockIdx.y, stride = 3ll * H * D, width = static_cast<long long>(H) * D;
  T* base = qkv + b * N * stride + h * D;
  start_barriers<W>(full, empty);

  const int group = threadIdx.x / GROUP;
  if (group == W) {
    if constexpr (W > 1) fewer_registers<COPYING<W>>();
    Pieces<T, D, KEYS> keys(base + width, stride), values(base + 2 * width, stride);
    copy_tiles<KEYS>(N, full, empty, [&](int stage, int left) {
      keys.fetch(tiles + stage * 2 * KEYS * D, left);
      values.fetch(tiles + stage * 2 * KEYS * D + KEYS * D, left);
    });
    return;
  }
  if constexpr (W > 1) more_registers<COMPUTING<W>>();
  T* queries = tiles + 2 * STAGES * KEYS * D + group * OWN * D;
  const int first = (blockIdx.x * W + group) * OWN;
  load_own<T, D>(queries, base + first * stride, stride, N - first, bias ? bias + h * D : nullptr);
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
