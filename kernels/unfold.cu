// Patches: every 16x16 window of a spectrogram, at any strides, flattened for the GEMM that embeds it; and the adjoint.
//
//   out[b, f * grid_t + t, i * 16 + j] = x[b, t * tstride + j, f * fstride + i]      i: mel bin, j: frame, in the patch
//   dx[b, s, m] = sum of dout over all patches that contain x[b, s, m]
//
// x, dx (B, T, F) float32, out, dout (B, N, 256) in T = float, __half or __nv_bfloat16, N = grid_f grid_t, f major.
// Both are memory-bound. x is contiguous along frequency and a patch along time, so each is a transposition.
//   forward 0   one thread per value of out: stores are coalesced, loads are F floats apart
//   forward 1   one block per (clip, t): 16 whole frames are read to shared memory, all patches of that t from there
//   backward    a gather, one thread per value of dx, no atomics; transposed in shared memory
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

// grid: (ceil(F / 32), ceil(T / 32), B), block: (32, 8)
template <typename T>
__global__ void __launch_bounds__(256, 4)
    unfold_gather(const T* dout, float* dx, int frames, int bins, int grid_f, int grid_t, int fstride, int tstride) {
  __shared__ float tile[32][33];  // (bin, frame): read along time, written along frequency
  const long long b = blockIdx.z;
  const int first_bin = blockIdx.x * 32, first_frame = blockIdx.y * 32;
  // Patches f with f * fstride <= m < f * fstride + 16, and the same in time. A thread has four bins of one frame, and
  // loads two patches of each at a time.
  constexpr int ROWS = 4, EACH = AHEAD / ROWS;
  const int s = first_frame + threadIdx.x;
  const int t_first = s < PATCH ? 0 : (s - PATCH) / tstride + 1, t_last = s < frames ? min(s / tstride, grid_t - 1) : -1;
  int f[ROWS], f_last[ROWS];
  long long from[ROWS];  // of patch (f, 0)
  float sum[ROWS] = {};
#pragma unroll
  for (int j = 0; j < ROWS; ++j) {
    const int m = first_bin + threadIdx.y + 8 * j;
    f[j] = m < PATCH ? 0 : (m - PATCH) / fstride + 1;
    f_last[j] = m < bins ? min(m / fstride, grid_f - 1) : -1;
    from[j] = (b * grid_f + f[j]) * grid_t * AREA + (m - f[j] * fstride) * PATCH + s;
  }
  for (int most = (PATCH - 1) / fstride; most >= 0; --most) {  // a bin is in at most this many more patches
    for (int t = t_first; t <= t_last; t += EACH) {
      unsigned raw[ROWS][EACH];
#pragma unroll
      for (int j = 0; j < ROWS; ++j)
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
          const bool inside = f[j] <= f_last[j] && t + e <= t_last;
          raw[j][e] = inside ? to_bits(dout[from[j] + (t + e) * (AREA - tstride)]) : 0;
        }
#pragma unroll
      for (int j = 0; j < ROWS; ++j)
#pragma unroll
        for (int e = 0; e < EACH; ++e) sum[j] += from_bits<T>(raw[j][e]);
    }
#pragma unroll
    for (int j = 0; j < ROWS; ++j) {
      ++f[j];
      from[j] += grid_t * AREA - fstride * PATCH;
    }
  }
#pragma unroll
  for (int j = 0; j < ROWS; ++j) tile[threadIdx.y + 8 * j][threadIdx.x] = sum[j];
  __syncthreads();  // the tile is complete
  for (int row = threadIdx.y; row < 32; row += blockDim.y) {
    const int s = first_frame + row, m = first_bin + threadIdx.x;
    if (m < bins && s < frames) dx[(b * frames + s) * bins + m] = tile[threadIdx.x][row];
  }
}
