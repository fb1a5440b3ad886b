"""Answers to the exercises of 07_first_kernel.   WRONG {name: [(answer, part of its verdict)]}, RIGHT {name: [...]}"""

import numpy as np

_B = "__syncthreads();"

# -- add_bias ---------------------------------------------------------------------------------------------------

_ADD = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
  %s y[r * columns + c] = x[r * columns + c] + b[%s];
}
"""
_GUARD = "if (r < rows && c < columns)"
_ADD_OVER_THE_EDGE = _ADD % ("if (r * columns + c < rows * columns)", "c % columns")
_ADD_CROSSED = _ADD.replace(
    "int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y",
    "int r = blockIdx.x * blockDim.x + threadIdx.x, c = blockIdx.y * blockDim.y + threadIdx.y",
)
_ADD_BY_ROWS = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  int step_r = gridDim.x * blockDim.x, step_c = gridDim.y * blockDim.y;
  for (int r = blockIdx.x * blockDim.x + threadIdx.x; r < rows; r += step_r)
    for (int c = blockIdx.y * blockDim.y + threadIdx.y; c < columns; c += step_c)
      y[r * columns + c] = x[r * columns + c] + b[c];
}
"""
_ADD_LOOP = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  %s
  for (int i = 0; i < rows * columns; i++) y[i] = x[i] + b[i %% columns];
}
"""
_ADD_FLAT = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  int block = blockIdx.y * gridDim.x + blockIdx.x, thread = threadIdx.y * 32 + threadIdx.x;
  int i = block * 128 + thread;  // one number after the other, whatever the rows
  if (i < rows * columns) y[i] = x[i] + b[i % columns];
}
"""
_ADD_EARLY = """
__global__ void add_bias(const float* x, const float* bias, float* y, int rows, int columns) {
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (c >= columns) return;
  const float b = bias[c];
  for (int r = blockIdx.y * 4 + threadIdx.y; r < rows; r += 4 * gridDim.y) y[r * columns + c] = x[r * columns + c] + b;
}
"""

# -- fixed_reverse ----------------------------------------------------------------------------------------------

_REVERSE = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  box[t] = i < n ? x[i] : 0.0f;
  %s
  float mine = box[63 - t];
  %s
  box[t] = 2.0f * mine;
  __syncthreads();
  if (i < n) y[i] = box[%s];
}
"""
_REVERSE_DIRECT = """
__global__ void reverse(const float* x, float* y, int n) {
  int i = blockIdx.x * 64 + threadIdx.x, from = blockIdx.x * 64 + 63 - threadIdx.x;
  if (i < n) y[i] = from < n ? 2.0f * x[from] : 0.0f;
}
"""
_REVERSE_STORED = _REVERSE_DIRECT.replace("{\n", "{\n  __shared__ float box[64];\n  box[threadIdx.x] = 0.0f;\n", 1)
_REVERSE_ONE = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64];
  if (threadIdx.x) return;
  for (int t = 0; t < 64; t++) box[t] = blockIdx.x * 64 + t < n ? x[blockIdx.x * 64 + t] : 0.0f;
  for (int t = 0; t < 64; t++)
    if (blockIdx.x * 64 + t < n) y[blockIdx.x * 64 + t] = 2.0f * box[63 - t];
}
"""
_REVERSE_OUT = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  box[63 - t] = i < n ? 2.0f * x[i] : 0.0f;  // reversed on the way in: one barrier is enough
  __syncthreads();
  if (i < n) y[i] = box[t];
}
"""
_REVERSE_TWO_BOXES = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64], other[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  box[t] = i < n ? x[i] : 0.0f;
  __syncthreads();
  other[t] = 2.0f * box[63 - t];
  if (i < n) y[i] = other[t];
}
"""

# -- log_sum_exp ------------------------------------------------------------------------------------------------

