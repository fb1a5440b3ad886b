// Attention, backward, on Hopper's tensor cores: dk, dv and dq as attention_mma_dkv and attention_mma_dq compute them,
// with the same arguments and results; formulas and conventions are in attention_backward.cu.
//
// Roles, stages, mbarriers and swizzled tiles are those of attention_hopper.cu. A warpgroup owns 64 rows of its result;
// its rows of both left operands stay in shared memory. A tile of the other side, 64 rows, is read in two ways: rows as
// columns for the scores, and as it lies for the sums. Scores and probabilities never leave the registers. Products
// overlap with other work: those into dv with ds, those into dq with the next tile's scores.
// sums (blocks of rows, 3, H, D) float32 or null: a block of rows is a warpgroup's, so grid.x W of them.
// D is 16, 32 or 64. Compiled for 9.0a; elsewhere the kernels trap.
//
// instantiate: attention_wgmma_dkv<{__half,__nv_bfloat16},16,{1,2}> attention_wgmma_dq<{__half,__nv_bfloat16},16,{1,2}>
// instantiate: attention_wgmma_dkv<{__half,__nv_bfloat16},32,{1,2}> attention_wgmma_dq<{__half,__nv_bfloat16},32,{1,2}>
// instantiate: attention_wgmma_dkv<{__half,__nv_bfloat16},64,{1,2}> attention_wgmma_dq<{__half,__nv_bfloat16},64,{1,2}>
// capability: 90a
#include "common.cuh"
#include "attention_wgmma.cuh"

constexpr int WALK = 64;  // rows of a tile

#ifdef MINAST_HOPPER
// out[c] = scale times the sum of column c of a warpgroup's finished accumulator over its rows that exist; `row` is the
// thread's first. The order is fixed. room: 4 D floats that nobody uses any more. id: a barrier of the warpgroup
template <int D>
__device__ __forceinline__ void store_group_sums(float* out, const float (&acc)[D / 8][4], int row, int rows,
                                                 float scale, float* room, int id) {
  const int thread = threadIdx.x % GROUP, warp = thread / WARP;
  named_barrier<GROUP>(id);  // the room is free
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float sum = (row < rows ? acc[n][e] : 0.0f) + (row + 8 < rows ? acc[n][e + 2] : 0.0f);
#pragma unroll
      for (int step = 4; step < WARP; step *= 2) sum += __shfl_xor_sync(FULL, sum, step);
      if (thread % WARP < 4) room[warp * D + n * 8 + thread % 4 * 2 + e] = sum;
    }
  named_barrier<GROUP>(id);  // all four warps have left their sums
  if (thread < D)
    out[thread] = scale * ((room[thread] + room[D + thread]) + (room[2 * D + thread] + room[3 * D + thread]));
}

// Registers of a thread that computes, and of one that copies, where W is 2; with W = 1 there are enough for both.
constexpr int COMPUTING = 232, COPYING = 40;
#endif

