"""Answers to the exercises of 08_fast_attention. WRONG {name: [(answer, part of its verdict)]}, RIGHT {name: [...]}"""

# -- fixed_walk -------------------------------------------------------------------------------------------------

_WALK = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    cp_async_wait<%s>();
    %s
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) %% 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    for (int i = 0; i < 4; i++) sum += buffer[k %% 2][4 * %s + i];
  }
  y[t] = sum;
}
"""
_LATE = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    cp_async_wait<0>();
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
  }
  y[t] = sum;
}
"""
_AT_ONCE = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    cp_async_wait<0>();
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
    __syncthreads();
  }
  y[t] = sum;
}
"""
_PLAIN = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;  // no cp_async16 here, but in this comment
  float sum = 0.0f;
  for (int k = 0; k < tiles; k++) {
    *reinterpret_cast<float4*>(&buffer[k % 2][4 * t]) = *reinterpret_cast<const float4*>(x + 128 * k + 4 * t);
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
  }
  y[t] = sum;
}
"""
_DIRECT = """
__global__ void walk(const float* x, float* y, int tiles) {
  float sum = 0.0f;
  for (int k = 0; k < tiles; k++)
    for (int i = 0; i < 4; i++) sum += x[128 * k + 4 * (31 - threadIdx.x) + i];
  y[threadIdx.x] = sum;
}
"""
_ALL_AHEAD = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[8][128];  // enough for all tiles of the check
  int t = threadIdx.x;
  float sum = 0.0f;
  for (int k = 0; k < tiles; k++) {
    cp_async16(&buffer[k][4 * t], x + 128 * k + 4 * t);
    cp_async_commit();
  }
  cp_async_wait<0>();
  __syncthreads();
  for (int k = 0; k < tiles; k++)
    for (int i = 0; i < 4; i++) sum += buffer[k][4 * (31 - t) + i];
  y[t] = sum;
}
"""
_TWO_BARRIERS = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles) cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
    cp_async_commit();  // an empty group at the last tile, so that one may always be left under way
    cp_async_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
    __syncthreads();
  }
  y[t] = sum;
}
"""
_FOUR_AT_ONCE = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float flat[256];  // both buffers in one array
  const int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(flat + 4 * t, x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles) {
      cp_async_wait<0>();
      __syncwarp();  // the block is one warp
      cp_async16(flat + 128 * ((k + 1) & 1) + 4 * t, x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    } else {
      cp_async_wait<0>();
      __syncwarp();
    }
    const float4 four = *reinterpret_cast<const float4*>(flat + 128 * (k & 1) + 4 * (31 - t));
    sum += four.x + four.y + four.z + four.w;
  }
  y[t] = sum;
}
"""
_OWN = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    cp_async_wait<0>();  // a thread reads what it has copied itself: no barrier
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * t + i];
  }
  y[31 - t] = sum;  // mirrored at the end
}
"""
_B = "__syncthreads();"
_WALK_RIGHT = _WALK % ("0", _B, "(31 - t)")

# -- fused_attention --------------------------------------------------------------------------------------------

