// Tensor-core parts of attention: tiles of 16-bit elements in shared memory, fragments in registers.
//
// A tile has rows of D elements padded by 8: 16-byte aligned, with an odd pitch in units of 16 bytes, so that the eight
// rows that an ldmatrix reads together are in different banks. Accumulators are float. A warp's product has 16 M rows.
#pragma once
#include "common.cuh"
#include "ptx.cuh"

constexpr int MMA_THREADS = 128;  // four warps
constexpr int STEP = 64;          // keys (or queries) per iteration
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

template <int D> constexpr int PITCH16 = D + 8;  // 16-bit elements between rows

// tile[r] = source[r * stride ...] for the first `rows` rows, zeros for the rest; 16 bytes per thread and iteration
template <typename T, int ROWS, int D>
__device__ __forceinline__ void load_tile16(T* tile, const T* source, long long stride, int rows) {
  for (int at = threadIdx.x; at < ROWS * (D / 8); at += MMA_THREADS) {
    const int r = at / (D / 8), c = at % (D / 8) * 8;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (r < rows) eight = *reinterpret_cast<const uint4*>(source + r * stride + c);
    *reinterpret_cast<uint4*>(tile + r * PITCH16<D> + c) = eight;
  }
}

// The same, asynchronously: the copy is complete after cp_async_wait and a barrier.
template <typename T, int ROWS, int D>
__device__ __forceinline__ void load_tile16_async(T* tile, const T* source, long long stride, int rows) {
  for (int at = threadIdx.x; at < ROWS * (D / 8); at += MMA_THREADS) {
    const int r = at / (D / 8), c = at % (D / 8) * 8;
    cp_async16(tile + r * PITCH16<D> + c, source + (r < rows ? r * stride + c : 0), r < rows);
  }
}

// The same for a loop over many tiles of STEP rows. A thread keeps the address of its first piece and advances it tile
// by tile: computing every address from row and column takes more instructions than the products. rows: the remaining
// rows of the matrix; a whole tile needs no comparisons.
template <typename T, int D> struct Walk {
  static constexpr int PIECES = D / 8, ROWS = D == 16 ? 64 : D == 32 ? 32 : 16;  // per row; rows per pass
  static_assert(ROWS * PIECES <= MMA_THREADS && STEP % ROWS == 0, "each pass takes whole rows");
  const T* from;
  int row, at, stride;

  __device__ __forceinline__ Walk(const T* source, long long stride)
      : row(threadIdx.x / PIECES), at(row * PITCH16<D> + threadIdx.x % PIECES * 8), stride(stride) {
    from = source + row * stride + threadIdx.x % PIECES * 8;
  }
  __device__ __forceinline__ void fetch(T* tile, int rows) {
    if (ROWS * PIECES == MMA_THREADS || row < ROWS) {
      if (rows >= STEP) {
#pragma unroll
        for (int r = 0; r < STEP; r += ROWS) cp_async16(tile + at + r * PITCH16<D>, from + r * stride);
      } else {
#pragma unroll
        for (int r = 0; r < STEP; r += ROWS)
          cp_async16(tile + at + r * PITCH16<D>, from + r * stride, row + r < rows);
      }
    }
    from += STEP * stride;
  }
};

// Adds shift (D,) float32 to the tile, rounded, and also writes the result back to source. A thread handles the pieces
// that it loaded itself, so no barrier is needed in between.
template <typename T, int ROWS, int D>
__device__ __forceinline__ void add_to_tile16(T* tile, T* source, long long stride, int rows, const float* shift) {
  for (int at = threadIdx.x; at < ROWS * (D / 8); at += MMA_THREADS) {
    const int r = at / (D / 8), c = at % (D / 8) * 8;
    if (r >= rows) break;
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      float x[4], more[4];
      load4(tile + r * PITCH16<D> + c + k, x);
      load4(shift + c + k, more);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] += more[e];
      store4(tile + r * PITCH16<D> + c + k, x);
      store4(source + r * stride + c + k, x);
    }
  }
}

// Fragment of the left operand: rows row...row + 15, columns k...k + 15 of the tile
template <int D, typename T>
__device__ __forceinline__ void load_left(unsigned (&a)[4], const T* tile, int row, int k) {
  const int lane = threadIdx.x % WARP;
  ldmatrix_x4(a, tile + (row + lane % 16) * PITCH16<D> + k + lane / 16 * 8);
}

// Right operand = tile transposed (scores): 16 rows of the tile become 16 columns; b[0], b[1] for the first eight
template <int D, typename T>
__device__ __forceinline__ void load_right_rows(unsigned (&b)[4], const T* tile, int row, int k) {
  const int lane = threadIdx.x % WARP;
  const T* mine = tile + (lane / 16 * 8 + lane % 8) * PITCH16<D> + lane / 8 % 2 * 8;
  ldmatrix_x4(b, mine + (row * PITCH16<D> + k));
}

