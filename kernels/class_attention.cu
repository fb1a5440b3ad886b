// Class attention: in the last block only the P = 1 or 2 prefix tokens have queries.
//
//   o = softmax(q k^T / sqrt D) v for each head         lse = log of the sum of exp
//   dv = sum_i p_i do_i     dk = sum_i ds_i q_i     dq_i = sum_j ds_ij k_j     ds = p (do v^T - delta) / sqrt D
//
// q, o, do, dq (B, P, H, D), kv, dkv (B, N, 2, H, D) in T, lse (B, H, P) float32; bias (3, H, D) float32 or null.
// With one or two queries this is memory-bound: keys and values are read once in each direction. So there are no tiles
// and no tensor cores: a key is handled by a few lanes that load 16 bytes each, every group of lanes loops over its own
// keys with its own running maximum, and the groups of a block are combined at the end, always in the same order.
//
// The bias of the product that computed q, k and v is added here, at almost no cost:
//   - the queries' when they are loaded, in float32;
//   - the values' to o: sum_j p_j (v_j + b) = sum_j p_j v_j + b, since the p_j sum to 1;
//   - the keys' is left out: q (k_j + b) = q k_j + q b adds the same value to all scores of a query, and softmax is
//     invariant to that. lse is of the scores without it, and in dq it would be multiplied by sum_j ds_ij = 0.
// Backward: do v^T is without the values' bias, so delta must be too: delta = do (o - b).
// Source: Touvron et al. 2021, "Going deeper with image transformers" (CaiT), section 3.
//
//   class_attention_forward    keys and values read once; a maximum, a sum and D sums of values per query and group
//   class_attention_backward   p from lse; one group computes dk and dv of a key, dq is summed over the groups
// D is 16, 32, 48 or 64. Arrays are 16-byte aligned, and so is every row.
//
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},16,1> class_attention_backward<{float,__half,__nv_bfloat16},16,1>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},16,2> class_attention_backward<{float,__half,__nv_bfloat16},16,2>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},32,1> class_attention_backward<{float,__half,__nv_bfloat16},32,1>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},32,2> class_attention_backward<{float,__half,__nv_bfloat16},32,2>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},48,1> class_attention_backward<{float,__half,__nv_bfloat16},48,1>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},48,2> class_attention_backward<{float,__half,__nv_bfloat16},48,2>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},64,1> class_attention_backward<{float,__half,__nv_bfloat16},64,1>
// instantiate: class_attention_forward<{float,__half,__nv_bfloat16},64,2> class_attention_backward<{float,__half,__nv_bfloat16},64,2>
#include "common.cuh"

constexpr int FORWARD = 256, BACKWARD = 128;  // threads; backward has three sets of registers per query, forward two
constexpr int AHEAD = 2;  // keys a group loads before it uses them: four loads of 16 bytes a thread in flight
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

template <typename T> constexpr int WIDE = 16 / sizeof(T);  // elements in 16 bytes
template <typename T> using Loaded = Raw<T, WIDE<T>>;
template <typename T> struct alignas(16) Wide { T v[WIDE<T>]; };  // to store

// Lanes per key: a power of two, for the shuffles. At D = 48 a quarter of them is idle.
template <typename T, int D>
constexpr int LANES = D <= 2 * WIDE<T> ? 2 : D <= 4 * WIDE<T> ? 4 : D <= 8 * WIDE<T> ? 8 : 16;

template <typename T> __device__ __forceinline__ void widen(float (&x)[WIDE<T>], const Loaded<T>& stored) {
#pragma unroll
  for (int e = 0; e < WIDE<T>; ++e) x[e] = stored[e];
}

// 16 bytes, or zeros
template <typename T> __device__ __forceinline__ Loaded<T> load_if(bool there, const T* p) {
  Loaded<T> stored{};
  if (there) stored = *reinterpret_cast<const Loaded<T>*>(p);
  return stored;
}

template <int N> __device__ __forceinline__ float dot(const float (&x)[N], const float (&y)[N]) {
  float sum = 0.0f;
#pragma unroll
  for (int e = 0; e < N; ++e) sum += x[e] * y[e];
  return sum;
}

// The lane's part of P rows of D, `stride` elements apart; + bias, if not null
template <typename T, int P>
__device__ __forceinline__ void load_rows(float (&x)[P][WIDE<T>], const T* rows, long long stride, const float* bias,
                                          int at, bool mine) {
#pragma unroll
  for (int i = 0; i < P; ++i) {
    widen<T>(x[i], load_if(mine, rows + i * stride + at));
    if (bias && mine)
#pragma unroll
      for (int e = 0; e < WIDE<T>; ++e) x[i][e] += bias[at + e];
  }
}

