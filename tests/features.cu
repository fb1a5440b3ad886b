// One kernel per feature of the emulator, for test_emulator.py. Each also is legal CUDA.
// instantiate: where threads_of_grid barrier_rounds barrier_votes shuffles votes matches lone_lanes atomics<{int,unsigned,float}>
// instantiate: half_values<{__half,__nv_bfloat16}> tile_product<{__half,__nv_bfloat16}> tiles_loaded copies bits pair_values tf32_rounded tf32_product<{true,false}>
// instantiate: past_end before_start reads_shared<float> past_static past_dynamic unsynchronised stale_tile divergent two_barriers
// instantiate: early_return wrong_mask prints fails traps zero_division misaligned deep wild exchange last_block two_arrays
// instantiate: vectors<float> scalars<int> optional bad_lane racing_warps endless past_row past_local address_of writes_at two_sums prints_much prints_long writes_const
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "common.cuh"
#include "ptx.cuh"

__global__ void where(int* out) {
  int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 10000 + thread;
}

__global__ void threads_of_grid(float* x, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) x[i] += float(i);
}

// Each round every thread reads its right neighbour's value of the round before.
__global__ void barrier_rounds(int* x, int rounds) {
  __shared__ int ring[1024];
  int i = threadIdx.x;
  ring[i] = x[i];
  for (int r = 0; r < rounds; r++) {
    __syncthreads();
    int next = ring[(i + 1) % blockDim.x];
    __syncthreads();
    ring[i] = next;
  }
  x[i] = ring[i];
}

__global__ void barrier_votes(int* x) {
  int p = x[threadIdx.x];
  int count = __syncthreads_count(p), all = __syncthreads_and(p), any = __syncthreads_or(p);
  x[threadIdx.x] = count * 100 + all * 10 + any;
}

__global__ void shuffles(int* out, int width) {
  int lane = threadIdx.x % 32, n = blockDim.x;
  out[0 * n + threadIdx.x] = __shfl_sync(0xffffffffu, lane, 5, width);
  out[1 * n + threadIdx.x] = __shfl_up_sync(0xffffffffu, lane, 3u, width);
  out[2 * n + threadIdx.x] = __shfl_down_sync(0xffffffffu, lane, 3u, width);
  out[3 * n + threadIdx.x] = __shfl_xor_sync(0xffffffffu, lane, 6, width);
  out[4 * n + threadIdx.x] = int(__shfl_xor_sync(0xffffffffu, double(lane), 1, width));
}

__global__ void votes(unsigned* out, const int* p) {
  int i = threadIdx.x, n = blockDim.x;
  out[i] = __ballot_sync(0xffffffffu, p[i]);
  out[n + i] = unsigned(__all_sync(0xffffffffu, p[i]));
  out[2 * n + i] = unsigned(__any_sync(0xffffffffu, p[i]));
  __syncwarp();
  if (i % 2) out[3 * n + i] = __ballot_sync(0xaaaaaaaau, p[i]);  // half a warp on its own
}

__global__ void matches(unsigned* out, const int* x) {
  int i = threadIdx.x, same;
  out[i] = __match_any_sync(0xffffffffu, x[i]);
  out[32 + i] = __match_all_sync(0xffffffffu, x[i], &same);
  out[64 + i] = unsigned(same);
}

// Lanes that have returned are not waited for, and what a shuffle reads from them is undefined: NaN here.
__global__ void lone_lanes(float* out) {
  if (threadIdx.x >= 8) return;
  out[threadIdx.x] = __shfl_down_sync(0xffffffffu, float(threadIdx.x), 4u);
}

template <typename T>
__global__ void atomics(T* sum, unsigned* other) {
  T before = atomicAdd(sum, T(1));
  atomicMax(other, unsigned(before) + 1u);
  atomicCAS(other + 1, 0u, blockIdx.x + 1u);
  atomicOr(other + 2, 1u << (threadIdx.x % 32));
  atomicExch(other + 3, 7u);
  atomicInc(other + 4, 9u);
}

