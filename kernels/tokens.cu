// Both ends of the encoder: patches to tokens, patchout, pooling of the prefix tokens, and their gradients; a bias in
// all rows.
//
//   y = [prefix, x + bias] + pos         x (B, N, C) in T or float32, y (B, P + N, C) float32, P = 0, 1 or 2
//   dx = dy without its first P tokens, in T;   dpos += sum of dy over clips,   dprefix_i += the same for token i,
//   dbias += sum of dy over clips and patches;   with add = 0 dpos, dprefix_i are written, not added to
//   patchout: z = the first P tokens of y and its patches keep[b, i];   dy = dz at these, 0 at all others
//   pooled = mean of the first P tokens of x;   dx = dpooled / P for these, 0 for all others
//   spread: y[r] = bias
//
// first, second (C,): the prefix tokens, null for none; pos (P + N, C), bias (C,) or null: all float32.
//   tokens_forward    adds the bias of the patch embedding as well, so that the product need not
//   tokens_backward   one pass over dy: a thread loops over the clips, in order. Sums for the bias are written to
//                     partial (ceil((P + N) / 8), C), for column_finish: no atomics
//   patchout_forward, patchout_backward   z (B, P + n, C) float32; keep (B, n) int32 rises in each row, so the gradient
//                     of a patch is found by bisection: every entry of dy is written once, by whoever owns it
//   pool_forward, pool_backward, spread
// Each thread has four columns: 16-byte loads of float32.
//
// instantiate: tokens_forward<{float,__half,__nv_bfloat16}> tokens_backward<{float,__half,__nv_bfloat16}>
// instantiate: patchout_forward patchout_backward
// instantiate: pool_forward<{float,__half,__nv_bfloat16}> pool_backward<{float,__half,__nv_bfloat16}>
// instantiate: spread<{float,__half,__nv_bfloat16}>
#include "common.cuh"

constexpr int AHEAD = 4;  // clips whose gradients a thread loads before adding the first: more loads in flight

// grid: (ceil(C / 128), ceil((P + N) / 8), B), block: (32, 8)
template <typename T>
__global__ void tokens_forward(const T* x, const float* first, const float* second, const float* pos,
                               const float* bias, float* y, int tokens, int P, int columns) {
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4, t = blockIdx.y * 8 + threadIdx.y;
  if (t >= tokens) return;
  const long long b = blockIdx.z, row = b * tokens + t;
  const float* token = t == 0 ? first : second;
  const bool vector = fours(x, columns) && fours(pos, columns) && fours(y, columns) &&
                      (t < P ? fours(token, columns) : !bias || fours(bias, columns));
  float place[4], four[4], shift[4] = {};
  load4_tail(pos + static_cast<long long>(t) * columns, c, columns, vector, place);
  if (t < P) {
    load4_tail(token, c, columns, vector, four);
  } else {
    load4_tail(x + (row - (b + 1) * P) * columns, c, columns, vector, four);
    if (bias) load4_tail(bias, c, columns, vector, shift);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) four[k] = four[k] + shift[k] + place[k];
  store4_tail(y + row * columns, c, columns, vector, four);
}

// grid: (ceil(C / 128), ceil((P + N) / 8)), block: (32, 8)
template <typename T>
__global__ void tokens_backward(const float* dy, T* dx, float* dfirst, float* dsecond, float* dpos, float* partial,
                                int clips, int tokens, int P, int columns, int add) {
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4, t = blockIdx.y * 8 + threadIdx.y;
  const bool vector = fours(dy, columns) && fours(dx, columns);
  float sum[4] = {};
  if (t < tokens)
    for (long long first = 0; first < clips; first += AHEAD) {
      float four[AHEAD][4] = {};
#pragma unroll
      for (int a = 0; a < AHEAD; ++a)
        if (first + a < clips) load4_tail(dy + ((first + a) * tokens + t) * columns, c, columns, vector, four[a]);
#pragma unroll
      for (int a = 0; a < AHEAD; ++a) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[k] += four[a][k];
        if (first + a < clips && t >= P)
          store4_tail(dx + ((first + a) * (tokens - P) + t - P) * columns, c, columns, vector, four[a]);
      }
    }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (t < tokens && c + k < columns) {
      float& place = dpos[static_cast<long long>(t) * columns + c + k];
      place = add ? place + sum[k] : sum[k];
      if (t >= P) continue;
      float& token = (t == 0 ? dfirst : dsecond)[c + k];
      token = add ? token + sum[k] : sum[k];
    }
  if (!partial) return;

  __shared__ float part[8][32][4];