// Right operand = tile (probabilities times values): 16 rows deep, 16 columns; b[0], b[1] for the first eight
template <int D, typename T>
__device__ __forceinline__ void load_right(unsigned (&b)[4], const T* tile, int k, int column) {
  const int lane = threadIdx.x % WARP;
  const T* mine = tile + lane % 16 * PITCH16<D> + lane / 16 * 8;
  ldmatrix_x4_trans(b, mine + (k * PITCH16<D> + column));
}

__device__ __forceinline__ unsigned pack(__half low, __half high) {
  return static_cast<unsigned>(__half_as_ushort(low)) | static_cast<unsigned>(__half_as_ushort(high)) << 16;
}
__device__ __forceinline__ unsigned pack(__nv_bfloat16 low, __nv_bfloat16 high) {
  return static_cast<unsigned>(__bfloat16_as_ushort(low)) | static_cast<unsigned>(__bfloat16_as_ushort(high)) << 16;
}

template <typename T> __device__ __forceinline__ unsigned pack_floats(float low, float high) {
  return pack(from_float<T>(low), from_float<T>(high));
}

// Two adjacent accumulators (16 x 8 each) have exactly the elements of one left fragment (16 x 16) in the same lanes: a
// product's result becomes the next product's operand without leaving the registers.
template <typename T>
__device__ __forceinline__ void to_left(unsigned (&a)[4], const float (&c0)[4], const float (&c1)[4]) {
  a[0] = pack_floats<T>(c0[0], c0[1]);
  a[1] = pack_floats<T>(c0[2], c0[3]);
  a[2] = pack_floats<T>(c1[0], c1[1]);
  a[3] = pack_floats<T>(c1[2], c1[3]);
}

// acc (16 x D) += a (16 x 16) tile[k ... k + 15], for M fragments that share each load of the tile
template <typename T, int D, int M>
__device__ __forceinline__ void accumulate(float (&acc)[M][D / 8][4], const unsigned (&a)[M][4], const T* tile, int k) {
#pragma unroll
  for (int n = 0; n < D / 16; ++n) {
    unsigned b[4];
    load_right<D>(b, tile, k, n * 16);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      mma_m16n8k16<T>(acc[m][2 * n], a[m], b[0], b[1]);
      mma_m16n8k16<T>(acc[m][2 * n + 1], a[m], b[2], b[3]);
    }
  }
}

// out[c] = scale times the sum of column c of a finished accumulator over the block's rows that exist; `row` is the
// lane's first, of fragment 0. The order is fixed: the lane's rows, the eight lanes of a column, the four warps.
// room: 4 D floats of shared memory that no warp uses any more.
template <int D, int M>
__device__ __forceinline__ void store_column_sums(float* out, const float (&acc)[M][D / 8][4], int row, int rows,
                                                  float scale, float* room) {
  const int pair = threadIdx.x % 4 * 2, warp = threadIdx.x / WARP;
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float sum = 0.0f;
#pragma unroll
      for (int m = 0; m < M; ++m)
        sum += (row + 16 * m < rows ? acc[m][n][e] : 0.0f) + (row + 16 * m + 8 < rows ? acc[m][n][e + 2] : 0.0f);
#pragma unroll
      for (int step = 4; step < WARP; step *= 2) sum += __shfl_xor_sync(FULL, sum, step);
      if (threadIdx.x % WARP < 4) room[warp * D + n * 8 + pair + e] = sum;
    }
  __syncthreads();  // all four warps have left their sums
  if (threadIdx.x < D)
    out[threadIdx.x] =
        scale * ((room[threadIdx.x] + room[D + threadIdx.x]) + (room[2 * D + threadIdx.x] + room[3 * D + threadIdx.x]));
  __syncthreads();  // they have been read: the room may be used again
}

// Rows of a finished accumulator (16 x D) to global memory, times scale0 or scale1, + shift (D,) if not null; `row` is
// the lane's first, `rows` the number of rows in total
template <typename T, int D>
__device__ __forceinline__ void store_rows(T* out, long long stride, const float (&acc)[D / 8][4], int row, int rows,
                                           float scale0, float scale1, const float* shift = nullptr) {
  const int pair = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    const float more0 = shift ? shift[n * 8 + pair] : 0.0f, more1 = shift ? shift[n * 8 + pair + 1] : 0.0f;
    if (row < rows)
      *reinterpret_cast<unsigned*>(out + row * stride + n * 8 + pair) =
          pack_floats<T>(acc[n][0] * scale0 + more0, acc[n][1] * scale0 + more1);
    if (row + 8 < rows)
      *reinterpret_cast<unsigned*>(out + (row + 8) * stride + n * 8 + pair) =
          pack_floats<T>(acc[n][2] * scale1 + more0, acc[n][3] * scale1 + more1);
  }
}