template <typename T>
__global__ void half_values(const float* x, float* out, T* stored, int n) {
  int i = threadIdx.x;
  if (i >= n) return;
  T a = T(x[i]), b = T(x[(i + 1) % n]);
  stored[i] = a;
  out[i] = float(a);
  out[n + i] = float(a + b);
  out[2 * n + i] = float(__hmul(a, b));
  out[3 * n + i] = float(__hfma(a, b, a));
  out[4 * n + i] = a < b ? 1.0f : 0.0f;
}

__global__ void pair_values(const float* x, float* out) {
  __half2 h = __floats2half2_rn(x[0], x[1]);
  __nv_bfloat162 b = __floats2bfloat162_rn(x[0], x[1]);
  float2 f = __half22float2(__hadd2(h, h)), g = __bfloat1622float2(__hmul2(b, b));
  out[0] = f.x, out[1] = f.y, out[2] = g.x, out[3] = g.y;
  out[4] = __low2float(h), out[5] = __high2float(b);
}

// c (16x8) = a (16x16) b (16x8) by one warp: ldmatrix, mma.sync
template <typename T>
__global__ void tile_product(const T* a, const T* b, float* c) {
  __shared__ __align__(16) T sa[16][24];
  __shared__ __align__(16) T sb[16][8];
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) sa[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) sb[i / 8][i % 8] = b[i];
  __syncwarp();
  unsigned ra[4], rb[2];
  float d[4] = {c[0], c[0], c[0], c[0]};
  ldmatrix_x4(ra, &sa[lane % 16][lane / 16 * 8]);
  ldmatrix_x2_trans(rb, &sb[lane % 16][0]);
  mma_m16n8k16<T>(d, ra, rb[0], rb[1]);
  int g = lane / 4, t = lane % 4 * 2;
  __syncwarp();
  c[g * 8 + t] = d[0], c[g * 8 + t + 1] = d[1], c[(g + 8) * 8 + t] = d[2], c[(g + 8) * 8 + t + 1] = d[3];
}

__global__ void tf32_rounded(const float* x, float* y) {
  int at = blockIdx.x * blockDim.x + threadIdx.x;
  y[at] = to_tf32(x[at]);
}

// d (16x8) += a (16x8) b (8x8) by one warp
template <bool ROUNDED>
__global__ void tf32_product(const float* a, const float* b, float* d) {
  int g = threadIdx.x / 4, t = threadIdx.x % 4;
  float left[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
  float right[2] = {b[t * 8 + g], b[(t + 4) * 8 + g]};
  if (ROUNDED) {
    for (int i = 0; i < 4; i++) left[i] = to_tf32(left[i]);
    for (int i = 0; i < 2; i++) right[i] = to_tf32(right[i]);
  }
  float sum[4] = {d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1], d[(g + 8) * 8 + 2 * t], d[(g + 8) * 8 + 2 * t + 1]};
  mma_m16n8k8_tf32(sum, left, right[0], right[1]);
  __syncwarp();
  for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

__global__ void tiles_loaded(const unsigned short* x, unsigned* out) {
  extern __shared__ __align__(16) unsigned short rows[];
  int lane = threadIdx.x;
  for (int i = 0; i < 8; i++) rows[lane * 8 + i] = x[lane * 8 + i];
  __syncwarp();
  unsigned r1[1], r2[2], r4[4], t1[1], t4[4];
  ldmatrix_x1(r1, rows + lane * 8);
  ldmatrix_x2(r2, rows + lane * 8);
  ldmatrix_x4(r4, rows + lane * 8);
  ldmatrix_x1_trans(t1, rows + lane * 8);
  ldmatrix_x4_trans(t4, rows + lane * 8);
  out[lane] = r1[0], out[32 + lane] = r2[1], out[64 + lane] = t1[0];
  for (int i = 0; i < 4; i++) out[96 + 32 * i + lane] = r4[i], out[224 + 32 * i + lane] = t4[i];
}

// Two groups of copies; the second is waited for later. Lanes of the upper half copy nothing but zeros.
__global__ void copies(const float* x, float* out) {
  __shared__ __align__(16) float tile[2][128];
  int i = threadIdx.x;
  cp_async16(&tile[0][i * 4], x + i * 4);
  cp_async_commit();
  cp_async16(&tile[1][i * 4], x + 128 + i * 4, i < 16);
  cp_async_commit();
  cp_async_wait<1>();
  __syncwarp();
  for (int k = 0; k < 4; k++) out[i + 32 * k] = tile[0][i + 32 * k];
  cp_async_wait<0>();
  __syncwarp();
  for (int k = 0; k < 4; k++) out[128 + i + 32 * k] = tile[1][i + 32 * k];
}

__global__ void bits(unsigned* out) {
  out[0] = unsigned(__popc(0xf0f0u)), out[1] = unsigned(__clz(1)), out[2] = unsigned(__ffs(8)), out[3] = __brev(1u);
  out[4] = __float_as_uint(1.0f), out[5] = unsigned(__float2int_rn(2.5f)), out[6] = __umulhi(1u << 31, 6u);
  out[7] = __byte_perm(0x03020100u, 0x07060504u, 0x7410u), out[8] = unsigned(max(-1, 1)), out[9] = min(3u, 2u);
  out[10] = unsigned(rsqrtf(0.25f)), out[11] = unsigned(fminf(5.0f, 7.0f)), out[12] = __funnelshift_l(1u << 31, 1u, 1u);
}

// ---- what goes wrong -------------------------------------------------------------------------------------------------------

__global__ void past_end(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) y[0] = x[i];
}

