// wgmma: warpgroup products of Hopper's tensor cores, and shared memory as they read it; two bodies each, as in ptx.cuh
// "warpgroup": all 128 threads of four warps, the first a multiple of four, must execute the instruction alike.
//
// Source: PTX ISA 9.0, section wgmma. The layouts were compared with those in CUTLASS (mma_traits_sm90_gmma.hpp) and in
// ThunderKittens (wgmma/base/base.cuh).
#pragma once
#include "hopper.cuh"

#ifdef MINAST_HOPPER
// ---- shared memory as the tensor cores read it ----------------------------------------------------------------------
// A matrix of 16-bit elements has rows of ROW = 32, 64 or 128 bytes, one after the other. Rows that follow each other
// would put the same column in the same banks; so the pieces of 16 bytes in a row are permuted, differently in each of
// eight rows (four, two): bits 4-6 of an address are combined with bits 7-9. The pattern starts at a multiple of 1024
// (512, 256) bytes.

constexpr int SWIZZLE_ALIGNMENT = 1024;

// Where the byte of this offset lies, from the start of a matrix that is aligned to SWIZZLE_ALIGNMENT
template <int ROW> __device__ __forceinline__ int swizzled(int offset) {
  static_assert(ROW == 32 || ROW == 64 || ROW == 128, "the hardware knows swizzles of 32, 64 and 128 bytes");
  return offset ^ (offset >> 7 & (ROW / 16 - 1)) << 4;
}

// Matrix descriptor of such a matrix. The tensor cores multiply (M x K) by (K x N), and take slices of 16 along K.
//   K_MAJOR: a row holds consecutive k of one m or n. The next slice of 16 k is 32 bytes further.
//   MN_MAJOR: a row holds consecutive m or n of one k, as many as it has elements; the next slice is 16 rows further.
// From eight rows to the next eight: 8 ROW bytes, the "stride byte offset" of both. The leading byte offset has no use.
enum Major { K_MAJOR = 0, MN_MAJOR = 1 };

template <int ROW> __device__ __forceinline__ unsigned long long matrix_descriptor(const void* matrix MINAST_AT) {
  constexpr unsigned long long MODE = ROW == 128 ? 1 : ROW == 64 ? 2 : 3, STRIDE = 8 * ROW, LEADING = 16;
#ifdef MINAST_EMULATOR
  const unsigned start = emu::shared_address(matrix, file, line);
#else
  const unsigned start = shared_address(matrix);
#endif
  return (start & 0x3ffff) >> 4 | LEADING >> 4 << 16 | STRIDE >> 4 << 32 | MODE << 62;
}

// The descriptor of what starts this many bytes later, a multiple of 16; shared memory ends before the field overflows.
__device__ __forceinline__ unsigned long long advanced(unsigned long long descriptor, int bytes) {
  return descriptor + (bytes >> 4);
}

// ---- wgmma: d (64 x N, float) = a (64 x 16) b (16 x N) + d, a warpgroup, T = __half or __nv_bfloat16 ----------------
// Warp w of the group has rows 16 w ... 16 w + 15. With g = lane / 4 and t = lane % 4 its registers are those of
// mma_m16n8k16 in ptx.cuh, N / 8 accumulators side by side:
//   d[j][0], d[j][1] (g, 8 j + 2t), (g, 8 j + 2t + 1)   d[j][2], d[j][3] (g + 8, the same columns)   a: a left fragment
// so that to_left makes the operand of the next product from a result.
//
// It is asynchronous. From the issue to the end of its group no register of d and a may be touched, and nothing in
// shared memory that it reads be written:
//   wgmma_fence(d, a)     warpgroup: before the first product, and after each access to these registers by the threads
//   wgmma_ss, wgmma_rs    warpgroup: any number; products into the same d are done in order. ss: a and b are
//                         descriptors, rs: a is in registers. ADD false: d is overwritten
//   wgmma_commit()        warpgroup: closes a group
//   wgmma_wait<n>(d)      warpgroup: at most the n latest groups are still being computed; d is ready
// The arguments of the fence and of the wait also stop the compiler from moving accesses to them across.

