"""Solutions of notebook 8."""


def traffic(N, D, rows, size):
    """q and o once, k and v once for each of ceil(N / rows) blocks."""
    blocks = -(-N // rows)
    return (2 * N * D + blocks * 2 * N * D) * size


def owner(row, column):
    """Four lanes share rows g and g + 8, each with two neighbouring columns; registers 2 and 3 are of the lower row."""
    lane = row % 8 * 4 + column // 2
    register = row // 8 * 2 + column % 2
    return lane, register


# First mistake: with cp_async_wait<1> the last tile, which has no copy behind it, is read while it may be under way.
# Second: nothing keeps a fast thread from copying into a buffer that a slow one still reads. Waiting for all copies at
# the head of the loop, then the barrier, then the next copy mends both: all have arrived, and all have left the other
# buffer. The next copy still runs while this tile is summed.
fixed_walk = """
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
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
  }
  y[t] = sum;
}
"""

# The first key is no special case: exp(-inf - above) = 0 fades sums that are still zero.
fused_attention = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N) return;
  float o[8] = {}, top = -INFINITY, sum = 0.0f;
  for (int j = 0; j < N; j++) {
    float s = 0.0f;
    for (int d = 0; d < 8; d++) s += q[i * 8 + d] * k[j * 8 + d];
    s *= scale;
    float above = fmaxf(top, s), fade = expf(top - above), p = expf(s - above);
    sum = sum * fade + p;
    for (int d = 0; d < 8; d++) o[d] = o[d] * fade + p * v[j * 8 + d];
    top = above;
  }
  for (int d = 0; d < 8; d++) out[i * 8 + d] = o[d] / sum;
}
"""