// The lane's part of the group's next AHEAD keys and values, zeros beyond the end; keys: its part of the first key
template <typename T, int GROUPS>
__device__ __forceinline__ void load_keys(Loaded<T> (&stored)[AHEAD][2], const T* keys, int first, int N,
                                          long long width, bool mine) {
#pragma unroll
  for (int a = 0; a < AHEAD; ++a) {
    const long long j = first + a * GROUPS;
    const bool there = mine && j < N;
    stored[a][0] = load_if(there, keys + j * 2 * width);
    stored[a][1] = load_if(there, keys + j * 2 * width + width);
  }
}

// Sum over the groups of a warp: lanes at the same position in their groups
template <int GROUP> __device__ __forceinline__ float sum_of_groups(float x) {
#pragma unroll
  for (int step = WARP / 2; step >= GROUP; step /= 2) x += __shfl_xor_sync(FULL, x, step);
  return x;
}

// grid: (H, B), block: 256
template <typename T, int D, int P>
__global__ void __launch_bounds__(FORWARD, 2)
    class_attention_forward(const T* q, const T* kv, const float* bias, T* o, float* lse, int N, int H, float scale) {
  constexpr int GROUP = LANES<T, D>, GROUPS = FORWARD / GROUP, WARPS = FORWARD / WARP;
  const int at = threadIdx.x % GROUP * WIDE<T>, group = threadIdx.x / GROUP, warp = threadIdx.x / WARP;
  const bool mine = at < D;
  const long long h = blockIdx.x, b = blockIdx.y, width = static_cast<long long>(H) * D;
  const T* keys = kv + b * N * 2 * width + h * D + at;
  const float unit = scale * LOG2E;

  float query[P][WIDE<T>], sums[P][WIDE<T>] = {}, top[P], sum[P];
  load_rows<T, P>(query, q + b * P * width + h * D, width, bias ? bias + h * D : nullptr, at, mine);
#pragma unroll
  for (int i = 0; i < P; ++i) top[i] = -INFINITY, sum[i] = 0.0f;

#pragma unroll 1
  for (int start = 0; start < N; start += AHEAD * GROUPS) {  // equally often for all groups: shuffles need every lane
    const int first = start + group;
    Loaded<T> stored[AHEAD][2];
    load_keys<T, GROUPS>(stored, keys, first, N, width, mine);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      float key[WIDE<T>], value[WIDE<T>], score[P];
      widen<T>(key, stored[a][0]);
      widen<T>(value, stored[a][1]);
#pragma unroll
      for (int i = 0; i < P; ++i) score[i] = warp_sum<GROUP>(dot(query[i], key)) * unit;
      const bool there = first + a * GROUPS < N;  // a select, no branch: divergence costs more than it saves
#pragma unroll
      for (int i = 0; i < P; ++i) {
        const float above = there ? fmaxf(top[i], score[i]) : top[i];
        const float fade = there ? exp2f(top[i] - above) : 1.0f, p = there ? exp2f(score[i] - above) : 0.0f;
        top[i] = above;
        sum[i] = sum[i] * fade + p;
#pragma unroll
        for (int e = 0; e < WIDE<T>; ++e) sums[i][e] = sums[i][e] * fade + p * value[e];
      }
    }
  }

  // groups of a warp are combined by shuffles, warps in shared memory
  __shared__ float tops[WARPS][P], totals[WARPS][P], rows[WARPS][P][D];
#pragma unroll
  for (int i = 0; i < P; ++i) {
    float above = top[i];
#pragma unroll
    for (int step = WARP / 2; step >= GROUP; step /= 2) above = fmaxf(above, __shfl_xor_sync(FULL, above, step));
    const float fade = top[i] == -INFINITY ? 0.0f : exp2f(top[i] - above);  // a group without keys adds 0
    sum[i] = sum_of_groups<GROUP>(sum[i] * fade);
#pragma unroll
    for (int e = 0; e < WIDE<T>; ++e) sums[i][e] = sum_of_groups<GROUP>(sums[i][e] * fade);
    if (threadIdx.x % WARP < GROUP && mine) {
#pragma unroll
      for (int e = 0; e < WIDE<T>; ++e) rows[warp][i][at + e] = sums[i][e];
      if (at == 0) tops[warp][i] = above, totals[warp][i] = sum[i];
    }
  }
  __syncthreads();  // all warps have left their sums
  for (int place = threadIdx.x; place < P * D; place += FORWARD) {
    const int i = place / D, d = place % D;
    float above = tops[0][i], total = 0.0f, out = 0.0f;  // the first warp has keys, whatever N is
    for (int w = 1; w < WARPS; ++w) above = fmaxf(above, tops[w][i]);
    for (int w = 0; w < WARPS; ++w) {
      const float fade = exp2f(tops[w][i] - above);
      total += totals[w][i] * fade;
      out += rows[w][i][d] * fade;
    }
    out = out / total + (bias ? bias[2 * width + h * D + d] : 0.0f);
    o[(b * P + i) * width + h * D + d] = from_float<T>(out);
    if (d == 0) lse[(b * H + h) * P + i] = (above + log2f(total)) * LN2;
  }
}