#ifdef MINAST_EMULATOR
template <typename T, int N, Major A, Major B, bool ADD>
__device__ __forceinline__ void wgmma_ss(float (&d)[N / 8][4], unsigned long long a, unsigned long long b MINAST_AT) {
  emu::WgmmaOperand o{d[0], nullptr, a, b, N, emu::is_bfloat16<T>, A == MN_MAJOR, B == MN_MAJOR, ADD, file, line};
  emu::wgmma(o);
}
template <typename T, int N, Major B, bool ADD>
__device__ __forceinline__ void wgmma_rs(float (&d)[N / 8][4], const unsigned (&a)[4], unsigned long long b MINAST_AT) {
  emu::WgmmaOperand o{d[0], a, 0, b, N, emu::is_bfloat16<T>, false, B == MN_MAJOR, ADD, file, line};
  emu::wgmma(o);
}

template <typename R> __device__ __forceinline__ void wgmma_fence(R& x MINAST_AT) {
  const emu::Registers all[] = {{x, sizeof x}};
  emu::wgmma_fence(all, 1, file, line);
}
template <typename R, typename S> __device__ __forceinline__ void wgmma_fence(R& x, S& y MINAST_AT) {
  const emu::Registers all[] = {{x, sizeof x}, {y, sizeof y}};
  emu::wgmma_fence(all, 2, file, line);
}
template <typename R, typename S, typename U> __device__ __forceinline__ void wgmma_fence(R& x, S& y, U& z MINAST_AT) {
  const emu::Registers all[] = {{x, sizeof x}, {y, sizeof y}, {z, sizeof z}};
  emu::wgmma_fence(all, 3, file, line);
}
__device__ __forceinline__ void wgmma_commit(MINAST_HERE) { emu::wgmma_commit(file, line); }
template <typename R, typename S, typename U, typename V>
__device__ __forceinline__ void wgmma_fence(R& x, S& y, U& z, V& u MINAST_AT) {
  const emu::Registers all[] = {{x, sizeof x}, {y, sizeof y}, {z, sizeof z}, {u, sizeof u}};
  emu::wgmma_fence(all, 4, file, line);
}
template <int PENDING, typename R> __device__ __forceinline__ void wgmma_wait(R& x MINAST_AT) {
  const emu::Registers all[] = {{x, sizeof x}};
  emu::wgmma_wait(PENDING, all, 1, file, line);
}
template <int PENDING, typename R, typename S> __device__ __forceinline__ void wgmma_wait(R& x, S& y MINAST_AT) {
  const emu::Registers all[] = {{x, sizeof x}, {y, sizeof y}};
  emu::wgmma_wait(PENDING, all, 2, file, line);
}
__device__ __forceinline__ void hold_for(float) {}
#else
// An empty instruction that reads and writes registers: the compiler moves no computation of them across it.
template <int N> __device__ __forceinline__ void pin(float (&x)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; ++i)
    asm volatile("" : "+f"(x[i][0]), "+f"(x[i][1]), "+f"(x[i][2]), "+f"(x[i][3])::"memory");
}
template <int N> __device__ __forceinline__ void pin(unsigned (&x)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; ++i)
    asm volatile("" : "+r"(x[i][0]), "+r"(x[i][1]), "+r"(x[i][2]), "+r"(x[i][3])::"memory");
}

