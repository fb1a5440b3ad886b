// Kernels for the instructions of compute capability 9.0a that the emulator models, for test_emulator_hopper.py. All of
// it compiles for a GPU; those named `mistake` break the rules on purpose.
// capability: 90a
// instantiate: product<{__half,__nv_bfloat16},64,0,0> product<__half,{8,16,32,96,128,192,256},0,1> product<__nv_bfloat16,64,1,{0,1}>
// instantiate: product_of_registers<{__half,__nv_bfloat16},32,0> product_of_registers<__half,64,1> two_groups
// instantiate: mistake<{0,1,2,3,4,5,6}> mistake<{7,8,9,10,11,12,13}>
// instantiate: bulk_sums<{0,1,2,3,4}> pipeline<{0,1,2}> barrier_mistake<{0,1,2,3,4}> half_blocks halves_meet<{0,1,2}> elected registers_exchanged<{0,1,2}>
#include "attention_mma.cuh"
#include "wgmma.cuh"

// Shared memory from the next multiple of 1024, filled with a picture of it that the caller drew
__device__ unsigned char* drawn(const unsigned char* picture, int bytes) {
  extern __shared__ __align__(16) unsigned char memory[];
  unsigned char* start = memory + (1024 - reinterpret_cast<unsigned long long>(memory) % 1024) % 1024;
  for (int i = threadIdx.x * 16; i < bytes; i += blockDim.x * 16)
    *reinterpret_cast<uint4*>(start + i) = *reinterpret_cast<const uint4*>(picture + i);
  fence_proxy_async();
  __syncthreads();
  return start;
}

// A descriptor of the caller's, whose start is an offset into the picture
__device__ unsigned long long placed(unsigned long long descriptor, const void* start) {
  const unsigned long long first = matrix_descriptor<128>(start) & 0x3fff, offset = descriptor & 0x3fff;
  return (descriptor & ~0x3fffull) | (first + offset);
}

// d (128, N / 2): each thread's registers, added to what they were
template <typename T, int N, int A, int B>
__global__ void product(const unsigned char* picture, int bytes, unsigned long long a, unsigned long long b, float* d,
                        bool add) {
  const unsigned char* start = drawn(picture, bytes);
  float acc[N / 8][4];
  float* mine = d + threadIdx.x * (N / 2);
  for (int i = 0; i < N / 2; ++i) acc[i / 4][i % 4] = mine[i];
  wgmma_fence(acc);
  if (add)
    wgmma_ss<T, N, Major(A), Major(B), true>(acc, placed(a, start), placed(b, start));
  else
    wgmma_ss<T, N, Major(A), Major(B), false>(acc, placed(a, start), placed(b, start));
  wgmma_commit();
  wgmma_wait<0>(acc);
  for (int i = 0; i < N / 2; ++i) mine[i] = acc[i / 4][i % 4];
}

// The same with a (128, 4): each thread's registers of the left operand
template <typename T, int N, int B>
__global__ void product_of_registers(const unsigned char* picture, int bytes, const unsigned* a, unsigned long long b,
                                     float* d) {
  const unsigned char* start = drawn(picture, bytes);
  float acc[N / 8][4] = {};
  unsigned left[1][4];
  for (int i = 0; i < 4; ++i) left[0][i] = a[threadIdx.x * 4 + i];
  wgmma_fence(acc, left);
  wgmma_rs<T, N, Major(B), true>(acc, left[0], placed(b, start));
  wgmma_commit();
  wgmma_wait<0>(acc);
  for (int i = 0; i < N / 2; ++i) d[threadIdx.x * (N / 2) + i] = acc[i / 4][i % 4];
}

// Two accumulators in two groups, each of two products; the first is used while the second is in flight.
__global__ void two_groups(const unsigned char* picture, int bytes, unsigned long long a, unsigned long long b,
                           float* d) {
  const unsigned char* start = drawn(picture, bytes);
  const unsigned long long da = placed(a, start), db = placed(b, start);
  float one[1][4], two[2][4];
  wgmma_fence(one, two);
  wgmma_ss<__half, 8, K_MAJOR, K_MAJOR, false>(one, da, db);
  wgmma_ss<__half, 8, K_MAJOR, K_MAJOR, true>(one, advanced(da, 32), advanced(db, 32));
  wgmma_commit();
  wgmma_ss<__half, 16, K_MAJOR, K_MAJOR, false>(two, da, db);
  wgmma_commit();
  wgmma_wait<1>(one);
  for (int i = 0; i < 4; ++i) d[threadIdx.x * 12 + i] = one[0][i];
  wgmma_wait<0>(two);
  for (int i = 0; i < 8; ++i) d[threadIdx.x * 12 + 4 + i] = two[i / 4][i % 4];
}

template <int WHAT>
__global__ void mistake(const unsigned char* picture, int bytes, unsigned long long a, unsigned long long b, float* d) {
  unsigned char* start = const_cast<unsigned char*>(drawn(picture, bytes));
  unsigned long long da = placed(a, start), db = placed(b, start);
  float acc[4][4] = {}, other[4][4] = {};
  unsigned left[1][4] = {};
  if (WHAT == 6) start[threadIdx.x] ^= 1;  // without a fence of the proxies
  if (WHAT == 6) __syncthreads();
  if (WHAT == 9 && threadIdx.x >= 64) db += 1;
  if (WHAT == 11) db += 2000;
  if (WHAT == 13) db |= 1ull << 49;
  if (WHAT != 1) wgmma_fence(acc, other, left);
  if (WHAT == 10) acc[0][0] = 1.0f;  // after the fence
  if (WHAT == 8) {
    if (threadIdx.x < 96) wgmma_ss<__half, 32, K_MAJOR, K_MAJOR, true>(acc, da, db);  // three warps of four
  } else if (WHAT == 7) {
    wgmma_rs<__half, 32, K_MAJOR, true>(acc, left[0], db);
    left[0][2] = 5;
  } else {
    wgmma_ss<__half, 32, K_MAJOR, K_MAJOR, true>(acc, da, db);
  }
  if (WHAT == 2) d[threadIdx.x] = acc[0][1];  // not there yet
  if (WHAT == 3) acc[1][1] = 0.0f;
  if (WHAT == 5) start[threadIdx.x * 16] ^= 1;
  if (WHAT != 4) wgmma_commit();
  if (WHAT == 12) {
    wgmma_ss<__half, 32, K_MAJOR, K_MAJOR, true>(other, da, db);
    wgmma_commit();
    wgmma_wait<1>(other);  // one group too many is left
  }
  if (WHAT == 4)
    wgmma_wait<0>(other);
  else
    wgmma_wait<0>(acc);
  if (WHAT != 2) d[threadIdx.x] = acc[0][1];
}

