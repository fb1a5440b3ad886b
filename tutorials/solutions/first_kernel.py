"""Solutions of notebook 7."""

import numpy as np

# Columns along x: the 32 lanes of a warp read 32 neighbours. Both ends are guarded, since neither size is a multiple.
add_bias = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
  if (r < rows && c < columns) y[r * columns + c] = x[r * columns + c] + b[c];
}
"""

# Thread t reads box[63 - t], and its owner, thread 63 - t, then writes there. All must have read before any writes.
# The last barrier does no harm and no good: after it each thread reads what it wrote itself.
fixed_reverse = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  box[t] = i < n ? x[i] : 0.0f;
  __syncthreads();
  float mine = box[63 - t];
  __syncthreads();  // this one was missing
  box[t] = 2.0f * mine;
  __syncthreads();
  if (i < n) y[i] = box[t];
}
"""

# The kernel of section 9 with another last line: the logarithm of sum exp(x - highest), and the maximum added back.
log_sum_exp = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;
  if (r >= rows) return;
  x += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 32) {
    float above = fmaxf(top, x[c]);
    sum = sum * expf(top - above) + expf(x[c] - above);
    top = above;
  }
  float highest = top;
  for (int step = 16; step > 0; step /= 2)
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, step));
  sum *= expf(top - highest);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x == 0) lse[r] = highest + logf(sum);
}
"""


def turns(indices):
    """The most different indices that fall into one bank: equal indices are one broadcast."""
    different = np.unique(indices)
    return int(np.bincount(different % 32).max())


# The lanes walk along rows of x when they read and along rows of y when they write; the turn itself happens between, in
# shared memory, where it costs no sectors. With rows of 33 the 32 lanes that read a column come to 32 banks.
turned = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32][33];
  int first_row = blockIdx.y * 32, first_column = blockIdx.x * 32;
  int c = first_column + threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += 8)
    if (first_row + k < rows && c < columns) tile[k][threadIdx.x] = x[(first_row + k) * columns + c];
  __syncthreads();
  int r = first_row + threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += 8)
    if (first_column + k < columns && r < rows) y[(first_column + k) * rows + r] = tile[threadIdx.x][k];
}
"""
