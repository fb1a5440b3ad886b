// Column sums: the gradient of a bias, and the second half of the gradient of a layer norm's weights.
//
//   partial[g, c] = sum of x[r, c] over the rows r of group g        x (R, C) in T, partial (G, C) float32
//   out[c] += sum over g of partial[g, c]                            out (C,) float32, ADDED to
//   add = 0 (column_sum, column_finish): out[c] = the sum, whatever out held
//
// Two launches and no atomics: the order of additions depends only on R, C and G, so runs are reproducible.
//   0   one thread per column loops over all rows, then adds: one launch, but C threads cannot fill a GPU
//   1   column_partials over G groups of rows, then column_finish
//
// instantiate: column_sum<{float,__half,__nv_bfloat16}>
// instantiate: column_partials<{float,__half,__nv_bfloat16}> column_finish
#include "common.cuh"

constexpr int AHEAD = 4;  // rows that a thread loads before it adds the first

// grid: ceil(C / 128) blocks of 128
template <typename T> __global__ void column_sum(const T* x, float* out, int rows, int columns, int add) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns) return;
  float sum = 0.0f;
  for (long long r = 0; r < rows; ++r) sum += to_float(x[r * columns + c]);
  out[c] = add ? out[c] + sum : sum;
}

// grid: (ceil(C / 128), G), block: (32, 8). Each thread sums four columns of every 8 G-th row.
template <typename T> __global__ void column_partials(const T* x, float* partial, int rows, int columns) {
  __shared__ float part[8][32][4];
  const int c = (blockIdx.x * 32 + threadIdx.x) * 4;
  const bool vector = fours(x, columns);
  float sum[4] = {};
  const long long step = gridDim.y * 8;
  for (long long r = blockIdx.y * 8 + threadIdx.y; r < rows; r += AHEAD * step) {
    Raw<T> raw[AHEAD];
    load_rows(vector, x, r, step, rows, columns, c, raw);
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      float four[4];
      to_floats(raw[a], four);
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] += four[k];
    }
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) part[threadIdx.y][threadIdx.x][k] = sum[k];
  __syncthreads();
  if (threadIdx.y > 0) return;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    for (int y = 1; y < 8; ++y) sum[k] += part[y][threadIdx.x][k];
    if (c + k < columns) partial[static_cast<long long>(blockIdx.y) * columns + c + k] = sum[k];
  }
}

// Up to three results in one launch: partial (arrays, G, C); a null result is skipped.
// grid: (ceil(C / 32), arrays), block: (32, 8)
__global__ void column_finish(const float* partial, float* first, float* second, float* third, int groups,
                              int columns, int add) {
  __shared__ float part[8][32];
  float* out = blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : third;
  if (!out) return;  // the same for all threads of the block
  partial += static_cast<long long>(blockIdx.y) * groups * columns;
  const int c = blockIdx.x * 32 + threadIdx.x;
  float sum = 0.0f;
  if (c < columns)
    for (int g = threadIdx.y; g < groups; g += 8) sum += partial[static_cast<long long>(g) * columns + c];
  part[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || c >= columns) return;
  for (int y = 1; y < 8; ++y) sum += part[y][threadIdx.x];
  out[c] = add ? out[c] + sum : sum;
}
