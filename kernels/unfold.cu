// Patches: every 16x16 window of a spectrogram, at any strides, flattened for the GEMM that embeds it; and the adjoint.
//
//   out[b, f * grid_t + t, i * 16 + j] = x[b, t * tstride + j, f * fstride + i]      i: mel bin, j: frame, in the patch
//   dx[b, s, m] = sum of dout over all patches that contain x[b, s, m]
//
// x, dx (B, T, F) float32, out, dout (B, N, 256) in T = float, __half or __nv_bfloat16, N = grid_f grid_t, f major.
// Both are memory-bound. x is contiguous along frequency and a patch along time, so each is a transposition.
//   forward 0   one thread per value of out: stores are coalesced, loads are F floats apart
//   forward 1   one block per (clip, t): 16 whole frames are read to shared memory, all patches of that t from there
//   backward    a gather, four values of dx per thread, no atomics; transposed in shared memory
//
// instantiate: unfold_plain<{float,__half,__nv_bfloat16}> unfold_strip<{float,__half,__nv_bfloat16}>
// instantiate: unfold_gather<{float,__half,__nv_bfloat16}>
#include "common.cuh"

constexpr int PATCH = 16;
constexpr int AREA = PATCH * PATCH;
constexpr int AHEAD = 8;  // values that a thread loads before it uses the first

// grid: ceil(count / 256) blocks of 256, count = B * N * 256
template <typename T>
__global__ void unfold_plain(const float* x, T* out, int frames, int bins, int grid_f, int grid_t, int fstride,
                             int tstride, long long count) {
  const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= count) return;
  const int i = at % AREA / PATCH, j = at % PATCH;
  const long long patch = at / AREA;
  const int t = patch % grid_t, f = patch / grid_t % grid_f;
  const long long b = patch / grid_t / grid_f;
  out[at] = from_float<T>(x[(b * frames + t * tstride + j) * bins + f * fstride + i]);
}

// grid: (grid_t, B), any block of at most 256; shared: 16 rows of `pitch` floats, pitch >= F.
// A pitch of 2 above a multiple of 32 puts the 4 x 8 values that a warp reads at a time into 32 different banks.
template <typename T>
__global__ void __launch_bounds__(256, 4)
    unfold_strip(const float* x, T* out, int frames, int bins, int grid_f, int grid_t, int fstride, int tstride,
                 int pitch) {
  extern __shared__ float strip[];  // (16, pitch): frames t * tstride ... + 15
  const int t = blockIdx.x;
  const long long b = blockIdx.y;
  const bool vector = fours(out, AREA);
  const float* source = x + (b * frames + t * tstride) * bins;  // 16 consecutive frames are contiguous
  const int count = PATCH * bins, step = blockDim.x;
  int row = threadIdx.x / bins, m = threadIdx.x % bins;  // divided once: GPUs have no instruction for it
  for (int at = threadIdx.x; at < count; at += AHEAD * step) {
    float raw[AHEAD];
    load_ahead(source, at, step, count, raw);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      if (at + a * step < count) strip[row * pitch + m] = raw[a];
      m += step % bins;
      row += step / bins + (m >= bins);
      if (m >= bins) m -= bins;
    }
  }
  __syncthreads();  // the strip is complete

  for (int at = threadIdx.x; at < grid_f * (AREA / 4); at += blockDim.x) {
    const int f = at / (AREA / 4), i = at % (AREA / 4) / 4, j = at % 4 * 4;  // four frames of one bin
    float value[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) value[k] = strip[(j + k) * pitch + f * fstride + i];
    const long long patch = (b * grid_f + f) * grid_t + t;
    store4_tail(out + patch * AREA, i * PATCH + j, AREA, vector, value);
  }
}

struct Span { int first, last; };  // none if last < first

// The patches that contain place m of an axis with `size` places: k with k * stride <= m < k * stride + 16
__device__ __forceinline__ Span patches_of(int m, int size, int stride, int grid) {
  return {m < PATCH ? 0 : (m - PATCH) / stride + 1, m < size ? min(m / stride, grid - 1) : -1};
}

// grid: (ceil(F / 32), ceil(T / 32), B), block: (32, 8)
template <typename T>
__global__ void __launch_bounds__(256, 4)
    unfold_gather(const T* dout, float* dx, int frames, int bins, int grid_f, int grid_t, int fstride, int tstride) {
  __shared__ float tile[32][33];  // (bin, frame): read along time, written along frequency
  const long long b = blockIdx.z;
  const int first_bin = blockIdx.x * 32, first_frame = blockIdx.y * 32;
  constexpr int BINS = 4, EACH = AHEAD / BINS;  // a thread has four bins of one frame, and loads two patches of each
  const int s = first_frame + threadIdx.x;
  const Span t = patches_of(s, frames, tstride, grid_t);
  Span f[BINS];
  long long from[BINS];  // where its value in patch (f[j].first, 0) would be
  float sum[BINS] = {};
#pragma unroll
  for (int j = 0; j < BINS; ++j) {
    const int m = first_bin + threadIdx.y + 8 * j;
    f[j] = patches_of(m, bins, fstride, grid_f);
    from[j] = (b * grid_f + f[j].first) * grid_t * AREA + (m - f[j].first * fstride) * PATCH + s;
  }
  for (int most = (PATCH - 1) / fstride; most >= 0; --most) {  // a bin is in this many more patches, at most
    for (int at = t.first; at <= t.last; at += EACH) {
      unsigned raw[BINS][EACH];
#pragma unroll
      for (int j = 0; j < BINS; ++j)
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
          const bool there = f[j].first <= f[j].last && at + e <= t.last;
          raw[j][e] = there ? to_bits(dout[from[j] + (at + e) * (AREA - tstride)]) : 0;
        }
#pragma unroll
      for (int j = 0; j < BINS; ++j)
#pragma unroll
        for (int e = 0; e < EACH; ++e) sum[j] += from_bits<T>(raw[j][e]);
    }
#pragma unroll
    for (int j = 0; j < BINS; ++j) {  // on to the patches above
      ++f[j].first;
      from[j] += grid_t * AREA - fstride * PATCH;
    }
  }
#pragma unroll
  for (int j = 0; j < BINS; ++j) tile[threadIdx.y + 8 * j][threadIdx.x] = sum[j];
  __syncthreads();  // the tile is complete
  for (int row = threadIdx.y; row < 32; row += blockDim.y) {
    const int s = first_frame + row, m = first_bin + threadIdx.x;
    if (m < bins && s < frames) dx[(b * frames + s) * bins + m] = tile[threadIdx.x][row];
  }
}