__global__ void before_start(float* x, int n) { x[int(threadIdx.x) - 1] = float(n); }

__global__ void writes_at(float* x, int i) { x[i] = 1.0f; }

__global__ void address_of(const float* x, unsigned long long* at) { *at = reinterpret_cast<unsigned long long>(x); }

template <typename T>
__global__ void reads_shared(T* out) {
  __shared__ T tile[32];
  out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void past_static(float* x) {
  __shared__ float tile[4][8];
  float* flat = &tile[0][0];
  flat[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = flat[threadIdx.x];
}

__global__ void past_dynamic(float* x) {
  extern __shared__ float4 buffer[];
  float* flat = reinterpret_cast<float*>(buffer);
  flat[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = flat[threadIdx.x];
}

// A barrier is missing between the write and the read of another thread's element.
__global__ void unsynchronised(float* x) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = tile[63 - threadIdx.x];
}

// The next tile is copied in while other threads may still read this one: the barrier at the loop's end is missing.
__global__ void stale_tile(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float tile[256];
  int i = threadIdx.x;
  float sum = 0;
  for (int t = 0; t < tiles; t++) {
    cp_async16(tile + i * 4, x + t * 256 + i * 4);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    for (int k = 0; k < 4; k++) sum += tile[(i * 4 + k + 128) % 256];
  }
  y[i] = sum;
}

__global__ void divergent(float* x) {
  if (threadIdx.x < 40)
    __syncthreads();
  else
    x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}

__global__ void two_barriers(float* x) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    x[threadIdx.x] = 0;
    __syncthreads();
  }
}

__global__ void early_return(int* x) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  x[threadIdx.x] = 1;
}

__global__ void wrong_mask(int* x) { x[threadIdx.x] = __shfl_sync(0x0000ffffu, int(threadIdx.x), 0); }