_LSE = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  x += r * columns;
  float top = %s, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 32) top = fmaxf(top, x[c]);
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  for (int c = threadIdx.x; c < columns; c += %s) sum += expf(x[c] - top);
  for (int step = 16; step > %s; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x == 0) lse[r] = %s;
}
"""
_LSE_RIGHT = _LSE % ("-INFINITY", "32", "0", "top + logf(sum)")
_LSE_ALONE = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows%s) return;
  x += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = 0; c < columns; c++) top = fmaxf(top, x[c]);
  for (int c = 0; c < columns; c++) sum += expf(x[c] - top);
  %s lse[r] = top + logf(sum);
}
"""
_LSE_COPIED = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  __shared__ float row[4][128];
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r < rows) for (int c = threadIdx.x; c < columns; c += 32) row[threadIdx.y][c] = x[r * columns + c];
  __syncthreads();
  if (r >= rows || threadIdx.x) return;
  float top = -INFINITY, sum = 0.0f;
  for (int c = 0; c < columns; c++) top = fmaxf(top, row[threadIdx.y][c]);
  for (int c = 0; c < columns; c++) sum += expf(row[threadIdx.y][c] - top);
  lse[r] = top + logf(sum);
}
"""
_LSE_ONLINE = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  x += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 32) {
    float above = fmaxf(top, x[c]);
    sum = sum %s + expf(x[c] - above);
    top = above;
  }
  float highest = top;
  for (int step = 16; step > 0; step /= 2) highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, step));
  %s
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x == 0) lse[r] = highest + logf(sum);
}
"""
_LSE_CHUNKS = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y, many = (columns + 31) / 32, first = threadIdx.x * many;
  if (r >= rows) return;
  x += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = first; c < first + many && c < columns; c++) top = fmaxf(top, x[c]);
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  for (int c = first; c < first + many && c < columns; c++) sum += expf(x[c] - top);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x == 0) lse[r] = top + logf(sum);
}
"""
_LSE_HALF = _LSE_RIGHT.replace("c = threadIdx.x; c < columns; c += 32", "c = threadIdx.x % 16; c < columns; c += 16")
_LSE_PAIRS = """
__device__ void put_together(float& top, float& sum, float other_top, float other_sum) {
  float above = fmaxf(top, other_top);
  if (above == -INFINITY) return;
  sum = sum * expf(top - above) + other_sum * expf(other_top - above);
  top = above;
}
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 32) put_together(top, sum, x[r * columns + c], 1.0f);
  for (int step = 1; step < 32; step *= 2) {
    float other_top = __shfl_down_sync(0xffffffffu, top, step), other_sum = __shfl_down_sync(0xffffffffu, sum, step);
    if (threadIdx.x + step < 32) put_together(top, sum, other_top, other_sum);
  }
  if (threadIdx.x == 0) lse[r] = top + logf(sum);
}
"""
_LSE_SHARED = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  __shared__ float tops[4][32], sums[4][32];  // a lane's own two numbers; lane 0 puts 32 of them together
  int r = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x, w = threadIdx.y;
  float top = -INFINITY, sum = 0.0f, highest = -INFINITY, total = 0.0f;
  for (int c = lane; r < rows && c < columns; c += 32) {
    float value = x[r * columns + c], above = fmaxf(top, value);
    sum = sum * expf(top - above) + expf(value - above);
    top = above;
  }
  tops[w][lane] = top, sums[w][lane] = sum;
  __syncthreads();
  if (r >= rows || lane) return;
  for (int i = 0; i < 32; i++) highest = fmaxf(highest, tops[w][i]);
  for (int i = 0; i < 32; i++) total += sums[w][i] * expf(tops[w][i] - highest);
  lse[r] = highest + logf(total);
}
"""
_LSE_LAST_LANE = _LSE_RIGHT.replace("if (threadIdx.x == 0)", "if (threadIdx.x == 31)").replace(
    "logf(sum)", "log2f(sum) * 0.6931471805599453f"
)

# -- turned -----------------------------------------------------------------------------------------------------