#pragma unroll
  for (int k = 0; k < 4; ++k) part[threadIdx.y][threadIdx.x][k] = t < P ? 0.0f : sum[k];
  __syncthreads();  // all eight tokens' sums are here
  if (threadIdx.y > 0) return;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    float total = part[0][threadIdx.x][k];
    for (int y = 1; y < 8; ++y) total += part[y][threadIdx.x][k];
    if (c + k < columns) partial[static_cast<long long>(blockIdx.y) * columns + c + k] = total;
  }
}

// stay: P + n, tokens of a clip in z.   grid: (ceil(C / 128), ceil(stay / 8), B), block: (32, 8)
__global__ void patchout_forward(const float* y, const int* keep, float* z, int tokens, int stay, int P, int columns) {
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4, t = blockIdx.y * 8 + threadIdx.y;
  if (t >= stay) return;
  const long long b = blockIdx.z, from = t < P ? t : P + keep[b * (stay - P) + t - P];
  const bool vector = fours(y, columns) && fours(z, columns);
  float four[4];
  load4_tail(y + (b * tokens + from) * columns, c, columns, vector, four);
  store4_tail(z + (b * stay + t) * columns, c, columns, vector, four);
}

// grid: (ceil(C / 128), ceil((P + N) / 8), B), block: (32, 8)
__global__ void patchout_backward(const float* dz, const int* keep, float* dy, int tokens, int stay, int P,
                                  int columns) {
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4, t = blockIdx.y * 8 + threadIdx.y, patch = t - P;
  if (t >= tokens) return;
  const long long b = blockIdx.z, row = b * tokens + t;
  keep += b * (stay - P);
  int low = 0, high = stay - P;  // the first entry of keep that is not below `patch` is in low ... high
  while (low < high) {
    const int middle = (low + high) / 2;
    if (keep[middle] < patch) low = middle + 1;
    else high = middle;
  }
  const bool vector = fours(dz, columns) && fours(dy, columns), stayed = low < stay - P && keep[low] == patch;
  float four[4] = {};
  if (t < P || stayed) load4_tail(dz + (b * stay + (t < P ? t : P + low)) * columns, c, columns, vector, four);
  store4_tail(dy + row * columns, c, columns, vector, four);
}

// grid: (ceil(C / 128), ceil(B / 8)), block: (32, 8)
template <typename T> __global__ void pool_forward(const T* x, T* y, int clips, int tokens, int P, int columns) {
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4;
  const long long b = blockIdx.y * 8 + threadIdx.y;
  if (b >= clips) return;
  const bool vector = fours(x, columns) && fours(y, columns);
  float sum[4] = {};
#pragma unroll 1
  for (int t = 0; t < P; t += 2) {
    Raw<T> raw[2];
    load_rows(vector, x, b * tokens + t, 1, b * tokens + P, columns, c, raw);
#pragma unroll
    for (int a = 0; a < 2; ++a) {
      float four[4];
      to_floats(raw[a], four);
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] += four[k];
    }
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) sum[k] /= P;
  store4_tail(y + b * columns, c, columns, vector, sum);
}

// grid: (ceil(C / 128), ceil(tokens / 8), B), block: (32, 8)
template <typename T> __global__ void pool_backward(const T* dy, T* dx, int tokens, int P, int columns) {
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4, t = blockIdx.y * 8 + threadIdx.y;
  if (t >= tokens) return;
  const long long b = blockIdx.z;
  const bool vector = fours(dy, columns) && fours(dx, columns);
  float four[4] = {};
  if (t < P) load4_tail(dy + b * columns, c, columns, vector, four);
#pragma unroll
  for (int k = 0; k < 4; ++k) four[k] /= P;
  store4_tail(dx + (b * tokens + t) * columns, c, columns, vector, four);
}

// grid: (ceil(R / 8), ceil(C / 128)), block: (32, 8)
template <typename T> __global__ void spread(const float* bias, T* y, int rows, int columns) {
  const int c = (blockIdx.y * 32 + threadIdx.x) * 4;
  const long long r = static_cast<long long>(blockIdx.x) * 8 + threadIdx.y;
  if (r >= rows) return;
  const bool vector = fours(bias, columns) && fours(y, columns);
  float four[4];
  load4_tail(bias, c, columns, vector, four);
  store4_tail(y + r * columns, c, columns, vector, four);
}
