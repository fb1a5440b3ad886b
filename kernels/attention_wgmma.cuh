// What the attention kernels for compute capability 9.0 share: one warpgroup copies tiles, the others compute.
//
// A tile has rows of D elements of 16 bits, swizzled instead of padded, as wgmma reads them. It starts at a multiple of
// 1024 bytes.
// Stages of two tiles each go round: `full` says that a stage has arrived, `empty` that its products have read it.
#pragma once
#include "attention_mma.cuh"
#include "wgmma.cuh"

constexpr int GROUP = 128;  // threads of a warpgroup
constexpr int OWN = 64;     // rows of results of a warpgroup that computes
constexpr int STAGES = 3;

#ifdef MINAST_HOPPER
// The first multiple of SWIZZLE_ALIGNMENT in memory that is 16-byte aligned
template <typename T> __device__ __forceinline__ T* aligned(unsigned char* memory) {
  const unsigned long long address = reinterpret_cast<unsigned long long>(memory);
  return reinterpret_cast<T*>(memory + (SWIZZLE_ALIGNMENT - address % SWIZZLE_ALIGNMENT) % SWIZZLE_ALIGNMENT);
}

// W: warpgroups that compute; each of their warps frees a stage by one arrival. All threads of the block call it.
template <int W> __device__ __forceinline__ void start_barriers(Barrier* full, Barrier* empty) {
  if (threadIdx.x == 0)
    for (int stage = 0; stage < STAGES; ++stage) {
      mbarrier_init(full + stage, GROUP);
      mbarrier_init(empty + stage, 4 * W);
    }
  __syncthreads();
}

// Which stage, and the parity of its barriers: both advance from tile to tile
struct Turn {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, parity ^= 1;
  }
};

// The stage is free again: one arrival a warp, whose products and lanes have all read it.
__device__ __forceinline__ void release_stage(Barrier* empty) {
  __syncwarp();
  if (threadIdx.x % WARP == 0) mbarrier_arrive(empty);
}

// A thread's pieces of 16 bytes in tiles of ROWS rows, tile by tile: the same column in every STEP_ROWS-th row.
template <typename T, int D, int ROWS> struct Pieces {
  static constexpr int PIECES = D / 8, STEP_ROWS = GROUP / PIECES;
  static_assert(STEP_ROWS * 2 * D % 1024 == 0, "a thread's rows are all at the same place of the pattern");
  static_assert(ROWS % STEP_ROWS == 0, "each pass takes whole rows");
  const T *start, *from;
  long long stride;
  int row, at;

  __device__ __forceinline__ Pieces(const T* source, long long stride)
      : start(source), stride(stride), row(threadIdx.x % GROUP / PIECES) {
    const int piece = threadIdx.x % GROUP % PIECES;
    at = swizzled<2 * D>(row * 2 * D + piece * 16) / 2;
    from = source + row * stride + piece * 8;
  }
  // The next tile, of which `left` rows exist; the others are filled with zeros
  __device__ __forceinline__ void fetch(T* tile, int left) {
#pragma unroll
    for (int r = 0; r < ROWS; r += STEP_ROWS) {
      const bool valid = row + r < left;
      cp_async16(tile + at + r * D, valid ? from + r * stride : start, valid);
    }
    from += ROWS * stride;
  }
};

// The loop of the warpgroup that copies: fetch(stage, left) issues the copies of a stage. `full` is arrived at one tile
// later than its copies are issued, so that two tiles are on their way.
template <int ROWS, typename Fetch>
__device__ __forceinline__ void copy_tiles(int N, Barrier* full, Barrier* empty, Fetch fetch) {
  Turn turn;
  int last = -1;
  for (int left = N; left > 0; left -= ROWS, turn.next()) {
    mbarrier_wait(empty + turn.stage, turn.parity ^ 1);
    fetch(turn.stage, left);
    cp_async_commit();
    if (last >= 0) {
      cp_async_wait<1>();
      fence_proxy_async();
      mbarrier_arrive(full + last);
    }
    last = turn.stage;
  }
  cp_async_wait<0>();
  fence_proxy_async();
  mbarrier_arrive(full + last);
}

// A warpgroup's own OWN rows to its part of shared memory, zeros for those that do not exist; bias (D,) is added if not
// null, and the rows are then written back as well.
template <typename T, int D>
__device__ __forceinline__ void load_own(T* tile, T* source, long long stride, int rows, const float* bias) {
  constexpr int PIECES = D / 8;
  for (int at = threadIdx.x % GROUP; at < OWN * PIECES; at += GROUP) {
    const int r = at / PIECES, c = at % PIECES * 8;
    T* to = tile + swizzled<2 * D>(r * 2 * D + c * 2) / 2;
    T* from = source + r * stride + c;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (r < rows) eight = *reinterpret_cast<const uint4*>(from);
    *reinterpret_cast<uint4*>(to) = eight;
    if (!bias || r >= rows) continue;
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      float x[4], more[4];
      load4(to + k, x);
      load4(bias + c + k, more);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] += more[e];
      store4(to + k, x);
      store4(from + k, x);
    }
  }
}

// s (64 x N) = x (64 x D) y (N x D)^T, by descriptors of their tiles
template <typename T, int D, int N>
__device__ __forceinline__ void multiply_rows(float (&s)[N / 8][4], unsigned long long x, unsigned long long y) {
  wgmma_ss<T, N, K_MAJOR, K_MAJOR, false>(s, x, y);
#pragma unroll
  for (int k = 1; k < D / 16; ++k)
    wgmma_ss<T, N, K_MAJOR, K_MAJOR, true>(s, advanced(x, k * 32), advanced(y, k * 32));
}

// o (64 x D) += p (64 x K, left operands) y (K x D)
template <typename T, int D, int K>
__device__ __forceinline__ void multiply_into(float (&o)[D / 8][4], const unsigned (&p)[K / 16][4],
                                              unsigned long long y) {
#pragma unroll
  for (int k = 0; k < K / 16; ++k) wgmma_rs<T, D, MN_MAJOR, true>(o, p[k], advanced(y, k * 16 * 2 * D));
}

// A finished accumulator as left operands
template <typename T, int N>
__device__ __forceinline__ void to_operands(unsigned (&p)[N / 2][4], const float (&s)[N][4]) {
#pragma unroll
  for (int k = 0; k < N / 2; ++k) to_left<T>(p[k], s[2 * k], s[2 * k + 1]);
}
#endif