_FUSED = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  float o[8] = {}, top = %s, sum = 0.0f;
  for (int j = 0; j < N; j++) {
    float s = 0.0f;
    for (int d = 0; d < 8; d++) s += q[i * 8 + d] * k[j * 8 + d];
    s *= %s;
    float above = fmaxf(top, s), fade = %s, p = expf(s - above);
    sum = sum * fade + p;
    for (int d = 0; d < 8; d++) o[d] = o[d] * fade + p * v[j * 8 + d];
    top = above;
  }
  for (int d = 0; d < 8; d++) out[i * 8 + d] = o[d] / %s;
}
"""
_FADE = "expf(top - above)"
_FUSED_RIGHT = _FUSED % ("-INFINITY", "scale", _FADE, "sum")
_TWO_PASSES = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  float o[8] = {}, top = -INFINITY, sum = 0.0f;
  for (int j = 0; j < N; j++) {
    float s = 0.0f;
    for (int d = 0; d < 8; d++) s += q[i * 8 + d] * k[j * 8 + d];
    top = fmaxf(top, s * scale);
  }
  for (int j = 0; j < N; j++) {
    float s = 0.0f;
    for (int d = 0; d < 8; d++) s += q[i * 8 + d] * k[j * 8 + d];
    float p = expf(s * scale - top);
    sum += p;
    for (int d = 0; d < 8; d++) o[d] += p * v[j * 8 + d];
  }
  for (int d = 0; d < 8; d++) out[i * 8 + d] = o[d] / sum;
}
"""
_ALL_SCORES = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  float s[256], o[8] = {}, top = -INFINITY, sum = 0.0f;
  for (int j = 0; j < N; j++) {
    s[j] = 0.0f;
    for (int d = 0; d < 8; d++) s[j] += q[i * 8 + d] * k[j * 8 + d] * scale;
    top = fmaxf(top, s[j]);
  }
  for (int j = 0; j < N; j++) {
    float p = expf(s[j] - top);
    sum += p;
    for (int d = 0; d < 8; d++) o[d] += p * v[j * 8 + d];
  }
  for (int d = 0; d < 8; d++) out[i * 8 + d] = o[d] / sum;
}
"""
_THROUGH_MEMORY = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  float top = -INFINITY, sum = 0.0f;
  for (int d = 0; d < 8; d++) out[i * 8 + d] = 0.0f;
  for (int j = 0; j < N; j++) {
    float s = 0.0f;
    for (int d = 0; d < 8; d++) s += q[i * 8 + d] * k[j * 8 + d];
    float above = fmaxf(top, s * scale), fade = expf(top - above), p = expf(s * scale - above);
    sum = sum * fade + p;
    for (int d = 0; d < 8; d++) out[i * 8 + d] = out[i * 8 + d] * fade + p * v[j * 8 + d];
    top = above;
  }
  for (int d = 0; d < 8; d++) out[i * 8 + d] /= sum;
}
"""
_ONE_THREAD = (
    _FUSED_RIGHT.replace("int i = blockIdx.x * blockDim.x + threadIdx.x;", "if (threadIdx.x) return;")
    .replace("  if (i >= N) return;\n", "  for (int i = blockIdx.x * 32; i < blockIdx.x * 32 + 32 && i < N; i++) {\n")
    .replace("= o[d] / sum;\n", "= o[d] / sum;\n  }\n")
)
_FINITE = _FUSED_RIGHT.replace(
    "float o[8] = {}, top = -INFINITY, sum = 0.0f;", "float o[8] = {}, top = -1e30f, sum = 0;"
)
_BRANCHING = _FUSED_RIGHT.replace(
    "float above = fmaxf(top, s), fade = expf(top - above), p = expf(s - above);",
    "float above = fmaxf(top, s), fade = 1.0f;\n    if (s > top) fade = exp2f((top - above) * 1.4426950408889634f);\n"
    "    float p = expf(s - above);",
)
_TILED = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  __shared__ float keys[32][9], values[32][9];
  int t = threadIdx.x, i = blockIdx.x * 32 + t;
  float own[8] = {}, o[8] = {}, top = -INFINITY, sum = 0.0f;
  if (i < N) for (int d = 0; d < 8; d++) own[d] = q[i * 8 + d] * scale;
  for (int first = 0; first < N; first += 32) {
    __syncthreads();
    if (first + t < N)
      for (int d = 0; d < 8; d++) keys[t][d] = k[(first + t) * 8 + d], values[t][d] = v[(first + t) * 8 + d];
    __syncthreads();
    for (int j = 0; j < 32 && first + j < N; j++) {
      float s = 0.0f;
      for (int d = 0; d < 8; d++) s += own[d] * keys[j][d];
      float above = fmaxf(top, s), fade = expf(top - above), p = expf(s - above);
      sum = sum * fade + p;
      for (int d = 0; d < 8; d++) o[d] = o[d] * fade + p * values[j][d];
      top = above;
    }
  }
  if (i < N) for (int d = 0; d < 8; d++) out[i * 8 + d] = o[d] / sum;
}
"""

WRONG = {
    "traffic": [
        (lambda N, D, rows, size: 4 * N * D * size, "each block reads them"),
        (lambda N, D, rows, size: 2 * N * D * size * (1 + N // rows), "left out the last block"),
        (lambda N, D, rows, size: 2 * N * D * (1 + -(-N // rows)), "each has `size` bytes"),
        (lambda N, D, rows, size: 2 * N * D * size * (1 + N / rows), "you took a fraction of a block"),
        (lambda N, D, rows, size: 2 * -(-N // rows) * N * D * size, "left out q and o"),
        (lambda N, D, rows, size: (1 + 2 * -(-N // rows)) * N * D * size, "left out o"),
        (lambda N, D, rows, size: (2 + -(-N // rows)) * N * D * size, "one of k and v"),
        (lambda N, D, rows, size: 4 * -(-N // rows) * N * D * size, "of its own rows alone"),
        (lambda N, D, rows, size: 2 * N * D * size * (1 + N), "queries of a block share them"),
    ],
    "owner": [
        (lambda row, column: (row % 8 * 4 + column // 2, column % 2), "registers 0 and 1 alone"),
        (lambda row, column: (row * 4 + column // 2, row // 8 * 2 + column % 2), "lanes of their own"),
        (lambda row, column: (row // 8 * 2 + column % 2, row % 8 * 4 + column // 2), "exchanged lane and register"),
        (lambda row, column: (row % 8 * 4 + column % 4, row // 8 * 2 + column // 4), "every fourth column"),
        (lambda row, column: row % 8 * 4 + column // 2, "2 results"),
        (lambda row, column: (column * 4 + row % 8 // 2, row // 8 * 2 + row % 2), "exchanged rows and columns"),
        (lambda row, column: (row % 8 * 4 + column // 2, row // 8 + column % 2 * 2), "parity is the lower bit"),
    ],
    "fixed_walk": [
        (_WALK % ("1", _B, "(31 - t)"), "whose copies may still be under way"),
        (_WALK % ("0", "", "(31 - t)"), "whose copies may still be under way"),
        (_WALK % ("0", _B, "t"), "nothing is mirrored"),
        (_WALK_RIGHT.replace("buffer[(k + 1) % 2]", "buffer[k % 2]"), "whose copies may still be under way"),
        (_WALK_RIGHT.replace("y[t] = sum", "y[t + 1] = sum"), "emulator stops"),
        (_TWO_BARRIERS.replace("    __syncthreads();\n  }", "  }"), "who may still be reading"),
        (_LATE, "no copy is under way while a tile is added up"),
        (_AT_ONCE, "no copy is under way while a tile is added up"),
        (_PLAIN, "only 0 of 8 tiles are copied by cp_async16"),
        (_DIRECT, "only 0 of 8 tiles are copied by cp_async16"),
        (_ALL_AHEAD, "two buffers have 1024"),
    ],
    "fused_attention": [
        (_FUSED % ("-INFINITY", "1.0f", _FADE, "sum"), "scores are not scaled"),
        (_FUSED % ("-INFINITY", "scale", _FADE, "1.0f"), "not divided by the sum"),
        (_FUSED % ("-INFINITY", "scale", "1.0f", "sum"), "scale down what was summed before"),
        (_FUSED_RIGHT.replace("sum = sum * fade + p", "sum += p"), "forgot the sum"),
        (_FUSED_RIGHT.replace("o[d] = o[d] * fade + p", "o[d] = o[d] + p"), "forgot the results"),
        ((_FUSED % ("-INFINITY", "scale", "1.0f", "sum")).replace("expf(s - above)", "expf(s)"),
         "subtract the largest score"),
        (_FUSED_RIGHT.replace("if (i >= N) return;", ""), "emulator stops"),
        (_FUSED_RIGHT.replace("j < N", "j <= N"), "emulator stops"),
        (_FUSED_RIGHT.replace("p = expf(s - above)", "p = 1.0f"), "takes no exponential"),
        (_TWO_PASSES, "2 walks over the keys"),
        (_ALL_SCORES, "emulator stops"),
        (_ALL_SCORES.replace("s[256]", "s[2048]"), "`s` holds 2048 numbers"),
        (_ALL_SCORES.replace("float s[256], ", "const int most = 2048;\n  float s[most], "), "`s` holds 2048 numbers"),
        (_ALL_SCORES.replace("s[256]", "s[1 << 11]"), "how long is `s`?"),
        (_THROUGH_MEMORY, "sums go through memory"),
        (_ONE_THREAD, "only 1 of a block's 32 threads work"),
    ],
}  # fmt: skip
RIGHT = {
    "traffic": [lambda N, D, rows, size: 2 * N * D * size + sum(2 * N * D * size for _ in range(0, N, rows))],
    "owner": [lambda row, column: [4 * (row & 7) + (column >> 1), (row >> 3 << 1) | (column & 1)]],
    "fixed_walk": [_TWO_BARRIERS, _FOUR_AT_ONCE, _OWN],
    "fused_attention": [_FINITE, _BRANCHING, _TILED],
}