// grid: (H, B), block: 128
template <typename T, int D, int P>
__global__ void __launch_bounds__(BACKWARD, 4)
    class_attention_backward(const T* q, const T* kv, const float* bias, const T* o, const float* lse, const T* dout, T* dq,
                    T* dkv, int N, int H, float scale) {
  constexpr int GROUP = LANES<T, D>, GROUPS = BACKWARD / GROUP, WARPS = BACKWARD / WARP;
  const int at = threadIdx.x % GROUP * WIDE<T>, group = threadIdx.x / GROUP, warp = threadIdx.x / WARP;
  const bool mine = at < D;
  const long long h = blockIdx.x, b = blockIdx.y, width = static_cast<long long>(H) * D;
  const long long rows_at = b * P * width + h * D, keys_at = b * N * 2 * width + h * D + at;

  float query[P][WIDE<T>], d[P][WIDE<T>], sums[P][WIDE<T>], delta[P], lse2[P];
  load_rows<T, P>(query, q + rows_at, width, bias ? bias + h * D : nullptr, at, mine);
  load_rows<T, P>(d, dout + rows_at, width, nullptr, at, mine);
  load_rows<T, P>(sums, o + rows_at, width, nullptr, at, mine);  // o for now
#pragma unroll
  for (int i = 0; i < P; ++i) {
    if (bias && mine)
#pragma unroll
      for (int e = 0; e < WIDE<T>; ++e) sums[i][e] -= bias[2 * width + h * D + at + e];
    delta[i] = warp_sum<GROUP>(dot(d[i], sums[i]));
    lse2[i] = lse[(b * H + h) * P + i] * LOG2E;
#pragma unroll
    for (int e = 0; e < WIDE<T>; ++e) sums[i][e] = 0.0f;
  }

#pragma unroll 1
  for (int start = 0; start < N; start += AHEAD * GROUPS) {
    const int first = start + group;
    Loaded<T> stored[AHEAD][2];
    load_keys<T, GROUPS>(stored, kv + keys_at, first, N, width, mine);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      const long long j = first + a * GROUPS;
      float key[WIDE<T>], value[WIDE<T>], dkey[WIDE<T>] = {}, dvalue[WIDE<T>] = {};
      widen<T>(key, stored[a][0]);
      widen<T>(value, stored[a][1]);
#pragma unroll
      for (int i = 0; i < P; ++i) {
        const float score = warp_sum<GROUP>(dot(query[i], key)), dp = warp_sum<GROUP>(dot(d[i], value));
        // exp(0 - lse) of a key beyond the end may be infinite, and infinity times its zeros is NaN
        const float p = j < N ? exp2f(score * (scale * LOG2E) - lse2[i]) : 0.0f, ds = p * (dp - delta[i]) * scale;
#pragma unroll
        for (int e = 0; e < WIDE<T>; ++e) {
          dvalue[e] += p * d[i][e];
          dkey[e] += ds * query[i][e];
          sums[i][e] += ds * key[e];
        }
      }
      if (!mine || j >= N) continue;
      Wide<T> rounded[2];
#pragma unroll
      for (int e = 0; e < WIDE<T>; ++e) {
        rounded[0].v[e] = from_float<T>(dkey[e]);
        rounded[1].v[e] = from_float<T>(dvalue[e]);
      }
      *reinterpret_cast<Wide<T>*>(dkv + keys_at + j * 2 * width) = rounded[0];
      *reinterpret_cast<Wide<T>*>(dkv + keys_at + j * 2 * width + width) = rounded[1];
    }
  }

  __shared__ float rows[WARPS][P][D];
#pragma unroll
  for (int i = 0; i < P; ++i)
#pragma unroll
    for (int e = 0; e < WIDE<T>; ++e) {
      const float sum = sum_of_groups<GROUP>(sums[i][e]);
      if (threadIdx.x % WARP < GROUP && mine) rows[warp][i][at + e] = sum;
    }
  __syncthreads();  // all warps have left their parts of dq
  for (int place = threadIdx.x; place < P * D; place += BACKWARD) {
    const int i = place / D, c = place % D;
    float sum = 0.0f;
    for (int w = 0; w < WARPS; ++w) sum += rows[w][i][c];
    dq[rows_at + i * width + c] = from_float<T>(sum);
  }
}