// 64 W keys per block; rows of the products are keys, columns queries.   grid: (ceil(N / (64 W)), H, B),
// block: 128 (W + 1), shared: 1008 + 4 D (64 W + STAGES WALK) + 8 STAGES WALK bytes
template <typename T, int D, int W>
__global__ void __launch_bounds__(128 * W + 128, 1)
    attention_wgmma_dkv(const T* qkv, const T* dout, const float* lse, const float* delta, T* dqkv, float* sums, int N,
                        int H, float scale) {
#ifdef MINAST_HOPPER
  constexpr int TILE = WALK * D;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Barrier full[STAGES], empty[STAGES];
  T* tiles = aligned<T>(memory);  // of each stage: queries, do
  T* own = tiles + STAGES * 2 * TILE;
  float* statistics = reinterpret_cast<float*>(own + W * 2 * OWN * D);  // of each stage: lse, delta
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const T* base = qkv + b * N * stride + h * D;
  start_barriers<W>(full, empty);

  const int group = threadIdx.x / GROUP, thread = threadIdx.x % GROUP;
  if (group == W) {
    if constexpr (W > 1) fewer_registers<COPYING>();
    Pieces<T, D, WALK> queries(base, stride), douts(dout + b * N * width + h * D, width);
    const float* of = (thread < WALK ? lse : delta) + (b * H + h) * N;
    copy_tiles<WALK>(N, full, empty, [&](int stage, int left) {
      queries.fetch(tiles + stage * 2 * TILE, left);
      douts.fetch(tiles + stage * 2 * TILE + TILE, left);
      // queries beyond the end get q = do = lse = delta = 0: they add 0 to dk and dv
      const bool valid = thread % WALK < left;
      cp_async4(statistics + stage * 2 * WALK + thread, valid ? of + N - left + thread % WALK : of, valid);
    });
    return;
  }
  if constexpr (W > 1) more_registers<COMPUTING>();
  T* own_keys = own + group * 2 * OWN * D;
  const int first = (blockIdx.x * W + group) * OWN;
  T* source = const_cast<T*>(base) + first * stride + width;
  load_own<T, D>(own_keys, source, stride, N - first, nullptr);
  load_own<T, D>(own_keys + OWN * D, source + width, stride, N - first, nullptr);
  fence_proxy_async();
  named_barrier<GROUP>(1 + group);  // all four warps have stored their rows

  const unsigned long long k = matrix_descriptor<2 * D>(own_keys), v = advanced(k, OWN * D * 2);
  const unsigned long long queries = matrix_descriptor<2 * D>(tiles), douts = advanced(queries, TILE * 2);
  float dk[D / 8][4] = {}, dv[D / 8][4] = {};
  float p[WALK / 8][4], ds[WALK / 8][4];
  unsigned p_left[WALK / 16][4], ds_left[WALK / 16][4];
  Turn now;
  for (int left = N; left > 0; left -= WALK, now.next()) {
    mbarrier_wait(full + now.stage, now.parity);
    const unsigned long long q = advanced(queries, now.stage * 4 * TILE), d = advanced(douts, now.stage * 4 * TILE);
    wgmma_fence(p, ds);
    multiply_rows<T, D, WALK>(p, k, q);
    wgmma_commit();
    multiply_rows<T, D, WALK>(ds, v, d);
    wgmma_commit();
    wgmma_wait<1>(p);
    const float* row = statistics + now.stage * 2 * WALK + thread % 4 * 2;
#pragma unroll
    for (int n = 0; n < WALK / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        p[n][e] = exp2_approx(p[n][e] * (scale * LOG2E) - row[n * 8 + e % 2] * LOG2E);
    to_operands<T>(p_left, p);
    wgmma_fence(p_left, dv);
    multiply_into<T, D, WALK>(dv, p_left, d);
    wgmma_commit();
    wgmma_wait<1>(ds);  // the products into dv may still run
#pragma unroll
    for (int n = 0; n < WALK / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) ds[n][e] = p[n][e] * (ds[n][e] - row[WALK + n * 8 + e % 2]);
    to_operands<T>(ds_left, ds);
    wgmma_fence(ds_left, dk);
    multiply_into<T, D, WALK>(dk, ds_left, q);
    wgmma_commit();
    wgmma_wait<0>(dk, dv);
    release_stage(empty + now.stage);
  }
  const int j = first + thread / WARP * 16 + thread % WARP / 4;
  T* out = dqkv + b * N * stride + h * D;
  store_rows<T, D>(out + width, stride, dk, j, N, scale, scale);
  store_rows<T, D>(out + 2 * width, stride, dv, j, N, 1.0f, 1.0f);
  if (sums) {
    float* room = reinterpret_cast<float*>(own_keys);
    sums += (b * gridDim.x * W + blockIdx.x * W + group) * stride + h * D;
    store_group_sums<D>(sums + width, dk, j, N, scale, room, 1 + group);
    store_group_sums<D>(sums + 2 * width, dv, j, N, 1.0f, room, 1 + group);
  }
#else
  __trap();
#endif
}

// 64 W queries per block; rows of the products are queries, columns keys.   grid: (ceil(N / (64 W)), H, B),
// block: 128 (W + 1), shared: 1008 + 4 D (64 W + STAGES WALK) bytes
template <typename T, int D, int W>
__global__ void __launch_bounds__(128 * W + 128, 1)
    attention_wgmma_dq(const T* qkv, const T* dout, const float* lse, const float* delta, T* dqkv, float* sums, int N,
                       int H, float scale) {
#ifdef MINAST_HOPPER
  constexpr int TILE = WALK * D;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Barrier full[STAGES], empty[STAGES];
  T* tiles = aligned<T>(memory);  // of each stage: keys, values
  T* own = tiles + STAGES * 2 * TILE;
  const long long b = blockIdx.z, h = blockIdx.y, width = static_cast<long long>(H) * D, stride = 3 * width;
  const T* base = qkv + b * N * stride + h * D;
  start_barriers<W>(full, empty);

  const int group = threadIdx.x / GROUP, thread = threadIdx.x % GROUP;
  if (group == W) {
    if constexpr (W > 1) fewer_registers<COPYING>();
    Pieces<T, D, WALK> keys(base + width, stride), values(base + 2 * width, stride);
    copy_tiles<WALK>(N, full, empty, [&](int stage, int left) {
      keys.fetch(tiles + stage * 2 * TILE, left);
      values.fetch(tiles + stage * 2 * TILE + TILE, left);
    });
    return;
  }
  if constexpr (W > 1) more_registers<COMPUTING>();
  T* own_queries = own + group * 2 * OWN * D;
  const int first = (blockIdx.x * W + group) * OWN;
  load_own<T, D>(own_queries, const_cast<T*>(base) + first * stride, stride, N - first, nullptr);
  T* own_douts = const_cast<T*>(dout) + (b * N + first) * width + h * D;  // only read: there is no bias
  load_own<T, D>(own_queries + OWN * D, own_douts, width, N - first, nullptr);
  fence_proxy_async();
  named_barrier<GROUP>(1 + group);  // all four warps have stored their rows

  const unsigned long long q = matrix_descriptor<2 * D>(own_queries), d = advanced(q, OWN * D * 2);
  const unsigned long long keys = matrix_descriptor<2 * D>(tiles), values = advanced(keys, TILE * 2);
  const int i = first + thread / WARP * 16 + thread % WARP / 4, pair = thread % 4 * 2;
  float dq[D / 8][4] = {}, lse2[2], deltas[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    lse2[half] = i + half * 8 < N ? lse[(b * H + h) * N + i + half * 8] * LOG2E : 0.0f;
    deltas[half] = i + half * 8 < N ? delta[(b * H + h) * N + i + half * 8] : 0.0f;
  }
  float p[WALK / 8][4], ds[WALK / 8][4];
  unsigned left_ds[WALK / 16][4];
  Turn now;
  int before = -1;
  for (int left = N; left > 0; left -= WALK) {
    mbarrier_wait(full + now.stage, now.parity);
    wgmma_fence(p, ds);
    multiply_rows<T, D, WALK>(p, q, advanced(keys, now.stage * 4 * TILE));
    wgmma_commit();
    multiply_rows<T, D, WALK>(ds, d, advanced(values, now.stage * 4 * TILE));
    wgmma_commit();
    wgmma_wait<1>(p);  // and the last tile's products into dq
    if (before >= 0) release_stage(empty + before);
    float held = 0.0f;
#pragma unroll
    for (int n = 0; n < WALK / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        // exp(0 - lse) of a key beyond the end may be infinite, and infinity times its zeros is NaN
        const float weight = exp2_approx(p[n][e] * (scale * LOG2E) - lse2[e / 2]);
        p[n][e] = n * 8 + pair + e % 2 < left ? weight : 0.0f;
        held = fmaxf(held, p[n][e]);
      }
    hold_for(held);  // else the compiler waits before the exponentials
    wgmma_wait<0>(ds);
#pragma unroll
    for (int n = 0; n < WALK / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) ds[n][e] = p[n][e] * (ds[n][e] - deltas[e / 2]);
    to_operands<T>(left_ds, ds);
    wgmma_fence(left_ds, dq);
    multiply_into<T, D, WALK>(dq, left_ds, advanced(keys, now.stage * 4 * TILE));
    wgmma_commit();
    before = now.stage;
    now.next();
  }
  wgmma_wait<0>(dq);
  store_rows<T, D>(dqkv + b * N * stride + h * D, stride, dq, i, N, scale, scale);
  if (sums)
    store_group_sums<D>(sums + (b * gridDim.x * W + blockIdx.x * W + group) * stride + h * D, dq, i, N, scale,
                        reinterpret_cast<float*>(own_queries), 1 + group);
#else
  __trap();
#endif
}