// ---- mbarriers and bulk copies --------------------------------------------------------------------------------------

// y[i] = the sum of tile i, 256 floats, of x; two tiles in turn. WHAT: 1 waits for the phase before, 2 announces too
// few bytes, 3 does not wait until a tile has been read, 4 leaves out the fence after init.
template <int WHAT> __global__ void bulk_sums(const float* x, float* y, int tiles) {
  __shared__ __align__(128) float tile[2][256];
  __shared__ Barrier full[2];
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init(full + 1, 1);
    if (WHAT != 4) fence_proxy_async();
  }
  __syncthreads();
  const auto copy = [&](int i) {
    if (threadIdx.x) return;
    mbarrier_arrive_expect(full + i % 2, WHAT == 2 ? 512 : 1024);
    bulk_copy(tile[i % 2], x + 256 * i, 512, full + i % 2);
    bulk_copy(tile[i % 2] + 128, x + 256 * i + 128, 512, full + i % 2);
  };
  copy(0);
  for (int i = 0; i < tiles; ++i) {
    if (WHAT != 3) __syncthreads();  // all have read the tile before
    if (i + 1 < tiles) copy(i + 1);
    mbarrier_wait(full + i % 2, WHAT == 1 ? i / 2 % 2 ^ 1 : i / 2 % 2);
    float sum = 0.0f;
    for (int k = threadIdx.x % 32; k < 256; k += 32) sum += tile[i % 2][k];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) y[i * (blockDim.x / 32) + threadIdx.x / 32] = sum;
  }
}

// Warp 0 gives numbers to warp 1 through one place. WHAT: 1 the reader does not wait, 2 the writer does not.
template <int WHAT> __global__ void pipeline(int* out, int n) {
  __shared__ int place[32];
  __shared__ Barrier full, empty;
  if (threadIdx.x == 0) {
    mbarrier_init(&full, 32);
    mbarrier_init(&empty, 32);
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int i = 0; i < n; ++i) {
    if (threadIdx.x < 32) {
      if (WHAT != 2) mbarrier_wait(&empty, i % 2 ^ 1);
      place[lane] = 100 * i + lane;
      mbarrier_arrive(&full);
    } else {
      if (WHAT != 1) mbarrier_wait(&full, i % 2);
      out[i * 32 + lane] = place[31 - lane];
      mbarrier_arrive(&empty);
    }
  }
}

template <int WHAT> __global__ void barrier_mistake(const float* x) {
  __shared__ __align__(16) float tile[4];
  __shared__ Barrier barrier;
  if (WHAT != 0) mbarrier_init(&barrier, 2);
  if (WHAT == 1) mbarrier_init(&barrier, 2);
  if (WHAT == 2) {
    mbarrier_inval(&barrier);
    mbarrier_arrive(&barrier);
  }
  if (WHAT == 3) {
    mbarrier_arrive(&barrier);
    mbarrier_wait(&barrier, 0);  // for an arrival that never is
  }
  if (WHAT == 4) {
    fence_proxy_async();
    bulk_copy(tile, x + 1, 16, &barrier);
  }
  mbarrier_arrive(&barrier);
}

// ---- parts of a block -----------------------------------------------------------------------------------------------

// Each half of the block turns its own numbers round, at its own pace.
__global__ void half_blocks(int* x) {
  __shared__ int ring[128];
  const int half = threadIdx.x / 64, i = threadIdx.x % 64;
  for (int round = 0; round <= half; ++round) {
    ring[threadIdx.x] = x[threadIdx.x];
    named_barrier<64>(1 + half);
    x[threadIdx.x] = ring[half * 64 + (i + 1) % 64];
    named_barrier<64>(1 + half);
  }
}

// Warp 0 tells, warp 1 hears. WHAT: 1 they expect another number of threads, 2 barrier 0
template <int WHAT> __global__ void halves_meet(int* out) {
  __shared__ int told;
  if (threadIdx.x < 32) {
    if (threadIdx.x == 5) told = 42;
    if (WHAT == 2)
      named_barrier_arrive<64>(0);
    else
      named_barrier_arrive<64>(3);
  } else {
    if (WHAT == 1)
      named_barrier<32>(3);
    else
      named_barrier<64>(3);
    out[threadIdx.x - 32] = told;
  }
}

__global__ void elected(int* out) { out[threadIdx.x] = elect_one(); }

// WHAT: 1 more than there are, 2 only one warp
template <int WHAT> __global__ void __launch_bounds__(512, 1) registers_exchanged(int* out) {
  if (WHAT == 2) {
    if (threadIdx.x < 32) fewer_registers<32>();
  } else if (threadIdx.x < 128) {
    fewer_registers<32>();
  } else {
    more_registers<WHAT == 1 ? 168 : 160>();
  }
  out[threadIdx.x] = 1;
}
