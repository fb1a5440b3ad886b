// Kernels whose memory requests can be counted by hand: tests/gpu/test_report.py has the sums.
#include "common.cuh"
#include "ptx.cuh"

__global__ void strided(const float* x, float* y, int step, int first) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = x[i * step + first];
}

__global__ void broadcast(const float* x, float* y) {
  y[threadIdx.x] = x[3];
}

__global__ void wide(const float4* x, float4* y) {
  y[threadIdx.x] = x[threadIdx.x];
}

template <int PITCH> __global__ void transpose(const float* x, float* y) {
  __shared__ float tile[32][PITCH];
  for (int r = threadIdx.y; r < 32; r += 8) tile[r][threadIdx.x] = x[r * 32 + threadIdx.x];
  __syncthreads();
  for (int r = threadIdx.y; r < 32; r += 8) y[r * 32 + threadIdx.x] = tile[threadIdx.x][r];
}

__global__ void divergent(float* y, int m) {
  int t = threadIdx.x;
  float v = y[t];
  if (t % m == 0) {
    for (int i = 0; i < 5; i++) v = v * 2.0f + 1.0f;
    y[t] = v;
  } else {
    y[t] = v + 3.0f;
  }
  y[t + 64] = v;
}

// In round j thread t reads one to three rows: the lanes part and meet again in each round.
__global__ void ragged(const float* x, float* y) {
  float sum = 0.0f;
  for (int j = 0; j < 4; j++)
    for (int i = 0; i <= (threadIdx.x + j) % 3; i++) sum += x[(j * 3 + i) * 32 + threadIdx.x];
  y[threadIdx.x] = sum;
}

__device__ __noinline__ float picked(const float* x, int i) {
  if (i % 2) return x[i];
  return x[i + 32];
}
__global__ void called(const float* x, float* y) {
  float v = picked(x, threadIdx.x);
  y[threadIdx.x] = v;
}

__global__ void early(const float* x, float* y, int n) {
  if (threadIdx.x >= n) return;
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void arithmetic(const float* x, float* y) {
  float v = x[threadIdx.x];
  float w = v * v;
  w = w + v;
  w = w - 2.0f;
  y[threadIdx.x] = w * expf(v) + sqrtf(v);
}

__global__ void atomic(float* sum) {
  atomicAdd(sum, 1.0f);
}

__global__ void exchanged(float* y) {
  float v = y[threadIdx.x];
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(FULL, v, step);
  __syncwarp();
  if (__any_sync(FULL, v > 0.0f)) y[threadIdx.x] = v;
}

__global__ void two_walks(const float* x, float* y, int n) {
  float top = x[0], sum = 0.0f;
  for (int i = 1; i < n; i++) top = fmaxf(top, x[i]);
  for (int i = 0; i < n; i++) sum += expf(x[i] - top);
  y[threadIdx.x] = sum;
}

__global__ void lane_zero(const float* x, float* y, int n) {
  if (threadIdx.x) return;
  float sum = 0.0f;
  for (int i = 0; i < n; i++) sum += x[i];
  *y = sum;
}

// early: the next tile is on its way while this one is added up
__global__ void tiles(const float* x, float* y, int count, int early) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < count; k++) {
    cp_async_wait<0>();
    __syncwarp();
    if (early && k + 1 < count) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * t + i];
    if (!early && k + 1 < count) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
  }
  y[t] = sum;
}

__global__ void product(const __half* a, float* d) {
  extern __shared__ __half tile[];
  int t = threadIdx.x;
  for (int i = t; i < 256; i += 32) tile[i / 16 * 24 + i % 16] = a[i];
  __syncthreads();
  unsigned x[4];
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  ldmatrix_x4(x, tile + t % 16 * 24 + t / 16 * 8);
  mma_m16n8k16<__half>(sum, x, x[0], x[2]);
  for (int i = 0; i < 4; i++) d[t * 4 + i] = sum[i];
}

__global__ void beyond(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];
}