__global__ void bad_lane(int* x) {
  if (threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(0xffffu, int(threadIdx.x), 20);
}

__global__ void prints(int n) {
  if (threadIdx.x == 0) printf("block %d of %d: %.2f\n", int(blockIdx.x), n, 0.5 * blockIdx.x);
}

// 32 bytes a call, the last one 24.
__global__ void prints_much(int n) {
  for (int i = 0; i < n; i++) printf(i == n - 1 ? "call %18d\n" : "call number %19d\n", i);
}

__global__ void prints_long(int width) { printf("%*s|\n", width, "x"); }

__global__ void fails(int n) { assert(int(threadIdx.x) < n); }

__global__ void traps(int n) {
  if (int(threadIdx.x) == n) __trap();
}

__global__ void zero_division(int* x, int n) { x[threadIdx.x] = 7 / (n - int(threadIdx.x)); }

__global__ void misaligned(const float* x, float4* y) { y[threadIdx.x] = *reinterpret_cast<const float4*>(x + 1); }

__device__ __noinline__ int descend(int n, volatile int* x) {
  volatile int frame[1024];
  frame[n % 1024] = n;
  return n ? descend(n - 1, x) + frame[n % 1024] : *x;
}
__global__ void deep(int* x, int n) { x[0] = descend(n, x); }

__global__ void endless(volatile int* x) {
  while (*x == 0) {
  }
}

__global__ void past_row(float* x, int n) {
  __shared__ float tile[2][4];
  tile[1][0] = tile[0][n] = x[n];
  x[0] = tile[0][n];
}

__global__ void past_local(float* x, int n) {
  float four[4] = {};
  four[n] = x[n];
  x[1] = four[n % 4];
}

__global__ void wild(float* x) { *reinterpret_cast<float*>(16) = x[0]; }

// ---- what spans blocks -----------------------------------------------------------------------------------------------------

__global__ void exchange(int* x, int* y) {  // in place: x and y may be one array
  int i = threadIdx.x, v = x[i];
  __syncthreads();
  y[blockDim.x - 1 - i] = v;
}

// The last block to finish adds up what the others left behind.
__global__ void last_block(float* parts, unsigned* done, float* total) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = float(blockIdx.x);
    __threadfence();
    last = atomicAdd(done, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float sum = 0;
    for (int i = 0; i < int(gridDim.x); i++) sum += parts[i];
    *total = sum;
  }
}

template <int n>
__device__ float summed(float v) {  // two instantiations must not share their array
  __shared__ float part[n], copy[n];
  part[threadIdx.x % n] = v;
  __syncthreads();
  copy[threadIdx.x % n] = part[threadIdx.x % n];
  __syncthreads();
  float s = 0;
  for (int i = 0; i < n; i++) s += copy[i];
  return s;
}
__global__ void two_arrays(float* x) { x[threadIdx.x] = summed<4>(1.0f) * 100.0f + summed<8>(2.0f); }

// Two sums over one block of 64, through the same shared array of block_sum.
__global__ void two_sums(const float* x, double* sums) {
  const double first = block_sum<64>(x[threadIdx.x]), second = block_sum<64>(2.0 * x[threadIdx.x]);
  sums[2 * threadIdx.x] = first, sums[2 * threadIdx.x + 1] = second;
}

// Aligned loads of four, then an odd tail: x must start at a 16-byte boundary, whatever its length.
template <typename T>
__global__ void vectors(const T* x, T* y, int n) {
  int i = threadIdx.x;
  if (i < n / 4) {
    float4 v = reinterpret_cast<const float4*>(x)[i];
    y[i] = v.x + v.y + v.z + v.w;
  }
  if (i == 0)
    for (int k = n / 4 * 4; k < n; k++) y[n / 4] = x[k];
}

template <typename T>
__global__ void scalars(double* out, T i, unsigned u, long long l, float f, double d, bool b, __half h) {
  out[0] = i, out[1] = u, out[2] = double(l), out[3] = f, out[4] = d, out[5] = b, out[6] = float(h);
}

__global__ void optional(const float* bias, float* y) { y[threadIdx.x] = bias ? bias[threadIdx.x] : -1.0f; }

// Warp 0 writes, warp 1 reads what it wrote: right only if warp 0 happens to be first.
__global__ void racing_warps(float* x) {
  __shared__ float box;
  if (threadIdx.x == 0) box = 3.0f;
  __syncwarp();
  if (threadIdx.x == 32) x[0] = box;
}

// A promise not to write that is broken: const is for the compiler's eyes, a GPU lets it happen.
__global__ void writes_const(const float* x, float* y, int at) {
  if (at >= 0) const_cast<float*>(x)[at] = 1.0f;
  y[0] = 2.0f;
}