_TURNED = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32][%s];
  int r0 = blockIdx.y * 32, c0 = blockIdx.x * 32;
  for (int k = threadIdx.y; k < 32; k += 8)
    if (r0 + k < rows && c0 + threadIdx.x < columns)
      tile[k][threadIdx.x] = x[(r0 + k) * columns + c0 + threadIdx.x];
  %s
  for (int k = threadIdx.y; k < 32; k += 8)
    if (c0 + k < columns && r0 + threadIdx.x < rows)
      y[(c0 + k) * rows + r0 + threadIdx.x] = tile[threadIdx.x][k];
}
"""
_TURNED_DIRECT = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  int c = blockIdx.x * 32 + threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += 8) {
    int r = blockIdx.y * 32 + k;
    if (r < rows && c < columns) y[c * rows + r] = x[r * columns + c];
  }
}
"""
_TURNED_UNGUARDED = (_TURNED % ("33", _B)).replace("if (r0 + k < rows && c0 + threadIdx.x < columns)", "")
_TURNED_COPY = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  for (int k = threadIdx.y; k < 32; k += 8) {
    int r = blockIdx.y * 32 + k, c = blockIdx.x * 32 + threadIdx.x;
    if (r < rows && c < columns) y[r * columns + c] = x[r * columns + c];
  }
}
"""
_TURNED_SKEWED = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32 * 32];  // no padding: row k is turned by k places
  int r0 = blockIdx.y * 32, c0 = blockIdx.x * 32, t = threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += 8)
    if (r0 + k < rows && c0 + t < columns) tile[k * 32 + (t + k) % 32] = x[(r0 + k) * columns + c0 + t];
  __syncthreads();
  for (int k = threadIdx.y; k < 32; k += 8)
    if (c0 + k < columns && r0 + t < rows) y[(c0 + k) * rows + r0 + t] = tile[t * 32 + (k + t) % 32];
}
"""
_TURNED_ON_THE_WAY_IN = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32][33];
  for (int k = threadIdx.y; k < 32; k += blockDim.y) {
    int r = blockIdx.y * 32 + k, c = blockIdx.x * 32 + threadIdx.x;
    if (r < rows && c < columns) tile[threadIdx.x][k] = x[r * columns + c];
  }
  __syncthreads();
  for (int k = threadIdx.y; k < 32; k += blockDim.y) {
    int c = blockIdx.x * 32 + k, r = blockIdx.y * 32 + threadIdx.x;
    if (c < columns && r < rows) y[c * rows + r] = tile[k][threadIdx.x];
  }
}
"""

WRONG = {
    "add_bias": [
        (_ADD % ("", "c"), "emulator stops"),
        (_ADD % ("if (r < rows)", "c"), "emulator stops"),
        (_ADD % (_GUARD, "r"), "it has one value a column"),
        (_ADD % ("if (r < rows - 1 && c < columns)", "c"), "NaN"),
        ("__global__ void other(float* x) {}", "declares no kernel"),
        ((_ADD % (_GUARD, "c")).replace("b[c];", "b[c]"), "does not compile"),
        (_ADD.replace("{", "{ return;") % (_GUARD, "c"), "writes nothing to y"),
        (_ADD_CROSSED % (_GUARD, "c"), "rows lie on threadIdx.x"),
        ((_ADD % (_GUARD, "c")).replace("blockIdx.x * blockDim.x + ", "").replace("blockIdx.y * blockDim.y + ", ""),
         "blockIdx is left out"),
        (_ADD_LOOP % "if (threadIdx.x || threadIdx.y || blockIdx.x || blockIdx.y) return;", "thread 0 alone"),
        (_ADD_LOOP % "", "an element of y is written"),
        (_ADD_OVER_THE_EDGE, "for 37 x 90 an element of y is written 2 times"),
        (_ADD_BY_ROWS, "neighbouring lanes use addresses far apart"),
    ],
    "fixed_reverse": [
        (_REVERSE % (_B, "", "t"), "two accesses still race"),
        (_REVERSE % ("", _B, "t"), "two accesses still race"),
        (_REVERSE % (_B, "if (t < 32) __syncthreads();", "t"), "deadlocked"),
        (_REVERSE % (_B, _B + _B, "t"), "only one was missing"),
        (_REVERSE % (_B, _B, "63 - t"), "nothing is reversed any more"),
        ((_REVERSE % (_B, _B, "t")).replace("2.0f * mine", "mine"), "nothing is doubled any more"),
        (_REVERSE_DIRECT, "do not go through shared memory"),
        (_REVERSE_STORED, "0 reads of it for 200 results"),
        (_REVERSE_ONE, "thread 0 alone"),
    ],
    "log_sum_exp": [
        (_LSE % ("-INFINITY", "32", "0", "logf(sum)"), "added back"),
        (_LSE % ("-INFINITY", "32", "1", "top + logf(sum)"), "lse"),
        (_LSE % ("0.0f", "32", "0", "top + logf(sum)"), "lse is infinite"),
        (_LSE % ("-INFINITY", "64", "0", "top + logf(sum)"), "lse"),
        (_LSE % ("-INFINITY", "32", "0", "top"), "the maximum alone"),
        (_LSE % ("-INFINITY", "32", "0", "sum"), "before the logarithm"),
        ((_LSE % ("-INFINITY", "32", "0", "logf(sum)")).replace("expf(x[c] - top)", "expf(x[c])"), "lse is infinite"),
        (_LSE_RIGHT.replace("c = threadIdx.x; c < columns", "c = threadIdx.x; c < 32 && c < columns"),
         "only 32 columns"),
        (_LSE_ONLINE % ("", "sum *= expf(top - highest);"), "scale down the lane's sum"),
        (_LSE_ONLINE % ("* expf(top - above)", ""), "different maxima"),
        (_LSE_ALONE % (" || threadIdx.x", ""), "lane 0 reads the whole row alone"),
        (_LSE_COPIED, "all lanes read, and few of them sum up"),
        (_LSE_COPIED.replace("r * columns + c];", "r * columns + c] + 0.0f;"), "all lanes read, and few"),
        (_LSE_ALONE % ("", "if (threadIdx.x == 0)"), "each lane reads the whole row"),
        (_LSE_RIGHT.replace("if (threadIdx.x == 0) ", ""), "each result is written 32 times"),
        (_LSE_CHUNKS, "neighbouring lanes use addresses far apart"),
        (_LSE_ONLINE % ("* expf(top - above)", "sum *= expf(top - highest); return;"), "NaN everywhere"),
    ],
    "turns": [
        (lambda indices: int(np.bincount(indices % 32).max()), "served together"),
        (lambda indices: len(np.unique(indices % 32)), "number of banks in use"),
        (lambda indices: 1, "never a conflict"),
        (lambda indices: len(np.unique(indices)), "number of different indices"),
        (lambda indices: 32 / len(np.unique(indices % 32)), "use // and int()"),
        (lambda indices: -(-len(np.unique(indices)) // 32), "never a conflict"),
        (lambda indices: int(np.bincount(np.unique(indices) // 32).max()), "it is the remainder"),
        (lambda indices: int(np.bincount(np.unique(indices) % 32).max()) - 1, "beyond the first turn"),
    ],
    "turned": [
        (_TURNED_DIRECT, "neighbouring lanes use addresses far apart"),
        (_TURNED % ("32", _B), "want the same banks"),
        (_TURNED % ("34", _B), "want the same banks"),
        (_TURNED % ("33", ""), "NaN"),
        (_TURNED_UNGUARDED, "emulator stops"),
        (_TURNED_COPY, "copied as it lies"),
        ((_TURNED % ("33", _B)).replace("= tile[threadIdx.x][k]", "= x[(r0 + threadIdx.x) * columns + c0 + k]"),
         "read 2 times"),
    ],
}  # fmt: skip
RIGHT = {
    "add_bias": [_ADD_FLAT, _ADD_EARLY],
    "fixed_reverse": [_REVERSE_OUT, _REVERSE_TWO_BOXES],
    "log_sum_exp": [_LSE_RIGHT, _LSE_PAIRS, _LSE_LAST_LANE, _LSE_SHARED],
    "turns": [
        lambda indices: max(len({i for i in indices if i % 32 == bank}) for bank in range(32)),
        lambda indices: np.int64(np.unique(np.unique(indices) % 32, return_counts=True)[1].max()),
    ],
    "turned": [_TURNED_SKEWED, _TURNED_ON_THE_WAY_IN],
}