template <typename... R> __device__ __forceinline__ void wgmma_fence(R&... registers) {
  (pin(registers), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING, typename... R> __device__ __forceinline__ void wgmma_wait(R&... results) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
  (pin(results), ...);
}

// Keeps a wait that follows behind the computation of x >= 0. Neither needs the other, so ptxas would move the wait up;
// across a branch it does not, and one that is never taken is cheap.
__device__ __forceinline__ void hold_for(float x) {
  if (x < 0.0f) asm volatile("nanosleep.u32 1;");
}

// The instruction's text and operands: %0 ... %(N / 2 - 1) are the accumulator's registers, those of the other operands
// are numbered by hand. "n" is a constant: whether to add to d, and which way the operands in shared memory lie.
#define MINAST_P0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define MINAST_P1 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define MINAST_P2 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define MINAST_P3 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define MINAST_P4 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define MINAST_P5 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define MINAST_P6 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define MINAST_P7 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define MINAST_D(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define MINAST_D4(j) MINAST_D(j), MINAST_D(j + 1), MINAST_D(j + 2), MINAST_D(j + 3)
#define MINAST_D16(j) MINAST_D4(j), MINAST_D4(j + 4), MINAST_D4(j + 8), MINAST_D4(j + 12)
#define MINAST_PLACES_8 "%0, %1, %2, %3"
#define MINAST_PLACES_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define MINAST_PLACES_32 MINAST_P0
#define MINAST_PLACES_64 MINAST_P0 ", " MINAST_P1
#define MINAST_PLACES_96 MINAST_P0 ", " MINAST_P1 ", " MINAST_P2
#define MINAST_PLACES_128 MINAST_P0 ", " MINAST_P1 ", " MINAST_P2 ", " MINAST_P3
#define MINAST_PLACES_192 MINAST_P0 ", " MINAST_P1 ", " MINAST_P2 ", " MINAST_P3 ", " MINAST_P4 ", " MINAST_P5
#define MINAST_PLACES_256 MINAST_PLACES_128 ", " MINAST_P4 ", " MINAST_P5 ", " MINAST_P6 ", " MINAST_P7
#define MINAST_REGISTERS_8 MINAST_D(0)
#define MINAST_REGISTERS_16 MINAST_D(0), MINAST_D(1)
#define MINAST_REGISTERS_32 MINAST_D4(0)
#define MINAST_REGISTERS_64 MINAST_D4(0), MINAST_D4(4)
#define MINAST_REGISTERS_96 MINAST_D4(0), MINAST_D4(4), MINAST_D4(8)
#define MINAST_REGISTERS_128 MINAST_D16(0)
#define MINAST_REGISTERS_192 MINAST_D16(0), MINAST_D4(16), MINAST_D4(20)
#define MINAST_REGISTERS_256 MINAST_D16(0), MINAST_D16(16)

template <typename T, int N> struct Wgmma;  // the two instructions of one type and width

#define MINAST_WGMMA(T, TYPE, N, P, Q, R, S, U, V, W)                                                         \
  template <> struct Wgmma<T, N> {                                                                            \
    template <int A, int B, int ADD>                                                                          \
    static __device__ __forceinline__ void ss(float (&d)[N / 8][4], unsigned long long a,                     \
                                              unsigned long long b) {                                         \
      asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #R ", 0;\n"                                      \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" MINAST_PLACES_##N     \
                   "}, %" #P ", %" #Q ", add, 1, 1, %" #S ", %" #U ";\n}"                                     \
                   : MINAST_REGISTERS_##N                                                                     \
                   : "l"(a), "l"(b), "n"(ADD), "n"(A), "n"(B)                                                 \
                   : "memory");                                                                               \
    }                                                                                                         \
    template <int B, int ADD>                                                                                 \
    static __device__ __forceinline__ void rs(float (&d)[N / 8][4], const unsigned (&a)[4],                   \
                                              unsigned long long b) {                                         \
      asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #V ", 0;\n"                                      \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" MINAST_PLACES_##N     \
                   "}, {%" #P ", %" #Q ", %" #R ", %" #S "}, %" #U ", add, 1, 1, %" #W ";\n}"                 \
                   : MINAST_REGISTERS_##N                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(ADD), "n"(B)                     \
                   : "memory");                                                                               \
    }                                                                                                         \
  };
#define MINAST_WGMMA_BOTH(...)                 \
  MINAST_WGMMA(__half, "f16", __VA_ARGS__)     \
  MINAST_WGMMA(__nv_bfloat16, "bf16", __VA_ARGS__)
MINAST_WGMMA_BOTH(8, 4, 5, 6, 7, 8, 9, 10)
MINAST_WGMMA_BOTH(16, 8, 9, 10, 11, 12, 13, 14)
MINAST_WGMMA_BOTH(32, 16, 17, 18, 19, 20, 21, 22)
MINAST_WGMMA_BOTH(64, 32, 33, 34, 35, 36, 37, 38)
MINAST_WGMMA_BOTH(96, 48, 49, 50, 51, 52, 53, 54)
MINAST_WGMMA_BOTH(128, 64, 65, 66, 67, 68, 69, 70)
MINAST_WGMMA_BOTH(192, 96, 97, 98, 99, 100, 101, 102)
MINAST_WGMMA_BOTH(256, 128, 129, 130, 131, 132, 133, 134)

template <typename T, int N, Major A, Major B, bool ADD>
__device__ __forceinline__ void wgmma_ss(float (&d)[N / 8][4], unsigned long long a, unsigned long long b) {
  Wgmma<T, N>::template ss<A, B, ADD>(d, a, b);
}
template <typename T, int N, Major B, bool ADD>
__device__ __forceinline__ void wgmma_rs(float (&d)[N / 8][4], const unsigned (&a)[4], unsigned long long b) {
  Wgmma<T, N>::template rs<B, ADD>(d, a, b);
}
#endif
#endif  // MINAST_HOPPER
